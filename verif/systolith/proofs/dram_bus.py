"""The data bus of a dynamic memory: bursts never meet, and turns of direction leave their gap."""

from typing import Any

from amaranth.hdl import Assert, Const, Cover, Module, Mux, Signal, Value

from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.dram_shadow import Issue, Shadow
from systolith.proofs.dram_timing import GuardRules
from systolith.proofs.substitute import to_rtlil

__all__ = ["data_bus"]

_READS, _WRITES = (Op.RD, Op.RDA), (Op.WR, Op.WRA)
_OF_THE_BUS = ("tCCDS read", "tCCDS write", "tRTW", "tWTRS")


class _Bus(GuardRules):
    """Each burst is entered into a schedule of clocks, one bit for each, from some past on."""

    def follow(self, m: Module, timers: Any, columns: list[Issue], row: Issue) -> None:
        t, slots = self.config.timing, self.config.slots
        # Idle clocks between read and write data, and between write and read data.
        gaps = t["rtw"] - (t["cl"] + t["burst"] - t["cwl"]), t["wtr_s"] + t["cl"]
        self.past = max(gaps) + 1
        reach = self.past + max(t["cl"], t["cwl"]) + t["burst"] + slots
        reading, writing = Signal(reach), Signal(reach)
        now: tuple[Value, Value] = reading, writing
        for issue in columns:
            reads, writes = now
            read, write = issue.among(_READS), issue.among(_WRITES)
            read_data = Mux(read, self._burst(issue, t["cl"], 0), 0)
            write_data = Mux(write, self._burst(issue, t["cwl"], 0), 0)
            m.d.comb += [
                Assert((read_data & (reads | writes)) == 0),
                Assert((write_data & (reads | writes)) == 0),
                Assert(~write | ((self._burst(issue, t["cwl"], gaps[0]) & reads) == 0)),
                Assert(~read | ((self._burst(issue, t["cl"], gaps[1]) & writes) == 0)),
                Cover(write & ((self._burst(issue, t["cwl"], gaps[0] + 1) & reads) != 0)),
            ]
            now = reads | read_data, writes | write_data
        m.d.sync += [reading.eq(now[0] >> slots), writing.eq(now[1] >> slots)]

        # For the induction: how far the schedule reaches by the age of the last read and write.
        for rule in self.config.rules:
            if rule.name not in _OF_THE_BUS:
                continue
            shadow = Shadow(m, self.config, rule, [*columns, row])
            line, latency = (reading, t["cl"]) if rule.first & set(_READS) else (writing, t["cwl"])
            age = shadow.ages[0][-1]
            m.d.comb += [Assert(shadow.holds), Assert(shadow.bound_by(timers))]
            for clock in range(reach):
                m.d.comb += Assert(~line[clock] | (age + clock < self.past + latency + t["burst"]))

    def _burst(self, issue: Issue, latency: int, around: int) -> Value:
        """Clocks of a burst, and so many around it."""
        t = self.config.timing
        clocks: Value = Const(0)
        for slot in range(self.config.slots):
            start = self.past + slot + latency - around
            stop = start + t["burst"] + 2 * around
            clocks |= Mux(issue.slot == slot, (1 << stop) - (1 << start), 0)
        return clocks


def data_bus(config: ControllerConfig) -> str:
    """Bursts never overlap; between directions the bus is idle as long as the table asks for.

    The clocks of a burst follow from its command, ``cl`` or ``cwl`` and ``burst``; the gap behind
    reads is ``rtw - (cl + burst - cwl)``, that behind writes ``wtr_s + cl``.
    """
    return to_rtlil(_Bus(config, config, None, invariant=True))
