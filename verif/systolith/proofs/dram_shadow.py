"""Rules of a dynamic memory restated: by the ages of commands, in every part of the memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from systolith.memory.hbm.commands import COLUMN, Op, Scope
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.timing import Rule

__all__ = ["Issue", "Shadow", "identifier"]


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One command of a cycle: whether, when, which, where."""

    valid: Value
    slot: Value
    ops: dict[Op, Value]
    banks: Value  # one bit each; all of them for a command to all banks
    column: bool

    def among(self, ops: Iterable[Op]) -> Value:
        """Whether it is one of these."""
        return self.valid & Cat(self.ops[op] for op in ops if op in self.ops).any()


def identifier(rule: Rule) -> str:
    """Name of a rule as that of a signal."""
    return "".join(c if c.isalnum() else "_" for c in rule.name)


class Shadow:
    """One rule, in every part of the memory, by the age of the first commands.

    ``issues`` are in the order in which commands of one clock count.
    """

    def __init__(
        self, m: Module, config: ControllerConfig, rule: Rule, issues: list[Issue]
    ) -> None:
        self.rule, self.config = rule, config
        shape = config.organisation
        counts = {Scope.CHANNEL: 1, Scope.PC: 1, Scope.SID: shape.sids, Scope.BANK: config.banks}
        self.places = counts.get(rule.scope, shape.sids * shape.groups)
        self.size = config.banks // self.places
        self.ages: list[list[Signal]] = []
        holds, tight = [], []
        for place in range(self.places):
            ages = self._follow(m, place, issues)
            self.ages.append(ages)
            for number, then in enumerate(issues):
                here = then.among(rule.then) & self._at(then, place, elsewhere=False)
                early = ages[-1] + then.slot < rule.latency
                same = [
                    self._hit(first, place)
                    & (then.slot < first.slot + rule.latency)
                    # In one clock, those in front count as earlier.
                    & ((first.slot <= then.slot) if n < number else (first.slot < then.slot))
                    for n, first in enumerate(issues)
                    if n != number and rule.window == 1
                ]
                holds.append(~here | ~(early | Cat(same).any()))
                tight.append(here & (ages[-1] + then.slot == rule.latency))
        self.holds = Cat(holds).all()
        self.tight = Cat(tight).any()

    def _at(self, issue: Issue, place: int, *, elsewhere: bool) -> Value:
        """Whether a command concerns a place, or another one."""
        mask = ((1 << self.size) - 1) << (place * self.size)
        everywhere = (1 << self.config.banks) - 1
        return (issue.banks & (everywhere ^ mask if elsewhere else mask)).any()

    def _hit(self, issue: Issue, place: int) -> Value:
        return issue.among(self.rule.first) & self._at(issue, place, elsewhere=self.rule.apart)

    def _follow(self, m: Module, place: int, issues: list[Issue]) -> list[Signal]:
        """Ages of the last first commands, none older than it matters."""
        latency, slots = self.rule.latency, self.config.slots
        name = f"{identifier(self.rule)}_{place}"
        ages = [
            Signal(bits_for(latency), init=latency, name=f"{name}_age_{n}")
            for n in range(self.rule.window)
        ]
        grown = [Mux(age + slots > latency, latency, age + slots) for age in ages]
        for issue in issues:
            hit = self._hit(issue, place)
            fresh = slots - issue.slot
            fresh = Mux(fresh > latency, latency, fresh)
            # Several in a cycle: the latest counts.
            first = Mux(fresh < grown[0], fresh, grown[0]) if len(grown) == 1 else fresh
            grown = [Mux(hit, grown[n - 1] if n else first, age) for n, age in enumerate(grown)]
        m.d.sync += [age.eq(value) for age, value in zip(ages, grown, strict=True)]
        return ages

    def bound_by(self, timers: Any) -> Value:
        """Whether the guard's counters are as long as the ages ask for."""
        rule = self.rule
        facts = [age <= rule.latency for ages in self.ages for age in ages]
        if rule.window > 1:
            line = next(line for known, line in timers.windows if known.name == rule.name)
            pairs = zip(line, self.ages[0], strict=True)
            return Cat(*facts, *(a + b >= rule.latency for a, b in pairs)).all()
        scope = Scope.PC if rule.scope is Scope.CHANNEL else rule.scope
        # An access is counted a clock late if the guard looks ahead that far.
        late = self.config.foresight > 1 and bool(rule.first & COLUMN)
        for op in rule.then & set(timers.needs):
            key = next(n for n in timers.needs[op] if n[:2] == (scope, rule.apart))
            for place, (age,) in enumerate(self.ages):
                long = timers.counters[(*key, place)] + age >= rule.latency
                facts.append((age == 1) | ((age != 0) & long) if late else long)
        return Cat(facts).all()
