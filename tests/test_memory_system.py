"""The memory controller as a product: at its buses, with its memory behind it."""

import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axi_bench import AxiSimulation, models
from dram_traces import SHAPE, TIGHT
from typer.testing import CliRunner

from systolith.benches.system_design import SystemDesign
from systolith.cli.main import app
from systolith.config.errors import ConfigError
from systolith.config.files import from_dict, load_any, load_config, to_dict
from systolith.config.memory_presets import MEMORY_PRESETS, memory_hbm3, memory_ulx3s
from systolith.devices.sdram_pins import DATA_SHEETS, sdram_verilog
from systolith.emit.memory_files import generate_memory
from systolith.harness.toolchain import verilator
from systolith.memory.axi.memory_registers import EVENTS
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.system.config import MemorySystemConfig
from systolith.memory.system.registers import system_registers

slow = pytest.mark.slow

_SHAPE = replace(SHAPE, rows=64)
HBM = MemorySystemConfig(
    name="hbm",
    controller=ControllerConfig(
        organisation=_SHAPE,
        timing=replace(TIGHT, cl=16, rtw=15),
        streams=5,
        visits=2,
        ecc="word-266-poison",
        alert=8,
    ),
    data_bits=256,
    native=1,
)
CLEAN = {"rules": [], "memory": {}, "wrong": []}


def _offsets(config: MemorySystemConfig) -> dict[str, int]:
    return {r.name: r.offset for r in system_registers(config) if r.access != "pulse"}


@pytest.fixture(scope="module")
def hbm(tmp_path_factory: pytest.TempPathFactory) -> AxiSimulation:
    return AxiSimulation(SystemDesign(HBM), models(tmp_path_factory))


@pytest.fixture(scope="module", params=["plain", "inline"])
def sdr(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, MemorySystemConfig, AxiSimulation]:
    """The ULX3S with a memory that powers up quickly and whose rows age quickly."""
    inline = request.param == "inline"
    config = replace(memory_ulx3s, power_up_us=2, inline_ecc=inline, fill_atoms=1024 * inline)
    top = SystemDesign(config, DATA_SHEETS["mt48lc16m16a2-75"].quick())
    text = sdram_verilog(top, "dut")
    return request.param, config, AxiSimulation(top, models(tmp_path_factory), text=text)


def _clean(found: dict[str, Any]) -> None:
    assert {name: found[name] for name in CLEAN} == CLEAN


@pytest.mark.cosim
def test_traffic_and_registers(hbm: AxiSimulation) -> None:
    found = hbm.run("system_play", "status", offsets=_offsets(HBM))
    _clean(found)
    values = found["registers"]
    assert not found["early"]["start"] & 1  # while the memory is calibrated and filled
    assert values["start"] & 0b1111 == 0b0011
    assert values["latency"] > TIGHT["cl"]
    assert values["reads"] > 100 and values["writes"] > 2000 and values["bank_refreshes"] > 10
    assert [values[f"errors_{n}"] for n in ("uncorrectable", "poisoned", "lost", "refused")] == [
        0
    ] * 4
    assert 0 < values["debt_max"] < 4 * TIGHT["refi"]


@pytest.mark.cosim
def test_errors_are_corrected_told_and_logged(hbm: AxiSimulation) -> None:
    width = 256 + HBM.controller.check_bits
    found = hbm.run("system_play", "errors", offsets=_offsets(HBM), width=width)
    _clean(found)
    told, values = found["told"], found["registers"]
    assert told["double"] == told["irq"] == told["slverr"] == 5
    assert values["errors_corrected"] == told["single"] == 20  # not in the memory: no repair meets
    assert values["errors_uncorrectable"] + values["errors_poisoned"] == told["double"]


@pytest.mark.cosim
def test_native_ports_and_axi_see_each_other(hbm: AxiSimulation) -> None:
    _clean(hbm.run("system_play", "native", atom_bits=HBM.controller.atom_bits))


@pytest.mark.cosim
def test_alerts_are_recovered_from(hbm: AxiSimulation) -> None:
    found = hbm.run("system_play", "alerts", offsets=_offsets(HBM))
    _clean(found)
    values = found["registers"]
    events = values["interrupt_status"]
    assert found["strikes"] > 20
    assert events >> EVENTS.index("recovered") & 1
    assert not events >> EVENTS.index("given_up") & 1
    assert not events >> EVENTS.index("lost") & 1


def _settings(config: MemorySystemConfig, modes: tuple[int, ...]) -> list[dict[str, int]]:
    """Refresh mode, bound, temperature, correction, self-refresh and management, at random."""
    draw, steps = random.Random(12), []
    for _ in range(40):
        control = {"mode": draw.choice(modes), "debt_bound": draw.randint(2, 4)}
        control |= {"hotter": draw.randint(0, 2), "correct": draw.randrange(2)}
        step = {"control": _word(config, "control", **control, sleep=int(draw.random() < 0.2))}
        if config.controller.managed:
            most = draw.randint(16, 40)
            step["management"] = _word(config, "management", threshold=most // 2, most=most)
        steps.append(step)
    return [*steps, {"control": _word(config, "control", mode=modes[0], debt_bound=4, correct=1)}]


def _word(config: MemorySystemConfig, name: str, **values: int) -> int:
    (register,) = (r for r in system_registers(config) if r.name == name)
    word = at = 0
    for field in register.fields:
        word |= values.pop(field.name, 0) << at
        at += field.bits
    assert not values
    return word


def _stays_well(config: MemorySystemConfig, simulation: AxiSimulation) -> None:
    found = simulation.run(
        "system_play",
        "settings",
        offsets=_offsets(config),
        steps=_settings(config, (1, 2)),
        pause=3 * config.controller.timing["refi"] // config.controller.slots,
        timeout_s=400,
    )
    _clean(found)  # what becomes overdue by a smaller bound is told, and never too late
    values = found["registers"]
    assert min(values["bank_refreshes"], values["all_refreshes"]) > 5


@pytest.mark.cosim
def test_settings_may_change_at_any_time(hbm: AxiSimulation) -> None:
    _stays_well(HBM, hbm)


@slow
@pytest.mark.cosim
def test_the_preset_with_fewer_rows(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Four slots, the real timing, four engine ports: all but the size of the memory."""
    controller = memory_hbm3.controller
    shape = replace(controller.organisation, rows=32)
    config = replace(memory_hbm3, controller=replace(controller, organisation=shape))
    product = AxiSimulation(SystemDesign(config), models(tmp_path_factory))
    width = 256 + config.controller.check_bits
    _clean(product.run("system_play", "native", atom_bits=config.controller.atom_bits))
    errors = product.run("system_play", "errors", offsets=_offsets(config), width=width)
    _clean(errors)
    assert errors["told"]["double"] == errors["told"]["irq"] == errors["told"]["slverr"] == 5
    assert errors["registers"]["errors_corrected"] == 20
    # A recovery takes some thousand clocks at worst, in which nothing is refreshed.
    rare = {"least": 4000, "most": 8000, "number": 150}
    alerts = product.run("system_play", "alerts", offsets=_offsets(config), **rare)
    _clean(alerts)
    assert alerts["strikes"] > 4
    assert not alerts["registers"]["interrupt_status"] >> EVENTS.index("given_up") & 1
    _stays_well(config, product)


@slow
@pytest.mark.cosim
def test_board_memory_at_its_pins(sdr: tuple[str, MemorySystemConfig, AxiSimulation]) -> None:
    name, config, simulation = sdr
    found = simulation.run("system_play", "status", offsets=_offsets(config))
    _clean(found)
    assert found["registers"]["start"] & 0b1111 == 0b0011
    assert found["registers"]["all_refreshes"] > 10
    if name == "inline":
        assert found["registers"]["inline_corrected"] == 0
        assert found["registers"]["inline_uncorrectable"] == 0


@pytest.mark.parametrize("name", ["memory-ulx3s", pytest.param("memory-hbm3", marks=slow)])
def test_generate(name: str, tmp_path: Path) -> None:
    config = MEMORY_PRESETS[name].config
    one, two = (generate_memory(config, tmp_path / n) for n in ("one", "two"))
    for file in one.files:
        first = (one.directory / file).read_bytes()
        assert first == (two.directory / file).read_bytes()
        assert str(tmp_path).encode() not in first
    assert load_any(str(one.directory / f"{config.name}.toml")) == config
    run = subprocess.run(
        [
            verilator().path,
            "--lint-only",
            "-Wall",
            "--top",
            one.top,
            f"{config.name}.vlt",
            f"{config.name}.v",
        ],
        cwd=one.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (run.returncode, run.stderr) == (0, "")
    description = json.loads((one.directory / f"{config.name}.json").read_text())
    text = (one.directory / one.verilog).read_text()
    top = text[text.index(f"module {one.top}(") :]
    for port, known in description["ports"].items():
        way = "input" if known["direction"] == "in" else "output"
        bits = f"[{known['width'] - 1}:0] " if known["width"] > 1 else ""
        assert f"  {way} {bits}{port};" in top
    manual = (one.directory / f"{config.name}.md").read_text()
    for register in description["registers"]:
        assert f"`{register['name']}`" in manual


def test_the_command_generates_a_memory(tmp_path: Path) -> None:
    known = CliRunner().invoke(
        app, ["generate", "-c", "memory-ulx3s", "-o", str(tmp_path), "--json"]
    )
    assert known.exit_code == 0
    assert json.loads(known.stdout)["top"] == "memory_ulx3s_system"
    listed = CliRunner().invoke(app, ["presets", "--json"])
    assert [m["name"] for m in json.loads(listed.stdout)["memories"]] == list(MEMORY_PRESETS)


def test_an_engine_is_not_a_memory() -> None:
    with pytest.raises(ConfigError, match="memory-hbm3 is a memory; here it must be an engine"):
        load_config("memory-hbm3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inline_ecc": True}, "inline_ecc must be false for HBM"),
        ({"native": 7}, "controller.streams must be at least 11 for these ports, not 8"),
        ({"depth": 100}, "depth must be a power of two, not 100"),
        ({"fill_atoms": 1 << 30}, "fill_atoms must be at most 16777216"),
        ({"address_bits": 20}, "address_bits must be at least 29"),
        ({"native": -1}, "native: input should be greater than or equal to 0, not -1"),
    ],
)
def test_refused_configurations(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict({**to_dict(memory_hbm3), **change}, MemorySystemConfig)
