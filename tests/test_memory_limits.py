"""Limits of patterns against brute force, closed forms, and the model of the controller."""

from dataclasses import replace
from typing import Any

import pytest
from memory_ideal import SHORT, Ideal, controller

from systolith.golden.dram import TraceChecker
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.limits import limit
from systolith.perf.memory.model import simulate
from systolith.perf.memory.patterns import PATTERNS

Sizes = dict[str, int]
FEW: Sizes = {"sids": 1, "groups": 1}  # banks


def case(
    name: str,
    *,
    part: str = "hbm3-6400",
    address_map: int = 0,
    shape: Sizes | None = None,
    **fields: int,
) -> Any:
    shape = shape or {}
    names = "-".join(f"{k}{v}" for k, v in shape.items())
    known = f"{part}{names and '-'}{names}-{name}-{address_map}-{fields}"
    return pytest.param(part, name, address_map, shape, fields, id=known)


CASES = [
    case("seq-read"),
    case("seq-read", address_map=1),
    case("seq-write"),
    case("seq-write", address_map=1),
    case("random-64", outstanding=64),
    case("random-64", outstanding=64, address_map=1),
    case("random-64", outstanding=64, part="hbm2-2400"),
    case("one-bank"),
    case("one-bank", hits=1),
    case("one-bank", hits=3),
    case("row-thrash"),
    case("stride"),
    case("stride", address_map=2),
    case("rw-2to1"),
    case("rw-2to1", turn_kib=4),
    case("rw-2to1", turn_kib=4, part="hbm2-2400"),
    case("seq-read", part="sdr-mt48lc16m16"),
    case("one-bank", hits=2, part="sdr-mt48lc16m16"),
    case("row-thrash", part="sdr-m12l64322a"),
    case("rw-2to1", turn_kib=1, part="sdr-mt48lc16m16"),
    case("random-1k"),
    case("random-1k", outstanding=12, address_map=1),
    case("random-1k", outstanding=32, shape={**FEW, "banks": 2}),
    case("random-1k", part="hbm2-2400"),
    case("random-1k", part="sdr-mt48lc16m16", shape={"banks": 1}),
    case("kv-decode"),
    case("kv-decode", page_kib=2, address_map=1),
    case("kv-decode", shape={**FEW, "banks": 4}),
    case("kv-decode", part="hbm2-2400"),
    case("kv-decode", part="sdr-mt48lc16m16", shape={"banks": 1}),
]


@pytest.mark.parametrize(("part", "name", "address_map", "shape", "fields"), CASES)
def test_limits_are_reached_by_brute_force_and_not_exceeded(
    part: str, name: str, address_map: int, shape: Sizes, fields: Sizes
) -> None:
    organisation = replace(PARTS[part].organisation, **shape)
    config = controller(part, streams=64, organisation=organisation)
    pattern = PATTERNS[name](config, **fields)
    most = limit(config, pattern, refresh="off", address_map=address_map).efficiency
    ideal = Ideal(config, pattern, address_map)
    atoms = 12 * pattern.count if name == "rw-2to1" else 1536
    found = ideal.efficiency(atoms, config.timing["ccd_s"])
    assert TraceChecker(config.rules, config.organisation).check(ideal.trace) == []
    assert 0.95 * most <= found <= 1.005 * most
    if name != "rw-2to1":
        model = simulate(config, pattern, refresh="off", address_map=address_map, **SHORT)
        assert model.efficiency <= 1.005 * most


@pytest.mark.parametrize(
    ("part", "least"), [("hbm3-6400", 0.85), ("hbm2-2400", 0.75), ("sdr-mt48lc16m16", 0.97)]
)
def test_one_run_under_way_is_bound_by_its_latency(part: str, least: float) -> None:
    """Not by brute force, to which a run has ended with its last command."""
    config = controller(part)
    pattern = PATTERNS["random-1k"](config, outstanding=1)
    most = limit(config, pattern, refresh="off")
    assert most.bound_by == "runs under way"
    found = simulate(config, pattern, refresh="off", **SHORT).efficiency
    assert least * most.efficiency <= found <= most.efficiency


HBM3 = PARTS["hbm3-6400"].timing


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("hits", [1, 32])
def test_one_bank_is_its_row_cycle_and_refresh(slots: int, hits: int) -> None:
    t, config = HBM3, controller(slots=slots)
    cycle = max(t["rc"], t["rcd_rd"] + (hits - 1) * t["ccd_l"] + t["rtp"] + t["rp"])
    form = hits * t["ccd_s"] / cycle * (1 - t["rfc_pb"] / t["refi"])
    pattern = PATTERNS["one-bank"](config, hits=hits)
    assert limit(config, pattern).efficiency == pytest.approx(form)
    assert limit(config, pattern).bound_by == "banks"
    assert 0.985 * form <= simulate(config, pattern).efficiency <= 1.001 * form


@pytest.mark.parametrize(
    ("part", "slots"), [("hbm3-6400", 1), ("hbm3-6400", 4), ("sdr-mt48lc16m16", 1)]
)
def test_refresh_of_all_banks_takes_its_share(part: str, slots: int) -> None:
    config = controller(part, slots)
    t, pattern = config.timing, PATTERNS["seq-read"](config)
    away = t["rtp"] + t["rp"] + t["rfc"] + t["rcd_rd"] - t["ccd_s"]
    form = 1 - away / t["refi"]
    assert limit(config, pattern, refresh="all-bank").efficiency == pytest.approx(form)
    found = simulate(config, pattern, refresh="all-bank")
    # Rows of all groups are opened one after another, and a row ends now and then.
    assert 0.98 * form <= found.efficiency <= form
    assert found.counts[Op.REFAB] == pytest.approx(found.cycles / t["refi"] + 2, abs=1)


def test_refreshes_of_single_banks_are_hidden_from_streams() -> None:
    config = controller()
    for name in ("seq-read", "seq-write"):
        found = simulate(config, PATTERNS[name](config))
        assert found.efficiency > 0.999
        assert found.window >= 40 * HBM3["refi"]
        assert found.counts[Op.REFPB] >= 40 * config.banks


def test_turnaround_costs_no_more_than_its_limit() -> None:
    t, config = HBM3, controller()
    for kib in (4, 16):
        pattern = PATTERNS["rw-2to1"](config, turn_kib=kib)
        move = 3 * kib * 1024 // 32 * t["ccd_s"]
        pair = t["rtw"] + t["cwl"] + t["burst"] + t["wtr_s"] - 2 * t["ccd_s"]
        assert limit(config, pattern).efficiency == pytest.approx(move / (move + pair))
        found = simulate(config, pattern, refresh="off", cycles=60_000, warm_up=20_000)
        assert 0.99 * move / (move + pair) <= found.efficiency <= 1.002 * move / (move + pair)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("name", PATTERNS)
def test_whole_measurements_stay_within_their_limits(name: str, slots: int) -> None:
    config = controller(slots=slots)
    pattern = PATTERNS[name](config)
    for refresh in ("per-bank", "all-bank"):
        found = simulate(config, pattern, refresh=refresh)
        assert found.window >= 40 * HBM3["refi"]
        assert found.refresh_debt_max <= config.debt
        most = limit(config, pattern, refresh=refresh).efficiency
        assert 0.85 * most <= found.efficiency <= 1.001 * most
