"""Checks traces of memory commands: timing, by the rules, and the state of rows and banks."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from systolith.memory.hbm.commands import COLUMN, PER_BANK, Command, Op, Scope
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Rule

__all__ = ["TraceChecker", "Violation"]

_Key = tuple[int, ...]
_DEPTH = {Scope.CHANNEL: 0, Scope.PC: 0, Scope.SID: 1, Scope.GROUP: 2, Scope.BANK: 3}
_REFRESH = frozenset({Op.REFAB, Op.RFMAB, Op.REFPB, Op.RFMPB})


@dataclass(frozen=True)
class Violation:
    """A command that came too early, or that the state does not allow.

    Parameters
    ----------
    rule
        Name of the rule, or what is wrong with the state.
    command
        The offender.
    first
        The command that it is too close to, if there is one.
    earliest
        First clock in which the rule would allow it; with ``first``.
    """

    rule: str
    command: Command
    first: Command | None = None
    earliest: int | None = None

    def __str__(self) -> str:
        if self.first is None:
            return f"{self.command}: {self.rule}"
        return f"{self.command}: {self.rule} after {self.first} allows it from {self.earliest} on"


class TraceChecker:
    """Takes the commands of one pseudo-channel in order and tells what is wrong with them.

    Time per command does not grow with the trace: for each rule and place the last commands are
    kept, as many as its window.

    Parameters
    ----------
    rules
        See :func:`systolith.memory.hbm.timing.rules`.
    organisation
        Shape of the pseudo-channel.
    """

    def __init__(self, rules: Iterable[Rule], organisation: Organisation) -> None:
        self.organisation = organisation
        o = organisation
        self._banks = [
            (s, g, b) for s in range(o.sids) for g in range(o.groups) for b in range(o.banks)
        ]
        self._rows: dict[_Key, int | None] = dict.fromkeys(self._banks)
        self._clock = -1
        self._asleep = False
        self._as_first: dict[Op, list[Rule]] = {op: [] for op in Op}
        self._as_then: dict[Op, list[Rule]] = {op: [] for op in Op}
        self._past: dict[Rule, dict[_Key, deque[Command]]] = {}
        for rule in rules:
            self._past[rule] = {}
            for op in rule.first:
                self._as_first[op].append(rule)
            for op in rule.then:
                self._as_then[op].append(rule)

    def check(self, trace: Iterable[Command]) -> list[Violation]:
        """Violations of a trace, which continues the one before."""
        return [violation for command in trace for violation in self.step(command)]

    def step(self, command: Command) -> list[Violation]:
        """Violations of the next command. A command that is wrong is carried out all the same."""
        if command.clock < self._clock:
            raise ValueError(f"commands must be in order of time: {command} after {self._clock}")
        self._clock = command.clock
        found = [Violation(wrong, command) for wrong in self._state(command)]
        if any("exist" in violation.rule for violation in found):
            return found
        for rule in self._as_then[command.op]:
            found += self._early(rule, command)
        for rule in self._as_first[command.op]:
            past = self._past[rule]
            for key in self._keys(rule.scope, command):
                past.setdefault(key, deque(maxlen=rule.window)).append(command)
        self._carry_out(command)
        return found

    # Time -----------------------------------------------------------------------------------

    def _early(self, rule: Rule, command: Command) -> list[Violation]:
        past = self._past[rule]
        if rule.apart:
            mine = set(self._keys(rule.scope, command))
            lines = [line for key, line in past.items() if key not in mine]
        else:
            lines = [past[key] for key in self._keys(rule.scope, command) if key in past]
        late = [line[0] for line in lines if len(line) == rule.window]
        if not late:
            return []
        first = max(late, key=lambda c: c.clock)
        earliest = first.clock + rule.latency
        if command.clock >= earliest:
            return []
        return [Violation(rule.name, command, first, earliest)]

    def _keys(self, scope: Scope, command: Command) -> Sequence[_Key]:
        """Parts of the pseudo-channel that a command concerns: one, or all of them."""
        depth, at = _DEPTH[scope], command.at
        if command.op in PER_BANK:
            return ((at.sid, at.group, at.bank)[:depth],)
        return list(dict.fromkeys(bank[:depth] for bank in self._banks))

    # State ----------------------------------------------------------------------------------

    def _state(self, command: Command) -> Iterable[str]:
        op, at, o = command.op, command.at, self.organisation
        bank = (at.sid, at.group, at.bank)
        if op in PER_BANK and bank not in self._rows:
            yield f"bank {at.sid}.{at.group}.{at.bank} does not exist"
            return
        if op is Op.ACT and not 0 <= at.row < o.rows:
            yield f"row {at.row} does not exist"
        if op in COLUMN and not 0 <= at.column < o.columns:
            yield f"column {at.column} does not exist"
        if self._asleep != (op is Op.SRX):
            yield "in self-refresh" if self._asleep else "not in self-refresh"
        is_open = [
            b for b in ([bank] if op in PER_BANK else self._banks) if self._rows[b] is not None
        ]
        if op in COLUMN:
            if not is_open:
                yield "the bank is closed"
            elif self._rows[bank] != at.row:
                yield f"row {self._rows[bank]} is open, not {at.row}"
        elif op is Op.ACT and is_open:
            yield f"row {self._rows[bank]} is open"
        elif op in _REFRESH | {Op.MRS, Op.SRE} and is_open:
            yield f"{len(is_open)} banks are open" if op not in PER_BANK else "the bank is open"

    def _carry_out(self, command: Command) -> None:
        op, at = command.op, command.at
        bank = (at.sid, at.group, at.bank)
        if op is Op.ACT:
            self._rows[bank] = at.row
        elif op in (Op.PRE, Op.RDA, Op.WRA):
            self._rows[bank] = None
        elif op is Op.PREA:
            self._rows = dict.fromkeys(self._banks)
        elif op in (Op.SRE, Op.SRX):
            self._asleep = op is Op.SRE
