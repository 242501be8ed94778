"""The engine with block formats: results bit for bit, cycles exactly, under every split."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from block_cases import SETS, Operands, block_config, block_operands, usable_splits

from systolith.array.config import EngineConfig, FormatsConfig
from systolith.benches.gemms import GemmProgram
from systolith.benches.interpreter import interpret
from systolith.benches.play import build_engine
from systolith.benches.random_programs import random_program
from systolith.compiler.gemm import CapacityError, GemmPlan
from systolith.compiler.split import Gemm


def _check(config: EngineConfig, seed: int, commands: int) -> None:
    program = random_program(config, seed=seed, commands=commands, illegal=0.2)
    verdict = program.check(interpret(program)).require()
    assert len(verdict.spans) > commands // 2
    assert len(verdict.spans) < len(program.commands)


@pytest.mark.parametrize(
    "name", [n if n != "fp8_fp4" else pytest.param(n, marks=pytest.mark.slow) for n in SETS]
)
def test_random_programs_in_the_amaranth_simulator(name: str) -> None:
    small = {"rows": 4, "cols": 4, "row_bands": 2, "col_bands": 2}
    _check(block_config(SETS[name], words=(64, 72, 12), **small), seed=4, commands=16)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "shape",
    [
        # Blocks of a single tile, so that N tiles may be inside.
        {"rows": 16, "cols": 2, "row_bands": 2, "col_bands": 1, "tile": 2},
        # Two tiles of columns, or two columns, to a unit of stage B.
        {"rows": 8, "cols": 4, "row_bands": 4, "col_bands": 1, "tile": 2},
        {"rows": 8, "cols": 2, "row_bands": 4, "col_bands": 1, "tile": 1, "latency": 2},
        {"rows": 4, "cols": 4, "row_bands": 1, "col_bands": 1, "tile": 4, "mac_latency": 2},
        {"rows": 8, "cols": 4, "row_bands": 2, "col_bands": 2, "tile": 2, "mac_latency": 0},
    ],
    ids=lambda shape: "-".join(str(v) for v in shape.values()),
)
def test_other_geometries(shape: dict[str, int]) -> None:
    config = block_config(SETS["nvfp4"], words=(64, 128, 16), **shape)  # type: ignore[arg-type]
    _check(config, seed=5, commands=16)


@pytest.mark.parametrize(("frac", "rounding"), [(16, "rne"), (7, "rne"), (23, "rz"), (7, "sr")])
def test_cheaper_accumulators(frac: int, rounding: str) -> None:
    formats = FormatsConfig(acts=("e4m3",), weights=("e2m1",), frac=frac, rounding=rounding)
    small = {"rows": 4, "cols": 4, "row_bands": 2, "col_bands": 2}
    _check(block_config(formats, words=(64, 72, 12), **small), seed=6, commands=12)  # type: ignore[arg-type]


# Those that are built as Verilog, once each.
BUILT = {
    **{
        name: block_config(SETS[name], words=(512, 512, 64))
        for name in ("fp8_fp4", "mxint16", "mixed")
    },
    # Blocks of a single tile, and groups taller than a block.
    "tall": block_config(
        SETS["nvfp4"], rows=32, cols=2, row_bands=4, col_bands=1, latency=2, words=(512, 512, 64)
    ),
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    return shared / "models"


def _gemms(config: EngineConfig, count: int, seed: int) -> Iterator[tuple[GemmPlan, Operands]]:
    """Random GEMMs that fit, in all pairs, splits and orders in turn."""
    rng = np.random.default_rng(seed)
    choices = itertools.cycle(
        (formats, split)
        for formats in config.array.pairs
        for split in usable_splits(config, formats)
    )
    while count:
        m, n, k = (int(v) for v in rng.integers(1, [9, 3 * config.array.cols, 130]))
        gemm = Gemm(m=m, n=n, k=k)
        formats, split = next(choices)
        try:
            plan = GemmPlan(config=config, gemm=gemm, split=split, pair=formats)
        except CapacityError:
            continue
        yield plan, block_operands(rng, formats, gemm)
        count -= 1


# Every pair of formats runs in the test of split invariance: a build less here.
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n == "mixed" else n for n in BUILT]


@pytest.mark.cosim
@pytest.mark.parametrize("name", NAMES)
def test_gemms_on_verilog(name: str, cache: Path) -> None:
    program = GemmProgram(BUILT[name], pad=0x7F)
    for plan, operands in _gemms(BUILT[name], 60, seed=7):
        program.add(plan, *operands)
    played = build_engine(BUILT[name], cache=cache).play(program.program)
    results = program.evaluate(played.transfers)
    assert [r.plan.gemm for r in results if r.mismatches] == []
    assert all(result.cycles == result.cycles_model for result in results)


@pytest.mark.cosim
@pytest.mark.parametrize("name", NAMES)
def test_random_programs_on_verilog(name: str, cache: Path) -> None:
    engine = build_engine(BUILT[name], cache=cache)
    for seed in range(6):
        program = random_program(BUILT[name], seed=200 + seed, commands=150, resplit=seed != 3)
        verdict = program.check(engine.play(program).transfers).require()
        assert len(verdict.spans) > 75


@pytest.mark.cosim
@pytest.mark.parametrize("formats", [("mxint8", "mxint8"), ("nvfp4", "nvfp4")])
def test_icarus_knows_every_bit(formats: tuple[str, str], tmp_path: Path) -> None:
    """A simulator with unknown values: nothing undefined reaches a result."""
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not on PyPI; install it to look for unknown values")
    small = {"rows": 4, "cols": 4, "row_bands": 2, "col_bands": 2}
    enabled = FormatsConfig(acts=(formats[0],), weights=(formats[1],))
    config = block_config(enabled, words=(64, 72, 12), **small)  # type: ignore[arg-type]
    program = random_program(config, seed=9, commands=8)
    engine = build_engine(config, simulator="icarus", cache=tmp_path)
    program.check(engine.play(program).transfers).require()
