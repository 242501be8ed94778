"""Devices of dynamic memory: the checker in hardware agrees with the one for traces."""

from collections import defaultdict
from dataclasses import replace

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator, SimulatorContext
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT, faulty_trace, random_trace
from numerics_pipeline import refuses

from systolith.devices.timing_checker import Illegal, TimingChecker
from systolith.golden.dram import TraceChecker
from systolith.memory.hbm.commands import COLUMN, Address, Command, Op
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Timing, rules

STATES = {
    "the bank is closed": Illegal.BANK_CLOSED,
    "row ": Illegal.ROW_OPEN,
    "the bank is open": Illegal.BANKS_OPEN,
    "in self-refresh": Illegal.ASLEEP,
    "not in self-refresh": Illegal.AWAKE,
}
Found = tuple[int, int, int, int]  # clock, rule or state, operation, clock of the first one


def _in_hardware(checker: TimingChecker, trace: list[Command]) -> list[Found]:
    """The first violation of every cycle."""
    slots = checker.slots
    by_cycle: dict[int, list[Command]] = defaultdict(list)
    for command in trace:
        by_cycle[command.clock // slots].append(command)
    cycles = trace[-1].clock // slots + 2
    found: list[Found] = []

    async def bench(ctx: SimulatorContext) -> None:
        for cycle in range(cycles):
            words = {"row": [0] * slots, "column": [0] * slots}
            for command in by_cycle[cycle]:
                bus = "column" if command.op in COLUMN else "row"
                layout = getattr(checker, bus).shape().elem_shape
                fields = {"valid": 1, "op": command.op}
                for name in ("sid", "group", "bank", "row", "column"):
                    if name in dict(iter(layout)) and layout[name].width:
                        fields[name] = getattr(command.at, name)
                words[bus][command.clock % slots] = layout.const(fields).as_value().value
            for bus, values in words.items():
                for slot, word in enumerate(values):
                    ctx.set(getattr(checker, bus)[slot].as_value(), word)
            await ctx.tick()
            seen = checker.violation
            if ctx.get(seen.valid):
                numbers = (ctx.get(seen[n]) for n in ("second", "rule", "op", "first"))
                found.append(tuple(numbers))  # type: ignore[arg-type]

    m = Module()
    m.submodules.dut = checker
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def _in_python(timing: Timing, shape: Organisation, trace: list[Command]) -> list[list[Found]]:
    """All violations of every command that has any."""
    listed = rules(timing)
    names = [rule.name for rule in listed]
    checker = TraceChecker(listed, shape)
    wrong = []
    for command in trace:
        found: list[Found] = []
        for violation in checker.step(command):
            if "is open, not" in violation.rule:
                continue  # a column command names no row
            if violation.first is not None:
                number, first = names.index(violation.rule), violation.first.clock
            else:
                kind = next(v for k, v in STATES.items() if violation.rule.startswith(k))
                number, first = len(listed) + kind, 0
            found.append((command.clock, number, int(command.op), first))
        if found:
            wrong.append(found)
    return wrong


def _agree(timing: Timing, shape: Organisation, trace: list[Command], slots: int) -> int:
    """Compare; violations found."""
    # Within a clock the column command counts as the earlier one.
    trace = sorted(trace, key=lambda c: (c.clock, c.op not in COLUMN))
    told = _in_hardware(TimingChecker(rules(timing), shape, slots=slots), trace)
    known = _in_python(timing, shape, trace)
    first_of_cycle: dict[int, list[Found]] = {}
    for found in known:
        first_of_cycle.setdefault(found[0][0] // slots, found)
    assert [f[0] // slots for f in told] == list(first_of_cycle)
    for one, several in zip(told, first_of_cycle.values(), strict=True):
        assert one in several
    return len(told)


@pytest.mark.parametrize("slots", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("timing", "shape"), [(TIGHT, SHAPE), (SDR, SDR_SHAPE)], ids=["tight", "sdr"]
)
def test_the_hardware_finds_what_the_reference_finds(
    timing: Timing, shape: Organisation, slots: int
) -> None:
    ops = [op for op in Op if timing is TIGHT or not op.name.startswith(("RFM", "REFPB"))]
    # Whatever is wrong, a bus holds one command in a clock.
    loose = [
        replace(rule, latency=max(rule.latency - 2, int("bus" in rule.name or "CCDS" in rule.name)))
        for rule in rules(timing)
    ]
    broken = random_trace(loose, shape, seed=slots, length=120, ops=ops)
    assert _agree(timing, shape, broken, slots) > 5
    if slots == 1:
        legal = random_trace(rules(timing), shape, seed=2, length=120, ops=ops)
        assert _agree(timing, shape, legal, slots) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("timing", "shape"), [(TIGHT, SHAPE), (SDR, SDR_SHAPE)], ids=["tight", "sdr"]
)
def test_the_loss_of_any_rule_would_be_seen(timing: Timing, shape: Organisation) -> None:
    """One after the other, traces that break one rule by one cycle and no other."""
    listed, pause = rules(timing), 100
    trace: list[Command] = []
    wanted: list[tuple[int, int]] = []
    for at, rule in enumerate(listed):
        if ("bus" in rule.name and rule.latency == 1) or (
            "CCDS" in rule.name and rule.latency == 1
        ):
            continue  # two commands on one bus in a clock: there are no wires for that
        part = faulty_trace(listed, at, shape)
        wrong = TraceChecker(listed, shape).check(part)[0].command
        part = part[: part.index(wrong) + 1]
        start = trace[-1].clock + pause if trace else 0
        trace += [replace(command, clock=start + command.clock) for command in part]
        wanted.append((start + wrong.clock, at))
        asleep = (
            Op.SRE in {c.op for c in part}
            and [c.op for c in part if c.op in (Op.SRE, Op.SRX)][-1] is Op.SRE
        )
        trace += [Command(trace[-1].clock + pause, Op.SRX)] if asleep else []
        trace.append(Command(trace[-1].clock + pause, Op.PREA))
    trace.sort(key=lambda c: (c.clock, c.op not in COLUMN))
    found = _in_hardware(TimingChecker(listed, shape), trace)
    assert [(clock, rule) for clock, rule, _, _ in found] == wanted


def test_illegal_states() -> None:
    trace = [
        Command(0, Op.RD, Address()),
        Command(40, Op.ACT, Address(row=1)),
        Command(80, Op.ACT, Address(row=2)),
        Command(120, Op.REFAB),
        Command(200, Op.PREA),
        Command(240, Op.SRX),
        Command(300, Op.SRE),
        Command(340, Op.PRE),
        Command(380, Op.SRX),
    ]
    found = _in_hardware(TimingChecker(rules(TIGHT), SHAPE), trace)
    base = len(rules(TIGHT))
    assert [(clock, Illegal(rule - base)) for clock, rule, _, _ in found] == [
        (0, Illegal.BANK_CLOSED),
        (80, Illegal.ROW_OPEN),
        (120, Illegal.BANKS_OPEN),
        (240, Illegal.AWAKE),
        (340, Illegal.ASLEEP),
    ]


def test_bad_slots() -> None:
    message = "slots must be 1 or more, not 0"
    refuses(lambda: TimingChecker(rules(TIGHT), SHAPE, slots=0), message)
