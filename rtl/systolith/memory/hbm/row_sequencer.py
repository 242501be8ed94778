"""The row sequencer: opens rows, refreshes banks, and keeps the state of every bank."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import ALL_OPS, row_issue
from systolith.memory.hbm.picking import before, first_of, oldest_of

__all__ = ["RowSequencer"]

_OP = bits_for(max(Op))


class RowSequencer(Block):
    """Issues at most one row command per cycle, in this order of preference.

    1. What maintenance asks for: commands to all banks, for which it holds all others.
    2. Precharge of a bank whose refresh is forced.
    3. Refresh of one bank: one that no stream needs before it would be ready again; if refreshes
       are wanted or forced, any that is closed.
    4. Management of a bank that is due, in the same way; at once if it may not be activated first.
    5. Activation for the bank whose first visit is due first.

    With foresight the candidates of 2 to 5 are found in some clocks, what is issued is decided in
    the next one, where a candidate is looked at again, and issued in the one behind that, unless
    it follows a command that was not known then.

    Members
    -------
    offer, offer_long : In(1)
        A row command may be issued; an activation, which takes longer, may.
    column_busy : In(1)
        In the next cycle the only bus is for a column command; SDR only.
    valid, due, row : In(banks), In(arrays)
        First visits of the banks.
    ends : In(banks)
        A visit is accessed for the last time, which closes the row.
    issued : In
        Count of atoms that have been issued, against which visits are due.
    act_ok, act_soon, pre_ok, refpb_ok, refpb_soon, prea_ok, ... : In
        What timing allows, see :class:`~systolith.memory.hbm.guard.Guard`.
    hold : In(1)
        Nothing but maintenance goes on.
    ask, ask_op, ask_row, asked : In(1), In, In, Out(1)
        A command to all banks, the same until it is issued, when ``asked`` is set.
    pending, wanted, forced, done : In, In, In, Out
        Refresh of single banks, see :class:`~systolith.memory.hbm.refresh.Refresh`.
    managed, blocked : In(banks)
        Banks that should be managed, that must not be activated before; HBM3 only.
    issue, issue_row : Out(row_issue), Out
        What is issued; the row, or the value of a mode register.
    issue_bank : Out
        Number of the bank.
    usable, open, refreshing : Out(banks)
        Rows that may be accessed; that are open; banks refreshed since they were last open.
    """

    offer: Signal
    offer_long: Signal
    valid: Signal
    due: data.View
    row: data.View
    ends: Signal
    issued: Signal
    act_ok: Signal
    act_soon: Signal
    pre_ok: Signal
    prea_ok: Signal
    refab_ok: Signal
    mrs_ok: Signal
    sre_ok: Signal
    srx_ok: Signal
    refpb_ok: Signal
    refpb_soon: Signal
    pending: Signal
    wanted: Signal
    forced: Signal
    done: Signal
    hold: Signal
    ask: Signal
    ask_op: Signal
    ask_row: Signal
    asked: Signal
    issue: data.View
    issue_row: Signal
    issue_bank: Signal
    usable: Signal
    open: Signal
    refreshing: Signal
    column_busy: Signal
    managed: Signal
    blocked: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        banks = config.banks
        self.single = config.timing.rfc_pb is not None
        single = {
            "refpb_ok": In(banks),
            "pending": In(banks),
            "wanted": In(1),
            "forced": In(1),
            "done": Out(banks),
        }
        super().__init__(
            {
                "offer": In(1),
                "offer_long": In(1),
                **({"column_busy": In(1)} if config.timing.generation == "sdr" else {}),
                "valid": In(banks),
                "due": In(data.ArrayLayout(config.due_bits, banks)),
                "row": In(data.ArrayLayout(config.row_bits, banks)),
                "ends": In(banks),
                "issued": In(config.due_bits),
                "act_ok": In(banks),
                **({"act_soon": In(banks)} if config.foresight else {}),
                **({"refpb_soon": In(banks)} if config.foresight and self.single else {}),
                "pre_ok": In(banks),
                **{f"{op.name.lower()}_ok": In(1) for op in ALL_OPS},
                **(single if self.single else {}),
                **({"managed": In(banks), "blocked": In(banks)} if config.managed else {}),
                "hold": In(1),
                "ask": In(1),
                "ask_op": In(_OP),
                "ask_row": In(config.row_bits),
                "asked": Out(1),
                "issue": Out(row_issue(config)),
                "issue_row": Out(config.row_bits),
                "issue_bank": Out(range(max(2, banks))),
                "usable": Out(banks),
                "open": Out(banks),
                "refreshing": Out(banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        banks, ahead = config.banks, config.foresight
        offer = self.offer
        closing = Signal(banks)
        left: Value = closing  # the same, with no access on its way
        candidates: list[tuple[Op, Value, Value]] = []  # operation, whether, bank

        must: Value = Const(0, banks)
        if self.single:
            must = Mux(self.forced, self.pending, 0)[:banks]
            for n in range(ahead - 1):  # and one clock in the candidate's registers
                left = _delayed(m, left, f"closing_{n}") & closing
            shut = Signal(banks)
            m.d.comb += shut.eq(left & self.open & self.pre_ok)
            far = self._far(m)
            candidates += [
                (Op.PRE, shut.any(), first_of(m, shut, "shut")),
                self._refresh(m, far),
                *([self._manage(m, far, must)] if config.managed else []),
            ]
        ready, shut_rows = Signal(banks), self.valid & ~self.open
        if config.managed:
            shut_rows &= ~self.blocked
        soon = self.act_soon if ahead else self.act_ok
        late = ahead > 1  # one round of comparisons in a clock
        step = m.d.sync if late else m.d.comb
        step += ready.eq(shut_rows & soon & ~must)
        any_ready, _, opening = oldest_of(
            m, [(ready[b], self.due[b]) for b in range(banks)], "opening", staged=late
        )
        candidates.append((Op.ACT, any_ready, opening))
        if ahead:
            candidates = [self._held(m, *candidate, must, left) for candidate in candidates]
        found, decision = self._decide(m, candidates)

        # Issue. A decision that finds no slot is made again.
        held = decision.long & ~self.offer_long
        m.d.comb += [
            self.issue.op.eq(decision.op),
            self.issue.banks.eq(decision.banks),
            self.issue.valid.eq(decision.valid & offer & (decision.asked | ~(self.hold | held))),
            self.issue_row.eq(decision.row),
            self.issue_bank.eq(decision.bank),
            self.asked.eq(decision.valid & offer & decision.asked),
        ]
        if self.single:
            refreshes = self.issue.valid & (self.issue.op == Op.REFPB)
            m.d.comb += self.done.eq(Mux(refreshes, self.issue.banks, 0))

        # State of the banks. One that has been decided to be closed is not accessed any more.
        shutting: Value = Const(0, banks)
        if self.single and ahead:
            shutting = Mux(found.valid & (found.op == Op.PRE), found.banks, 0)
        opens = Mux(self.issue.valid & (self.issue.op == Op.ACT), self.issue.banks, 0)[:banks]
        closes = Mux(self.issue.valid & (self.issue.op == Op.PRE), self.issue.banks, 0)[:banks]
        remain = self.open & ~closes & ~self.ends
        shut_all = self.issue.valid & (self.issue.op == Op.PREA)
        single = (self.issue.op == Op.REFPB) | (self.issue.op == Op.RFMPB)
        refreshed = Mux(self.issue.op == Op.REFAB, -1, Mux(single, self.issue.banks, 0))
        refreshed = Mux(self.issue.valid, refreshed, 0)[:banks]
        m.d.sync += [
            self.open.eq(Mux(shut_all, 0, remain | opens)),
            closing.eq((must | shutting) & self.open),
            self.refreshing.eq((self.refreshing | refreshed) & ~opens),
        ]
        m.d.comb += self.usable.eq(self.open & ~closing & ~Cat([self.hold] * banks))
        return m

    def _decide(self, m: Module, candidates: list[tuple[Op, Value, Value]]) -> tuple[Any, Any]:
        """The first candidate there is; with foresight in registers, one clock before its issue."""
        config = self.config
        layout = data.StructLayout(
            {
                "valid": 1,
                "asked": 1,
                "long": 1,  # an activation
                "op": _OP,
                "banks": config.banks,
                "bank": len(self.issue_bank),
                "row": config.row_bits,
            }
        )
        found: Any = Signal(layout, name="found")
        allowed = Signal()
        for op in ALL_OPS:
            with m.If(self.ask_op == op):
                m.d.comb += allowed.eq(getattr(self, f"{op.name.lower()}_ok"))
        m.d.comb += [found.op.eq(self.ask_op), found.row.eq(self.ask_row)]
        there: Value = self.ask & allowed
        earlier: Value = self.ask
        for op, able, bank in candidates:
            with m.If(~earlier & able):
                m.d.comb += [
                    found.op.eq(op),
                    found.long.eq(op is Op.ACT),
                    found.bank.eq(bank),
                    found.banks.eq(1 << bank),
                ]
            if op is Op.ACT:
                row = Array(self.row[b] for b in range(config.banks))[bank]
                m.d.comb += found.row.eq(Mux(self.ask, self.ask_row, row))
                # A slot that is too short for it is left to others.
                able = able & (1 if config.foresight else self.offer_long)
            there = there | (~earlier & able)
            earlier = earlier | able
        m.d.comb += [found.asked.eq(self.ask), found.valid.eq(there)]
        if not config.foresight:
            return found, found
        decision: Any = Signal(layout, name="decision")
        if config.timing.generation == "sdr":
            there = there & ~self.column_busy
        m.d.sync += [decision.eq(found), decision.valid.eq(there & ~self.issue.valid)]
        return found, decision

    def _held(
        self, m: Module, op: Op, there: Value, bank: Value, must: Value, left: Value
    ) -> tuple[Op, Value, Value]:
        """A candidate in registers, if it is still legal."""
        name = op.name.lower()
        if op is Op.ACT and self.config.foresight > 1:  # is in registers already
            known, at = there, bank
        else:
            known, at = _delayed(m, there, f"{name}_known"), _delayed(m, bank, f"{name}_at")
        able = {
            Op.ACT: self.valid & ~self.open & ~must & self.act_ok,
            Op.PRE: left & self.open & self.pre_ok,
        }
        if self.single:
            able[Op.REFPB] = self.pending & ~self.open & self.refpb_ok
        if self.config.managed:
            able[Op.ACT] &= ~self.blocked
            able[Op.RFMPB] = self.managed & ~self.open & ~must & self.refpb_ok
        still = Signal(self.config.banks, name=f"{name}_still")
        m.d.comb += still.eq(able[op])
        return op, known & Array(still)[at], at

    def _far(self, m: Module) -> Signal:
        """Banks that no stream needs before they would be ready again after a refresh."""
        config = self.config
        far = Signal(config.banks)
        for b in range(config.banks):
            # Due in so many atoms, or later than all that is queued: wraps are far away.
            due_at = (self.issued + config.shadow)[: config.due_bits]
            m.d.comb += far[b].eq(~self.valid[b] | ~before(self.due[b], due_at))
        return far

    def _manage(self, m: Module, far: Signal, must: Value) -> tuple[Op, Value, Signal]:
        able = Signal(self.config.banks, name="manageable")
        soon = self.refpb_soon if self.config.foresight else self.refpb_ok
        shut = ~self.open & ~must & soon
        m.d.comb += able.eq(self.managed & shut & (far | self.blocked))
        return Op.RFMPB, able.any(), first_of(m, able, "manage")

    def _refresh(self, m: Module, far: Signal) -> tuple[Op, Value, Signal]:
        config = self.config
        able = Signal(config.banks)
        soon = self.refpb_soon if config.foresight else self.refpb_ok
        m.d.comb += able.eq(self.pending & ~self.open & soon)
        easy = able & far
        pressed = (self.wanted | self.forced) & able.any()
        bank = Signal(range(max(2, config.banks)), name="refreshed")
        m.d.comb += bank.eq(Mux(easy.any(), first_of(m, easy, "easy"), first_of(m, able, "able")))
        return Op.REFPB, easy.any() | pressed, bank


def _delayed(m: Module, value: Value, name: str) -> Signal:
    register = Signal(len(value), name=name)
    m.d.sync += register.eq(value)
    return register
