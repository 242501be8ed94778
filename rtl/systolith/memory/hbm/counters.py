"""What a controller did with its column slots, counted.

A slot is unused if an access could have been issued as far as the burst of the last one goes.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.column_sequencer import access_layout
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import row_issue
from systolith.memory.hbm.picking import population

__all__ = ["COUNTERS", "COUNTER_BITS", "Counters"]

COUNTER_BITS = 32
COUNTERS = (
    "reads",
    "writes",
    "activations",
    "precharges",
    "bank_refreshes",
    "all_refreshes",
    "managements",
    "stall_idle",
    "stall_maintenance",
    "stall_refresh",
    "stall_row",
    "stall_timing",
)
"""Accesses, row commands, and unused column slots by what the oldest turn waited for: none there,
maintenance of all banks, refresh of its bank, its row, timing of banks and of the data bus. There
is none for some clocks between runs of one atom, until the next one of the stream has its place."""


class Counters(Block):
    """Counts accesses, row commands and unused column slots; every counter stops at its end.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    clear : In(1)
        All start again from zero.
    offers : In(ports)
        Column slots offered in this cycle.
    access0, ... : In(access_layout)
        What they are used for.
    row : In(row_issue)
        The row command of this cycle.
    unfinished, oldest_open, oldest_refreshed : In(1)
        The state of the oldest turn: there is one; its row may be accessed; its bank is refreshed.
    hold : In(1)
        Maintenance goes on.
    values : Out(array)
        In the order of :data:`COUNTERS`.
    """

    clear: Signal
    offers: Signal
    row: data.View
    unfinished: Signal
    oldest_open: Signal
    oldest_refreshed: Signal
    hold: Signal
    values: data.View

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "clear": In(1),
                "offers": In(config.ports),
                **{f"access{p}": In(access_layout(config)) for p in range(config.ports)},
                "row": In(row_issue(config)),
                "unfinished": In(1),
                "oldest_open": In(1),
                "oldest_refreshed": In(1),
                "hold": In(1),
                "values": Out(PackedArray(COUNTER_BITS, len(COUNTERS))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        accesses = [getattr(self, f"access{p}") for p in range(self.config.ports)]
        unused = Signal(self.config.ports)
        busy: Value = Const(0)  # with the burst of the last access
        if self.config.slots == 1:
            left = Signal(range(max(2, self.config.timing["ccd_s"])))
            m.d.sync += left.eq(Mux(left == 0, 0, left - 1))
            with m.If(accesses[0].valid):
                m.d.sync += left.eq(self.config.timing["ccd_s"] - 1)
            busy = left != 0
        used = Cat(a.valid for a in accesses)
        m.d.comb += unused.eq(Mux(busy, 0, self.offers & ~used))
        stall = {
            "stall_idle": ~self.unfinished,
            "stall_maintenance": self.unfinished & self.hold,
            "stall_refresh": self._waits & ~self.oldest_open & self.oldest_refreshed,
            "stall_row": self._waits & ~self.oldest_open & ~self.oldest_refreshed,
            "stall_timing": self._waits & self.oldest_open,
        }
        row = {
            "activations": {Op.ACT},
            "precharges": {Op.PRE, Op.PREA},
            "bank_refreshes": {Op.REFPB},
            "all_refreshes": {Op.REFAB},
            "managements": {Op.RFMPB},
        }
        for n, name in enumerate(COUNTERS):
            step: Value
            if name in ("reads", "writes"):
                kind = name == "writes"
                step = population(Cat(a.valid & (a.write == kind) for a in accesses))
            elif name in row:
                step = self.row.valid & Cat(self.row.op == op for op in row[name]).any()
            else:
                step = Mux(stall[name], population(unused), 0)
            late = Signal(2, name=f"step_{name}")
            count = Signal(COUNTER_BITS, name=name)
            after = count + late
            m.d.sync += [
                late.eq(step),
                count.eq(Mux(self.clear, 0, Mux(after[COUNTER_BITS], count, after))),
            ]
            m.d.comb += self.values[n].eq(count)
        return m

    @property
    def _waits(self) -> Value:
        return self.unfinished & ~self.hold
