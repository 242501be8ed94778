"""Watches the commands of one pseudo-channel, in hardware: every rule of a table, every state."""

from collections.abc import Iterable
from enum import IntEnum
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import COLUMN, PER_BANK, Op, Scope
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Rule

__all__ = ["Illegal", "TimingChecker", "violation_layout"]

STAMP_BITS = 32


class Illegal(IntEnum):
    """What the state of the memory does not allow; numbered behind the rules."""

    BANK_CLOSED = 0
    ROW_OPEN = 1
    BANKS_OPEN = 2
    ASLEEP = 3
    AWAKE = 4


def violation_layout(rules: int) -> data.StructLayout:
    """The first violation of a cycle.

    ``rule`` is a number in the list of rules, behind them an :class:`Illegal`; ``second`` the clock
    of the command that was wrong, ``op`` what it was; ``first`` the clock of the one it is too
    close to, if it is a rule.
    """
    return PackedStruct(
        {
            "valid": 1,
            "rule": bits_for(rules + len(Illegal) - 1),
            "op": bits_for(max(Op)),
            "first": STAMP_BITS,
            "second": STAMP_BITS,
        }
    )


class TimingChecker(Block):
    """Reports commands that come too early, with both clocks, or that the state forbids.

    Several slots are device clocks one after the other in a cycle. Within one clock the column
    command counts as the earlier one: a read and a precharge of its bank, or an activation and a
    read, are wrong together. A wrong command is carried out all the same.

    Parameters
    ----------
    rules : iterable of Rule
        See :func:`systolith.memory.hbm.timing.rules`.
    shape : Organisation
        Of the pseudo-channel.
    slots : int
        Device clocks in a cycle.

    Members
    -------
    row, column : In(row_command), In(column_command) per slot
        Commands of this cycle.
    violation : Out(violation_layout)
        Of the commands of the cycle before, its first one.
    """

    row: data.View
    column: data.View
    violation: data.View

    def __init__(self, rules: Iterable[Rule], shape: Organisation, *, slots: int = 1) -> None:
        if slots < 1:
            raise ValueError(f"slots must be 1 or more, not {slots}")
        self.rules = tuple(rules)
        self.shape = shape
        self.slots = slots
        super().__init__(
            {
                "row": In(PackedArray(row_command(shape), slots)),
                "column": In(PackedArray(column_command(shape), slots)),
                "violation": Out(violation_layout(len(self.rules))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock = Signal(STAMP_BITS)
        m.d.sync += clock.eq(clock + self.slots)
        tracks = _Tracks(m, self.rules, self.shape)
        state = _State(m, self.shape)
        found: list[tuple[Value, Value, Value, Value, Value]] = []
        for slot in range(self.slots):
            now = Signal(STAMP_BITS, name=f"now_{slot}")
            m.d.comb += now.eq(clock + slot)
            for name, command in (("column", self.column[slot]), ("row", self.row[slot])):
                step = _Step(m, command, self.shape, f"{name}_{slot}", column=name == "column")
                for number, first in tracks.early(m, step, now):
                    found.append((number[0], number[1], step.op, first, now))
                for wrong, why in state.wrong(step):
                    index = Const(len(self.rules) + why)
                    found.append((wrong, index, step.op, Const(0), now))
                tracks.take(m, step, now)
                state.take(m, step)
        tracks.keep(m)
        state.keep(m)
        m.d.sync += self.violation.valid.eq(Cat(entry[0] for entry in found).any())
        for entry in reversed(found):  # the first one wins
            with m.If(entry[0]):
                m.d.sync += [
                    self.violation.rule.eq(entry[1]),
                    self.violation.op.eq(entry[2]),
                    self.violation.first.eq(entry[3]),
                    self.violation.second.eq(entry[4]),
                ]
        return m


class _Step:
    """One command of one bus in one clock, and which banks it concerns."""

    def __init__(
        self, m: Module, command: data.View, shape: Organisation, name: str, *, column: bool
    ) -> None:
        self.name = name
        self.valid, self.op = command.valid, command.op
        self.ops = sorted(COLUMN if column else frozenset(Op) - COLUMN)
        self.everywhere = Signal(name=f"everywhere_{name}")
        m.d.comb += self.everywhere.eq(self.is_one(frozenset(Op) - PER_BANK))
        self.banks: list[Value] = []
        for s in range(shape.sids):
            for g in range(shape.groups):
                for b in range(shape.banks):
                    here = Signal(name=f"at_{name}_{s}_{g}_{b}")
                    parts = ((command.sid, s), (command.group, g), (command.bank, b))
                    same = [field == n for field, n in parts if len(field)]
                    m.d.comb += here.eq(self.everywhere | Cat(same).all())
                    self.banks.append(here)

    def is_one(self, ops: Iterable[Op]) -> Value:
        """A command of one of ``ops``."""
        hits = [self.op == op for op in ops if op in self.ops]
        return self.valid & Cat(hits).any() if hits else Const(0, 1)

    def places(self, scope: Scope, shape: Organisation) -> list[Value]:
        """Parts of ``scope`` that it concerns."""
        size = {
            Scope.CHANNEL: shape.sids * shape.groups * shape.banks,
            Scope.PC: shape.sids * shape.groups * shape.banks,
            Scope.SID: shape.groups * shape.banks,
            Scope.GROUP: shape.banks,
            Scope.BANK: 1,
        }[scope]
        return [Cat(self.banks[at : at + size]).any() for at in range(0, len(self.banks), size)]


class _Tracks:
    """Clocks of the last commands: for each set of operations and scope that rules ask for."""

    def __init__(self, m: Module, rules: tuple[Rule, ...], shape: Organisation) -> None:
        self.rules, self.shape = rules, shape
        depth: dict[tuple[frozenset[Op], Scope], int] = {}
        for rule in rules:
            key = (rule.first, self._scope(rule))
            depth[key] = max(depth.get(key, 0), rule.window)
        # Of each track and place: clocks, the latest first, one bit longer while there is one.
        self.stored: dict[tuple[frozenset[Op], Scope], list[list[Signal]]] = {}
        self.now: dict[tuple[frozenset[Op], Scope], list[list[Value]]] = {}
        for number, ((first, scope), window) in enumerate(depth.items()):
            places = self._places(scope)
            lines = [
                [Signal(STAMP_BITS + 1, name=f"track_{number}_{p}_{w}") for w in range(window)]
                for p in range(places)
            ]
            self.stored[first, scope] = lines
            self.now[first, scope] = [list(line) for line in lines]

    @staticmethod
    def _scope(rule: Rule) -> Scope:
        return Scope.PC if rule.scope is Scope.CHANNEL else rule.scope

    def _places(self, scope: Scope) -> int:
        s = self.shape
        return {
            Scope.PC: 1,
            Scope.SID: s.sids,
            Scope.GROUP: s.sids * s.groups,
            Scope.BANK: s.sids * s.groups * s.banks,
        }[scope]

    def early(self, m: Module, step: _Step, now: Value) -> list[tuple[tuple[Value, Value], Value]]:
        """For each rule: whether the command breaks it and its number; the clock before."""
        found: list[tuple[tuple[Value, Value], Value]] = []
        for number, rule in enumerate(self.rules):
            if not rule.then & set(step.ops):
                continue
            scope = self._scope(rule)
            places = step.places(scope, self.shape)
            if rule.apart:
                places = [Cat(places[:at], places[at + 1 :]).any() for at in range(len(places))]
            late: Value = Const(0, STAMP_BITS + 1)
            for place, line in zip(places, self.now[rule.first, scope], strict=True):
                stamp = line[rule.window - 1]
                taken = Signal(STAMP_BITS + 1, name=f"late_{step.name}_{number}")
                m.d.comb += taken.eq(Mux(place & (stamp > late), stamp, late))
                late = taken
            first = late[:STAMP_BITS]
            early = Signal(name=f"early_{step.name}_{number}")
            m.d.comb += early.eq(
                step.is_one(rule.then)
                & late[STAMP_BITS]
                & ((now - first)[:STAMP_BITS] < rule.latency)
            )
            found.append(((early, Const(number)), first))
        return found

    def take(self, m: Module, step: _Step, now: Value) -> None:
        """The command is one of those before from now on."""
        for number, ((first, scope), lines) in enumerate(self.now.items()):
            if not first & set(step.ops):
                continue
            hit = step.is_one(first)
            for p, place in enumerate(step.places(scope, self.shape)):
                old = lines[p]
                fresh = [
                    Signal(STAMP_BITS + 1, name=f"{step.name}_{number}_{p}_{w}")
                    for w in range(len(old))
                ]
                for w, new in enumerate(fresh):
                    last = old[w - 1] if w else Cat(now, Const(1, 1))
                    m.d.comb += new.eq(Mux(hit & place, last, old[w]))
                lines[p] = list(fresh)

    def keep(self, m: Module) -> None:
        for key, lines in self.stored.items():
            for stored, new in zip(lines, self.now[key], strict=True):
                m.d.sync += (a.eq(b) for a, b in zip(stored, new, strict=True))


class _State:
    """Open banks, and self-refresh."""

    def __init__(self, m: Module, shape: Organisation) -> None:
        banks = shape.sids * shape.groups * shape.banks
        self.stored = [Signal(name=f"open_{b}") for b in range(banks)]
        self.asleep_stored = Signal(name="asleep")
        self.open: list[Value] = list(self.stored)
        self.asleep: Value = self.asleep_stored

    def wrong(self, step: _Step) -> list[tuple[Value, Illegal]]:
        """What is wrong with the command."""
        is_open = reduce(or_, (o & p for o, p in zip(self.open, step.banks, strict=True)))
        closed_only = {Op.REFAB, Op.RFMAB, Op.REFPB, Op.RFMPB, Op.MRS, Op.SRE}
        wake = step.is_one({Op.SRX})
        return [
            (step.valid & self.asleep & ~wake, Illegal.ASLEEP),
            (wake & ~self.asleep, Illegal.AWAKE),
            (step.is_one(COLUMN) & ~is_open, Illegal.BANK_CLOSED),
            (step.is_one({Op.ACT}) & is_open, Illegal.ROW_OPEN),
            (step.is_one(closed_only) & is_open, Illegal.BANKS_OPEN),
        ]

    def take(self, m: Module, step: _Step) -> None:
        """Carry out the command."""
        opens = step.is_one({Op.ACT})
        closes = step.is_one({Op.PRE, Op.PREA, Op.RDA, Op.WRA})
        self.open = [
            (o & ~(closes & p)) | (opens & p) for o, p in zip(self.open, step.banks, strict=True)
        ]
        self.asleep = (self.asleep & ~step.is_one({Op.SRX})) | step.is_one({Op.SRE})

    def keep(self, m: Module) -> None:
        m.d.sync += (a.eq(b) for a, b in zip(self.stored, self.open, strict=True))
        m.d.sync += self.asleep_stored.eq(self.asleep)
