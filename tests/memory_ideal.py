"""An ideal controller by brute force: what the limits of patterns are held against.

It shares no code with the model but addresses and rules: every rule is looked up in the history
for every candidate. It has no pipeline, no slots, no rotation of its own and queues of any length.
Whatever the rules allow first is done, the oldest run before others.
"""

from collections import deque
from typing import Any

from systolith.memory.hbm.commands import PER_BANK, Address, Command, Op, Scope
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.memory.hbm.timing import Rule
from systolith.perf.memory.patterns import Addresses, Pattern

__all__ = ["SHORT", "Ideal", "controller"]

SHORT = {"cycles": 20_000, "warm_up": 7_000}

Bank = tuple[int, int, int]
DEPTH = {Scope.CHANNEL: 0, Scope.PC: 0, Scope.SID: 1, Scope.GROUP: 2, Scope.BANK: 3}


def controller(part: str = "hbm3-6400", slots: int = 1, **changes: Any) -> ControllerConfig:
    found = PARTS[part]
    fields = {"streams": 16, "visits": 8, "runs": 32, **changes}
    organisation = fields.pop("organisation", found.organisation)
    return ControllerConfig(organisation=organisation, timing=found.timing, slots=slots, **fields)


class Ideal:
    def __init__(self, config: ControllerConfig, pattern: Pattern, address_map: int = 0) -> None:
        self.pattern, self.map = pattern, config.maps[address_map]
        self.rules = [r for r in config.rules if not r.apart]
        self.past: dict[tuple[Rule, tuple[int, ...]], deque[int]] = {}
        self.addresses = Addresses(pattern, config)
        self.streams = [n for n in range(config.streams) if pattern.streams >> n & 1]
        self.runs: dict[int, deque[tuple[int, deque[Address]]]] = {n: deque() for n in self.streams}
        self.visits: dict[Bank, deque[list[int]]] = {}  # number, stream, row, accesses
        self.rows: dict[Bank, int] = {}
        self.number = 0
        self.trace: list[Command] = []
        for _ in range(pattern.open):
            for stream in self.streams:
                self.submit(stream)

    def submit(self, stream: int) -> None:
        first, places = self.addresses.take(stream), deque[Address]()
        for atom in range(first, first + self.pattern.count):
            at = self.map.place(atom)
            places.append(at)
            visits = self.visits.setdefault((at.sid, at.group, at.bank), deque())
            if visits and visits[-1][1:3] == [stream, at.row]:
                visits[-1][3] += 1
            else:
                visits.append([self.number, stream, at.row, 1])
        self.runs[stream].append((self.number, places))
        self.number += 1

    def earliest(self, op: Op, at: Address) -> int:
        bank = (at.sid, at.group, at.bank)
        clock = 0
        for rule in self.rules:
            past = self.past.get((rule, bank[: DEPTH[rule.scope]])) if op in rule.then else None
            if past and len(past) == rule.window:
                clock = max(clock, past[0] + rule.latency)
        return clock

    def issue(self, op: Op, at: Address, clock: int) -> None:
        assert op in PER_BANK
        self.trace.append(Command(clock, op, at))
        bank = (at.sid, at.group, at.bank)
        for rule in self.rules:
            if op in rule.first:
                key = (rule, bank[: DEPTH[rule.scope]])
                self.past.setdefault(key, deque(maxlen=rule.window)).append(clock)

    def candidates(self) -> list[tuple[int, int, Op, Address, int]]:
        """Earliest clock, number of the run, command, place, stream."""
        found = []
        heads = [(*runs[0], n) for n, runs in self.runs.items() if runs]
        write = self.pattern.writes >> min(heads)[2] & 1
        for number, places, stream in heads:
            at = places[0]
            bank = (at.sid, at.group, at.bank)
            _, owner, row, left = self.visits[bank][0]
            if (owner, row) == (stream, at.row) and self.rows.get(bank) == row:
                op = (Op.WRA if left == 1 else Op.WR) if write else (Op.RDA if left == 1 else Op.RD)
                if self.pattern.writes >> stream & 1 == write:
                    found.append((self.earliest(op, at), number, op, at, stream))
        for bank, visits in self.visits.items():
            if visits and bank not in self.rows:
                at = Address(sid=bank[0], group=bank[1], bank=bank[2], row=visits[0][2])
                found.append((self.earliest(Op.ACT, at), visits[0][0], Op.ACT, at, 0))
        return found

    def efficiency(self, atoms: int, atom_clocks: int) -> float:
        """Over the second half of ``atoms``."""
        clock = moved = half = 0
        while moved < atoms:
            choices = [(max(c, clock), number, *rest) for c, number, *rest in self.candidates()]
            clock, _, op, at, stream = min(choices, key=lambda choice: choice[:2])
            self.issue(op, at, clock)
            bank = (at.sid, at.group, at.bank)
            if op is Op.ACT:
                self.rows[bank] = at.row
                continue
            moved += 1
            half = clock if moved == atoms // 2 else half
            self.visits[bank][0][3] -= 1
            if not self.visits[bank][0][3]:
                self.visits[bank].popleft()
                del self.rows[bank]
            places = self.runs[stream][0][1]
            places.popleft()
            if not places:
                self.runs[stream].popleft()
                self.submit(stream)
        return (atoms - atoms // 2) * atom_clocks / (clock - half)
