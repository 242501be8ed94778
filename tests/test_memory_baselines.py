"""Baselines of the model of the memory controller, and figures of other simulators."""

import json
from importlib import resources
from typing import Any

import pytest
from memory_ideal import SHORT, controller

from systolith.golden.dram import TraceChecker
from systolith.memory.hbm.commands import Command, Op
from systolith.perf.memory.model import simulate
from systolith.perf.memory.patterns import PATTERNS, Pattern
from systolith.perf.memory.policy import Policy, Rotation

POLICIES: tuple[Policy, ...] = ("ours", "blind", "stock")
NOISE = 0.005


def published() -> dict[str, Any]:
    text = resources.files("systolith.perf.memory").joinpath("published.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def share(name: str, policy: Policy, part: str = "hbm3-6400") -> float:
    config = controller(part)
    cycles = 12 * config.timing["refi"]
    found = simulate(config, PATTERNS[name](config), policy=policy, cycles=cycles, warm_up=12_000)
    return found.efficiency


@pytest.mark.parametrize("name", ["seq-read", "kv-decode", "random-1k"])
def test_ours_is_at_least_blind_and_blind_at_least_stock(name: str) -> None:
    ours, blind, stock = (share(name, policy) for policy in POLICIES)
    assert ours >= blind - NOISE
    assert blind >= stock - NOISE
    assert stock < ours - 0.05
    if name == "seq-read":
        assert ours > 0.99 and stock < 0.75
    else:
        assert blind < ours - 0.03


@pytest.mark.parametrize(("part", "memory"), [("hbm3-6400", "HBM3 6.4"), ("hbm2-2400", "HBM2 2.4")])
def test_stock_follows_the_simulator_it_is_taken_from(part: str, memory: str) -> None:
    other = {
        row["refresh"]: row["percent"] / 100
        for row in published()["rows"]
        if row["memory"].startswith(memory) and row["traffic"] == "sequential, bank groups lowest"
    }
    stock = share("seq-read", "stock", part)
    config = controller(part)
    every = simulate(config, PATTERNS["seq-read"](config), refresh="all-bank", cycles=50_000)
    assert stock < every.efficiency and other["per-bank"] < other["all-bank"]
    assert abs(stock - other["per-bank"]) < 0.10
    assert abs(every.efficiency - other["all-bank"]) < 0.03


@pytest.mark.parametrize("policy", ["blind", "stock"])
@pytest.mark.parametrize(("part", "slots"), [("hbm3-6400", 1), ("hbm3-6400", 4), ("hbm2-2400", 1)])
def test_traces_are_legal_and_in_rotation(part: str, slots: int, policy: Policy) -> None:
    config = controller(part, slots)
    for name in ("rw-2to1", "random-64"):
        found = simulate(config, PATTERNS[name](config), policy=policy, trace=True, **SHORT)
        trace = found.trace or ()
        assert TraceChecker(config.rules, config.organisation).check(trace) == []
        banks = [config.bank_number(c.at) for c in trace if c.op is Op.REFPB]
        assert banks == [n % config.banks for n in range(len(banks))]
        assert banks and found.refresh_debt_max <= config.debt


def test_stock_starts_nothing_while_a_refresh_waits() -> None:
    config = controller()
    refi = config.timing["refi"]
    found = simulate(config, PATTERNS["kv-decode"](config), policy="stock", trace=True, **SHORT)
    done = [c.clock for c in found.trace or () if c.op is Op.REFPB]
    waits = [((n + 1) * refi // config.banks + 1, clock) for n, clock in enumerate(done)]

    def inside(command: Command) -> bool:
        return any(since <= command.clock < end for since, end in waits)

    starts = [c for c in found.trace or () if inside(c)]
    assert not [c for c in starts if c.op is Op.ACT]
    reads = [c for c in starts if c.op in (Op.RD, Op.RDA)]
    # Each is the access for which its row was opened: no bank has two of them in one wait.
    for since, end in waits:
        banks = [config.bank_number(c.at) for c in reads if since <= c.clock < end]
        assert len(banks) == len(set(banks))
    assert reads


@pytest.mark.parametrize("policy", ["blind", "stock"])
def test_a_row_that_is_never_left_is_closed(policy: Policy) -> None:
    config = controller(debt=2)
    same = Pattern(name="one atom", open=32)
    cycles = 6 * config.timing["refi"]
    found = simulate(config, same, policy=policy, cycles=cycles, warm_up=0, trace=True)
    assert TraceChecker(config.rules, config.organisation).check(found.trace or ()) == []
    assert found.counts[Op.PRE] >= 1
    assert found.refresh_debt_max <= 2
    assert (found.refresh_debt_max > 1) == (policy == "blind")


def test_rotation_dates_each_refresh() -> None:
    config = controller()
    rotation, spacing = Rotation(config), config.timing["refi"] // config.banks
    for clock in range(3 * spacing + 1):
        rotation.advance(clock)
    assert rotation.pending == [0, 1, 2]
    assert (rotation.nominal, rotation.age(3 * spacing)) == (spacing, 2 * spacing)
    rotation.done(0, 3 * spacing, far=True)
    assert (rotation.pending, rotation.nominal) == ([1, 2], 2 * spacing)


def test_policies_are_of_single_banks() -> None:
    config = controller()
    pattern = PATTERNS["seq-read"](config)
    for policy in ("blind", "stock"):
        for refresh in ("all-bank", "off"):
            with pytest.raises(ValueError, match=f"policy must be ours if refresh is {refresh}"):
                simulate(config, pattern, refresh=refresh, policy=policy)
    with pytest.raises(ValueError, match="policy must be one of ours, blind, stock, not 'best'"):
        simulate(config, pattern, policy="best")  # type: ignore[arg-type]


def test_figures_of_other_simulators_are_sane() -> None:
    data = published()
    keys = {"source", "memory", "traffic", "refresh", "percent"}
    for source in data["sources"].values():
        assert all(source[name] for name in ("simulator", "version", "repository", "commit"))
    kinds = []
    for row in data["rows"]:
        assert set(row) == keys
        assert row["source"] in data["sources"]
        assert row["refresh"] in ("off", "all-bank", "per-bank")
        assert 0 < row["percent"] <= 100
        kinds.append((row["source"], row["memory"], row["traffic"], row["refresh"]))
    assert len(set(kinds)) == len(kinds)
    percent = {kind: row["percent"] for kind, row in zip(kinds, data["rows"], strict=True)}
    for *rest, refresh in kinds:
        if refresh == "per-bank":
            off, every, single = (
                percent[(*rest, mode)] for mode in ("off", "all-bank", "per-bank")
            )
            assert off > every > single
