"""The pace of stage B: one lane of a row after the other, and the scales of the rows."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.layouts import block_row, drain_command
from systolith.array.march import marched_row
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.scale_code import decode_scales

__all__ = ["Drain"]


class Drain(Block):
    """Turns the rows of a tile that completes a block into rows of stage B, ``U`` cycles apart.

    Rows arrive in successive cycles, and one unit of stage B serves its ``U`` lanes in turn; so
    they wait, as a count. The period of the tiles is long enough for all of them to leave before
    the next block is complete. The scale of each row is read here, once for all columns, and goes
    with the row.

    Parameters
    ----------
    config : EngineConfig
        Sizes; ``scaled``.

    Members
    -------
    command : In(drain_command)
        Rows at the accumulators of the band's first column tile.
    row : Out(block_row)
        The first row ``drain_lead`` cycles after its command, the others ``U`` cycles apart.
    w_en, w_addr, w_data : In
        Writes the scale that belongs to a word of X.
    """

    command: data.View
    row: data.View
    w_en: Signal
    w_addr: Signal
    w_data: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "command": In(drain_command(config)),
                "row": Out(block_row(config)),
                "w_en": In(1),
                "w_addr": In(config.x_width),
                "w_data": In(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        size, latency = config.unit_lanes, config.memory.latency
        layout = drain_command(config)

        tile = Signal(layout, reset_less=True)  # addresses of the next row, the rest of the tile
        waiting, left = Signal(config.m_width), Signal(config.m_width)
        some, free = Signal(), Signal(init=1)  # rows wait; the turn of the last lane is over
        turns = Signal(size)
        ending, begin, end = Signal(), Signal(), Signal()
        m.d.comb += [
            begin.eq(some & free),
            left.eq(waiting + command.valid - begin),
            # The last row has arrived by the time that nothing else waits.
            end.eq(begin & ending & (waiting == 1)),
        ]
        m.d.sync += [
            waiting.eq(left),
            some.eq(left != 0),
            turns.eq(Cat(begin, turns)),
            free.eq(turns[size - 2] | (free & ~begin) if size > 1 else 1),
            ending.eq((ending & ~end) | (command.valid & command.last)),
            tile.addr.eq(tile.addr + begin),
            tile.x_addr.eq(tile.x_addr + begin),
        ]
        with m.If(command.valid & command.first):
            m.d.sync += tile.eq(command)

        scales = Sram(depth=config.memory.x_depth, width=8, latency=latency)
        m.submodules.scales = place(scales, platform)
        row = Signal(block_row(config))
        m.d.comb += [
            scales.r_addr.eq(tile.x_addr),
            scales.w_en.eq(self.w_en),
            scales.w_addr.eq(self.w_addr),
            scales.w_data.eq(self.w_data),
            row.valid.eq(begin),
            row.last.eq(end),
            row.exponent.eq(tile.unit),
            *(row[n].eq(tile[n]) for n in ("addr", "cols", "reach", "slot", "w_tile", "fresh")),
        ]
        if config.small_scales:
            m.d.comb += row.small.eq(tile.small)
        if config.stochastic:
            top = Signal()
            m.d.comb += row.top.eq(top)
            with m.If(command.valid & command.first):
                m.d.sync += top.eq(1)
            with m.Elif(begin):
                m.d.sync += top.eq(0)
        if config.chained:
            m.d.comb += [row.source.eq(tile.source), row.empty.eq(tile.empty)]
        late = marched_row(m, row, latency, spacing=size)
        # The scale's word is there for this cycle only: it joins the row at the next hold.
        scaled = Signal(block_row(config))
        small = late.small if config.small_scales else Const(0, 1)
        code = decode_scales(config.scale_formats, scales.r_data, small)
        m.d.comb += [
            scaled.eq(late),
            scaled.exponent.eq(late.exponent + code.exponent),
            scaled.nan.eq(code.nan),
        ]
        if config.small_scales:
            m.d.comb += scaled.significand.eq(code.significand)
        rest = config.drain_lead - 1 - latency
        m.d.comb += self.row.eq(marched_row(m, scaled, rest, spacing=size))
        return m
