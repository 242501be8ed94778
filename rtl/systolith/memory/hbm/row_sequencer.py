"""The row sequencer: opens rows, refreshes banks, and keeps the state of every bank."""

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

    Members
    -------
    offer, offer_long : In(1)
        A row command may be issued; an activation, which takes longer, may.
    column_busy : In(1)
        The only bus is taken by a column command; SDR only.
    valid, due, row : In(banks), In(arrays)
        First visits of the banks.
    access, final : In(banks)
        A visit is accessed; for the last time, which closes the row.
    issued : In
        Count of atoms that have been issued, against which visits are due.
    act_ok, pre_ok, refpb_ok, prea_ok, ... : In
        What timing allows.
    hold : In(1)
        Nothing but maintenance goes on.
    ask, ask_op, ask_row, asked : In(1), In, In, Out(1)
        A command to all banks, which is issued when ``asked`` is set.
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
    access: Signal
    final: Signal
    issued: Signal
    act_ok: Signal
    pre_ok: Signal
    prea_ok: Signal
    refab_ok: Signal
    mrs_ok: Signal
    sre_ok: Signal
    srx_ok: Signal
    refpb_ok: Signal
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
                "access": In(banks),
                "final": In(banks),
                "issued": In(config.due_bits),
                "act_ok": In(banks),
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
        banks = config.banks
        offer: Value = self.offer
        if config.timing.generation == "sdr":
            offer = offer & ~self.column_busy
        closing = Signal(banks)
        candidates: list[tuple[Op, Value, Signal]] = []  # operation, whether, bank

        must: Value = Const(0, banks)
        if self.single:
            must = Mux(self.forced, self.pending, 0)[:banks]
            shut = closing & self.open & self.pre_ok
            candidates.append((Op.PRE, shut.any() & ~self.hold, first_of(m, shut, "shut")))
            far = self._far(m)
            candidates.append(self._refresh(m, far))
            if config.managed:
                candidates.append(self._manage(m, far, must))
        ready = Signal(banks)
        m.d.comb += ready.eq(self.valid & ~self.open & self.act_ok & ~must)
        if config.managed:
            m.d.comb += ready.eq(self.valid & ~self.open & self.act_ok & ~must & ~self.blocked)
        any_ready, _, opening = oldest_of(
            m, [(ready[b], self.due[b]) for b in range(banks)], "opening"
        )
        candidates.append((Op.ACT, any_ready & self.offer_long & ~self.hold, opening))

        # The first candidate there is.
        allowed = Signal()
        for op in ALL_OPS:
            with m.If(self.ask_op == op):
                m.d.comb += allowed.eq(getattr(self, f"{op.name.lower()}_ok"))
        m.d.comb += [
            self.asked.eq(offer & self.ask & allowed),
            self.issue.valid.eq(self.asked),
            self.issue.op.eq(self.ask_op),
            self.issue_row.eq(self.ask_row),
        ]
        earlier: Value = self.ask
        for op, there, bank in candidates:
            with m.If(offer & ~earlier & there):
                m.d.comb += [
                    self.issue.valid.eq(1),
                    self.issue.op.eq(op),
                    self.issue.banks.eq(1 << bank),
                    self.issue_bank.eq(bank),
                    self.issue_row.eq(Array(self.row[b] for b in range(banks))[bank]),
                ]
                if op is Op.REFPB:
                    m.d.comb += self.done.eq(1 << bank)
            earlier = earlier | there

        # State of the banks.
        opens = Mux(self.issue.valid & (self.issue.op == Op.ACT), self.issue.banks, 0)[:banks]
        closes = Mux(self.issue.valid & (self.issue.op == Op.PRE), self.issue.banks, 0)[:banks]
        remain = self.open & ~closes & ~(self.access & self.final)
        shut_all = self.issue.valid & (self.issue.op == Op.PREA)
        single = (self.issue.op == Op.REFPB) | (self.issue.op == Op.RFMPB)
        refreshed = Mux(self.issue.op == Op.REFAB, -1, Mux(single, self.issue.banks, 0))
        refreshed = Mux(self.issue.valid, refreshed, 0)[:banks]
        m.d.sync += [
            self.open.eq(Mux(shut_all, 0, remain | opens)),
            closing.eq(must & self.open),
            self.refreshing.eq((self.refreshing | refreshed) & ~opens),
        ]
        m.d.comb += self.usable.eq(self.open & ~closing & ~Cat([self.hold] * banks))
        return m

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
        shut = ~self.open & ~must & self.refpb_ok
        m.d.comb += able.eq(self.managed & shut & (far | self.blocked))
        return Op.RFMPB, able.any() & ~self.hold, first_of(m, able, "manage")

    def _refresh(self, m: Module, far: Signal) -> tuple[Op, Value, Signal]:
        config = self.config
        able = Signal(config.banks)
        m.d.comb += able.eq(self.pending & ~self.open & self.refpb_ok)
        easy = able & far
        pressed = (self.wanted | self.forced) & able.any()
        bank = Signal(range(max(2, config.banks)), name="refreshed")
        m.d.comb += bank.eq(Mux(easy.any(), first_of(m, easy, "easy"), first_of(m, able, "able")))
        return Op.REFPB, (easy.any() | pressed) & ~self.hold, bank
