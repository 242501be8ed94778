"""What the controller counts: every clock by the definitions, and causes that are known."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from memory_bench import SMALL

from systolith.benches import memory_measure
from systolith.benches.memory_design import sample_layout
from systolith.benches.memory_measure import Measurement, MemoryBench
from systolith.harness.script import Script
from systolith.harness.sim import simulate
from systolith.memory.hbm import counters
from systolith.memory.hbm.commands import ROW, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.counters import COUNTERS
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.model import warm_up_cycles
from systolith.perf.memory.patterns import PATTERNS
from systolith.proofs.substitute import Mutant, installed

CAUSES = tuple(n.removeprefix("stall_") for n in COUNTERS if n.startswith("stall_"))
LATE = 2  # clocks until an event is seen in a counter
ROW_COUNTERS = {
    Op.ACT: "activations",
    Op.PRE: "precharges",
    Op.PREA: "precharges",
    Op.REFPB: "bank_refreshes",
    Op.REFAB: "all_refreshes",
    Op.RFMPB: "managements",
}


@dataclass(frozen=True)
class Clock:
    """Inputs of one clock; ``accesses`` has a direction for each port that moves an atom."""

    offers: tuple[bool, ...]
    accesses: tuple[bool | None, ...]
    row: Op | None
    clear: bool
    unfinished: bool
    hold: bool
    oldest_open: bool
    oldest_refreshed: bool


def _situations(config: ControllerConfig, *, seed: int, clocks: int) -> Iterator[Clock]:
    """Whatever may be: accesses in offered slots, tCCDS apart; the oldest turn as it likes."""
    draw = random.Random(seed)
    names = ("unfinished", "hold", "oldest_open", "oldest_refreshed")
    state = dict.fromkeys(names, False)
    since = 99
    for _ in range(clocks):
        for name in names:
            if draw.random() < 0.15:
                state[name] = not state[name]
        offers = tuple(draw.random() < 0.8 for _ in range(config.ports))
        write = draw.random() < 0.5  # of all accesses of a clock
        free = config.slots > 1 or since >= config.timing["ccd_s"]
        moves = [free and offer and draw.random() < 0.6 for offer in offers]
        since = 1 if any(moves) else since + 1
        yield Clock(
            offers=offers,
            accesses=tuple(write if move else None for move in moves),
            row=draw.choice(sorted(ROW)) if draw.random() < 0.5 else None,
            clear=draw.random() < 0.005,
            **state,
        )


def _in_python(config: ControllerConfig, clocks: list[Clock]) -> list[dict[str, int]]:
    """All counters after each clock."""
    counts: Counter[str] = Counter()
    last, after = -config.timing["ccd_s"], []
    for now, clock in enumerate(clocks):
        if clock.clear:
            counts.clear()
        for write in clock.accesses:
            if write is not None:
                counts["writes" if write else "reads"] += 1
        if clock.row in ROW_COUNTERS:
            counts[ROW_COUNTERS[clock.row]] += 1
        in_burst = config.slots == 1 and now - last < config.timing["ccd_s"]
        if not in_burst:
            pairs = zip(clock.offers, clock.accesses, strict=True)
            counts[_cause(clock)] += sum(offer and move is None for offer, move in pairs)
        if any(move is not None for move in clock.accesses):
            last = now
        after.append({name: counts[name] for name in COUNTERS})
    return after


def _cause(clock: Clock) -> str:
    """What the oldest turn waits for."""
    if not clock.unfinished:
        return "stall_idle"
    if clock.hold:
        return "stall_maintenance"
    if clock.oldest_open:
        return "stall_timing"
    return "stall_refresh" if clock.oldest_refreshed else "stall_row"


def _in_hardware(config: ControllerConfig, clocks: list[Clock]) -> list[dict[str, int]]:
    dut: Any = counters.Counters(config)
    seen: list[dict[str, int]] = []

    async def bench(ctx: Any) -> None:
        for clock in clocks:
            ctx.set(dut.offers, sum(offer << p for p, offer in enumerate(clock.offers)))
            for p, write in enumerate(clock.accesses):
                access = {"valid": write is not None, "write": bool(write)}
                ctx.set(getattr(dut, f"access{p}"), access)
            ctx.set(dut.row, {"valid": clock.row is not None, "op": clock.row or 0, "banks": 1})
            for name in ("clear", "unfinished", "hold", "oldest_open", "oldest_refreshed"):
                ctx.set(getattr(dut, name), getattr(clock, name))
            seen.append({name: ctx.get(dut.values[n]) for n, name in enumerate(COUNTERS)})
            await ctx.tick()

    simulate(dut, bench, deadline_cycles=len(clocks) + 10)
    return seen


def _differences(name: str, *, seed: int = 1, number: int = 1500) -> list[str]:
    """Clocks and counters that are not as they should be."""
    config = SMALL[name]
    clocks = list(_situations(config, seed=seed, clocks=number))
    told, seen = _in_python(config, clocks), _in_hardware(config, clocks)
    assert all(any(after[counter] for after in told) for counter in COUNTERS)
    found = []
    for now in range(LATE, number):
        due = dict.fromkeys(COUNTERS, 0) if clocks[now - 1].clear else told[now - LATE]
        found += [
            f"clock {now}: {counter} is {seen[now][counter]}, not {due[counter]}"
            for counter in COUNTERS
            if seen[now][counter] != due[counter]
        ]
    return found


@pytest.mark.parametrize("name", SMALL)
def test_every_event_is_counted_once_for_its_cause(name: str) -> None:
    assert _differences(name) == []


def test_counters_stop_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of two from one below the end would pass it, and is left out."""
    monkeypatch.setattr(counters, "COUNTER_BITS", 4)
    config = SMALL["tight4"]
    clocks = [c for c in _situations(config, seed=2, clocks=1500) if not c.clear]
    told, seen = _in_python(config, clocks), _in_hardware(config, clocks)
    for counter in COUNTERS:
        assert told[-1][counter] > 15 + 2
        line = [after[counter] for after in seen]
        assert line == sorted(line)
        assert line[-1] in (14, 15)
        for now in range(LATE, len(clocks)):
            assert told[now - LATE][counter] > 13 or line[now] == told[now - LATE][counter]


FAULTS = {
    "the burst of an access is too short": (
        "sdr",
        'left.eq(self.config.timing["ccd_s"] - 1)',
        'left.eq(self.config.timing["ccd_s"] - 2)',
    ),
    "two unused slots of a clock count as one": (
        "tight4",
        "Mux(stall[name], population(unused), 0)",
        "Mux(stall[name], unused.any(), 0)",
    ),
    "refreshed banks are counted for their rows as well": (
        "tight",
        "self._waits & ~self.oldest_open & ~self.oldest_refreshed",
        "self._waits & ~self.oldest_open",
    ),
    "nobody waits in maintenance": ("tight", "self.unfinished & ~self.hold", "self.unfinished"),
    "slots that nobody offers are unused": ("tight", "self.offers & ~used", "~used"),
    "precharges of all banks are left out": ("tight", "{Op.PRE, Op.PREA}", "{Op.PRE}"),
    "what came before a clear is added after it": (
        "tight",
        "Mux(self.clear, 0, Mux(",
        "Mux(self.clear, late, Mux(",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str) -> None:
    name, old, new = FAULTS[fault]
    with installed([Mutant(counters.Counters, old, new)]):
        assert _differences(name) != []


# In the controller ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Raw:
    """What was counted in the window of a measurement, and what became of it."""

    window: int  # memory clocks
    atoms: int  # at the boundary
    counts: dict[str, int]
    slot: int  # memory clocks in which one slot for an access is offered
    told: Measurement

    def share(self, *causes: str) -> float:
        """Of the window, as it was counted."""
        return sum(self.counts[f"stall_{c}"] for c in causes) * self.slot / self.window


def _bench(folder: Path, part: str, slots: int) -> MemoryBench:
    shared = folder.parent if folder.name.startswith("popen") else folder
    known = PARTS[part]
    config = ControllerConfig(
        organisation=known.organisation,
        timing=known.timing,
        slots=1 if slots == 1 else 4,
        **{"streams": 8, "runs": 32, "visits": 8},
    )
    return MemoryBench(config, shared / "models")


def _raw(bench: MemoryBench, name: str, options: dict[str, int], **kinds: Any) -> Raw:
    """Measure a pattern, and keep the two samples between which the bench does."""
    config = bench.config
    kept: list[Any] = []
    choose = memory_measure._equal_debt

    def keeping(samples: Any) -> Any:
        kept.append(choose(samples))
        return kept[-1]

    cycles = warm_up_cycles(config) + max(10 * config.timing["refi"], 40_000)
    with patch.object(memory_measure, "_equal_debt", keeping):
        told = bench.measure(PATTERNS[name](config, **options), cycles=cycles, **kinds)
    (start, a), (end, b), _ = kept[0]
    assert told.violations == 0
    return Raw(
        window=(end - start) * config.slots,
        atoms=int(b.atoms) - int(a.atoms),
        counts={n: int(b.counters[k]) - int(a.counters[k]) for k, n in enumerate(COUNTERS)},
        # HBM: the neighbour has every second clock of the column bus.
        slot=1 if config.timing["ccd_s"] > 2 else 2,
        told=told,
    )


def _covers(raw: Raw, config: ControllerConfig) -> None:
    """Nothing is left out or counted twice, but for the access that each end may cut."""
    access = config.timing["ccd_s"]
    moved = raw.counts["reads"] + raw.counts["writes"]
    assert abs(moved - raw.atoms) <= config.ports  # told some clocks later
    unused = sum(raw.counts[name] for name in COUNTERS if name.startswith("stall_"))
    assert abs(raw.window - moved * access - unused * raw.slot) < access
    for cause, share in raw.told.stalls.items():  # so the bench only changes the unit
        assert share == pytest.approx(raw.share(cause), abs=3 * access / raw.window)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 4])
def test_known_causes_of_hbm(slots: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = _bench(tmp_path_factory.getbasetemp(), "hbm3-6400", slots)
    config, t = bench.config, bench.config.timing
    stream = _raw(bench, "seq-read", {})
    assert stream.share(*CAUSES) < 0.001
    held = _raw(bench, "seq-read", {}, refresh="all-bank")
    assert held.share("refresh") == pytest.approx(t["rfc"] / t["refi"], rel=0.05)
    assert held.share("maintenance", "refresh") > 0.9 * held.share(*CAUSES)
    assert held.share("idle") < 0.001
    turns = _raw(bench, "rw-2to1", {"turn_kib": 4})
    assert turns.share("timing") > 0.03 + stream.share("timing")
    assert turns.share("timing") > 0.95 * turns.share(*CAUSES)
    row = _raw(bench, "one-bank", {"hits": 1})
    assert row.share("row") > max(row.share(c) for c in CAUSES if c != "row")
    # It is not refreshed in its turn only, but every bank is once in tREFI.
    assert row.share("refresh") == pytest.approx(t["rfc_pb"] / t["refi"], rel=0.05)
    kept = _raw(bench, "one-bank", {"hits": 1}, refresh="off")
    assert kept.share("refresh", "maintenance") == 0
    for raw in (stream, held, turns, row, kept):
        _covers(raw, config)
    _nothing_to_do(bench)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("part", ["sdr-mt48lc16m16", "sdr-m12l64322a"])
def test_known_causes_of_sdr(part: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    bench = _bench(tmp_path_factory.getbasetemp(), part, 1)
    config, t = bench.config, bench.config.timing
    kept = _raw(bench, "seq-read", {}, refresh="off")
    assert kept.share(*CAUSES) < 0.001
    stream = _raw(bench, "seq-read", {})
    assert stream.share("refresh") == pytest.approx(t["rfc"] / t["refi"], rel=0.1)
    assert stream.share("maintenance", "refresh") > 0.8 * stream.share(*CAUSES)
    turns = _raw(bench, "rw-2to1", {"turn_kib": 1})
    assert turns.share("timing") > 0.002 + stream.share("timing")
    row = _raw(bench, "one-bank", {"hits": 1})
    assert row.share("row") > 0.8 * row.share(*CAUSES)
    for raw in (kept, stream, turns, row):
        _covers(raw, config)
    _nothing_to_do(bench)


def _nothing_to_do(bench: MemoryBench) -> None:
    """Without traffic and refresh every slot that is offered is idle, once the memory is up."""
    config = bench.config
    cycles = 20 * bench.every
    result = bench.simulation.run([Script().idle(cycles)], deadline=cycles)
    layout = sample_layout(config)
    samples = [(t.cycle, layout.from_bits(t.payload)) for t in result.transfers["sample"]]
    (start, a), (end, b) = samples[-10], samples[-1]
    counts = {n: int(b.counters[k]) - int(a.counters[k]) for k, n in enumerate(COUNTERS)}
    slot = 1 if config.timing["ccd_s"] > 2 else 2
    idle = (end - start) * config.slots / slot
    assert abs(counts.pop("stall_idle") - idle) < 1
    assert set(counts.values()) == {0}
