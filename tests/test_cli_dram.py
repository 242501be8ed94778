"""``systolith dram``: rules of a memory, times in nanoseconds, requests for simulators."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from systolith.cli.main import app
from systolith.config.files import to_toml
from systolith.config.memory_part import load_part
from systolith.config.memory_presets import MEMORY_PRESETS
from systolith.config.presets import PRESETS
from systolith.emit.dram_table import dram_table
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.patterns import PATTERNS
from systolith.perf.memory.trace import read_addresses, read_vectors, requests


def _call(*arguments: object, command: str = "dram") -> Any:
    return CliRunner().invoke(app, [command, *map(str, arguments)])


@pytest.mark.parametrize("name", PARTS)
def test_the_table(name: str) -> None:
    done = _call("--preset", name, "--json")
    assert json.loads(done.stdout) == dram_table(PARTS[name])
    shown = _call("--preset", name)
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    for rule in dram_table(PARTS[name])["constraints"]:
        assert rule["name"].split()[0] in shown.stdout


@pytest.mark.parametrize(
    ("form", "read"), [("vectors", read_vectors), ("addresses", read_addresses)]
)
def test_requests(form: str, read: Any, tmp_path: Path) -> None:
    file = tmp_path / "kv.txt"
    done = _call("--pattern", "kv-decode", "--runs", 20, "--form", form, "-o", file)
    assert done.exit_code == 0, done.output
    part = PARTS["hbm3-6400"]
    config = ControllerConfig(organisation=part.organisation, timing=part.timing, streams=16)
    asked = list(requests(config, PATTERNS["kv-decode"](config), runs=20))
    assert list(read(file.read_text().splitlines(), config)) == asked
    assert f"{len(asked)} requests of 32 bytes" in done.stderr.replace("\n", " ")


def _file(folder: Path, **times: str) -> Path:
    text = to_toml(MEMORY_PRESETS["memory-ulx3s"].config)
    for name, value in times.items():
        lines = text.splitlines()
        (at,) = (n for n, line in enumerate(lines) if line.startswith(f"{name} = "))
        lines[at] = f'{name} = "{value}"'
        text = "\n".join(lines)
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_a_memory_of_ones_own_in_nanoseconds(tmp_path: Path) -> None:
    """At 100 MHz: times are rounded up, the refresh interval down."""
    file = _file(tmp_path, rp="20.1 ns", refi="7812.5ns", rc="81 ns")
    timing = load_part(str(file)).timing
    assert (timing.tck_ps, timing.rp, timing.refi, timing.rc) == (10_000, 3, 781, 9)
    told = json.loads(_call("--preset", file, "--json").stdout)
    assert ("tRP", 3) in {(rule["name"], rule["latency"]) for rule in told["constraints"]}
    run = _call("--preset", file, "--pattern", "seq-read", "--model", "--json", command="memory")
    assert run.exit_code == 0, run.output
    assert 0.95 < json.loads(run.stdout)["efficiency"] < 1


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"rp": "0 ns"}, "controller.timing.rp must be more than 0 ns, not 0.0"),
        (
            {"rp": "-3 ns"},
            "controller.timing.rp must be cycles or a time as \"15 ns\", not '-3 ns'",
        ),
        ({"rp": "20 us"}, "controller.timing.rp must be cycles or a time"),
        ({"rc": "30 ns"}, "controller.timing.rc must be at least ras"),
    ],
)
def test_times_that_are_refused(times: dict[str, str], message: str, tmp_path: Path) -> None:
    done = _call("--preset", _file(tmp_path, **times))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "ddr9"], "--preset must be one of hbm2-2400, "),
        (["--pattern", "seq-read"], "--pattern and --output go together"),
        (["--pattern", "zigzag", "-o", "a.txt"], "--pattern must be one of seq-read, "),
        (["--pattern", "seq-read", "-o", "no/a.txt"], "its directory does not exist"),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_an_engine_is_no_memory(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text(to_toml(PRESETS["tiny"].config))
    assert "it has no memory controller" in " ".join(_call("--preset", file).stderr.split())
