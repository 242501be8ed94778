"""The board's top level."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from serial_line import INPUTS, OUTPUTS, PROTOCOL

from systolith.array.engine import Engine
from systolith.boards.table import BOARDS
from systolith.config.presets import PRESETS
from systolith.emit.verilog import emit_design
from systolith.harness.toolchain import verilator
from systolith.host.engine import engine_shell
from systolith.host.shell import SHELL, ShellConfig, shell_verilog

ULX3S = BOARDS["ulx3s-85f"]


def shell(**change: Any) -> ShellConfig:
    arguments: dict[str, Any] = {"board": ULX3S, "engine": "engine", "protocol": PROTOCOL}
    return ShellConfig(**{**arguments, "no_ready": {"answer"}, **change})


def test_shell_verilog() -> None:
    text = shell_verilog(shell())
    header = re.search(rf"module {SHELL}\(([^)]*)\);", text)
    assert header is not None
    assert sorted(header[1].split(", ")) == ["clk", "rx", "tx", "wifi_gpio0"]
    assert "assign wifi_gpio0 = 1'h1;" in text
    instance = text[text.index("  engine engine (") :]
    instance = instance[: instance.index(");\n")]
    for stream in [*INPUTS, *OUTPUTS]:
        assert f".{stream}__payload(" in instance and f".{stream}__valid(" in instance
        assert (f".{stream}__ready(" in instance) == (stream != "answer")
    assert ".clk(clk)" in instance and ".rst(" in instance
    assert text == shell_verilog(shell()), "the same input must give the same bytes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baud": 9_000_000}, "baud must be at most 1/4 of the 25000000 Hz of ulx3s-85f"),
        ({"baud": 4_700_000}, "within 2% of a divisor, not 4700000"),
        ({"no_ready": {"x"}}, "no_ready must name some of write, ask, done, answer, not x"),
    ],
)
def test_shell_config_rejects(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shell(**change)


@pytest.mark.parametrize("name", ["tiny", "demo8"])
def test_shell_and_engine_fit_together(name: str, tmp_path: Path) -> None:
    """Every port but the engine's observations is connected at its own width."""
    config = PRESETS[name].config
    design = emit_design(Engine(config), config.name)
    text = shell_verilog(engine_shell(config, design.top, ULX3S)) + design.verilog()
    (tmp_path / "board.v").write_text(text)
    tool = verilator()
    run = subprocess.run(
        [tool.path, "--lint-only", "-Wwarn-PINMISSING", "-Wno-fatal", "--top", SHELL, "board.v"],
        cwd=tmp_path,
        env=tool.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    said = re.findall(r"missing pin: '(\w+)'|(port connection .*)", run.stderr)
    assert sorted(said) == [("event__payload", ""), ("event__valid", "")]
