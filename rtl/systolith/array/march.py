"""Commands on their way from tile to tile, in few registers."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data

__all__ = ["marched", "marched_row"]


def marched(
    m: Module,
    command: data.View,
    cycles: int,
    *,
    spacing: int,
    tokens: Iterable[str],
    counts: Iterable[str] = (),
    start: str = "first",
) -> Any:
    """``command`` as it was ``cycles`` cycles ago.

    Only its tokens change in every cycle; they pass through shift registers. The rest is the same
    for a whole tile, which lasts ``spacing`` cycles or longer: it is handed on at the delayed tile
    start, from one register to the next, each of which bridges up to ``spacing`` cycles. Fields
    that count up within a tile are counted again at the end.

    Parameters
    ----------
    m
        Where the registers go.
    command
        Has the token ``first``, set at the start of a tile.
    cycles
        Delay, at least 1.
    spacing
        Fewest cycles between two starts.
    tokens, counts
        Fields of one bit that change in every cycle, and fields that count.
    start
        Token that marks the start of a tile.
    """
    layout = command.shape()
    lines = {}
    for token in tokens:
        line = Signal(cycles, name=f"{token}_line", reset_less=token != "valid")
        m.d.sync += line.eq(Cat(getattr(command, token), line))
        lines[token] = line

    held, passed = command, 0
    while passed < cycles:
        # At first the counts move on in every cycle; later they are held for the whole tile.
        step = min(spacing, cycles - passed) if passed else 1
        due = passed + step - 1
        begins = lines[start][due - 1] if due else getattr(command, start)
        late = Signal(layout, name=f"held_{passed + step}", reset_less=True)
        with m.If(begins):
            m.d.sync += late.eq(held)
        held, passed = late, passed + step

    out: Any = Signal(layout, name=f"after_{cycles}")
    m.d.comb += [out.eq(held), *(out[token].eq(line[-1]) for token, line in lines.items())]
    for name in counts:
        counter = Signal(len(out[name]), name=f"{name}_after_{cycles}", reset_less=True)
        m.d.comb += out[name].eq(Mux(lines[start][-1], held[name], counter))
        m.d.sync += counter.eq(out[name] + 1)
    return out


def marched_row(m: Module, row: data.View, cycles: int, *, spacing: int) -> Any:
    """A row of stage B as it was ``cycles`` cycles ago, rows being ``spacing`` apart; see above."""
    if not cycles:
        return row
    return marched(m, row, cycles, spacing=spacing, tokens=("valid", "last"), start="valid")
