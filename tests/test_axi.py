"""AXI4 in front of a controller with its memory: random traffic, every kind of burst, faults."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.sim import Simulator
from axi_bench import AxiSimulation, models
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT
from numerics_pipeline import refuses

from systolith.benches import axi_design
from systolith.benches.axi_design import AxiDesign
from systolith.emit.files import WAIVERS
from systolith.emit.verilog import emit_design
from systolith.harness.errors import Deadline
from systolith.harness.toolchain import verilator
from systolith.memory import port_buffer
from systolith.memory.axi import burst, read_path, write_path
from systolith.memory.axi.front import AxiFront
from systolith.memory.axi.signature import AxiConfig
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.substitute import Mutant, installed

slow = pytest.mark.slow

_HBM: dict[str, Any] = {
    "organisation": replace(SHAPE, sids=1, rows=128),
    "timing": TIGHT,
    "visits": 2,
}
_SDR = replace(SDR_SHAPE, rows=256, columns=16, atom=2, mask=False)
DESIGNS: dict[str, tuple[ControllerConfig, dict[str, int]]] = {
    "hbm-32": (ControllerConfig(streams=2, **_HBM), {"data_bits": 32}),
    # Writes in part are merged by the controller; a beat is two atoms.
    "sdr-32": (
        ControllerConfig(organisation=_SDR, timing=SDR, streams=2, visits=1),
        {"data_bits": 32},
    ),
    "ecc-64": (ControllerConfig(streams=2, ecc="sideband-72", **_HBM), {"data_bits": 64}),
    "hbm-256-4": (ControllerConfig(streams=3, slots=4, **_HBM), {"data_bits": 256}),
    "hbm-512": (ControllerConfig(streams=2, **_HBM), {"data_bits": 512}),
}
FAST, CLEAN = "hbm-32", {"rules": [], "memory": {}, "wrong": []}
GAPS = [
    {},
    {"aw": 0.3, "w": 0.8, "ar": 0.5, "b": 0.4, "r": 0.6},
    {"aw": 0.9, "w": 0.3, "ar": 0.9, "b": 0.9, "r": 0.3},
    {"aw": 0.05, "w": 1.0, "ar": 0.2, "b": 0.05, "r": 1.0},
]


def _capacity(name: str) -> int:
    config, _ = DESIGNS[name]
    return config.organisation.atom << config.atom_bits


def _ids(names: Any) -> list[Any]:
    return [pytest.param(n, marks=[] if n == FAST else [slow]) for n in names]


@pytest.fixture(scope="module", params=_ids(DESIGNS))
def design(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, AxiSimulation]:
    config, widths = DESIGNS[request.param]
    top = AxiDesign(config, outstanding=4, **widths)
    return request.param, AxiSimulation(top, models(tmp_path_factory))


def _clean(found: dict[str, Any]) -> None:
    assert {name: found[name] for name in CLEAN} == CLEAN


@pytest.mark.cosim
@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=slow) for s in (2, 3))])
def test_random_traffic(design: tuple[str, AxiSimulation], seed: int) -> None:
    _clean(design[1].run("axi_traffic", "traffic", seed=seed, users=3 + seed % 2))


@pytest.mark.cosim
@pytest.mark.parametrize("gaps", [0, *(pytest.param(n, marks=slow) for n in (1, 2, 3))])
def test_every_kind_of_burst(design: tuple[str, AxiSimulation], gaps: int) -> None:
    name, simulation = design
    options = {"seed": 10 + gaps, "capacity": _capacity(name), "rates": GAPS[gaps]}
    _clean(simulation.run("axi_protocol", "bursts", **options))


@pytest.mark.cosim
@pytest.mark.parametrize("channel", ["r", pytest.param("b", marks=slow)])
def test_one_direction_never_waits_for_the_other(
    design: tuple[str, AxiSimulation], channel: str
) -> None:
    name, simulation = design
    refi = DESIGNS[name][0].timing["refi"]
    found = simulation.run(
        "axi_protocol", "blocked", channel=channel, cycles=3 * refi, capacity=_capacity(name)
    )
    _clean(found)
    assert found["stuck"] == (0 if channel == "r" else 16)


@pytest.mark.cosim
def test_lost_data_is_an_error_and_no_other_data(design: tuple[str, AxiSimulation]) -> None:
    found = design[1].run("axi_protocol", "lost", capacity=_capacity(design[0]))
    _clean(found)
    config, widths = DESIGNS[design[0]]
    assert found["bad"] == max(1, 8 * config.organisation.atom // widths["data_bits"])


@pytest.mark.cosim
def test_more_beats_than_announced_do_not_hang(design: tuple[str, AxiSimulation]) -> None:
    found = design[1].run("axi_protocol", "extra", capacity=_capacity(design[0]))
    assert (found["rules"], found["answers"]) == ([], [2, 2, 0])


@pytest.mark.cosim
@slow
def test_reset_in_the_middle_of_bursts(design: tuple[str, AxiSimulation]) -> None:
    found = design[1].run("axi_traffic", "interrupted", seed=2)
    _clean(found)
    assert all(found["open"])  # bursts of both directions were under way


@pytest.mark.cosim
@slow
def test_a_narrow_bus_is_never_idle(tmp_path_factory: pytest.TempPathFactory) -> None:
    config, widths = DESIGNS["hbm-32"]
    simulation = AxiSimulation(AxiDesign(config, outstanding=4, **widths), models(tmp_path_factory))
    found = simulation.run("axi_traffic", "streaming")
    _clean(found)
    for name, channel in (("write", "w"), ("read", "r"), ("both", "w"), ("both", "r")):
        beats, cycles = found[name][channel]
        assert beats == 768
        assert cycles <= 1.02 * beats, name


def test_one_beat_per_clock() -> None:
    """Bus and atom are as wide; the memory is always there; long bursts follow each other."""
    config = AxiConfig(data_bits=256, atom=32, atom_bits=10, outstanding=4)
    front: Any = AxiFront(config)
    beats: dict[str, list[int]] = {"w": [], "r": []}
    done: list[int] = []

    async def bench(ctx: Any) -> None:
        for name in ("aw", "ar"):
            ctx.set(getattr(front, f"s_axi_{name}len"), 63)
            ctx.set(getattr(front, f"s_axi_{name}size"), 5)
            ctx.set(getattr(front, f"s_axi_{name}burst"), 1)
            ctx.set(getattr(front, f"s_axi_{name}valid"), 1)
        for signal in (front.s_axi_rready, front.s_axi_bready):
            ctx.set(signal, 1)
        ctx.set(front.s_axi_wstrb, -1)
        for port in (front.reads, front.writes):
            ctx.set(port.request.ready, 1)
        ctx.set(front.reads.read.valid, 1)
        ctx.set(front.writes.write.ready, 1)
        count = {"w": 0, "r": 0}
        for cycle in range(700):
            await ctx.tick()
            ctx.set(front.s_axi_wvalid, 1)
            ctx.set(front.s_axi_wlast, count["w"] % 64 == 63)
            for name in count:
                valid, ready = (getattr(front, f"s_axi_{name}{s}") for s in ("valid", "ready"))
                if ctx.get(valid) and ctx.get(ready):
                    beats[name].append(cycle)
                    count[name] += 1
            done.append(ctx.get(front.writes.write.valid & front.writes.write.ready))
            ctx.set(front.writes.done, sum(done) % 64 == 0 and done[-1])

    simulator = Simulator(front)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    for name, cycles in beats.items():
        assert len(cycles) > 600, name
        steady = cycles[8:]  # the first beats come before their burst
        gaps = [c for c in range(steady[0], steady[-1]) if c not in steady]
        assert gaps == [], name


FAULTS: dict[str, tuple[type, str, str, str, dict[str, Any]]] = {
    "bursts cross 4 KB": (burst.Planner, "(end < page)", "(end < 2 * page)", "bursts", {}),
    "WRAP goes on": (
        burst.Beats,
        "(now.low & ~now.wrap) | (ahead & now.wrap)",
        "ahead",
        "bursts",
        {},
    ),
    "the address is not checked": (
        burst.Planner,
        "held.addr[config.capacity_bits :].any()",
        "0",
        "bursts",
        {},
    ),
    "strobes beside the beat write": (
        write_path.WritePath,
        "beat.strb[byte] & inside & written",
        "beat.strb[byte] & written",
        "bursts",
        {},
    ),
    "a misplaced WLAST is OKAY": (
        write_path.WritePath,
        "misplaced.eq(~missing & (beat.last != beats.last))",
        "misplaced.eq(0)",
        "bursts",
        {},
    ),
    "B comes before the write is visible": (
        write_path.WritePath,
        "(none | (pieces.valid & last))",
        "(none | last)",
        "traffic",
        {"seed": 1, "busy": 0.0},
    ),
    "a word is kept for one beat too many": (
        read_path.ReadPath,
        "allowed & beats.ends",
        "allowed & beats.last",
        "bursts",
        {},
    ),
    "lost data is OKAY": (
        read_path.ReadPath,
        "Mux(allowed & ~good, SLVERR, now.resp)",
        "now.resp",
        "lost",
        {},
    ),
    "R changes while it waits": (
        read_path.ReadPath,
        "free.eq(~r.valid | r.ready)",
        "free.eq(1)",
        "bursts",
        {"rates": GAPS[2]},
    ),
    "runs are sent before their data": (
        port_buffer.PortBuffer,
        "cut_write.eq(port.write.valid & gather & ends)",
        "cut_write.eq(gather & ends)",
        "bursts",
        {"rates": GAPS[2]},
    ),
}


@pytest.mark.cosim
@slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    target, old, new, scenario, options = FAULTS[fault]
    config, widths = DESIGNS[FAST]
    with installed([Mutant(target, old, new)]):
        top = axi_design.AxiDesign(config, outstanding=4, **widths)
        simulation = AxiSimulation(top, models(tmp_path_factory))
    if scenario != "traffic":
        options = {"capacity": _capacity(FAST), **options}
    if scenario == "bursts":
        options = {"seed": 11, **options}
    module = "axi_traffic" if scenario == "traffic" else "axi_protocol"
    try:
        found = simulation.run(module, scenario, timeout_s=60, **options)
    except (Deadline, AssertionError):  # it hangs, which the scenario tells by an assertion
        return
    assert found["wrong"] or found["rules"] or found["memory"]


def test_wrong_widths_are_refused() -> None:
    good: dict[str, Any] = {"atom": 32, "atom_bits": 20}
    AxiConfig(**good)
    for name, value, message in (
        ("data_bits", 48, "data_bits must be a power of two"),
        ("data_bits", 16, "greater than or equal to 32"),
        ("data_bits", 1024, "less than or equal to 512"),
        ("outstanding", 3, "outstanding must be a power of two"),
        ("atom", 24, "atom must be a power of two"),
        ("atom_bits", 6, "atom_bits must be at least 7"),
        ("address_bits", 24, "address_bits must be at least 25"),
        ("id_bits", 0, "greater than or equal to 1"),
    ):
        refuses(lambda n=name, v=value: AxiConfig(**{**good, n: v}), message)


@pytest.mark.parametrize(("bits", "atom"), [(32, 2), (32, 32), (64, 4), (256, 32), (512, 32)])
def test_verilator_lint(bits: int, atom: int, tmp_path: Path) -> None:
    config = AxiConfig(data_bits=bits, atom=atom, atom_bits=20)
    design = emit_design(AxiFront(config), "memory")
    text = design.verilog()
    assert "input s_axi_awvalid;" in text
    (tmp_path / "axi.v").write_text(text)
    (tmp_path / "axi.vlt").write_text(WAIVERS)
    run = subprocess.run(
        [verilator().path, "--lint-only", "-Wall", "--top", design.top, "axi.vlt", "axi.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
