"""The model of the memory controller: legal commands, whole runs, refresh, latency."""

from collections import Counter
from dataclasses import replace

import pytest
from memory_ideal import SHORT, controller

from systolith.golden.dram import TraceChecker
from systolith.memory.hbm.commands import COLUMN, Command, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.model import MemoryResult, simulate
from systolith.perf.memory.patterns import PATTERNS, Addresses, Pattern

WRITES = frozenset({Op.WR, Op.WRA})


MEMORIES = [("hbm3-6400", 1), ("hbm3-6400", 4), ("hbm2-2400", 1), ("sdr-mt48lc16m16", 1)]
SIDS = replace(PARTS["hbm3-6400"].organisation, sids=2, rows=1 << 14)


def violations(config: ControllerConfig, result: MemoryResult) -> list[str]:
    checker = TraceChecker(config.rules, config.organisation)
    assert result.trace
    return [str(violation) for violation in checker.check(result.trace)]


def wrong_slots(config: ControllerConfig, trace: tuple[Command, ...]) -> list[Command]:
    """Commands in slots of the neighbour."""
    columns = (1, 3) if config.slots == 1 else (0, 2)
    rows = (0, 1) if config.slots == 1 else (0,)
    if config.timing.generation == "sdr":
        return []
    return [
        c
        for c in trace
        if c.clock % 4 not in (columns if c.op in COLUMN else (0,) if c.op is Op.ACT else rows)
    ]


@pytest.mark.parametrize(("part", "slots"), MEMORIES)
@pytest.mark.parametrize("name", PATTERNS)
def test_commands_are_legal_and_every_atom_comes_once_in_order(
    part: str, slots: int, name: str
) -> None:
    config = controller(part, slots)
    pattern = PATTERNS[name](config)
    cycles = {"cycles": max(2 * config.timing["refi"] + 1000, 4000), "warm_up": 1000}
    result = simulate(config, pattern, trace=True, seed=9, **cycles)
    assert violations(config, result) == []
    assert result.trace is not None and wrong_slots(config, result.trace) == []
    assert result.efficiency <= 1.001  # the window may begin on an access
    assert sum(result.counts.values()) == len(result.trace)
    check_order(config, pattern, result, seed=9)


def check_order(
    config: ControllerConfig, pattern: Pattern, result: MemoryResult, seed: int
) -> None:
    """Each access is the next atom of the oldest run that has it, in its direction.

    The streams take turns in submitting runs as they finish them, so which stream has which random
    run is not known here: then it is the set of runs that is checked, and the order within each.
    """
    assert result.trace is not None
    streams = [n for n in range(config.streams) if pattern.streams >> n & 1]
    addresses = Addresses(pattern, config, seed)
    size = 1 << config.atom_bits
    under_way: list[tuple[int, int, int]] = []  # next atom, left, stream
    for command in (c for c in result.trace if c.op in COLUMN):
        atom = config.maps[0].atom(command.at)
        able = [k for k, run in enumerate(under_way) if run[0] == atom]
        while not able:
            assert len(under_way) < len(streams) * pattern.open, f"{command}: nobody asked for it"
            known = Counter(run[2] for run in under_way)
            stream = min(streams, key=lambda n: known[n])
            under_way.append((addresses.take(stream), pattern.count, stream))
            able = [k for k, run in enumerate(under_way) if run[0] == atom]
        _, left, stream = under_way.pop(able[0])
        if not pattern.random:
            assert all(run[2] != stream for run in under_way[: able[0]]), f"{command}: out of order"
            assert (command.op in WRITES) == bool(pattern.writes >> stream & 1)
        if left > 1:
            under_way.insert(able[0], ((atom + 1) % size, left - 1, stream))


@pytest.mark.parametrize("slots", [1, 4])
def test_stacks_and_other_maps_and_all_banks_are_legal(slots: int) -> None:
    config = controller(slots=slots, organisation=SIDS)
    for name in ("kv-decode", "rw-2to1"):
        for address_map in (1, 2):
            result = simulate(
                config, PATTERNS[name](config), address_map=address_map, trace=True, **SHORT
            )
            assert violations(config, result) == []
    result = simulate(
        controller(slots=slots),
        PATTERNS["random-64"](config),
        refresh="all-bank",
        trace=True,
        **SHORT,
    )
    assert violations(controller(slots=slots), result) == []


def test_a_rule_less_in_the_model_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    config = controller()
    for name in ("tFAW", "tRCDRD", "tRC", "tRTP + tRP", "tRFCpb", "tRREFD"):
        weaker = controller()
        weaker.__dict__["rules"] = tuple(r for r in config.rules if r.name != name)
        result = simulate(weaker, PATTERNS["random-64"](config), trace=True, **SHORT)
        assert any(name in found for found in violations(config, result)), name


HBM3 = PARTS["hbm3-6400"].timing


# Refresh, latency, seeds ------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("debt", [2, 4])
def test_a_row_that_is_never_left_is_closed_in_time(slots: int, debt: int) -> None:
    config = controller(slots=slots, debt=debt)
    same = Pattern(name="one atom", open=32)
    cycles = (debt + 4) * HBM3["refi"]
    result = simulate(config, same, cycles=cycles, warm_up=0, trace=True)
    assert violations(config, result) == []
    assert result.counts[Op.PRE] >= 1
    assert debt - 0.2 < result.refresh_debt_max <= debt


@pytest.mark.parametrize("name", PATTERNS)
def test_no_refresh_is_later_than_its_bound(name: str) -> None:
    config = controller(debt=2, slots=4)
    result = simulate(config, PATTERNS[name](config), cycles=60_000, warm_up=0)
    assert 0 < result.refresh_debt_max <= 2
    rounds = 60_000 // HBM3["refi"]
    assert result.counts[Op.REFPB] >= (rounds - 2) * config.banks


@pytest.mark.parametrize("slots", [1, 4])
def test_a_lone_read_takes_what_the_memory_takes(slots: int) -> None:
    t, config = HBM3, controller(slots=slots)
    step = config.organisation.groups * config.organisation.columns
    alone = Pattern(name="next bank", inner=step, outer=step, span=(1 << 16) - 1)
    found = simulate(config, alone, refresh="off", **SHORT)
    least = (t["rcd_rd"] + t["cl"] + t["burst"]) / slots
    assert least + 4 <= found.latency_p50 <= found.latency_max <= least + 12


def test_seed_decides() -> None:
    config = controller()
    pattern = PATTERNS["kv-decode"](config)
    first, again, other = (
        simulate(config, pattern, seed=seed, trace=True, **SHORT) for seed in (3, 3, 4)
    )
    assert first == again
    assert first.trace != other.trace
