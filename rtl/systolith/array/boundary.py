"""Boundary between two column bands: activations from the left neighbour or the band's own."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import ArrayConfig
from systolith.array.delay import delayed
from systolith.array.layouts import lane_row, reach_width
from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block

__all__ = ["Boundary"]


class Boundary(Block):
    """Joins a band to its left neighbour while that one's ``reach`` is not zero.

    The tokens of the left band take ``c`` cycles to its east edge, like its activations; each row
    changes over one cycle after the row above it.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.

    Members
    -------
    left : In(lane_row)
        East edge of the left band.
    left_fuse, left_reach : In
        Tokens at the corner of the left band.
    own, own_fuse, own_reach : In
        Feed of the band itself.
    x, fuse, reach : Out
        What enters the band, and how many further bands take it.
    """

    left: data.View
    left_fuse: Signal
    left_reach: Signal
    own: data.View
    own_fuse: Signal
    own_reach: Signal
    x: data.View
    fuse: Signal
    reach: Signal

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        lanes, reach = lane_row(config, config.band_rows), reach_width(config)
        super().__init__(
            {
                "left": In(lanes),
                "left_fuse": In(1),
                "left_reach": In(reach),
                "own": In(lanes),
                "own_fuse": In(1),
                "own_reach": In(reach),
                "x": Out(lanes),
                "fuse": Out(1),
                "reach": Out(reach),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tokens = Signal(PackedStruct({"fuse": 1, "reach": reach_width(self.config)}))
        m.d.comb += [tokens.fuse.eq(self.left_fuse), tokens.reach.eq(self.left_reach)]
        late = delayed(m, tokens, self.config.band_cols, "tokens")

        joined = Signal()
        march = Signal(self.config.band_rows)
        m.d.sync += march.eq(Cat(joined, march))
        m.d.comb += [
            joined.eq(late.reach != 0),
            self.fuse.eq(Mux(joined, late.fuse, self.own_fuse)),
            self.reach.eq(Mux(joined, late.reach - 1, self.own_reach)),
        ]
        for k in range(self.config.band_rows):
            row_joined = march[k - 1] if k else joined
            m.d.comb += self.x[k].eq(
                Mux(row_joined, self.left[k].as_value(), self.own[k].as_value())
            )
        return m
