"""The timing guard: down-counters, made from the list of rules, that say what may be issued."""

from collections import defaultdict
from collections.abc import Iterable
from functools import reduce
from operator import and_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.hierarchy import Block
from systolith.memory.hbm.commands import COLUMN, PER_BANK, Op, Scope
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.timing import Rule

__all__ = ["ALL_OPS", "BANK_OPS", "Guard", "column_issue", "row_issue"]

BANK_OPS = (Op.ACT, Op.PRE, Op.REFPB)
"""Row commands to one bank that the controller issues; management is timed as refresh."""
ALL_OPS = (Op.PREA, Op.REFAB, Op.MRS, Op.SRE, Op.SRX)
"""Row commands to all banks."""

_Loads = frozenset[tuple[Op, int]]  # latency after each operation


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
        timers = _Timers(m, self)
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


class _Timers:
    """All counters, by scope, place and the conditions that load them."""

    def __init__(self, m: Module, guard: Guard) -> None:
        self.config = guard.config
        self.slots = guard.config.slots
        self.guard = guard
        self.late = int(self.config.foresight > 1)  # clocks until an access is counted
        self.columns = [getattr(guard, f"column{p}") for p in range(self.config.ports)]
        if self.late:
            for p, issue in enumerate(self.columns):
                self.columns[p] = Signal(issue.shape(), name=f"column{p}_late")
                m.d.sync += self.columns[p].eq(issue)
        self.counters: dict[tuple[Scope, bool, _Loads, int], Signal] = {}
        self.windows: list[tuple[Rule, list[Signal]]] = []
        self.needs: dict[Op, list[tuple[Scope, bool, _Loads]]] = {}
        issued = {*guard.bank_ops, *ALL_OPS, Op.RD, Op.WR}
        for op in issued:
            loads: dict[tuple[Scope, bool], dict[Op, int]] = defaultdict(dict)
            for rule in self.config.rules:
                if op not in rule.then or rule.window > 1:
                    continue
                scope = Scope.PC if rule.scope is Scope.CHANNEL else rule.scope
                here = loads[scope, rule.apart]
                for first in rule.first:
                    here[first] = max(here.get(first, 0), rule.latency)
            self.needs[op] = [(*k, frozenset(v.items())) for k, v in loads.items()]
        for rule in self.config.rules:
            if rule.window > 1:
                if rule.scope is not Scope.PC or rule.first != {Op.ACT} or rule.then != {Op.ACT}:
                    raise ValueError(
                        f"a rule with a window must be from activation to activation of the "
                        f"pseudo-channel, not {rule.name}"
                    )
                line = [
                    Signal(bits_for(rule.latency), name=f"window_{len(self.windows)}_{n}")
                    for n in range(rule.window)
                ]
                self.windows.append((rule, line))
        kinds = sorted({n for needs in self.needs.values() for n in needs}, key=_order)
        for number, (scope, apart, found) in enumerate(kinds):
            width = bits_for(max(latency for _, latency in found))
            for place in range(self._places(scope)):
                name = f"t{number}_{scope.name.lower()}_{place}"
                self.counters[scope, apart, found, place] = Signal(width, name=name)

    def _places(self, scope: Scope) -> int:
        shape = self.config.organisation
        sizes = {Scope.PC: 1, Scope.SID: shape.sids, Scope.GROUP: shape.sids * shape.groups}
        return sizes.get(scope, self.config.banks)

    def _members(self, scope: Scope, place: int) -> range:
        """Banks of a place."""
        size = self.config.banks // self._places(scope)
        return range(place * size, (place + 1) * size)

    def ready(self, op: Op, bank: int | None, slot: Value | int) -> Value:
        """Whether ``op`` is allowed in a slot, for a bank or for all of them."""
        ready = []
        for scope, apart, found in self.needs[op]:
            for place in range(self._places(scope)):
                if bank is None or bank in self._members(scope, place):
                    ready.append(_passed(self.counters[scope, apart, found, place], slot))
        if op is Op.ACT:
            ready += [_passed(line[-1], slot) for _, line in self.windows]
        return reduce(and_, ready)

    def quiet(self) -> Value:
        """All counters are at zero."""
        return ~Cat(counter.any() for counter in self.counters.values()).any()

    def count(self, m: Module) -> None:
        """Next values."""
        for (scope, apart, found, place), counter in self.counters.items():
            down = Signal.like(counter, name=f"{counter.name}_down")
            m.d.comb += down.eq(_down(counter, self.slots))
            value = down
            events = list(self._events(scope, apart, found, place))
            longest = max((latency for *_, latency in events), default=0)
            for n, (hit, slot, latency) in enumerate(events):
                fresh = Signal.like(counter, name=f"{counter.name}_fresh_{n}")
                longer = Signal.like(counter, name=f"{counter.name}_next_{n}")
                m.d.comb += fresh.eq(_after(slot, latency, self.slots))
                more: Value = fresh > value
                if self.slots == 1:  # the same, before anything is added; the longest always counts
                    more = Const(1) if latency == longest else counter <= latency - 1
                m.d.comb += longer.eq(Mux(hit & more, fresh, value))
                value = longer
            m.d.sync += counter.eq(value)
        row, slot = self.guard.row, self._slot("row_at")
        for rule, line in self.windows:
            hit = row.valid & (row.op == Op.ACT)
            fresh = _after(slot, rule.latency, self.slots)
            older = [_down(counter, self.slots) for counter in line]
            for n, counter in enumerate(line):
                m.d.sync += counter.eq(Mux(hit, older[n - 1] if n else fresh, older[n]))

    def _slot(self, name: str) -> Value | None:
        return getattr(self.guard, name) if self.slots > 1 else None

    def _events(
        self, scope: Scope, apart: bool, found: _Loads, place: int
    ) -> Iterable[tuple[Value, Value | None, int]]:
        """Commands that load a counter: whether there is one, its slot, the latency."""
        banks = self._members(scope, place)
        others = [b for b in range(self.config.banks) if b not in banks]
        chosen = others if apart else list(banks)
        by_latency: dict[tuple[str, int], list[Value]] = defaultdict(list)
        for op, latency in sorted(found):
            late = self.late if op in COLUMN else 0
            latency -= late
            if latency <= 1:
                continue  # nothing to wait for: there is one command in a slot
            if op in COLUMN:
                for p in range(self.config.ports):
                    issue = self.columns[p]
                    kind = (issue.write == (op in (Op.WR, Op.WRA))) & (
                        issue.auto == (op in (Op.RDA, Op.WRA))
                    )
                    here = Cat(issue.banks[b] for b in chosen).any() if scope != Scope.PC else 1
                    by_latency[f"column_at{p}", latency].append(issue.valid & kind & here)
            else:
                row = self.guard.row
                here = Cat(row.banks[b] for b in chosen).any()
                if scope is Scope.PC or op not in PER_BANK:
                    here = 1
                by_latency["row_at", latency].append(row.valid & (row.op == op) & here)
        for (slot, latency), hits in sorted(by_latency.items(), key=lambda event: event[0][1]):
            yield Cat(hits).any(), self._slot(slot), latency


def _order(kind: tuple[Scope, bool, _Loads]) -> tuple[str, bool, list[tuple[Op, int]]]:
    return kind[0].name, kind[1], sorted(kind[2])


def _passed(counter: Signal, slot: Value | int) -> Value:
    if isinstance(slot, int) and not slot & (slot + 1):  # without a comparison
        return ~counter[slot.bit_length() :].any()
    return counter <= slot


def _down(counter: Signal, by: int) -> Value:
    if by == 1:
        return (counter - counter.any())[: len(counter)]
    return Mux(counter > by, counter - by, 0)[: len(counter)]


def _after(slot: Value | None, latency: int, slots: int) -> Value:
    """Clocks left in the next cycle, after a command in this one."""
    if slot is None:
        return Const(latency - 1)
    if latency >= slots:
        return slot + (latency - slots)
    return Mux(slot + latency > slots, slot + latency - slots, 0)
