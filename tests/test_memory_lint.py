"""The emitted controllers are clean for Verilator, and the same on every run."""

import subprocess
from pathlib import Path

import pytest

from systolith.emit.files import WAIVERS
from systolith.emit.verilog import emit_design
from systolith.harness.toolchain import verilator
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.parts import PARTS


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("part", "slots"),
    [
        ("hbm3-6400", 1),
        pytest.param("hbm3-6400", 4, marks=pytest.mark.slow),
        ("sdr-mt48lc16m16", 1),
    ],
)
def test_verilator_lint(part: str, slots: int, tmp_path: Path) -> None:
    known = PARTS[part]
    config = ControllerConfig(
        organisation=known.organisation, timing=known.timing, slots=4 if slots == 4 else 1
    )
    design = emit_design(Controller(config), config.name)
    text = design.verilog()
    assert str(Path.home()) not in text
    if slots == 4:
        assert emit_design(Controller(config), config.name).verilog() == text
    (tmp_path / "memory.v").write_text(text)
    (tmp_path / "memory.vlt").write_text(WAIVERS)
    run = subprocess.run(
        [verilator().path, "--lint-only", "-Wall", "--top", design.top, "memory.vlt", "memory.v"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
