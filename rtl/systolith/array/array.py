"""The splittable array: bands and the boundaries that join them."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.array.band import Band
from systolith.array.boundary import Boundary
from systolith.array.config import ArrayConfig
from systolith.array.layouts import lane_row, psum_row, reach_width, weight_word
from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place

__all__ = ["Array", "band_signature"]


def band_signature(config: ArrayConfig) -> wiring.Signature:
    """Edges of one band, from the side that drives the array.

    ``reach`` accompanies the activations of row 0: the number of column bands to the right that
    take them as well.
    """
    return wiring.Signature(
        {
            "x": Out(lane_row(config, config.band_rows)),
            "fuse": Out(1),
            "reach": Out(reach_width(config)),
            "w": Out(PackedArray(weight_word(config), config.col_tiles)),
            "first": Out(config.col_tiles),
            "s": In(psum_row(config, config.band_cols)),
        }
    )


class Array(Block):
    """``b x s`` bands that compute alone or fused, as each tile's tokens say.

    A band takes the activations of its left neighbour while that one's ``reach`` is not zero, and
    its own otherwise; a band that is not fed drives zeros. It continues the partial sums from
    above while ``fuse`` is set. Both change over between two tiles, without a bubble.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.

    Members
    -------
    edge : In(band_signature).array(row_bands, col_bands)
        Each band's feeds and results. Row ``k``, column ``j`` of a band is offered ``k + j``
        cycles after its corner; a band fused to the one above (left) ``r`` (``c``) cycles after
        it. The result of an activation at the corner appears at column ``j`` after
        ``multiply_cycles + rows in the group + j`` cycles.
    """

    edge: list[list[wiring.PureInterface]]

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        super().__init__(
            {"edge": In(band_signature(config)).array(config.row_bands, config.col_bands)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bands = [
            [Band(config, north=i > 0) for _ in range(config.col_bands)]
            for i in range(config.row_bands)
        ]
        for i, row in enumerate(bands):
            reach = Signal(reach_width(config), name=f"reach_{i}")
            for j, band in enumerate(row):
                m.submodules[f"band_{i}_{j}"] = place(band, platform)
                edge = self.edge[i][j]
                if j == 0:
                    m.d.comb += [
                        band.west.eq(edge.x),
                        band.fuse.eq(edge.fuse),
                        reach.eq(edge.reach),
                    ]
                else:
                    boundary = Boundary(config)
                    m.submodules[f"boundary_{i}_{j}"] = place(boundary, platform)
                    m.d.comb += [
                        boundary.left.eq(row[j - 1].east),
                        boundary.left_fuse.eq(row[j - 1].fuse),
                        boundary.left_reach.eq(reach),
                        boundary.own.eq(edge.x),
                        boundary.own_fuse.eq(edge.fuse),
                        boundary.own_reach.eq(edge.reach),
                        band.west.eq(boundary.x),
                        band.fuse.eq(boundary.fuse),
                    ]
                    reach = boundary.reach
                m.d.comb += [
                    band.w.eq(edge.w),
                    band.first.eq(edge.first),
                    edge.s.eq(band.s),
                ]
                if i:
                    m.d.comb += band.n.eq(bands[i - 1][j].s)
        return m
