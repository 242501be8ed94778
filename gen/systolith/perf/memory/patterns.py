"""Access patterns by which a memory controller is measured, in a model as on the hardware."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from systolith.memory.hbm.config import ControllerConfig

__all__ = ["PATTERNS", "Addresses", "Pattern"]

_OPEN_MAX = 127
_INNER_MAX = (1 << 16) - 1
_KIB = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Pattern:
    """What the traffic looks like: the registers of the traffic generator, but for the seed.

    Parameters
    ----------
    name
        For reports.
    streams, writes
        A bit for each stream: whether it takes part, and whether it writes.
    count
        Atoms of a run.
    random
        Runs are anywhere, aligned to their length, a power of two. Else stream ``n`` starts at
        ``n * apart`` and goes on by ``inner`` atoms, but by ``outer`` every ``inner_count`` runs.
    apart, inner, outer
        Steps of the address, in atoms.
    span
        Address bits that wrap.
    inner_count
        See ``random``.
    open
        Runs that each stream keeps under way.
    """

    name: str
    streams: int = 1
    writes: int = 0
    count: int = 1
    random: bool = False
    apart: int = 0
    span: int = 0
    inner: int = 0
    outer: int = 0
    inner_count: int = 1
    open: int = 1

    def __post_init__(self) -> None:
        for field, low, high in (
            ("streams", 1, None),
            ("writes", 0, self.streams),
            ("count", 1, None),
            *((name, 0, None) for name in ("apart", "span", "inner", "outer")),
            ("inner_count", 1, _INNER_MAX),
            ("open", 1, _OPEN_MAX),
        ):
            _inside(self, field, low, high)
        if self.writes & ~self.streams:
            raise ValueError(f"Pattern.writes must be a part of streams, not {self.writes:#b}")
        if self.random and self.count & (self.count - 1):
            raise ValueError(
                f"Pattern.count must be a power of two if random is set, not {self.count}"
            )

    def check(self, config: ControllerConfig) -> None:
        """Raise ValueError, which names the field, if ``config`` cannot have this traffic."""
        _inside(self, "streams", 1, (1 << config.streams) - 1)
        _inside(self, "count", 1, min(config.turn, 1 << config.atom_bits))
        for name in ("apart", "span", "inner", "outer"):
            _inside(self, name, 0, (1 << config.atom_bits) - 1)

    def registers(self, seed: int = 1) -> dict[str, int]:
        """Every field of the traffic generator's registers, ``seed`` among them."""
        if not 1 <= seed < 1 << 32:
            raise ValueError(f"seed must be in 1..2**32 - 1, not {seed!r}")
        fields = {name: int(getattr(self, name)) for name in self.__slots__ if name != "name"}
        return fields | {"seed": seed}


class Addresses:
    """First atoms of the runs of a pattern.

    Random ones are those of a 32-bit xorshift generator (Marsaglia, Journal of Statistical Software
    8(14), 2003), of which the streams take numbers in the order in which they submit runs.

    Parameters
    ----------
    pattern
        Any that passes :meth:`Pattern.check`.
    config
        Of the controller.
    seed
        Of random addresses.
    """

    def __init__(self, pattern: Pattern, config: ControllerConfig, seed: int = 1) -> None:
        pattern.check(config)
        self._pattern = pattern
        self._state = pattern.registers(seed)["seed"]
        self._mask = (1 << config.atom_bits) - 1
        self._next = [n * pattern.apart & self._mask for n in range(config.streams)]
        self._inner = [0] * config.streams

    def take(self, stream: int) -> int:
        """Return the first atom of the next run of ``stream``."""
        pattern = self._pattern
        if pattern.random:
            atom, state = self._state & self._mask & ~(pattern.count - 1), self._state
            state ^= state << 13 & 0xFFFFFFFF
            state ^= state >> 17
            self._state = state ^ (state << 5 & 0xFFFFFFFF)
            return atom
        atom = self._next[stream]
        self._inner[stream] += 1
        turn = self._inner[stream] == pattern.inner_count
        if turn:
            self._inner[stream] = 0
        ahead = (atom + (pattern.outer if turn else pattern.inner)) & pattern.span
        self._next[stream] = atom & ~pattern.span & self._mask | ahead
        return atom


# Patterns by name -------------------------------------------------------------------------------


def sequential(config: ControllerConfig, *, write: bool = False) -> Pattern:
    """One stream through consecutive addresses, in runs as long as they can be."""
    run = min(config.turn, _region(config))
    name = "seq-write" if write else "seq-read"
    return _steps(config, name, writes=int(write), count=run, inner=run, open=2)


def mixed(config: ControllerConfig, *, turn_kib: int = 16) -> Pattern:
    """Two streams that read and one that writes, bases staggered by a block of the address map."""
    run, shape = _atoms(config, "turn_kib", turn_kib), config.organisation
    apart = (1 << max(min(17, config.atom_bits - 2), 0)) + shape.groups * shape.columns
    return _steps(
        config, "rw-2to1", streams=0b111, writes=0b100, count=run, apart=apart, inner=run, open=2
    )


def random_64(config: ControllerConfig, *, outstanding: int = 16) -> Pattern:
    """Reads of 64 bytes anywhere, each by a stream of its own."""
    count = max(64 // config.organisation.atom, 1)
    return _random(config, "random-64", outstanding, "outstanding", count)


def random_1k(config: ControllerConfig, *, outstanding: int = 8) -> Pattern:
    """Reads of 1 KiB anywhere, each by a stream of its own."""
    return _random(
        config, "random-1k", outstanding, "outstanding", max(_KIB // config.organisation.atom, 1)
    )


def stride(config: ControllerConfig, *, stride: int = 16 * _KIB) -> Pattern:
    """One stream that reads 64 bytes of every ``stride`` bytes."""
    atom = config.organisation.atom
    if stride < atom or stride % atom:
        raise ValueError(f"stride must be a multiple of {atom} bytes, an atom, not {stride!r}")
    step = stride // atom
    return _steps(config, "stride", count=max(64 // atom, 1), inner=step, open=8)


def one_bank(config: ControllerConfig, *, hits: int = 32) -> Pattern:
    """One stream that reads ``hits`` atoms of a row, then of the next row of the same bank.

    That holds for the first address map.
    """
    shape = config.organisation
    if not 1 <= hits <= shape.columns:
        raise ValueError(f"hits must be in 1..{shape.columns}, atoms of a row, not {hits!r}")
    outer = _row_step(config) - (hits - 1) * shape.groups
    return _steps(config, "one-bank", inner=shape.groups, outer=outer, inner_count=hits, open=32)


def row_thrash(config: ControllerConfig) -> Pattern:
    """One stream that reads two rows of one bank in turn, an atom each time (first address map)."""
    step = _row_step(config)
    return Pattern(name="row-thrash", span=2 * step - 1, inner=step, outer=step, open=8)


def kv_decode(config: ControllerConfig, *, page_kib: int = 1) -> Pattern:
    """Eight streams that read pages anywhere, as attention does with keys and values."""
    return _random(config, "kv-decode", 8, "streams", _atoms(config, "page_kib", page_kib), runs=2)


def _seq_write(config: ControllerConfig) -> Pattern:
    return sequential(config, write=True)


PATTERNS: dict[str, Callable[..., Pattern]] = {
    "seq-read": sequential,
    "seq-write": _seq_write,
    "rw-2to1": mixed,
    "random-64": random_64,
    "random-1k": random_1k,
    "stride": stride,
    "one-bank": one_bank,
    "row-thrash": row_thrash,
    "kv-decode": kv_decode,
}
"""Functions of a configuration, and of what each of them can vary."""


# What they are made of --------------------------------------------------------------------------


def _region(config: ControllerConfig) -> int:
    """Atoms within which sequential addresses wrap: streams of one pattern stay apart."""
    return 1 << max(min(16, config.atom_bits - 2), 0)


def _row_step(config: ControllerConfig) -> int:
    """Atoms from a row to the next one of its bank, in the first address map."""
    return config.banks * config.organisation.columns


def _atoms(config: ControllerConfig, name: str, kib: int) -> int:
    limit = config.turn * config.organisation.atom // _KIB
    if not 1 <= kib <= limit:
        raise ValueError(f"{name} must be in 1..{limit}, not {kib!r}")
    return max(kib * _KIB // config.organisation.atom, 1)


def _steps(config: ControllerConfig, name: str, *, inner: int, **fields: Any) -> Pattern:
    fields = {"outer": inner, "span": _region(config) - 1} | fields
    pattern = Pattern(name=name, inner=inner, **fields)
    pattern.check(config)
    return pattern


def _random(
    config: ControllerConfig, name: str, streams: int, says: str, count: int, runs: int = 1
) -> Pattern:
    if not 1 <= streams <= config.streams:
        raise ValueError(f"{says} must be in 1..{config.streams}, the streams, not {streams!r}")
    pattern = Pattern(name=name, streams=(1 << streams) - 1, count=count, random=True, open=runs)
    pattern.check(config)
    return pattern


def _inside(pattern: Pattern, field: str, low: int, high: int | None) -> None:
    value = getattr(pattern, field)
    if value < low or (high is not None and value > high):
        allowed = f"{low} or more" if high is None else f"in {low}..{high}"
        raise ValueError(f"Pattern.{field} must be {allowed}, not {value!r}")
