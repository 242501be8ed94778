"""Band: the smallest part of the array that can run alone."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import ArrayConfig
from systolith.array.layouts import lane_row, psum_row, weight_bus
from systolith.array.packed import PackedArray
from systolith.array.tile import Tile
from systolith.hierarchy import Block, place

__all__ = ["Band"]


class Band(Block):
    """``r x c`` processing elements with a weight port of their own.

    The partial sums from the band above enter only while ``fuse`` is set. ``fuse`` accompanies the
    activations of a tile from its swap token on: it is offered with row 0 of column 0, waits for
    the multiplier as the product does, and marches one column per cycle, so that every column
    changes over exactly between two tiles.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.
    north : bool
        Whether there is a band above; without one, ``n`` and ``fuse`` are ignored.

    Members
    -------
    west, east : In(lane_row), Out(lane_row)
        Activations, row ``k`` offered ``k`` cycles after row 0.
    fuse : In(1)
        Continue the partial sums of the band above.
    w, first : In(weight_bus) and In(1) per column tile
        Weight port: ``r`` words in successive cycles, the first one marked, column tile ``t``
        offered ``t * T`` cycles after column tile 0. A weight reaches its shadow register
        ``weight_lead`` cycles or fewer after its row's word plus its row.
    n, s : In(psum_row), Out(psum_row)
        Partial sums, column ``j`` offered ``j`` cycles after column 0.
    """

    west: data.View
    east: data.View
    fuse: Signal
    w: data.View
    first: Signal
    n: data.View
    s: data.View

    def __init__(self, config: ArrayConfig, *, north: bool) -> None:
        self.config = config
        self.north = north
        super().__init__(
            {
                "west": In(lane_row(config, config.band_rows)),
                "east": Out(lane_row(config, config.band_rows)),
                "fuse": In(1),
                "w": In(PackedArray(weight_bus(config), config.col_tiles)),
                "first": In(config.col_tiles),
                "n": In(psum_row(config, config.band_cols)),
                "s": Out(psum_row(config, config.band_cols)),
            }
        )

    @property
    def module_name(self) -> str:
        return "band" if self.north else "band_top"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size, high, wide = config.tile, config.row_tiles, config.col_tiles

        entering = Signal(psum_row(config, config.band_cols))
        if self.north:
            # The last multiply_cycles + j stage stands at column j when its product does.
            march = Signal(config.multiply_cycles + config.band_cols - 1)
            m.d.sync += march.eq(Cat(self.fuse, march))
            for j in range(config.band_cols):
                fused = march[config.multiply_cycles + j - 1]
                m.d.comb += entering[j].eq(Mux(fused, Value.cast(self.n[j]), 0))

        tiles = [[Tile(config) for _ in range(wide)] for _ in range(high)]
        for u, row in enumerate(tiles):
            for t, tile in enumerate(row):
                m.submodules[f"tile_{u}_{t}"] = place(tile, platform)
                above = tiles[u - 1][t] if u else None
                m.d.comb += [
                    tile.w.eq(above.w_next if above else self.w[t]),
                    tile.first.eq(above.first_next if above else self.first[t]),
                ]
                for k in range(size):
                    west = row[t - 1].east[k] if t else self.west[u * size + k]
                    north = above.s[k] if above else entering[t * size + k]
                    m.d.comb += [tile.west[k].eq(west), tile.n[k].eq(north)]
            m.d.comb += [self.east[u * size + k].eq(row[-1].east[k]) for k in range(size)]
        for j in range(config.band_cols):
            m.d.comb += self.s[j].eq(tiles[-1][j // size].s[j % size])
        return m
