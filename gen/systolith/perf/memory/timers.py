"""When the rules of a memory allow each command: all of them, and nothing else."""

from collections import deque

from systolith.memory.hbm.commands import PER_BANK, Op, Scope
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.timing import Rule

__all__ = ["Timers"]

_Line = list[int]  # earliest clock for each part of one scope


class Timers:
    """Earliest clock of every command, from those before it.

    A *line* has an entry for each part of a scope: all rules with that scope and the same ``then``
    share it, because only the latest of them counts. Banks are numbered as in
    :meth:`ControllerConfig.bank_number`; commands to all banks take any number.

    Parameters
    ----------
    config
        Of the controller.
    """

    def __init__(self, config: ControllerConfig) -> None:
        shape = config.organisation
        self._banks = config.banks
        self._size = {  # banks of a part
            Scope.CHANNEL: config.banks,
            Scope.PC: config.banks,
            Scope.SID: shape.groups * shape.banks,
            Scope.GROUP: shape.banks,
            Scope.BANK: 1,
        }
        banks = range(config.banks)
        self._before: list[list[list[tuple[_Line, int]]]] = [[[] for _ in banks] for _ in Op]
        self._after: list[list[list[tuple[_Line, int, int]]]] = [[[] for _ in banks] for _ in Op]
        self._windows: list[list[list[tuple[deque[int], _Line, int, int]]]] = [
            [[] for _ in banks] for _ in Op
        ]
        lines: dict[tuple[Scope, frozenset[Op]], _Line] = {}
        for rule in sorted(config.rules, key=lambda r: -self._size[r.scope]):
            parts = self._banks // self._size[rule.scope]
            key = (rule.scope, rule.then)
            line = [0] * parts if rule.window > 1 else lines.setdefault(key, [0] * parts)
            self._add(rule, line)

    def _add(self, rule: Rule, line: _Line) -> None:
        pasts = [deque[int](maxlen=rule.window) for _ in line]
        for bank in range(self._banks):
            for op in rule.then:
                before = self._before[op][bank]
                before += [
                    (line, part)
                    for part in self._parts(rule.scope, op, bank)
                    if not any(known is line and n == part for known, n in before)
                ]
            for op in rule.first:
                own = self._parts(rule.scope, op, bank)
                parts = [p for p in range(len(line)) if p not in own] if rule.apart else own
                if rule.window > 1:
                    self._windows[op][bank] += [(pasts[p], line, p, rule.latency) for p in parts]
                else:
                    self._after[op][bank] += [(line, p, rule.latency) for p in parts]

    def _parts(self, scope: Scope, op: Op, bank: int) -> list[int]:
        """Parts of a scope that a command is in."""
        size = self._size[scope]
        return [bank // size] if op in PER_BANK else list(range(self._banks // size))

    def allowed(self, op: Op, bank: int, clock: int) -> bool:
        """Tell whether no rule forbids a command at ``clock``."""
        for line, part in self._before[op][bank]:
            if line[part] > clock:
                break
        else:
            return True
        return False

    def held(self, op: Op, clock: int) -> bool:
        """Tell quickly whether ``op`` is forbidden to all banks, by a rule of the widest scope."""
        for line, _ in self._before[op][0]:
            if len(line) > 1:
                return False
            if line[0] > clock:
                return True
        return False

    def issue(self, op: Op, bank: int, clock: int) -> None:
        """Carry out a command."""
        for line, part, latency in self._after[op][bank]:
            if line[part] < clock + latency:
                line[part] = clock + latency
        for past, line, part, latency in self._windows[op][bank]:
            past.append(clock)
            if len(past) == past.maxlen:
                line[part] = past[0] + latency
