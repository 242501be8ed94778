"""What a memory thinks of how often its banks are activated: a watcher of the row bus."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.devices.refresh_age import bank_number
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.management import ACTIVATION_BITS
from systolith.memory.hbm.parts import Organisation

__all__ = ["ActivationCount"]


class ActivationCount(Block):
    """Counts activations by the rule of the standard, slot by slot, and how often it was broken.

    Parameters
    ----------
    shape : Organisation
        The memory.
    slots : int
        Commands in a cycle.

    Members
    -------
    threshold, most : In
        Activations that a refresh or management makes up for; that may be open at most. A
        threshold of zero allows everything.
    row : In(row_command) per slot
        The row bus.
    broken : Out(32)
        Activations beyond ``most``, so far.
    worst : Out
        Largest count so far.
    """

    threshold: Signal
    most: Signal
    row: data.View
    broken: Signal
    worst: Signal

    def __init__(self, shape: Organisation, *, slots: int) -> None:
        self.shape, self.slots = shape, slots
        super().__init__(
            {
                "threshold": In(ACTIVATION_BITS),
                "most": In(ACTIVATION_BITS),
                "row": In(PackedArray(row_command(shape), slots)),
                "broken": Out(32),
                "worst": Out(ACTIVATION_BITS + 1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        broken: Value = self.broken
        worst: Value = self.worst
        for bank in range(self.shape.sids * self.shape.groups * self.shape.banks):
            count = Signal(ACTIVATION_BITS + 1, name=f"count_{bank}")
            now: Value = count
            for slot, command in enumerate(self.row):
                later = Signal.like(count, name=f"count_{bank}_{slot}")
                m.d.comb += later.eq(now)
                every = (command.op == Op.REFAB) | (command.op == Op.RFMAB)
                one = (command.op == Op.REFPB) | (command.op == Op.RFMPB)
                here = bank_number(command) == bank
                with m.If(command.valid & here & (command.op == Op.ACT)):
                    m.d.comb += later.eq(now + ~now.all())
                with m.If(command.valid & (every | (here & one))):
                    m.d.comb += later.eq(Mux(now < self.threshold, 0, now - self.threshold))
                now = later
            m.d.sync += count.eq(now)
            over = Signal(name=f"over_{bank}")
            m.d.comb += over.eq((self.threshold != 0) & (count > self.most))
            was = Signal.like(count, name=f"was_{bank}")
            m.d.sync += was.eq(count)
            tops, sums = Signal.like(self.worst), Signal.like(self.broken)
            tops.name, sums.name = f"worst_{bank}", f"broken_{bank}"
            m.d.comb += [
                tops.eq(Mux(count > worst, count, worst)),
                sums.eq(broken + (over & (count > was))),
            ]
            worst, broken = tops, sums
        m.d.sync += [self.worst.eq(worst), self.broken.eq(broken)]
        return m
