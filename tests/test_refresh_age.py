"""The age of refresh, in hardware, agrees with a reading of its definition in Python."""

import random
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT
from numerics_pipeline import refuses

from systolith.devices import refresh_age
from systolith.devices.refresh_age import RefreshAge
from systolith.harness.sim import simulate
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Timing

FAST = replace(TIGHT, refi=30)
Row = tuple[int, Op, int, int]  # clock, operation, bank, row


def _trace(shape: Organisation, *, seed: int, slots: int, clocks: int) -> list[Row]:
    """Commands of the row bus; rules of timing do not matter, but for one per bank and cycle."""
    draw = random.Random(seed)
    banks = shape.sids * shape.groups * shape.banks
    trace: list[Row] = []
    asleep, clock = False, 0
    while clock < clocks:
        clock = -(-clock // slots) * slots + draw.randrange(slots)
        ops = [Op.SRX] if asleep else [Op.REFAB, Op.SRE, Op.RFMAB, *[Op.REFPB] * banks]
        ops += [] if asleep else [Op.ACT] * 8
        op = draw.choice(ops)
        trace.append((clock, op, draw.randrange(banks), draw.randrange(shape.rows)))
        asleep = op is Op.SRE
        clock = -(-(clock + 1) // slots) * slots
        if draw.random() < 0.1:
            clock += draw.randrange(100)
    return trace


def _in_python(age: RefreshAge, trace: list[Row]) -> tuple[list[Row], int]:
    """Activations that come too late, and refreshes that were late."""
    shape = age.shape
    banks = range(shape.sids * shape.groups * shape.banks)
    stamps = {(bank, group): 0 for bank in banks for group in range(age.ref_groups)}
    following = dict.fromkeys(banks, 0)
    slept, asleep_from, late = 0, 0, 0
    decayed = []
    for clock, op, bank, row in trace:
        if op is Op.SRE:
            asleep_from = clock
        elif op is Op.SRX:
            slept += clock - asleep_from
        awake = clock - slept
        if op is Op.ACT and awake - stamps[bank, row % age.ref_groups] > age.retention:
            decayed.append((clock, op, bank, row))
        for b in banks:
            if op is Op.REFAB or (op is Op.REFPB and b == bank):
                late += awake - stamps[b, following[b]] > age.retention
                stamps[b, following[b]] = awake
                following[b] = (following[b] + 1) % age.ref_groups
    return decayed, late


def _in_hardware(age: Any, trace: list[Row]) -> tuple[list[Row], int]:
    slots, shape = age.slots, age.shape
    layout = age.row.shape().elem_shape
    by_cycle = {clock // slots: (clock, op, bank, row) for clock, op, bank, row in trace}
    found: list[Row] = []
    late = 0

    async def bench(ctx: Any) -> None:
        nonlocal late
        for cycle in range(max(by_cycle) + 2):
            word = 0
            if cycle in by_cycle:
                clock, op, bank, row = by_cycle[cycle]
                above, at = divmod(bank, shape.banks)
                sid, group = divmod(above, shape.groups)
                fields = {"sid": sid, "group": group, "bank": at, "row": row}
                fields = {name: v for name, v in fields.items() if layout[name].width}
                value = layout.const({"valid": 1, "op": op, **fields}).as_value().value
                word = value << clock % slots * layout.size
            ctx.set(age.row.as_value(), word)
            for slot in range(slots):
                decay = age.decay[slot]
                if ctx.get(decay.valid):
                    place = int(ctx.get(decay.bank)), int(ctx.get(decay.row))
                    found.append((cycle * slots + slot, Op.ACT, *place))
            await ctx.tick()
        late = ctx.get(age.late)
        assert ctx.get(age.decayed) == len(found)

    simulate(age, bench, deadline_cycles=max(by_cycle) + 10)
    return found, late


CASES = {
    "one slot": (FAST, SHAPE, 1, 4, 1),
    "four slots": (FAST, SHAPE, 4, 4, 0),
    "one group": (FAST, SHAPE, 2, 1, 4),
    "groups not a power of two": (FAST, SHAPE, 1, 6, 1),
    "sdr": (replace(SDR, refi=60), SDR_SHAPE, 1, 4, 1),
}


def _agree(module: ModuleType, case: str, *, clocks: int = 1500) -> None:
    timing, shape, slots, groups, debt = CASES[case]
    told: Timing = timing
    age = module.RefreshAge(told, shape, slots=slots, ref_groups=groups, debt=debt)
    reference = RefreshAge(told, shape, slots=slots, ref_groups=groups, debt=debt)
    reference._MustUse__silence = True  # type: ignore[attr-defined]
    trace = _trace(shape, seed=groups, slots=slots, clocks=clocks)
    activations = sum(op is Op.ACT for _, op, _, _ in trace)
    decayed, late = _in_python(reference, trace)
    assert 3 < len(decayed) < activations - 3
    assert late > 3
    assert _in_hardware(age, trace) == (decayed, late)


@pytest.mark.parametrize("case", CASES)
def test_ages(case: str) -> None:
    _agree(refresh_age, case)


FAULTS = {
    "retention twice as long": ("(ref_groups + debt) *", "2 * (ref_groups + debt) *"),
    "retention off by one": ("> self.retention", ">= self.retention"),
    "activation is a refresh": ("store.en.eq(refresh)", "store.en.eq(refresh | activation)"),
    "refresh of one is of all": ("Op.REFPB) & here", "Op.REFPB)"),
    "refresh management is a refresh": ("Op.REFAB)", "Op.RFMAB)"),
    "ageing while asleep": ("now + ~after", "now + 1"),
    "group never moves": ("Mux(last, 0, group + 1)", "group"),
    "first round believed": ("wrapped | (of < group)", "wrapped"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(fault: str) -> None:
    source = Path(str(import_module("systolith.devices.refresh_age").__file__)).read_text()
    old, new = FAULTS[fault]
    assert source.count(old) == 1
    mutant = ModuleType("mutant")
    exec(compile(source.replace(old, new), "mutant", "exec"), mutant.__dict__)
    with pytest.raises(AssertionError):
        for case in ("one slot", "sdr"):
            _agree(mutant, case)


def test_bad_parameters() -> None:
    for wrong, message in (
        ({"slots": 0}, "slots must be 1 or more, not 0"),
        ({"ref_groups": 0}, "ref_groups must be 1 or more, not 0"),
        ({"debt": -1}, "debt must be 0 or more, not -1"),
    ):
        refuses(lambda wrong=wrong: RefreshAge(FAST, SHAPE, **wrong), message)  # type: ignore[misc]
