"""Command traces as text: one command a line, for other tools and for tests."""

from collections.abc import Iterable, Iterator

from systolith.memory.hbm.commands import Address, Command, Op

__all__ = ["read_trace", "write_trace"]

_HEADER = "clock,command,sid,group,bank,row,column"


def write_trace(trace: Iterable[Command]) -> Iterator[str]:
    """Lines without their ends; the first one names the columns."""
    yield _HEADER
    for c in trace:
        a = c.at
        yield f"{c.clock},{c.op.name},{a.sid},{a.group},{a.bank},{a.row},{a.column}"


def read_trace(lines: Iterable[str]) -> Iterator[Command]:
    """Commands of a trace of :func:`write_trace`; empty lines and those after ``#`` are skipped.

    Raises
    ------
    ValueError
        With the number of the line and what was expected.
    """
    columns = _HEADER.split(",")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#") or text == _HEADER:
            continue
        parts = [part.strip() for part in text.split(",")]
        if len(parts) != len(columns):
            raise ValueError(f"line {number}: must be {_HEADER}, not {text!r}")
        name = parts.pop(1)
        if name not in Op.__members__:
            known = ", ".join(Op.__members__)
            raise ValueError(f"line {number}: command must be one of {known}, not {name!r}")
        wrong = [p for p in parts if not (p.isascii() and p.isdigit())]
        if wrong:
            raise ValueError(f"line {number}: numbers must be 0 or more, not {wrong[0]!r}")
        clock, sid, group, bank, row, column = map(int, parts)
        at = Address(sid=sid, group=group, bank=bank, row=row, column=column)
        yield Command(clock, Op[name], at)
