"""The command with --acts and --weights: JSON for programs, one message for mistakes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_cases import (
    SETS,
    bits,
    block_config,
)

from systolith.compiler.split import Gemm
from systolith.config.files import load_config, to_toml
from systolith.golden.numerics import matmul, quantize, tensor_scale


def _call(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("systolith")
    return subprocess.run(
        [command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
    )


PERF = ("perf", "-c", "demo16", "--gemm", "4,64,100")
MISTAKES = [
    ((*PERF, "--acts", "fp8"), "format must be one of int8, int4, mxint8"),
    ((*PERF, "--acts", "bf16"), "bf16 x bf16 is not a legal pair of formats"),
    (
        (*PERF, "--acts", "int8", "--weights", "e2m1"),
        "int8 x e2m1 is not a legal pair of formats; int8 goes with int8, int4",
    ),
    (
        ("perf", "-c", "tall.toml", "--gemm", "4,64,100", "--acts", "nvfp4", "--split", "auto"),
        "array.row_bands must be 4 or more for nvfp4xnvfp4, not 2: a band of 32 rows is taller",
    ),
    (
        ("simulate", "-c", "tiny", "--gemm", "2,3,4", "--acts", "e4m3", "--x", "x.npy"),
        "--x x.npy: must be float32 of shape (2, 4), not float64 (2, 4)",
    ),
    (
        ("simulate", "-c", "tiny", "--gemm", "2,3,4", "--acts", "int4", "--x", "i.npy"),
        "x must hold codes of int4, -8..7, one an item, not 9",
    ),
    (
        ("simulate", "-c", "tiny", "--gemm", "2,3,4", "--acts", "nvfp4", "--x", "nan.npy"),
        "tensor_scale: x must be finite; it holds NaN or infinity",
    ),
    (
        ("generate", "-c", "tiny", "--weights", "int8", "--acts", "e4m3", "-o", "out"),
        "e4m3 x int8 is not a legal pair of formats; e4m3 goes with mxint8",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: str(value)[:60])
def test_mistakes(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "tall.toml").write_text(to_toml(block_config(None, rows=64, row_bands=2)))
    np.save(tmp_path / "x.npy", np.zeros((2, 4)))
    np.save(tmp_path / "i.npy", np.full((2, 4), 9, np.int8))
    np.save(tmp_path / "nan.npy", np.full((2, 4), np.nan, np.float32))
    done = _call(*arguments, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def _json(*arguments: object, cwd: Path) -> Any:
    done = _call(*arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_formats_of_a_prediction(tmp_path: Path) -> None:
    plain = _json(*PERF, cwd=tmp_path)
    assert "acts" not in plain and "formats" not in plain
    same = _json(*PERF, "--acts", "int8", cwd=tmp_path)
    assert same == {**plain, "acts": "int8", "weights": "int8"}
    built = _json(*PERF, "--acts", "e4m3", "--weights", "e2m1", cwd=tmp_path)
    assert built["formats"] == {"acts": "e4m3", "weights": "e2m1"}
    assert built["cycles"] > plain["cycles"]
    (tmp_path / "mine.toml").write_text(to_toml(block_config(SETS["mixed"])))
    own = ("perf", "-c", "mine.toml", "--gemm", "1,4,40")
    enabled = _json(*own, "--acts", "e5m2", "--weights", "e3m2", cwd=tmp_path)
    assert (enabled["acts"], enabled["weights"]) == ("e5m2", "e3m2")
    assert "formats" not in enabled
    assert _json(*own, cwd=tmp_path)["weights"] == "int8"  # its first pair
    assert _json(*own, "--weights", "e2m1", cwd=tmp_path)["formats"]["acts"] == "e2m1"
    tall = ("perf", "-c", "asic128", "--gemm", "4,64,100", "--acts", "e4m3")  # four blocks high
    assert _json(*tall, cwd=tmp_path)["split_used"] == "1x1"


def test_generate_for_formats(tmp_path: Path) -> None:
    answer = _json("generate", "-c", "tiny", "--acts", "e2m1", "-o", tmp_path / "out", cwd=tmp_path)
    assert answer["formats"] == {"acts": "e2m1", "weights": "e2m1"}
    again = load_config(str(tmp_path / "out" / "tiny.toml"))
    assert [p.name for p in again.array.pairs] == ["e2m1xe2m1"]


@pytest.mark.cosim
def test_simulate_formats(tmp_path: Path) -> None:
    gemm = Gemm(m=2, n=3, k=50)
    rng = np.random.default_rng(6)
    x = rng.standard_normal((gemm.m, gemm.k), dtype=np.float32)
    w = rng.standard_normal((gemm.k, gemm.n), dtype=np.float32)
    np.save(tmp_path / "x.npy", x)
    base = ("simulate", "-c", "tiny", "--gemm", gemm, "--seed", 6, "--out", "y.npy")
    for acts, weights in (("e4m3", "e2m1"), ("nvfp4", "nvfp4")):
        scales = [1.0, 1.0]
        if acts == "nvfp4":
            scales = [float(tensor_scale(x)), float(tensor_scale(w))]
        x_codes, x_scales = quantize(x, acts, tensor_scale=scales[0])
        w_codes, w_scales = quantize(w.T, weights, tensor_scale=scales[1])
        assert x_scales is not None and w_scales is not None
        both = float(np.float32(scales[0] * scales[1]))
        wanted = matmul(x_codes, x_scales, w_codes.T, w_scales.T, acts, weights, tensor_scale=both)
        asked = ("--acts", acts, "--weights", weights, "--x", "x.npy")
        answer = _json(*base, *asked, cwd=tmp_path)
        assert (answer["acts"], answer["weights"], answer["mismatches"]) == (acts, weights, 0)
        assert answer["cycles"] == answer["cycles_model"]
        digest = hashlib.sha256(wanted.astype("<f4").tobytes()).hexdigest()
        assert answer["output_sha256"] == digest
        y = np.load(tmp_path / "y.npy")
        assert y.dtype == np.float32 and bits(y) == bits(wanted)
    answer = _json(*base, "--acts", "int8", "--weights", "int4", cwd=tmp_path)
    rng = np.random.default_rng(6)
    x = rng.integers(-128, 128, (gemm.m, gemm.k), dtype=np.int8).astype(np.int64)
    w = rng.integers(-8, 8, (gemm.k, gemm.n), dtype=np.int8).astype(np.int64)
    assert (answer["mismatches"], answer["cycles"]) == (0, answer["cycles_model"])
    y = np.load(tmp_path / "y.npy")
    assert y.dtype == np.int32 and (y == x @ w).all()
