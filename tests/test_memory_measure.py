"""The controller on real timing: bounds of its efficiency, and the model that predicts it."""

from dataclasses import replace
from typing import Any

import pytest

from systolith.benches.memory_measure import MemoryBench
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.advice import look_ahead_advice
from systolith.perf.memory.latency import worst_latency
from systolith.perf.memory.limits import limit
from systolith.perf.memory.model import simulate
from systolith.perf.memory.patterns import PATTERNS

pytestmark = pytest.mark.cosim

Row = tuple[str, dict[str, int], dict[str, Any], float]
FEW: list[Row] = [  # bounds in % of the peak
    ("seq-read", {}, {}, 99),
    ("kv-decode", {"page_kib": 1}, {}, 97),
    ("one-bank", {"hits": 32}, {}, 31.5),
]
TABLE: list[Row] = [
    *FEW,
    ("seq-write", {}, {}, 99),
    ("seq-read", {}, {"refresh": "all-bank"}, 89.5),
    ("kv-decode", {"page_kib": 2}, {}, 98.5),
    ("kv-decode", {"page_kib": 4}, {}, 99),
    ("random-1k", {"outstanding": 6}, {}, 94),
    ("random-1k", {"outstanding": 8}, {}, 97),
    ("random-1k", {"outstanding": 12}, {}, 98.5),
    ("random-64", {"outstanding": 16}, {}, 22),
    ("rw-2to1", {"turn_kib": 16}, {}, 98),
    ("rw-2to1", {"turn_kib": 4}, {}, 94.5),
    ("one-bank", {"hits": 1}, {}, 2.6),
    ("stride", {}, {}, 0),
    ("row-thrash", {}, {}, 0),
]


def _bench(
    tmp_path_factory: pytest.TempPathFactory, part: str, *, hot: int = 0, **sizes: Any
) -> tuple[ControllerConfig, MemoryBench]:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    known = PARTS[part]
    config = ControllerConfig(organisation=known.organisation, timing=known.timing, **sizes)
    return config, MemoryBench(config, shared / "models", hot=hot)


def _measure(config: ControllerConfig, bench: MemoryBench, row: Row, seed: int) -> None:
    name, options, kinds, bound = row
    pattern = PATTERNS[name](config, **options)
    done = bench.measure(pattern, seed=seed, **kinds)
    assert 100 * done.efficiency >= bound, f"seed {seed}"
    assert (done.violations, done.late_refreshes, done.decayed) == (0, 0, 0)
    assert not done.lost
    assert not done.overflow
    assert done.refresh_debt_max < config.debt
    assert done.refreshes >= 40 * config.banks
    one = worst_latency(config, longest=pattern.count, count=pattern.count)
    assert 0 < done.latency_max <= pattern.open * one  # those of its own stream are before it
    # In memory clocks; where tREFI is no multiple of the banks no two samples need be equal.
    assert done.debt_error <= (16 if config.timing["refi"] % config.banks else 0)
    assert sum(done.stalls.values()) == pytest.approx(1 - done.efficiency, abs=1e-6)
    model = simulate(config, pattern, seed=seed, **kinds)
    assert done.efficiency == pytest.approx(model.efficiency, rel=0.01)
    most = limit(config, pattern, **kinds).efficiency
    assert done.efficiency <= most * (1 + config.timing["refi"] / done.window / 100)


def test_hbm3(tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = _bench(tmp_path_factory, "hbm3-6400", streams=8, runs=32, visits=8)
    for row in FEW:
        _measure(*bench, row, 2)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 4])
def test_whole_table_of_hbm3(tmp_path_factory: pytest.TempPathFactory, slots: int) -> None:
    bench = _bench(tmp_path_factory, "hbm3-6400", slots=slots, streams=16, runs=32, visits=8)
    for seed in (3, 4):
        for row in TABLE:
            _measure(*bench, row, seed)


@pytest.mark.slow
def test_many_outstanding(tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = _bench(tmp_path_factory, "hbm3-6400", streams=64, runs=2, visits=8)
    _measure(*bench, ("random-64", {"outstanding": 64}, {}, 30), 3)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["hbm2-2400", "hbm2e-3200"])
def test_other_generations(tmp_path_factory: pytest.TempPathFactory, part: str) -> None:
    bench = _bench(tmp_path_factory, part, streams=16, runs=32, visits=8)
    for name, options, kinds, _ in TABLE:
        _measure(*bench, (name, options, kinds, 0), 3)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["sdr-mt48lc16m16", "sdr-m12l64322a"])
def test_model_of_sdr(tmp_path_factory: pytest.TempPathFactory, part: str) -> None:
    config, bench = _bench(tmp_path_factory, part, streams=16, runs=32, visits=8)
    ratios = {}
    for name in ("seq-read", "seq-write", "rw-2to1", "random-1k", "one-bank"):
        pattern = PATTERNS[name](config)
        done = bench.measure(pattern, seed=2)
        assert (done.violations, done.late_refreshes, done.decayed) == (0, 0, 0), name
        assert not done.lost
        ratios[name] = simulate(config, pattern, seed=2).efficiency / done.efficiency
    assert {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > 0.01} == {}


@pytest.mark.slow
def test_adversarial_traffic_keeps_the_debt(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Four times as many refreshes, the smallest bound, and banks that are always wanted.

    The memory is as hot: it loses data behind (16 + 4) quarters of tREFI.
    """
    config, bench = _bench(tmp_path_factory, "hbm3-6400", streams=16, runs=32, visits=8, hot=2)
    cold = bench.measure(PATTERNS["row-thrash"](config), hotter=0)
    assert cold.late_refreshes > 0 and cold.decayed > 0  # it would tell
    for name, options in (("one-bank", {"hits": 32}), ("row-thrash", {}), ("random-64", {})):
        for seed in (1, 2):
            pattern = PATTERNS[name](config, **options)
            done = bench.measure(pattern, seed=seed, hotter=2, debt=2)
            assert done.refresh_debt_max < 2 / 4
            assert (done.violations, done.late_refreshes, done.decayed) == (0, 0, 0)


def test_too_little_look_ahead_is_told() -> None:
    part = PARTS["hbm3-6400"]
    config = ControllerConfig(organisation=part.organisation, timing=part.timing)
    assert look_ahead_advice(config) is None
    told = look_ahead_advice(replace(config, look_ahead=2)) or ""
    assert told.startswith("look_ahead 2 is less than 12 rows: a sequential stream is predicted")
    share = float(told.split(" % of")[0].split()[-1])
    model = simulate(replace(config, look_ahead=2), PATTERNS["seq-read"](config))
    assert 90 < share < 99.5
    assert share == pytest.approx(100 * model.efficiency, abs=1)


@pytest.mark.slow
def test_adversarial_latency_is_bounded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """All streams in the rows of one bank, refreshes twice as frequent, management."""
    for slots in (1, 4):
        config, bench = _bench(tmp_path_factory, "hbm3-6400", slots=slots, streams=8, look_ahead=1)
        pattern = PATTERNS["one-bank"](config, hits=1)
        kinds: dict[str, int] = {"hotter": 1, "activations": 16}
        done = bench.measure(pattern, **kinds)
        bound = worst_latency(config, longest=1, count=1, **kinds)
        assert bound / 40 < done.latency_max <= pattern.open * bound
        assert (done.violations, done.late_refreshes, done.overrun) == (0, 0, 0)


@pytest.mark.slow
def test_bad_arguments(tmp_path_factory: pytest.TempPathFactory) -> None:
    config, bench = _bench(tmp_path_factory, "sdr-m12l64322a", streams=2, runs=2, visits=1)
    pattern = PATTERNS["seq-read"](config)
    with pytest.raises(ValueError, match="refresh must be one of all-bank, off, not 'per-bank'"):
        bench.measure(pattern, refresh="per-bank")
    with pytest.raises(ValueError, match="cycles must be at least"):
        bench.measure(pattern, cycles=100)
    short = bench.measure(pattern, cycles=60_000, trace=True)
    assert short.trace
    assert short.efficiency > 0.975
