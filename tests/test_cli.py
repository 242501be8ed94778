"""The command: JSON for programs, one message for mistakes, exit codes."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from systolith.config.files import to_toml
from systolith.config.presets import PRESETS, tiny

COMMAND = Path(sys.executable).with_name("systolith")


def _call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
    )


def _json(*arguments: object, cwd: Path | None = None) -> Any:
    done = _call(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_presets() -> None:
    assert [p["name"] for p in _json("presets")["presets"]] == list(PRESETS)


def test_generate(tmp_path: Path) -> None:
    answer = _json("generate", "--config", "tiny", "-o", tmp_path / "out")
    assert set(answer) == {"top", "files", "modules", "lines", "bytes", "seconds"}
    assert answer["top"] == "tiny_engine"
    text = (tmp_path / "out" / "tiny.v").read_text()
    assert (answer["bytes"], answer["lines"]) == (len(text), text.count("\n"))
    for name in answer["files"]:
        assert (tmp_path / "out" / name).is_file()


def test_perf() -> None:
    answer = _json("perf", "--config", "demo16", "--gemm", "1,128,128")
    assert answer == {
        "cycles": 290,
        "pipeline_cycles": 3,
        "utilization": pytest.approx(128 * 128 / (290 * 256)),
        "roof": 0.25,
        "bound_by": "weights",
        "split_used": "1x1",
    }
    assert (
        _json("perf", "-c", "demo16", "--gemm", "1,128,128", "--split", "auto")["split_used"]
        == "4x2"
    )


@pytest.mark.cosim
def test_simulate(tmp_path: Path) -> None:
    answer = _json(
        "simulate",
        "-c",
        "tiny",
        "--gemm",
        "3,5,7",
        "--gemm",
        "2,2,9",
        "--split",
        "2x2",
        "--seed",
        "4",
        "--trace",
        tmp_path / "trace.txt",
        cwd=tmp_path,
    )
    assert set(answer) == {"runs", "cycles_per_second", "build_seconds"}
    for n, (run, (m, cols, k)) in enumerate(
        zip(answer["runs"], ((3, 5, 7), (2, 2, 9)), strict=True)
    ):
        rng = np.random.default_rng(4 + n)
        x = rng.integers(-128, 128, dtype=np.int8, size=(m, k)).astype(np.int64)
        w = rng.integers(-128, 128, dtype=np.int8, size=(k, cols)).astype(np.int64)
        digest = hashlib.sha256((x @ w).astype("<i4").tobytes()).hexdigest()
        assert (run["gemm"], run["split_used"]) == (f"{m},{cols},{k}", "2x2")
        assert (run["mismatches"], run["output_sha256"]) == (0, digest)
        assert run["cycles"] == run["cycles_model"]
    assert "command" in (tmp_path / "trace.txt").read_text()


@pytest.mark.cosim
def test_simulate_from_files(tmp_path: Path) -> None:
    x, w = np.full((2, 3), -128, np.int8), np.full((3, 4), 127, np.int8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "w.npy", w)
    answer = _json(
        "simulate",
        "-c",
        "tiny",
        "--gemm",
        "2,4,3",
        "--x",
        "x.npy",
        "--w",
        "w.npy",
        "--out",
        "y.npy",
        "--waves",
        "wave.vcd",
        cwd=tmp_path,
    )
    assert answer["mismatches"] == 0
    assert (np.load(tmp_path / "y.npy") == x.astype(np.int32) @ w.astype(np.int32)).all()
    assert (tmp_path / "wave.vcd").stat().st_size > 1000


MISTAKES = [
    (("perf", "-c", "demo16", "--gemm", "0,1,1"), "gemm: m must be at least 1, not 0"),
    (("perf", "-c", "demo16", "--gemm", "1,1"), "gemm must be three integers M,N,K, not '1,1'"),
    (("perf", "-c", "demo16", "--gemm", "1,1,x"), "gemm must be three integers"),
    (("perf", "-c", "demo16", "--gemm", "1,9999,9999"), "needs 1562500 words of memory.w_depth"),
    (
        ("perf", "-c", "demo16", "--gemm", "1,1,1", "--split", "3x1"),
        "split must be one of 1x1, 1x2",
    ),
    (("perf", "-c", "nope", "--gemm", "1,1,1"), "config must be a preset (tiny, demo8"),
    (("simulate", "-c", "tiny", "--gemm", "1,1,1", "--simulator", "vcs"), "simulator must be"),
    (("simulate", "-c", "tiny", "--gemm", "1,1,1", "--x", "none.npy"), "not a readable .npy"),
    (("generate", "-c", "tiny", "-o", "/proc/none/out"), "choose one that can be written"),
    (("fpga", "-c", "tiny", "--board", "versa"), "board"),
    (("fpga", "-c", "asic128", "--board", "icebreaker"), "needs at least 8192 DSP"),
    (("fpga", "-c", "demo16", "--board", "ulx3s-85f"), "256 DSP, the device has 156"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_mistakes(arguments: tuple[str, ...], message: str) -> None:
    done = _call(*arguments, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_illegal_band_height_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(tiny).replace("row_bands = 2", "row_bands = 3"))
    done = _call("generate", "-c", path, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "array.row_bands must be a power of two, not 3" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.cosim
def test_missing_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(sys.executable)
    (tmp_path / "bin").mkdir()
    for name in ("python3", "make", "perl"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or python)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    done = _call("simulate", "-c", "tiny", "--gemm", "1,1,1", cwd=tmp_path)
    assert done.returncode == 2
    assert "g++" in done.stderr and "Traceback" not in done.stderr
