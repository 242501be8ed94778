"""Read data on its way back: whose it is, and whether it came when it had to."""

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.sram import RegisterFile

__all__ = ["MOST_LATENCY", "Returns", "return_layout"]

MOST_LATENCY = 63
"""Most fabric clocks from a column command at the boundary to its read data."""


def return_layout(config: ControllerConfig) -> data.StructLayout:
    """Whose a returning atom is, and whether it is the last one of its run.

    ``partial`` if it is read to be written; with ECC also its address.
    """
    partial = {"partial": 1} if config.merges else {}
    atom = {"atom": config.atom_bits} if config.codec else {}
    return PackedStruct({"valid": 1, "stream": config.stream_bits, "last": 1, **partial, **atom})


class Returns(Block):
    """Delays what is known of a read by the calibrated latency, and compares.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    latency : In
        Fabric clocks from ``issued`` to the data: 1 to 63, found by calibration.
    issued : In(return_layout)
        A read that is issued.
    pause : In(1)
        Only with alerts: time stands still, and nothing is due.
    valid : In(1)
        Data comes back.
    back : Out(return_layout)
        Whose data should come back in this clock.
    lost, extra : Out(1)
        It did not; it did though none was due.
    """

    latency: Signal
    pause: Signal
    issued: data.View
    valid: Signal
    back: data.View
    lost: Signal
    extra: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "latency": In(range(MOST_LATENCY + 1)),
                **({"pause": In(1)} if config.alert else {}),
                "issued": In(return_layout(config)),
                "valid": In(1),
                "back": Out(return_layout(config)),
                "lost": Out(1),
                "extra": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout = return_layout(self.config)
        size = MOST_LATENCY + 1
        ring = RegisterFile(depth=size, width=layout.size)
        m.submodules.ring = place(ring, platform)
        now, filled = Signal(range(size)), Signal()
        runs: Value = ~self.pause if self.config.alert else Const(1)
        m.d.sync += now.eq(now + runs)
        with m.If(now == size - 1):
            m.d.sync += filled.eq(1)  # what was in the memory before reset is gone
        known = data.View(layout, ring.r_data)
        m.d.comb += [
            ring.w_en.eq(runs),
            ring.w_addr.eq(now),
            ring.w_data.eq(self.issued),
            ring.r_addr.eq(now - self.latency),
            self.back.eq(known),
            self.back.valid.eq(known.valid & (filled | (now >= self.latency)) & runs),
            self.lost.eq(self.back.valid & ~self.valid),
            self.extra.eq(~self.back.valid & self.valid & runs),
        ]
        return m
