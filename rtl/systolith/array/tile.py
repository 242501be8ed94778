"""Square of processing elements that share a weight bus."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import ArrayConfig
from systolith.array.layouts import lane_row, psum_row, weight_bus
from systolith.array.pe import Pe
from systolith.hierarchy import Block, place

__all__ = ["Tile"]


class Tile(Block):
    """``T x T`` processing elements behind one register of the weight bus.

    A word of ``T`` weights enters from the north in each cycle. A one-hot token that entered with
    the word of row 0 moves down one row per cycle and enables that row's shadow registers, so rows
    are addressed and need not shift through each other. Bus and token leave to the tile below in
    step: its row 0 comes ``T`` words later and one register further.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.

    Members
    -------
    west, east : In(lane_row), Out(lane_row)
        Activations of the tile's rows, row ``k`` offered ``k`` cycles after row 0.
    w, first : In(weight_bus), In(1)
        Weight bus; ``first`` comes with the word of the tile's row 0.
    w_next, first_next : Out
        The same for the tile below.
    n, s : In(psum_row), Out(psum_row)
        Partial sums, column ``j`` offered ``j`` cycles after column 0.
    """

    west: data.View
    east: data.View
    w: data.View
    first: Signal
    w_next: data.View
    first_next: Signal
    n: data.View
    s: data.View

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        super().__init__(
            {
                "west": In(lane_row(config, config.tile)),
                "east": Out(lane_row(config, config.tile)),
                "w": In(weight_bus(config)),
                "first": In(1),
                "w_next": Out(weight_bus(config)),
                "first_next": Out(1),
                "n": In(psum_row(config, config.tile)),
                "s": Out(psum_row(config, config.tile)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.config.tile

        bus = Signal(weight_bus(self.config), reset_less=True)
        token = Signal(size + 1)  # bit k: row k loads; bit T: row 0 of the tile below comes next
        m.d.sync += [bus.eq(self.w), token.eq(Cat(self.first, token))]
        m.d.comb += [self.w_next.eq(bus), self.first_next.eq(token[size])]

        pes = [[Pe(self.config) for _ in range(size)] for _ in range(size)]
        for k, row in enumerate(pes):
            for j, pe in enumerate(row):
                m.submodules[f"pe_{k}_{j}"] = place(pe, platform)
                m.d.comb += [
                    pe.west.eq(row[j - 1].east if j else self.west[k]),
                    pe.n.eq(pes[k - 1][j].s if k else self.n[j]),
                    pe.w.eq(bus[j]),
                    pe.load.eq(token[k]),
                ]
            m.d.comb += self.east[k].eq(row[-1].east)
        m.d.comb += [self.s[j].eq(pes[-1][j].s) for j in range(size)]
        return m
