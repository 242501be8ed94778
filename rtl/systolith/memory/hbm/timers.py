"""The counters of the timing guard: clocks until the commands of a rule are allowed again."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from systolith.memory.hbm.commands import COLUMN, PER_BANK, Op, Scope
from systolith.memory.hbm.picking import one_of
from systolith.memory.hbm.timing import Rule

__all__ = ["Timers"]

_Loads = frozenset[tuple[Op, int]]  # latency after each operation


@dataclass(frozen=True)
class _Event:
    """A command that loads a counter: whether there is one, where its slot is, the latency."""

    hit: Value
    source: str
    latency: int


class Timers:
    """All counters of a guard, by scope, place and the conditions that load them.

    Parameters
    ----------
    m : Module
        Of the guard.
    guard : Guard
        Its ports.
    issued : set of Op
        What the controller issues, and asks about.
    """

    def __init__(self, m: Module, guard: Any, issued: set[Op]) -> None:
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
            events = list(self._events(scope, apart, found, place))
            if self.slots == 1:
                m.d.sync += counter.eq(self._longest(m, counter, down, events))
            else:
                m.d.sync += counter.eq(self._longest_of_sources(m, counter, down, events))
        row, slot = self.guard.row, self.guard.row_at if self.slots > 1 else None
        for rule, line in self.windows:
            hit = row.valid & (row.op == Op.ACT)
            fresh = _after(slot, rule.latency, self.slots)
            older = [_down(counter, self.slots) for counter in line]
            for n, counter in enumerate(line):
                m.d.sync += counter.eq(Mux(hit, older[n - 1] if n else fresh, older[n]))

    def _longest(self, m: Module, counter: Signal, down: Signal, events: list[_Event]) -> Value:
        """The next value with one slot: nothing is compared with what events have made of it."""
        value: Value = down
        longest = max((event.latency for event in events), default=0)
        for n, event in enumerate(events):
            more = Const(1) if event.latency == longest else counter <= event.latency - 1
            longer = Signal.like(counter, name=f"{counter.name}_next_{n}")
            m.d.comb += longer.eq(Mux(event.hit & more, event.latency - 1, value))
            value = longer
        return value

    def _longest_of_sources(
        self, m: Module, counter: Signal, down: Signal, events: list[_Event]
    ) -> Value:
        """The next value with several: of the row's command, of each port's, and of before."""
        values: list[Value] = [down]
        for source in dict.fromkeys(event.source for event in events):
            slot = getattr(self.guard, source)
            fresh = Signal.like(counter, name=f"{counter.name}_{source}")
            mine = [event for event in events if event.source == source]
            hits = Cat(event.hit for event in mine)  # of one command: one at most
            m.d.comb += fresh.eq(one_of(hits, [_after(slot, e.latency, self.slots) for e in mine]))
            values.append(fresh)
        while len(values) > 1:
            a, b, *rest = values
            longer = Signal.like(counter, name=f"{counter.name}_longer_{len(values)}")
            m.d.comb += longer.eq(Mux(a > b, a, b))
            values = [*rest, longer]
        return values[0]

    def _events(self, scope: Scope, apart: bool, found: _Loads, place: int) -> Iterator[_Event]:
        """Commands that load a counter."""
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
        for (source, latency), hits in sorted(by_latency.items(), key=lambda event: event[0][1]):
            yield _Event(Cat(hits).any(), source, latency)


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
