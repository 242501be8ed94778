"""The timing guard: what may be issued, by counters that are made from the list of rules."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.hierarchy import Block
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.timers import Timers

__all__ = ["ALL_OPS", "BANK_OPS", "Guard", "column_issue", "row_issue"]

BANK_OPS = (Op.ACT, Op.PRE, Op.REFPB)
"""Row commands to one bank that the controller issues; management is timed as refresh."""
ALL_OPS = (Op.PREA, Op.REFAB, Op.MRS, Op.SRE, Op.SRX)
"""Row commands to all banks."""


def row_issue(config: ControllerConfig) -> data.StructLayout:
    """A row command that has been decided: operation, one bit per bank it concerns."""
    return data.StructLayout({"valid": 1, "op": bits_for(max(Op)), "banks": config.banks})


def column_issue(config: ControllerConfig) -> data.StructLayout:
    """A column command that has been decided: to one bank, one bit for each."""
    return data.StructLayout({"valid": 1, "write": 1, "auto": 1, "banks": config.banks})


class Guard(Block):
    """Says for every command whether all rules allow it in the slot that is offered.

    Each rule lengthens a down-counter of its scope; rules with equal conditions share one. A
    counter holds the number of memory clocks, from slot 0 of this cycle, until its commands are
    allowed again. Several commands of one cycle are legal among themselves only as far as the
    sequencers see to it: see there.

    With foresight the answers are about a later clock: accesses ``config.foresight`` clocks from
    now, row commands ``config.row_foresight``. They hold if in between, this clock included, there
    is no access and no activation of its bank before an access, and no row command and no access
    to the banks concerned before a row command. With more than one clock an access is counted a
    clock late: it spoils the answers of the clock behind it as well.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots.

    Members
    -------
    row : In(row_issue)
        The row command of this cycle.
    row_at : In
        Its slot, which is also the slot that the answers for row commands are about.
    column0, column1 : In(column_issue)
        The column commands of this cycle, as many as ports.
    column_at0, column_at1 : In
        Their slots, and those of the answers.
    act_ok, pre_ok, refpb_ok : Out(banks)
        Allowed, for each bank; refresh of one bank only if the memory has it.
    act_soon, refpb_soon : Out(banks)
        Only with foresight: allowed by the time that the choice of a bank takes.
    prea_ok, refab_ok, mrs_ok, sre_ok, srx_ok : Out(1)
        Allowed.
    read_ok0, write_ok0, read_ok1, write_ok1 : Out(banks)
        Allowed by timing, for each port and bank.
    quiet : Out(1)
        Nothing at all is being waited for.
    """

    row: data.View
    row_at: Signal
    act_ok: Signal
    act_soon: Signal
    refpb_soon: Signal
    pre_ok: Signal
    refpb_ok: Signal
    prea_ok: Signal
    refab_ok: Signal
    mrs_ok: Signal
    sre_ok: Signal
    srx_ok: Signal
    quiet: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        slot_bits = ceil_log2(config.slots)
        ports = range(config.ports)
        single = config.timing.rfc_pb is not None
        self.bank_ops = [op for op in BANK_OPS if single or op is not Op.REFPB]
        members = {"row": In(row_issue(config))}
        members |= {"row_at": In(slot_bits)} if slot_bits else {}
        for p in ports:
            members |= {f"column{p}": In(column_issue(config))}
            members |= {f"column_at{p}": In(slot_bits)} if slot_bits else {}
            members |= {f"{kind}_ok{p}": Out(config.banks) for kind in ("read", "write")}
        members |= {f"{op.name.lower()}_ok": Out(config.banks) for op in self.bank_ops}
        members |= {f"{op.name.lower()}_ok": Out(1) for op in ALL_OPS}
        self.soon_ops = [op for op in self.bank_ops if op is not Op.PRE and config.foresight]
        members |= {f"{op.name.lower()}_soon": Out(config.banks) for op in self.soon_ops}
        super().__init__({**members, "quiet": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timers = Timers(m, self, {*self.bank_ops, *ALL_OPS, Op.RD, Op.WR})
        banks = range(self.config.banks)
        slot = self.row_at if self.config.slots > 1 else self.config.row_foresight
        for op in self.bank_ops:
            ready = [timers.ready(op, bank, slot) for bank in banks]
            m.d.comb += getattr(self, f"{op.name.lower()}_ok").eq(Cat(ready))
        for op in self.soon_ops:
            soon = max(self.config.foresight, 2)
            ready = [timers.ready(op, bank, soon) for bank in banks]
            m.d.comb += getattr(self, f"{op.name.lower()}_soon").eq(Cat(ready))
        for op in ALL_OPS:
            m.d.comb += getattr(self, f"{op.name.lower()}_ok").eq(timers.ready(op, None, slot))
        for p in range(self.config.ports):
            at = getattr(self, f"column_at{p}") if self.config.slots > 1 else self.config.foresight
            for op, kind in ((Op.RD, "read"), (Op.WR, "write")):
                ready = [timers.ready(op, bank, at) for bank in banks]
                m.d.comb += getattr(self, f"{kind}_ok{p}").eq(Cat(ready))
        timers.count(m)
        m.d.comb += self.quiet.eq(timers.quiet())
        return m
