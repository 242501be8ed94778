"""The splittable array."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from systolith.array.band_row import BandRow, band_signature
from systolith.array.config import ArrayConfig
from systolith.hierarchy import Block, place

__all__ = ["Array"]


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
        for i, edges in enumerate(self.edge):
            row = BandRow(self.config, north=i > 0)
            m.submodules[f"row_{i}"] = place(row, platform)
            for j, edge in enumerate(edges):
                wiring.connect(m, wiring.flipped(edge), row.edge[j])
                if i:
                    m.d.comb += row.n[j].eq(self.edge[i - 1][j].s)
        return m
