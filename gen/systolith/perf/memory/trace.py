"""Requests of a pattern as text that simulators of memories replay, and back.

*Vectors* are for the front end ``ReadWriteTrace`` of Ramulator 2.1 (CMU-SAFARI/ramulator2): a line
is ``R`` or ``W`` and the numbers of channel, pseudo-channel, stack, bank group, bank, row and
column, as in ``R 0,0,0,3,1,100,17``. No address map is applied to them. That front end leaves flat
addresses unset, by which its controller finds reads that a waiting write answers: replay reads and
writes apart.

*Addresses* are for DRAMsim3 (umd-memsys/DRAMsim3): a line is the address in bytes, the direction
and the clock from which on the request may start, as in ``0x1a40 READ 12``. Its ``address_mapping``
decides where that is: ``rorabacobgch`` for a memory of one channel is the map "groups-low" here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from systolith.memory.hbm.commands import Address
from systolith.memory.hbm.config import ControllerConfig
from systolith.perf.memory.patterns import Addresses, Pattern
from systolith.perf.memory.requests import map_of

__all__ = [
    "Request",
    "read_addresses",
    "read_vectors",
    "requests",
    "write_addresses",
    "write_vectors",
]

_LEVELS = ("channel", "pseudo-channel", "stack", "group", "bank", "row", "column")
_STACK = _LEVELS.index("stack")


@dataclass(frozen=True, slots=True)
class Request:
    """One atom that is read or written.

    Parameters
    ----------
    atom
        Its linear address, in atoms.
    write
        Direction.
    clock
        Memory clock from which on it may start.
    """

    atom: int
    write: bool = False
    clock: int = 0


def requests(
    config: ControllerConfig, pattern: Pattern, *, runs: int, seed: int = 1, gap: int = 0
) -> Iterator[Request]:
    """Atoms of the first runs of a pattern, of which the streams take turns.

    Parameters
    ----------
    config
        Of the controller.
    pattern
        Traffic.
    runs
        How many.
    seed
        Of random addresses.
    gap
        Memory clocks from each request to the next; with 0 all of them may start at once.

    Raises
    ------
    ValueError
        If the controller cannot have this traffic, or ``runs`` or ``gap`` is negative.
    """
    for name, value in (("runs", runs), ("gap", gap)):
        if value < 0:
            raise ValueError(f"{name} must be 0 or more, not {value!r}")
    return _requests(config, pattern, Addresses(pattern, config, seed), runs, gap)


def _requests(
    config: ControllerConfig, pattern: Pattern, addresses: Addresses, runs: int, gap: int
) -> Iterator[Request]:
    streams = [n for n in range(config.streams) if pattern.streams >> n & 1]
    mask, clock = (1 << config.atom_bits) - 1, 0
    for number in range(runs):
        stream = streams[number % len(streams)]
        first, write = addresses.take(stream), bool(pattern.writes >> stream & 1)
        for atom in range(first, first + pattern.count):
            yield Request(atom & mask, write, clock)
            clock += gap


# Vectors ----------------------------------------------------------------------------------------


def write_vectors(
    found: Iterable[Request],
    config: ControllerConfig,
    *,
    address_map: int = 0,
    channel: int = 0,
    pseudo_channel: int = 0,
    stacks: bool | None = None,
) -> Iterator[str]:
    """Lines without their ends, a request each; their clocks are lost.

    Parameters
    ----------
    found
        Requests.
    config
        Of the controller.
    address_map
        Number of one of ``config.maps``.
    channel, pseudo_channel
        To which the requests go.
    stacks
        Whether vectors have the number of the stack; if left out, if the memory has several.
        The presets of a simulator have that level or not.
    """
    placed = map_of(config, address_map)
    stacks = config.organisation.sids > 1 if stacks is None else stacks
    if not stacks and config.organisation.sids > 1:
        raise ValueError("stacks must be True: the memory has several")
    for request in found:
        at = placed.place(request.atom)
        numbers = [channel, pseudo_channel, at.sid, at.group, at.bank, at.row, at.column]
        if not stacks:
            del numbers[_STACK]
        yield f"{'W' if request.write else 'R'} {','.join(map(str, numbers))}"


def read_vectors(
    lines: Iterable[str],
    config: ControllerConfig,
    *,
    address_map: int = 0,
    channel: int = 0,
    pseudo_channel: int = 0,
) -> Iterator[Request]:
    """Requests to one pseudo-channel; those to others and empty lines are left out.

    Parameters
    ----------
    lines
        Of a trace; vectors of a memory of one stack may have its number or not.
    config
        Of the controller.
    address_map
        Number of one of ``config.maps``.
    channel, pseudo_channel
        Whose requests are wanted.

    Raises
    ------
    ValueError
        With the number of the line and what was expected.
    """
    placed, shape = map_of(config, address_map), config.organisation
    sizes = (shape.sids, shape.groups, shape.banks, shape.rows, shape.columns)
    for number, words in _words(lines, 2, "R or W and a vector"):
        write = _direction(number, words[0], ("R", "W"))
        parts = words[1].split(",")
        if shape.sids == 1 and len(parts) == len(_LEVELS) - 1:
            parts.insert(_STACK, "0")
        if len(parts) != len(_LEVELS):
            raise ValueError(f"line {number}: vector must be {','.join(_LEVELS)}, not {words[1]!r}")
        values = [_natural(number, name, part) for name, part in zip(_LEVELS, parts, strict=True)]
        if values[:_STACK] != [channel, pseudo_channel]:
            continue
        for name, value, size in zip(_LEVELS[_STACK:], values[_STACK:], sizes, strict=True):
            if value >= size:
                raise ValueError(f"line {number}: {name} must be in 0..{size - 1}, not {value}")
        sid, group, bank, row, column = values[_STACK:]
        at = Address(sid=sid, group=group, bank=bank, row=row, column=column)
        yield Request(placed.atom(at), write)


# Addresses --------------------------------------------------------------------------------------


def write_addresses(
    found: Iterable[Request], config: ControllerConfig, *, size: int | None = None
) -> Iterator[str]:
    """Lines without their ends, a request each.

    Parameters
    ----------
    found
        Requests.
    config
        Of the controller.
    size
        Bytes of a request in the simulator, if they are not those of an atom here: then the numbers
        of atoms are kept, and so the banks and rows, not the amount of data.
    """
    size = _size(config, size)
    for request in found:
        yield f"{request.atom * size:#x} {'WRITE' if request.write else 'READ'} {request.clock}"


def read_addresses(
    lines: Iterable[str], config: ControllerConfig, *, size: int | None = None
) -> Iterator[Request]:
    """Requests of a trace; empty lines are left out.

    Parameters
    ----------
    lines
        Of a trace.
    config
        Of the controller.
    size
        As in :func:`write_addresses`.

    Raises
    ------
    ValueError
        With the number of the line and what was expected.
    """
    size = _size(config, size)
    end = size << config.atom_bits
    for number, (place, direction, clock) in _words(lines, 3, "address, READ or WRITE, clock"):
        write = _direction(number, direction, ("READ", "WRITE"))
        digits = place.lower().removeprefix("0x")
        if not digits or set(digits) - set("0123456789abcdef"):
            raise ValueError(f"line {number}: address must be hexadecimal, not {place!r}")
        address = int(digits, 16)
        if address >= end or address % size:
            raise ValueError(
                f"line {number}: address must be a multiple of {size} below {end:#x}, not {place}"
            )
        yield Request(address // size, write, _natural(number, "clock", clock))


def _size(config: ControllerConfig, size: int | None) -> int:
    size = config.organisation.atom if size is None else size
    if size < 1:
        raise ValueError(f"size must be at least 1, not {size!r}")
    return size


# Lines ------------------------------------------------------------------------------------------


def _words(lines: Iterable[str], count: int, says: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words and len(words) != count:
            raise ValueError(f"line {number}: must be {says}, not {line.strip()!r}")
        if words:
            yield number, words


def _direction(number: int, word: str, names: Sequence[str]) -> bool:
    if word not in names:
        raise ValueError(f"line {number}: direction must be {' or '.join(names)}, not {word!r}")
    return word == names[1]


def _natural(number: int, name: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise ValueError(f"line {number}: {name} must be a number of 0 or more, not {word!r}")
    return int(word)
