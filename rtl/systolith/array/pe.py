"""Processing element of the weight-stationary array."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import ArrayConfig
from systolith.array.layouts import act_shape, lane, psum_shape, weight_shape
from systolith.hierarchy import Block, place
from systolith.numerics.block_mac import BlockMac
from systolith.numerics.mac import MacCell

__all__ = ["Pe"]


class Pe(Block):
    """Multiplies each activation by a resident weight and adds the partial sum from above.

    ::

                   w, load    n
                      |       |
        west --> x -->(*)----(+)--> s
                 |                         swap: active <- shadow as x loads
                 +----------------> east

    The weight that multiplies (``active``) is replaced by the one loaded behind it (``shadow``) at
    the clock edge that takes an activation with ``swap``. Activations move one column per cycle,
    partial sums one row per cycle; the product is added :attr:`ArrayConfig.multiply_cycles`
    cycles after its activation is offered. Nothing stalls.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.

    Members
    -------
    west : In(lane)
        Activation and swap token.
    east : Out(lane)
        The same, one cycle later.
    w, load : In
        Weight for the shadow register and its enable.
    n : In(psum_shape)
        Partial sum from above.
    s : Out(psum_shape)
        Partial sum to below.
    """

    west: data.View
    east: data.View
    w: Any
    load: Signal
    n: Any
    s: Any

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        super().__init__(
            {
                "west": In(lane(config)),
                "east": Out(lane(config)),
                "w": In(weight_shape(config)),
                "load": In(1),
                "n": In(psum_shape(config)),
                "s": Out(psum_shape(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        x: Any = Signal(act_shape(config), name="x", reset_less=True)
        swap = Signal()
        shadow: Any = Signal(weight_shape(config), name="shadow", reset_less=True)
        active: Any = Signal(weight_shape(config), name="active", reset_less=True)
        psum: Any = Signal(psum_shape(config), name="psum", reset_less=True)

        m.d.sync += [x.eq(self.west.x), swap.eq(self.west.swap)]
        with m.If(self.load):
            m.d.sync += shadow.eq(self.w)
        with m.If(self.west.swap):
            m.d.sync += active.eq(shadow)

        if config.mac:
            cell = BlockMac(config.mac)
            m.submodules.mac = place(cell, platform)
            m.d.comb += [cell.x.eq(x), cell.w.eq(active), cell.n.eq(self.n)]
            m.d.sync += psum.eq(cell.s)
        else:
            mac = MacCell(
                a_width=config.act_width, b_width=config.weight_width, latency=config.mac_latency
            )
            m.submodules.mac = place(mac, platform)
            m.d.comb += [mac.a.eq(x), mac.b.eq(active)]
            m.d.sync += psum.eq(self.n + mac.p)
        m.d.comb += [self.east.x.eq(x), self.east.swap.eq(swap), self.s.eq(psum)]
        return m
