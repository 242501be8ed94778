"""Processing element of the weight-stationary array."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import ArrayConfig
from systolith.array.layouts import lane
from systolith.hierarchy import Block, place
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
    n : In(signed(psum_width))
        Partial sum from above.
    s : Out(signed(psum_width))
        Partial sum to below.
    """

    west: data.View
    east: data.View
    w: Signal
    load: Signal
    n: Signal
    s: Signal

    def __init__(self, config: ArrayConfig) -> None:
        self.config = config
        super().__init__(
            {
                "west": In(lane(config)),
                "east": Out(lane(config)),
                "w": In(signed(config.weight_width)),
                "load": In(1),
                "n": In(signed(config.psum_width)),
                "s": Out(signed(config.psum_width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        mac = MacCell(
            a_width=config.act_width, b_width=config.weight_width, latency=config.mac_latency
        )
        m.submodules.mac = place(mac, platform)

        x = Signal(signed(config.act_width), reset_less=True)
        swap = Signal()
        shadow = Signal(signed(config.weight_width), reset_less=True)
        active = Signal(signed(config.weight_width), reset_less=True)
        psum = Signal(signed(config.psum_width), reset_less=True)

        m.d.sync += [x.eq(self.west.x), swap.eq(self.west.swap)]
        with m.If(self.load):
            m.d.sync += shadow.eq(self.w)
        with m.If(self.west.swap):
            m.d.sync += active.eq(shadow)

        m.d.comb += [mac.a.eq(x), mac.b.eq(active)]
        m.d.sync += psum.eq(self.n + mac.p)
        m.d.comb += [self.east.x.eq(x), self.east.swap.eq(swap), self.s.eq(psum)]
        return m
