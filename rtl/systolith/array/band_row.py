"""Row of bands: the bands that share one activation path when they are fused."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from systolith.array.band import Band
from systolith.array.boundary import Boundary
from systolith.array.config import ArrayConfig
from systolith.array.layouts import lane_row, psum_row, reach_width, weight_bus
from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place

__all__ = ["BandRow", "band_signature"]


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
            "w": Out(PackedArray(weight_bus(config), config.col_tiles)),
            "first": Out(config.col_tiles),
            "s": In(psum_row(config, config.band_cols)),
        }
    )


class BandRow(Block):
    """The column bands of one row band, joined by boundaries.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.
    north : bool
        Whether there is a row of bands above.

    Members
    -------
    edge : In(band_signature).array(col_bands)
        Feeds and results of each band.
    n : In(psum_row).array(col_bands)
        Partial sums from the row above.
    """

    edge: list[wiring.PureInterface]
    n: list[data.View]

    def __init__(self, config: ArrayConfig, *, north: bool) -> None:
        self.config = config
        self.north = north
        super().__init__(
            {
                "edge": In(band_signature(config)).array(config.col_bands),
                "n": In(psum_row(config, config.band_cols)).array(config.col_bands),
            }
        )

    @property
    def module_name(self) -> str:
        return "band_row" if self.north else "band_row_top"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left: Band | None = None
        reach = Signal(reach_width(self.config))
        for j, edge in enumerate(self.edge):
            band = Band(self.config, north=self.north)
            m.submodules[f"band_{j}"] = place(band, platform)
            if left is None:
                m.d.comb += [
                    band.west.eq(edge.x),
                    band.fuse.eq(edge.fuse),
                    reach.eq(edge.reach),
                ]
            else:
                boundary = Boundary(self.config)
                m.submodules[f"boundary_{j}"] = place(boundary, platform)
                m.d.comb += [
                    boundary.left.eq(left.east),
                    boundary.left_fuse.eq(left.fuse),
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
                band.n.eq(self.n[j]),
                edge.s.eq(band.s),
            ]
            left = band
        return m
