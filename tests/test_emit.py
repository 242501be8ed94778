"""Emission: one module per configuration, same bytes every time, readable by everyone."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from systolith.array.interface import decode, encode, layout, ports
from systolith.config.files import load_config
from systolith.config.presets import PRESETS, asic128, demo16_mx, tiny
from systolith.emit.files import OutputError, generate
from systolith.emit.manual import engine_manual
from systolith.harness.toolchain import verilator


def test_same_input_same_bytes(tmp_path: Path) -> None:
    one, two = (generate(tiny, tmp_path / name) for name in ("one", "two"))
    assert one.files == two.files
    for name in one.files:
        first = (one.directory / name).read_bytes()
        assert first == (two.directory / name).read_bytes()
        assert str(tmp_path).encode() not in first
        assert b"site-packages" not in first


def test_128_by_128_stays_small(tmp_path: Path) -> None:
    done = generate(asic128, tmp_path)
    assert done.modules <= 100
    assert done.bytes <= 1_000_000


def test_each_module_once(tmp_path: Path) -> None:
    text = (generate(tiny, tmp_path).directory / "tiny.v").read_text()
    names = re.findall(r"^module (\S+?)\(", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert all(name.lstrip("\\").startswith("tiny_") for name in names)
    assert "mac" in text and "initial" not in text


def test_description_matches_the_ports(tmp_path: Path) -> None:
    done = generate(tiny, tmp_path)
    description = json.loads((tmp_path / "tiny.json").read_text())
    text = (tmp_path / done.verilog).read_text()
    top = text[text.index(f"module {done.top}(") :]
    for port in ports(tiny):
        shape = layout(port.name, tiny)
        width = description["ports"][port.name]["width"]
        assert width == shape.size
        way = "input" if port.to_engine else "output"
        assert f"  {way} [{width - 1}:0] {port.name}__payload;" in top
    assert load_config(str(tmp_path / "tiny.toml")) == tiny


@pytest.mark.parametrize("port", ports(tiny), ids=lambda port: port.name)
def test_codec_round_trip(port: object) -> None:
    name = port.name  # type: ignore[attr-defined]
    shape = layout(name, tiny)
    values = {key: (1 << field.width) - 1 for key, field in shape}
    assert encode(name, tiny, values) == (1 << shape.size) - 1
    ones = {key: 1 for key, _ in shape}
    assert decode(name, tiny, encode(name, tiny, ones)) == ones
    key = next(iter(values))
    with pytest.raises(ValueError, match=f"{name}.{key} must be in 0"):
        encode(name, tiny, {**values, key: values[key] + 1})
    with pytest.raises(ValueError, match=f"{name} takes exactly"):
        encode(name, tiny, {"wrong": 0})


def test_unwritable_directory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError, match="choose one that can be written"):
        generate(tiny, blocked / "below")


@pytest.mark.cosim
@pytest.mark.parametrize(
    "name",
    [*(n for n in PRESETS if n != "asic128"), pytest.param("asic128", marks=pytest.mark.slow)],
)
def test_verilator_lint(name: str, tmp_path: Path) -> None:
    done = generate(PRESETS[name].config, tmp_path)
    tool = verilator()
    waivers = tmp_path / done.verilog.replace(".v", ".vlt")
    run = subprocess.run(
        [tool.path, "--lint-only", "-Wall", "--top", done.top, waivers, tmp_path / done.verilog],
        env=tool.env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert not run.stderr


@pytest.mark.cosim
def test_icarus_reads_it(tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not on PyPI; install it to check its reading too")
    done = generate(tiny, tmp_path)
    run = subprocess.run(
        [
            "iverilog",
            "-g2005",
            "-Wall",
            "-s",
            done.top,
            "-o",
            tmp_path / "a.out",
            tmp_path / done.verilog,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_the_manual_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "engine.md"
    assert page.read_text() == engine_manual(demo16_mx), "run make docs"
