"""Accumulator commands on their way: a long delay in few registers."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data

from systolith.array.config import EngineConfig
from systolith.array.layouts import y_command

__all__ = ["marched"]


def marched(m: Module, config: EngineConfig, command: data.View, cycles: int) -> data.View:
    """``command`` as it was ``cycles`` cycles ago.

    Only its tokens change in every cycle; they pass through shift registers. The rest is the same
    for a whole tile, which lasts ``r`` cycles or longer: it is handed on at the delayed tile
    start, from one register to the next, each of which bridges up to ``r`` cycles. The address
    is counted again at the end.
    """
    spacing = config.array.band_rows
    layout = y_command(config)
    lines = {}
    for token in ("valid", "first", "last"):
        line = Signal(cycles, name=f"{token}_line", reset_less=token == "last")
        m.d.sync += line.eq(Cat(getattr(command, token), line))
        lines[token] = line

    held, passed = command, 0
    while passed < cycles:
        # At first the address moves on in every cycle; later it is held for the whole tile.
        step = min(spacing, cycles - passed) if passed else 1
        due = passed + step - 1
        start = lines["first"][due - 1] if due else command.first
        late = Signal(layout, name=f"held_{passed + step}", reset_less=True)
        with m.If(start):
            m.d.sync += late.eq(held)
        held, passed = late, passed + step

    out: Any = Signal(layout, name=f"after_{cycles}")
    addr = Signal(config.y_width, name=f"addr_after_{cycles}", reset_less=True)
    m.d.comb += [
        out.eq(held),
        *(getattr(out, token).eq(line[-1]) for token, line in lines.items()),
        out.addr.eq(Mux(lines["first"][-1], held.addr, addr)),
    ]
    m.d.sync += addr.eq(out.addr + 1)
    return out
