"""AXI4-Lite registers: every access by a library's manager, the rest by hand."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from axi_bench import AxiSimulation, models
from dram_traces import SDR, SDR_SHAPE
from numerics_pipeline import refuses

from systolith.emit.files import WAIVERS
from systolith.emit.verilog import emit_design
from systolith.harness.toolchain import verilator
from systolith.memory.axi import lite as lite_module
from systolith.memory.axi.lite import AxiLite
from systolith.memory.axi.memory_registers import EVENTS, memory_registers
from systolith.memory.axi.registers import Field, Register, c_header, check, markdown
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.counters import COUNTERS
from systolith.memory.hbm.parts import PARTS
from systolith.proofs.substitute import Mutant, installed


def _one(name: str, offset: int, access: Any, bits: int, **more: Any) -> Register:
    reset = more.pop("reset", 0)
    fields = (Field(name="value", bits=bits, reset=reset),)
    return Register(name=name, offset=offset, access=access, fields=fields, **more)


TABLE = (
    _one("level", 0x00, "rw", 32, reset=0x1234),
    _one("short", 0x04, "rw", 11),
    _one("state", 0x08, "ro", 32),
    _one("flag", 0x0C, "ro", 1),
    _one("causes", 0x10, "w1c", 9, enable="masked"),
    _one("masked", 0x14, "rw", 9),
    _one("times", 0x20, "counter", 5),
    _one("go", 0x24, "pulse", 2),
)
PLAIN = [
    {n: getattr(r, n) for n in ("name", "offset", "access", "bits", "reset", "enable")}
    for r in TABLE
]


def _config(part: str = "hbm3-6400", **more: Any) -> ControllerConfig:
    known = PARTS[part]
    return ControllerConfig(organisation=known.organisation, timing=known.timing, **more)


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> AxiSimulation:
    return AxiSimulation(
        AxiLite(TABLE, name="test", bits=8), models(tmp_path_factory), device=False
    )


@pytest.mark.cosim
@pytest.mark.parametrize("seed", [0, 5])  # 0 is without gaps
def test_every_access(lite: AxiSimulation, seed: int) -> None:
    found = lite.run("axi_lite", "accesses", table=PLAIN, seed=seed)
    assert found["wrong"] == []
    kinds = ("rw", "w1c", "counter", "pulse")
    assert set(found["seen"]) == {
        *(f"write {k}" for k in kinds),
        *(f"read {k}" for k in (*kinds, "ro", "none")),
    }


@pytest.mark.cosim
def test_by_hand(lite: AxiSimulation) -> None:
    found = lite.run("axi_lite", "pins", table=PLAIN)
    full = found["full"]
    assert found["wrong"] == []
    assert found["answers"] == [0, 0]
    assert found["kept"] == [[0, full], [0, full]]
    assert found["odd"] == [2] * 6
    assert found["cleared"] == 0
    assert found["pulse"] == [1, 0, 0, 0] or found["pulse"] == [0, 1, 0, 0]


FAULTS = {
    "bytes without strobe change": (AxiLite, "(kept & ~mask) | (written & mask)", "written"),
    "clear wins over set": (AxiLite, "(kept & ~clears) | comes", "(kept | comes) & ~clears"),
    "a counter wraps": (AxiLite, "step & ~count.all()", "step"),
    "a write that is refused is OKAY": (AxiLite, 'if register.access != "ro":', "if True:"),
}


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with installed([Mutant(*FAULTS[fault])]):
        top = lite_module.AxiLite(TABLE, name="test", bits=8)
        simulation = AxiSimulation(top, models(tmp_path_factory), device=False)
    found = simulation.run("axi_lite", "accesses", table=PLAIN, seed=5)
    assert found["wrong"] or simulation.run("axi_lite", "pins", table=PLAIN)["wrong"]


@pytest.mark.parametrize("part", ["hbm3-6400", "hbm2-2400", "sdr-mt48lc16m16"])
def test_registers_of_a_controller(part: str) -> None:
    config = _config(part)
    table = {r.name: r for r in memory_registers(config)}
    check(tuple(table.values()))
    assert set(COUNTERS) <= set(table)
    assert table["interrupt_status"].bits == len(EVENTS)
    assert ("management" in table) == config.managed
    assert table["control"].reset >> 2 & 3 == (2 if part.startswith("sdr") else 1)
    assert (
        emit_design(AxiLite(tuple(table.values()), name="memory"), "x").top == "x_axi_lite_memory"
    )


def test_errors_have_registers_with_ecc_only() -> None:
    names = [r.name for r in memory_registers(_config(ecc="sideband-72"))]
    assert {"errors_corrected", "errors_uncorrectable", "first_uncorrectable"} <= set(names)
    assert not any(r.name.startswith("errors") for r in memory_registers(_config()))


def test_every_register_is_a_port_of_the_controller_or_told_of() -> None:
    config = _config(ecc="sideband-72")
    controller: Any = Controller(config)
    controller._MustUse__silence = True  # its ports are enough
    ports = set(controller.signature.members)
    fields = {f.name for r in memory_registers(config) for f in r.fields if r.name == "control"}
    assert fields <= ports
    assert {"latency", "ready", "asleep", "debt_max", "balance", "overdue", "clear"} <= ports


def test_documentation() -> None:
    table = memory_registers(_config("sdr-mt48lc16m16"))
    text = markdown(table)
    assert "| 0x004 | `control` | 1:0 | `map` | rw | 0 |" in text
    assert len(text.splitlines()) == 2 + sum(len(r.fields) for r in table)
    header = c_header(table, "memory")
    assert "#define MEMORY_CONTROL_MODE_MASK 0x0000000cu" in header
    assert "#define MEMORY_READS 0x080u /* ro */" in header


def test_the_header_is_c(tmp_path: Path) -> None:
    (tmp_path / "registers.h").write_text(c_header(TABLE, "test"))
    text = '#include "registers.h"\nint main(void) { return TEST_SHORT_VALUE_MASK != 0x7ff; }\n'
    (tmp_path / "main.c").write_text(text)
    command = ["cc", "-Wall", "-Werror", "-std=c99", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    subprocess.run([str(tmp_path / "main")], check=True, timeout=60)


def test_wrong_tables_are_refused() -> None:
    refuses(lambda: check(()), "table")
    refuses(lambda: check((TABLE[0], TABLE[0])), "name")
    refuses(lambda: check((TABLE[0], _one("other", 0, "rw", 1))), "offset")
    refuses(lambda: check((_one("causes", 0, "w1c", 9, enable="none"),)), "enable")
    refuses(lambda: _one("big", 0, "rw", 33), "less than or equal to 32")
    refuses(lambda: _one("odd", 2, "rw", 3), "multiple of 4")
    refuses(lambda: _one("read", 0, "ro", 3, reset=1), "reset")
    refuses(lambda: _one("kept", 0, "rw", 3, reset=8), "reset")
    refuses(lambda: AxiLite(TABLE, name="test", bits=3), "bits")


def test_verilator_lint(tmp_path: Path) -> None:
    config = ControllerConfig(organisation=SDR_SHAPE, timing=SDR)
    design = emit_design(AxiLite(memory_registers(config), name="memory"), "memory")
    (tmp_path / "lite.v").write_text(design.verilog())
    (tmp_path / "lite.vlt").write_text(WAIVERS)
    run = subprocess.run(
        [verilator().path, "--lint-only", "-Wall", "--top", design.top, "lite.vlt", "lite.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
