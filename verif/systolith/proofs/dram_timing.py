"""Timing of a dynamic memory: the guard lets no command break any rule of the table.

The environment issues whatever the guard allows: a row command, and a column command per port, in
each cycle. Every rule is restated with counters of its own that run the other way: the *age* of
the window-th last first command, in memory clocks, in every part of the memory. The induction
carries itself on what connects both: guard's counter and age together reach the latency.

What is not timed within a cycle is assumed here, and proved of the sequencers elsewhere:

- no column command to a bank that a row command of the same cycle concerns;
- column commands of one cycle have one direction, and lie in different bank groups of one stack;
- the slots that the memory's interface offers to two ports are tCCDS apart.

With foresight a command may be issued if the guard allowed it so many clocks ago, and nothing has
been issued since of which the guard says that it spoils the answer.
"""

from dataclasses import replace
from functools import reduce
from operator import or_
from typing import Any
from unittest.mock import patch

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Fragment,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.utils import ceil_log2

from systolith.memory.hbm import config as config_module
from systolith.memory.hbm.commands import COLUMN, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import ALL_OPS, BANK_OPS, Guard
from systolith.memory.hbm.timing import Rule
from systolith.proofs.dram_foresight import foreseen, lasting
from systolith.proofs.dram_shadow import Issue, Shadow, identifier
from systolith.proofs.substitute import free, recorded, to_rtlil

__all__ = ["GuardRules", "guard_rules", "shortened", "stated"]


def stated(config: ControllerConfig) -> list[Rule]:
    """Rules whose commands the controller issues; management of all banks it never does."""
    single = config.timing.rfc_pb is not None
    issued = {op for op in (*BANK_OPS, *ALL_OPS) if single or op is not Op.REFPB} | COLUMN
    issued |= {Op.RFMPB} if config.managed else set()
    return [rule for rule in config.rules if rule.first & issued and rule.then & issued]


def shortened(config: ControllerConfig, name: str) -> ControllerConfig:
    """``config`` with one rule a cycle shorter, or without it if it has a single cycle."""
    changed = [replace(r, latency=r.latency - 1) if r.name == name else r for r in config.rules]
    if changed == list(config.rules):
        raise ValueError(f"name must be that of a rule, not {name!r}")
    other = replace(config)
    with patch.object(config_module, "rules", lambda _: tuple(r for r in changed if r.latency)):
        _ = other.rules  # kept from now on
    return other


class GuardRules(Elaboratable):
    """A guard, whatever it allows, and what is stated of that."""

    def __init__(
        self,
        config: ControllerConfig,
        guarded: ControllerConfig,
        only: str | None,
        *,
        invariant: bool,
    ) -> None:
        self.config = config
        self.guarded = guarded
        self.only = only
        self.invariant = invariant

    def elaborate(self, platform: object) -> Module:
        m = Module()
        guard = Guard(self.guarded)
        timers: list[Any] = []
        with recorded(Guard.__module__, "Timers", timers):
            m.submodules.guard = Fragment.get(guard, platform)
        self.timers = timers[0]
        row = self._row(m, guard)
        columns = [self._column(m, guard, row, port) for port in range(self.config.ports)]
        _within_a_cycle(m, self.config, row, columns)
        self.follow(m, timers[0], columns, row)
        return m

    def _row(self, m: Module, guard: Guard) -> Issue:
        """Any row command that was allowed when it was decided, and not ruled out since."""
        config = guard.config
        banks = free(m, config.banks, "row_banks")
        op = free(m, len(guard.row.op), "row_op")
        single = (banks != 0) & ((banks & (banks - 1)) == 0)
        valid = free(m, 1, "row_valid")
        issues = [getattr(guard, f"column{p}") for p in range(config.ports)]
        accessed = reduce(or_, (Mux(i.valid, i.banks, 0) for i in issues))[: config.banks]
        accessed = lasting(m, config, accessed, "accessed")
        allowed: Value = Const(0)
        bank_ops = [*guard.bank_ops, *([Op.RFMPB] if config.managed else [])]
        for known in (*bank_ops, *ALL_OPS):
            # Management is allowed when a refresh is.
            asked = Op.REFPB if known is Op.RFMPB else known
            ok = getattr(guard, f"{asked.name.lower()}_ok")
            touched = accessed if known in bank_ops else accessed.any() & (known != Op.SRX)
            spoiled = touched | valid.replicate(len(ok))
            answers = foreseen(m, ok, config.row_foresight, spoiled, f"{known.name}_ok")
            self._kept(m, asked, answers)
            if known in bank_ops:
                allowed |= (op == known) & single & ((banks & ~answers[-1]) == 0)
            else:
                allowed |= (op == known) & (banks == 0) & answers[-1]
        slot = _slot(m, guard, "row_at", 0, config.slots)
        m.d.comb += [
            guard.row.valid.eq(valid),
            guard.row.op.eq(op),
            guard.row.banks.eq(banks),
            Assume(~valid | allowed),
        ]
        return Issue(
            valid=valid,
            slot=slot,
            ops={known: op == known for known in (*bank_ops, *ALL_OPS)},
            banks=banks | Mux(single, 0, (1 << config.banks) - 1),
            column=False,
        )

    def _column(self, m: Module, guard: Guard, row: Issue, port: int) -> Issue:
        """Any column command that was allowed when it was chosen, and not ruled out since."""
        config = guard.config
        issue = getattr(guard, f"column{port}")
        banks = free(m, config.banks, f"column{port}_banks")
        valid, write, auto = (free(m, 1, f"column{port}_{n}") for n in ("valid", "write", "auto"))
        share = config.slots // config.ports
        slot = _slot(m, guard, f"column_at{port}", port * share, share)
        opened = Mux(row.valid & row.ops[Op.ACT], row.banks, 0)[: config.banks]
        answers = {}
        for op, name in ((Op.RD, f"read_ok{port}"), (Op.WR, f"write_ok{port}")):
            accessed = lasting(m, config, valid, f"{name}_accessed")
            ok, spoiled = getattr(guard, name), opened | accessed.replicate(config.banks)
            answers[op] = foreseen(m, ok, config.foresight, spoiled, name)
            self._kept(m, op, answers[op])
        ok = Mux(write, answers[Op.WR][-1], answers[Op.RD][-1])
        single = (banks != 0) & ((banks & (banks - 1)) == 0)
        m.d.comb += [
            issue.valid.eq(valid),
            issue.write.eq(write),
            issue.auto.eq(auto),
            issue.banks.eq(banks),
            Assume(~valid | (single & ((banks & ~ok) == 0))),
        ]
        kinds = {Op.RD: ~write & ~auto, Op.RDA: ~write & auto, Op.WR: write & ~auto}
        kinds[Op.WRA] = write & auto
        return Issue(valid=valid, slot=slot, ops=kinds, banks=banks, column=True)

    def _kept(self, m: Module, op: Op, answers: list[Value]) -> None:
        """For the induction: an answer that is not spoiled has no more clocks left than told."""
        for ago, known in enumerate(answers[1:], 1):
            for place in range(len(known)):
                bank = place if len(known) > 1 else None
                left = self.timers.ready(op, bank, len(answers) - 1 - ago)
                m.d.comb += Assert(~known[place] | left)

    def follow(self, m: Module, timers: Any, columns: list[Issue], row: Issue) -> None:
        """State what holds of the commands."""
        shown = []
        for rule in stated(self.config):
            if self.only in (None, rule.name):
                shadow = Shadow(m, self.config, rule, [*columns, row])
                holds = Signal(name=identifier(rule))
                m.d.comb += [holds.eq(shadow.holds), Assert(holds)]
                shown.append(shadow.tight)
                # A rule that the guard does not have as it is must follow from the others.
                if self.invariant and rule in self.guarded.rules:
                    m.d.comb += Assert(shadow.bound_by(timers))
        if not self.invariant:
            m.d.comb += [Cover(tight) for tight in shown]


def _slot(m: Module, guard: Guard, name: str, first: int, count: int) -> Value:
    if guard.config.slots == 1:
        return Const(0, 1)
    slot = free(m, ceil_log2(guard.config.slots), name)
    m.d.comb += [
        getattr(guard, name).eq(slot),
        Assume((slot >= first) & (slot < first + count)),
    ]
    return slot


def _within_a_cycle(m: Module, config: ControllerConfig, row: Issue, columns: list[Issue]) -> None:
    """What the sequencers and the interface of the memory see to."""
    sdr = config.timing.generation == "sdr"
    waking = row.ops[Op.SRX]  # concerns no bank
    for column in columns:
        meet = (row.banks & column.banks).any() & ~waking
        m.d.comb += Assume(~(row.valid & column.valid & (1 if sdr else meet)))
    if len(columns) < 2:
        return
    one, two = columns
    shape = config.organisation
    group, stack = shape.banks, shape.banks * shape.groups
    groups, stacks = (
        [Cat(c.banks[n : n + size].any() for n in range(0, config.banks, size)) for c in columns]
        for size in (group, stack)
    )
    both = one.valid & two.valid
    m.d.comb += [
        Assume(~both | (one.among((Op.RD, Op.RDA)) == two.among((Op.RD, Op.RDA)))),
        Assume(~both | ((groups[0] != groups[1]) & (stacks[0] == stacks[1]))),
        Assume(~both | (two.slot >= one.slot + config.timing["ccd_s"])),
    ]


def guard_rules(
    config: ControllerConfig,
    *,
    guarded: ControllerConfig | None = None,
    only: str | None = None,
    invariant: bool = True,
) -> str:
    """No rule of ``config`` is ever broken by what the guard allows.

    Parameters
    ----------
    config
        Memory and slots.
    guarded
        What the guard is made from, if that is something else.
    only
        Name of a rule to state alone.
    invariant
        State also what makes the induction succeed; otherwise cover every rule as it binds.
    """
    return to_rtlil(GuardRules(config, guarded or config, only, invariant=invariant))
