"""Refreshes that are forced are done in time: row sequencer and guard, against any accesses."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Const, Cover, Elaboratable, Module, Signal, Value
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.memory.hbm import row_sequencer
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import ALL_OPS, Guard
from systolith.memory.hbm.refresh import forced_margin
from systolith.memory.hbm.row_sequencer import RowSequencer
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["forced_are_done"]


class _Answer(Elaboratable):
    def __init__(self, config: ControllerConfig, within: int) -> None:
        self.config = config
        self.within = within

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, banks = self.config, self.config.banks
        m.submodules.rows = rows = row_sequencer.RowSequencer(config)
        m.submodules.guard = guard = Guard(config)
        for op in (*guard.bank_ops, *ALL_OPS):
            name = f"{op.name.lower()}_ok"
            m.d.comb += getattr(rows, name).eq(getattr(guard, name))
        m.d.comb += [guard.row.eq(rows.issue), rows.offer.eq(1), rows.offer_long.eq(1)]
        if config.managed:  # at any time
            for port in (rows.managed, rows.blocked):
                m.d.comb += port.eq(free(m, banks, port.name))
        if config.slots > 1:
            m.d.comb += guard.row_at.eq(free(m, len(guard.row_at), "row_at"))
        self._accesses(m, rows, guard)

        # Forced at any time, with any banks left, until none is.
        pending, left = Signal(banks), Signal(banks)
        since = Signal(bits_for(forced_margin(config) + config.slots))
        begin = free(m, banks, "begin")
        m.d.comb += [
            left.eq(pending & ~rows.done),
            rows.pending.eq(pending),
            rows.forced.eq(pending.any()),
            Assert(~pending.any() | (since + config.slots <= self.within)),
            Cover((pending != 0) & (left == 0) & (since >= self.within // 2)),
        ]
        with m.If(pending == 0):
            m.d.sync += [pending.eq(begin), since.eq(0)]
        with m.Else():
            m.d.sync += [pending.eq(left), since.eq(since + config.slots)]
        return m

    def _accesses(self, m: Module, rows: RowSequencer, guard: Guard) -> None:
        """Whatever timing and the state of the banks allow."""
        config = self.config
        valid, final = free(m, config.banks, "valid"), free(m, config.banks, "final")
        stays, access = Signal(config.banks), Signal(config.banks)
        m.d.sync += stays.eq(valid & ~(access & final))
        m.d.comb += [
            rows.valid.eq(valid),
            rows.ends.eq(access & final),
            Assume((stays & ~valid) == 0),
        ]
        for bank in range(config.banks):
            visit = data.View(config.visit, free(m, config.visit.size, f"visit_{bank}"))
            m.d.comb += rows.due[bank].eq(visit.due)
        total: Value = Const(0, config.banks)
        for port in range(config.ports):
            issue = getattr(guard, f"column{port}")
            banks, write = free(m, config.banks, f"banks_{port}"), free(m, 1, f"write_{port}")
            read_ok, write_ok = (getattr(guard, f"{n}_ok{port}") for n in ("read", "write"))
            m.d.comb += [
                issue.valid.eq(banks.any()),
                issue.write.eq(write),
                issue.auto.eq((banks & final).any()),
                issue.banks.eq(banks),
                Assume((banks & (banks - 1)) == 0),
                Assume((banks & ~(rows.usable & valid)) == 0),
                Assume(write | ((banks & ~read_ok) == 0)),
                Assume(~write | ((banks & ~write_ok) == 0)),
            ]
            total |= banks
        m.d.comb += access.eq(total)


def forced_are_done(
    config: ControllerConfig, *, within: int | None = None, mutants: Iterable[Mutant] = ()
) -> str:
    """All that is left is refreshed within ``within`` memory clocks of being forced.

    Every slot is offered to row commands. Visits, accesses and the banks that are left are free,
    and so is what happened before.

    Parameters
    ----------
    config
        Memory and slots.
    within
        Instead of :func:`~systolith.memory.hbm.refresh.forced_margin`.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Answer(config, within or forced_margin(config)))
