"""Port buffers between users that wait and a controller that must not."""

from dataclasses import replace
from typing import Any

import pytest
from axi_bench import models
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT
from memory_bench import SMALL
from numerics_pipeline import refuses
from port_bench import PortBench, Request, Result, random_requests

from systolith.benches.memory_measure import MemoryBench
from systolith.harness.errors import Deadline
from systolith.harness.script import Script
from systolith.memory import atom_store, marks, port_buffer
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.memory.port_buffer import PortBuffer
from systolith.memory.streams import Streams
from systolith.perf.memory.patterns import PATTERNS
from systolith.proofs.substitute import Mutant, installed

slow = pytest.mark.slow

CONFIGS = {
    "sdr": SMALL["sdr"],
    "sdr-merges": ControllerConfig(
        organisation=replace(SDR_SHAPE, mask=False), timing=SDR, streams=3, visits=1
    ),
    "tight": SMALL["tight"],
    "tight4": SMALL["tight4"],
    "ecc": ControllerConfig(
        organisation=SHAPE, timing=TIGHT, streams=4, visits=2, ecc="sideband-72"
    ),
    "ecc4": ControllerConfig(
        organisation=SHAPE, timing=TIGHT, streams=4, visits=2, slots=4, ecc="sideband-72"
    ),
}
FAST = "sdr-merges"
GOOD = {"violations": 0, "late": 0, "decayed": 0, "extra": 0, "ready": 1}
RANDOM = {"request": 1, "write": 1, "read": 1}


@pytest.fixture(
    scope="module", params=[n if n == FAST else pytest.param(n, marks=slow) for n in CONFIGS]
)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PortBench:
    return PortBench(CONFIGS[request.param], models(tmp_path_factory), ports=3)


@pytest.mark.cosim
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gates", [{}, RANDOM], ids=["open", "random"])
def test_every_atom_is_right(bench: PortBench, gates: dict[str, int], masked: bool) -> None:
    requests = random_requests(
        bench.config, seed=3, number=400, ports=3, longest=150, masked=masked
    )
    result = bench.play(requests, gates=gates)
    assert result.wrong == []
    assert result.errors == 0
    assert result.told == GOOD


@pytest.mark.cosim
def test_reads_that_are_not_taken_hold_up_nobody_else(bench: PortBench) -> None:
    result = _held(bench)
    assert result.wrong == []
    assert result.told == GOOD


def _held(bench: PortBench) -> Result:
    """Reads of more than a buffer holds, not taken until others' writes are done."""
    apart = (1 << bench.config.atom_bits) // 3
    size = min(apart, 192)
    first = [Request(p, True, p * apart, size) for p in range(3)]
    # The gates hold all reads, so that the buffers fill; writes go on.
    held = [Request(0, False, 0, size), Request(1, False, apart, size)]
    writes = [Request(2, True, 2 * apart + n % 16, 3) for n in range(40)]
    reads = [Request(2, False, 2 * apart, size)]
    script_of = len(first) + len(held)
    requests = [*first, *held, *writes, *reads]
    steps = {len(first): {"read": 2}, script_of + len(writes): {}}
    waits = {script_of + len(writes): ("done2", 1 + len(writes))}
    return bench.play(requests, steps=steps, waits=waits)


@pytest.mark.cosim
def test_lost_data_is_told(bench: PortBench) -> None:
    size = 48
    requests = [Request(0, True, 0, size), *(Request(0, False, 0, size) for _ in range(6))]
    steps = {4: {"lose": 1}, 5: {}}
    result = bench.play(requests, steps=steps)
    assert result.wrong == []
    assert result.errors == 1
    assert result.told == GOOD


def _sequential(config: ControllerConfig, bench: PortBench, ports: int, atoms: int) -> float:
    """Share of the peak rate of reads of the whole memory, one port after the other."""
    apart = (1 << config.atom_bits) // 8
    script = Script().send("gates", bench.gates())
    turns = atoms // ports // 2048
    for turn in range(turns):
        for p in range(ports):
            word = {"write": 0, "atom": p * apart + turn * 2048, "count": 2048}
            value = bench.layouts["request"].const(word).as_value().value
            script.send(f"request{p}", int(value))
    for p in range(ports):
        script.wait(f"read{p}", turns * 2048)
    found = bench.simulation.run([script], deadline=60_000)
    beats = sorted(t.cycle for p in range(ports) for t in found.transfers[f"read{p}"])
    quarter = len(beats) // 4
    inner = beats[quarter:-quarter]
    return len(inner) * config.timing["ccd_s"] / ((inner[-1] - inner[0]) * config.slots)


@pytest.mark.cosim
@slow
@pytest.mark.parametrize(
    ("part", "slots", "ports", "sizes"),
    [
        ("sdr-mt48lc16m16", 1, 1, {"depth": 64}),
        ("hbm3-6400", 1, 1, {"depth": 256, "share": 4}),
        ("hbm3-6400", 1, 2, {"depth": 256}),
        ("hbm3-6400", 4, 2, {"depth": 512, "share": 4}),
    ],
)
def test_as_fast_as_the_controller_alone(
    part: str,
    slots: Any,
    ports: int,
    sizes: dict[str, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    known = PARTS[part]
    config = ControllerConfig(
        organisation=known.organisation, timing=known.timing, slots=slots, streams=2, visits=8
    )
    folder = models(tmp_path_factory)
    alone = MemoryBench(config, folder).measure(PATTERNS["seq-read"](config)).efficiency
    bench = PortBench(config, folder, ports=ports, **sizes)
    here = _sequential(config, bench, ports, 120_000 // config.timing["ccd_s"])
    assert here >= 0.99 * alone, f"{here:.4f} instead of {alone:.4f}"


FAULTS: dict[str, tuple[type, str, str]] = {
    "room for reads is not kept": (
        port_buffer.PortBuffer,
        "room.eq(piece <= vacant)",
        "room.eq(1)",
    ),
    "runs are sent before their data": (
        port_buffer.PortBuffer,
        "cut_write.eq(port.write.valid & gather & ends)",
        "cut_write.eq(gather & ends)",
    ),
    "a write in part is not told as one": (
        port_buffer.PortBuffer,
        "run.run.partial.eq(write & part & ~split)",
        "run.run.partial.eq(0)",
    ),
    "a run of a write ends late": (
        port_buffer.PortBuffer,
        "(count + 1 == piece) | part",
        "(count == piece) | part",
    ),
    "done of every run": (port_buffer.PortBuffer, "run.done & write_ends.out", "run.done"),
    "last of every run": (
        port_buffer.PortBuffer,
        "answer.last.eq(back.last & read_ends.out[p])",
        "answer.last.eq(back.last)",
    ),
    "the word that waits is not kept": (
        atom_store.ReadStore,
        "at.eq(Mux(take, head, shown))",
        "at.eq(head)",
    ),
    "marks are not taken": (marks.Marks, "head.eq(head + sum(self.take))", "head.eq(head)"),
}


@pytest.mark.cosim
@slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with installed([Mutant(*FAULTS[fault])]):
        bench = PortBench(CONFIGS[FAST], models(tmp_path_factory), ports=3)
    requests = random_requests(bench.config, seed=3, number=400, ports=3, longest=150, masked=True)
    try:
        results = [bench.play(requests, gates=RANDOM, deadline=30_000), _held(bench)]
    except Deadline:
        return
    assert any(result.wrong or result.errors or result.told != GOOD for result in results)


def test_wrong_sizes_are_refused() -> None:
    config = SMALL["sdr"]
    refuses(lambda: PortBuffer(config, depth=96), "depth must be a power of two")
    refuses(lambda: PortBuffer(config, depth=32), "at least 64")
    refuses(lambda: PortBuffer(config, share=3), "share must be 2, 4 or 8")
    refuses(lambda: PortBuffer(config, count_bits=0), "count_bits must be from 1")
    refuses(lambda: Streams(config, 4), "number must be from 1 to 3")
