"""Random bits of stochastic accumulators, in step with the lanes of stage B."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.layouts import block_row
from systolith.array.march import marched_row
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.lfsr import RANDOM_BITS, STATE_BITS, ElementLfsr

__all__ = ["Draws"]


class Draws(Block):
    """Bits that depend on the output and the number of its block, and on nothing else.

    The host writes a start state for every weight tile: that of the seed and the block, moved on to
    the first column of this unit. From there the register walks lane by lane and row by row.

    Parameters
    ----------
    config : EngineConfig
        Sizes; ``stochastic``.

    Members
    -------
    row : In(block_row)
        A row of blocks.
    w_en, w_addr, w_data : In
        Writes a start state.
    random : Out(16)
        Bits for lane 0, ``draw_cycles`` cycles after the row; the other lanes follow.
    """

    row: data.View
    w_en: Signal
    w_addr: Signal
    w_data: Signal
    random: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "row": In(block_row(config)),
                "w_en": In(1),
                "w_addr": In(config.scale_width),
                "w_data": In(STATE_BITS),
                "random": Out(RANDOM_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, latency = config.unit_lanes, config.memory.latency
        starts = Sram(depth=config.max_tiles, width=STATE_BITS, latency=latency)
        m.submodules.starts = place(starts, platform)
        walk = ElementLfsr()
        m.submodules.walk = place(walk, platform)
        asked = marched_row(m, self.row, config.draw_cycles - 1 - latency, spacing=lanes)
        row = marched_row(m, asked, latency, spacing=lanes)
        m.d.comb += [
            starts.r_addr.eq(asked.w_tile),
            starts.w_en.eq(self.w_en),
            starts.w_addr.eq(self.w_addr),
            starts.w_data.eq(self.w_data),
            walk.start.eq(starts.r_data),
            walk.load.eq(row.valid & row.top),
            walk.row.eq(row.valid & ~row.top),
            walk.column.eq(~row.valid),
            self.random.eq(walk.random),
        ]
        return m
