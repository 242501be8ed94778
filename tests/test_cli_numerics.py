"""``systolith numerics``: the tables, the JSON, the picture; and the data files behind it."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numerics_accuracy
import numerics_cost
import numpy as np
import pytest
from numerics_pipeline import in_amaranth
from typer.testing import CliRunner

from systolith.cli import numerics as verb
from systolith.cli.accuracy import ACCUMULATORS, LENGTHS, operands
from systolith.cli.main import app
from systolith.golden.numerics import decode
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac
from systolith.numerics.formats import FORMATS
from systolith.numerics.pairs import PAIRS, pair

COMMAND = Path(sys.executable).with_name("systolith")
DOCS = Path(__file__).parents[1] / "docs"


def _call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "numerics", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
    )


def _json(*arguments: object, cwd: Path) -> Any:
    done = _call(*arguments, "--json", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_tables(tmp_path: Path) -> None:
    done = _call(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.stdout
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in lines if "│" in line]
    assert [row[0] for row in rows[: len(FORMATS)]] == list(FORMATS)
    assert ["e4m3", "8", "1/4/3", "448", "2^-9", "NaN", "32 e8m0", "rceil"] in rows
    assert ["mxint16", "e2m1", "32", "25", "2^-15", "2", "yes"] in rows
    at = rows.index(["int8", "int8", "K to 131071", "32", "2^0", "1", "int32"])
    pairs = [frozenset(row[:2]) for row in rows[at : -len(numerics_cost.BUILDS)]]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) >= {frozenset((p.x.name, p.w.name)) for p in PAIRS}
    assert [row[0] for row in rows[-len(numerics_cost.BUILDS) :]] == list(numerics_cost.BUILDS)
    assert not list(tmp_path.iterdir())


def test_json_is_the_table_of_formats(tmp_path: Path) -> None:
    answer = _json(cwd=tmp_path)
    assert set(answer) == {"formats", "pairs", "cells"}
    assert [f["name"] for f in answer["formats"]] == list(FORMATS)
    for found in answer["formats"]:
        form = FORMATS[found["name"]]
        assert found["bits"] == form.width
        assert (found["block"], found["scale"]) == (form.block or None, form.scale or None)
        assert (found["rule"], found["operand"]) == (form.rule or None, form.operand)
        assert found["bits"] == (
            found["signed"] + found["exponent_bits"] + found["fraction_bits"]
            if found["exponent_bits"]
            else form.width
        )
        if form.width <= 16 and found["exponent_bits"]:
            values = decode(np.arange(1 << form.width).astype(np.uint16), form.name)
            finite = values[np.isfinite(values)]
            assert found["largest"] == finite.max()
            assert found["smallest"] == finite[finite > 0].min()
            assert found["nan"] == bool(np.isnan(values).any())
            assert found["infinity"] == bool(np.isinf(values).any())
    assert [(p["x"], p["w"]) for p in answer["pairs"]] == [(p.x.name, p.w.name) for p in PAIRS]
    for found in answer["pairs"]:
        p = pair(found["x"], found["w"])
        assert (found["sum_bits"], found["lsb"]) == (p.block_bits, p.lsb)
        assert (found["passes"], found["max_k"]) == (p.passes, p.max_k)
        assert found["exact_in_fp32"] == p.exact_in_fp32
    assert answer["cells"] == verb.measured()["cells"]


def test_only_some_formats() -> None:
    chosen = ["--acts", "e4m3", "--acts", "mxint8", "--weights", "e2m1"]
    done = CliRunner().invoke(app, ["numerics", *chosen, "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert {f["name"] for f in answer["formats"]} == {"e4m3", "mxint8", "e2m1", "e8m0"}
    assert [(p["x"], p["w"]) for p in answer["pairs"]] == [("mxint8", "e2m1"), ("e4m3", "e2m1")]
    names = [c["name"] for c in answer["cells"]]
    assert names[:2] == ["mxint8 x e2m1", "e4m3 x e2m1"]
    assert all(name.startswith("all") for name in names[2:])


def test_plot(tmp_path: Path) -> None:
    """Every accumulator at every length; the same bytes in either run, and nothing else left."""
    first = _json("--plot", "a.svg", cwd=tmp_path)
    assert set(first) == {"formats", "pairs", "cells", "error"}
    keys = {"accumulator", "k", "median_relative_error", "bias"}
    assert all(set(record) == keys for record in first["error"])
    found = {(r["accumulator"], r["k"]): r for r in first["error"]}
    assert list(found) == [(name, k) for name in ACCUMULATORS for k in LENGTHS]
    assert LENGTHS == (32, 64, 128, 256, 512, 1024, 2048, 4096)
    assert 2e-8 < found["contract", 4096]["median_relative_error"] < 2e-7
    assert abs(found["contract", 4096]["bias"]) < 2e-8
    assert -8e-2 < found["HOPPER", 4096]["bias"] < -6e-2
    again = _call("--plot", "b.svg", "--acts", "e2m1", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "wrote b.svg\n")
    svg = (tmp_path / "a.svg").read_text()
    assert (tmp_path / "b.svg").read_text() == svg
    assert all(name in svg for name in ACCUMULATORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg"]


def test_plot_as_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = json.loads((DOCS / "numerics_accuracy.json").read_text())["error"]
    monkeypatch.setattr(verb, "study", lambda progress: records)
    for name in ("a.PNG", "b.png"):
        verb.plot_error(tmp_path / "made" / name, lambda stage: None)
    first, second = ((tmp_path / "made" / name).read_bytes() for name in ("a.PNG", "b.png"))
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert len(first) > 10_000


MISTAKES = [
    (("--acts", "e4m4"), "acts must be one of int8, int4, mxint8"),
    (("--weights", "bf16"), "weights must be one of int8, int4, mxint8"),
    (("--acts", "nvfp4", "--weights", "e2m1"), "weights must be one of nvfp4 with acts nvfp4, not"),
    (("--plot", "error.pdf"), "plot must end in .png or .svg, not 'error.pdf'"),
    (("--plot", "error"), "plot must end in .png or .svg, not 'error'"),
    (("--plot", "/proc/none/error.svg"), "plot: output file /proc/none/error.svg"),
    (("--plot", "new/error.svg", "--acts", "fp9"), "acts must be one of"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["numerics", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_mistake_from_a_shell(tmp_path: Path) -> None:
    done = _call("--acts", "e4m4", "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("systolith: acts must be one of int8, ")
    assert done.stderr.count("\n") == 1


def test_plot_onto_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.svg").mkdir()
    done = CliRunner().invoke(app, ["numerics", "--plot", str(tmp_path / "a.svg")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "a.svg: not a regular file" in done.stderr
    assert not list((tmp_path / "a.svg").iterdir())


def test_a_picture_that_cannot_be_drawn_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "a.svg"
    old.write_text("old")

    def broken(records: object, path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(verb, "draw", broken)
    monkeypatch.setattr(verb, "study", lambda progress: [])
    with pytest.raises(KeyboardInterrupt):
        verb.plot_error(old, lambda stage: None)
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]


# The files behind it


def test_documented_accuracy() -> None:
    """The committed figures are what the script computes; the page shows them."""
    committed = json.loads((DOCS / "numerics_accuracy.json").read_text())
    assert numerics_accuracy.measure() == committed
    assert all(share < 1 for share in committed["error_over_bound"].values())
    page = (DOCS / "numerics.md").read_text().splitlines()
    assert not set(numerics_accuracy.markdown(committed)) - set(page)


def test_accuracy_needs_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cheaper accumulator is beyond the bound, and the script says so."""
    cheap = numerics_accuracy.matmul
    monkeypatch.setattr(
        numerics_accuracy, "matmul", lambda *args: cheap(*args, ACCUMULATORS["AccSpec(frac=16)"])
    )
    with pytest.raises(ArithmeticError, match="Gaussian, K = "):
        numerics_accuracy.bound_used("Gaussian")


def test_exact_sums() -> None:
    data = operands("octaves")
    s = data.segment(64)
    x, w = decode(s.x_codes, "e4m3"), decode(s.w_codes, "e4m3")
    xs, ws = decode(s.x_scales, "e8m0"), decode(s.w_scales, "e8m0")
    for m, n in ((0, 0), (3, 31)):
        products = x[m] * w[:, n] * xs[m].repeat(32) * ws[:, n].repeat(32)
        assert data.exact[64][m, n] == math.fsum(products)
    with pytest.raises(ValueError, match="kind must be one of Gaussian, outliers"):
        operands("noise")


def test_cells_are_of_todays_hardware() -> None:
    """Sizes in the file are those of the configurations; LUT4 are within their bounds."""
    measured = verb.measured()
    assert measured["flows"] == numerics_cost.FLOWS
    assert [row["name"] for row in measured["cells"]] == list(numerics_cost.BUILDS)
    for row in measured["cells"]:
        config = BlockMacConfig(pairs=numerics_cost.BUILDS[row["name"]], latency=row["latency"])
        assert row["x_formats"] == [form.name for form in config.x.formats]
        assert row["w_formats"] == [form.name for form in config.w.formats]
        assert (row["x_bits"], row["w_bits"]) == (config.x.bits, config.w.bits)
        assert (row["sum_bits"], row["accumulator_bits"]) == (
            config.sum_bits,
            config.accumulator_bits,
        )
    alone = {row["name"]: row["alone"]["lut4"] for row in measured["cells"]}
    assert all(alone[name] <= lut for name, (lut, _) in numerics_cost.BOUNDS.items())
    page = (DOCS / "numerics.md").read_text().splitlines()
    wanted = numerics_cost.markdown(measured["cells"]) + numerics_cost.comparison(measured["cells"])
    assert not set(wanted) - set(page)


def test_the_unit_alone_multiplies_and_adds() -> None:
    """What is measured as a whole unit does the whole work: codes in, exact sum out."""
    rng = np.random.default_rng(8)
    unit = numerics_cost.Alone(BlockMacConfig(pairs=(pair("e4m3", "e4m3"),)))
    x, w = rng.integers(0, 0x7F, (2, 32)).tolist()
    sums = in_amaranth(unit, {"x_code": x, "w_code": w, "x_used": [1] * 32}, "sum").tolist()
    exact = np.cumsum(decode(np.uint8(x), "e4m3") * decode(np.uint8(w), "e4m3")) * 2.0**18
    assert [word & (1 << 42) - 1 for word in sums] == exact.astype(int).tolist()


@pytest.mark.synth
def test_fp4_measured_again(tmp_path: Path) -> None:
    pairs = numerics_cost.BUILDS["e2m1"]
    unit = numerics_cost.Alone(BlockMacConfig(pairs=pairs))
    cell = BlockMac(BlockMacConfig(pairs=pairs, latency=1))
    found = {
        "alone": numerics_cost.cells(unit, "ecp5", tmp_path),
        "ecp5": numerics_cost.cells(cell, "ecp5", tmp_path),
    }
    assert found["alone"]["lut4"] <= numerics_cost.BOUNDS["e2m1"][0]
    measured = verb.measured()
    if numerics_cost.tools() == measured["tools"]:
        (row,) = (r for r in measured["cells"] if r["name"] == "e2m1")
        assert found == {part: row[part] for part in found}
