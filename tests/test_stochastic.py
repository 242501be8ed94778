"""Stochastic accumulators in the engine: bits by output and block, whatever the split."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from block_cases import Operands, bits, block_config, block_operands, usable_splits

from systolith.array import drain, draws, stage_b
from systolith.array.config import EngineConfig, FormatsConfig
from systolith.benches.gemms import GemmProgram
from systolith.benches.interpreter import interpret
from systolith.benches.placing import operand_writes
from systolith.benches.play import build_engine
from systolith.benches.program import Mismatch
from systolith.benches.random_programs import random_program
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.golden.engine import EngineModel
from systolith.golden.numerics import AccSpec, matmul
from systolith.golden.numerics.lfsr import element_index, random_bits
from systolith.numerics.lfsr import start_state
from systolith.numerics.pairs import pair
from systolith.proofs.substitute import Mutant, installed

FP8 = pair("e4m3", "e2m1")
FORMATS = FormatsConfig(acts=("e4m3",), weights=("e2m1",), frac=7, rounding="sr")
TALL = block_config(FORMATS, rows=64, cols=8, row_bands=8, words=(512, 512, 64))
SMALL = block_config(
    replace(FORMATS, acts=("nvfp4",), weights=("nvfp4",), unit_lanes=2),
    rows=32,
    cols=2,
    row_bands=2,
    col_bands=1,
    tile=1,
    latency=2,
    words=(64, 64, 32),
)


def _operands(gemm: Gemm, seed: int) -> Operands:
    """Numbers of similar size, so that most sums are rounded, and no NaN."""
    rng = np.random.default_rng(seed)
    x, w, x_scales, w_scales = block_operands(rng, FP8, gemm)
    assert x_scales is not None and w_scales is not None
    return x & 0xBF, w, x_scales % 3 + 126, w_scales % 3 + 126


def _wanted(operands: Operands, seed: int) -> Any:
    acc = AccSpec(frac=7, rounding="sr", seed=seed)
    x, w, x_scales, w_scales = operands
    return matmul(x, x_scales, w, w_scales, "e4m3", "e2m1", acc)


def _place(model: EngineModel, plan: GemmPlan, operands: Operands) -> Any:
    for port, payloads in operand_writes(plan, *operands).items():
        for payload in payloads:
            model.write(port, payload)
    for command in plan.commands():
        model.run(command)
    words = [model.read(request).astype("<u4").tobytes() for request in plan.y_requests()]
    return plan.y_gather([int.from_bytes(word, "little") for word in words])


@pytest.mark.parametrize("seed", [0, 1, -5, 12_345_678_901])
def test_start_states_are_those_of_the_reference(seed: int) -> None:
    columns = [0, 1, 2, 31, 4096, 65_535]
    wanted = random_bits(seed, element_index(0, columns)).tolist()
    assert [start_state(seed, column) & 0xFFFF for column in columns] == wanted


def test_every_split_gives_the_same_bits() -> None:
    gemm = Gemm(m=3, n=21, k=150)
    operands = _operands(gemm, 1)
    wanted = _wanted(operands, seed=7)
    assert bits(wanted) != bits(_wanted(operands, seed=8))
    for split in usable_splits(TALL, FP8):
        plan = GemmPlan(config=TALL, gemm=gemm, split=split, pair=FP8, seed=7)
        assert bits(_place(EngineModel(TALL), plan, operands)) == bits(wanted), split


def test_a_second_command_continues_with_the_next_seed() -> None:
    gemm = Gemm(m=2, n=8, k=160)
    x, w, x_scales, w_scales = operands = _operands(gemm, 2)
    model, y = EngineModel(TALL), None
    for first, last in ((0, 2), (2, 5)):
        part = (
            *(x[:, 32 * first : 32 * last], w[32 * first : 32 * last]),
            *(x_scales[:, first:last], w_scales[first:last]),
        )
        short = replace(gemm, k=32 * (last - first))
        plan = GemmPlan(
            config=TALL, gemm=short, split=Split(), pair=FP8, accumulate=first > 0, seed=9 + first
        )
        y = _place(model, plan, part)
    assert bits(y) == bits(_wanted(operands, seed=9))


def test_the_engine_draws_the_same_bits() -> None:
    config = block_config(FORMATS, rows=8, words=(128, 128, 16))
    program = GemmProgram(config)
    gemm = Gemm(m=2, n=5, k=70)
    for seed, split in enumerate((Split(), Split(row_groups=4, col_groups=2))):
        plan = GemmPlan(config=config, gemm=gemm, split=split, pair=FP8, seed=seed)
        program.add(plan, *_operands(gemm, 3))
    results = program.evaluate(interpret(program.program, deadline=4000))
    assert [(r.mismatches, r.cycles - r.cycles_model) for r in results] == [(0, 0)] * 2


@pytest.mark.cosim
@pytest.mark.slow
def test_the_verilog_draws_the_same_bits() -> None:
    """On every split, groups taller than a block among them."""
    program = GemmProgram(TALL)
    for seed, split in enumerate(usable_splits(TALL, FP8)):
        gemm = Gemm(m=1 + seed % 5, n=5 + 7 * seed, k=33 + 40 * (seed % 4))
        plan = GemmPlan(config=TALL, gemm=gemm, split=split, pair=FP8, seed=seed)
        program.add(plan, *_operands(gemm, seed))
    results = program.evaluate(build_engine(TALL).play(program.program).transfers)
    assert all(r.mismatches == 0 and r.cycles == r.cycles_model for r in results)


def _plays(config: EngineConfig, count: int) -> None:
    for seed in range(count):
        program = random_program(config, seed=seed, commands=8)
        program.check(interpret(program, deadline=4000)).require()


def test_random_programs() -> None:
    _plays(SMALL, 1)


@pytest.mark.parametrize(
    ("target", "old", "new"),
    [
        pytest.param(draws.Draws, "~row.top", "0", id="row not moved on", marks=pytest.mark.slow),
        pytest.param(draws.Draws, "config.draw_cycles - 1", "config.draw_cycles", id="lane off"),
        pytest.param(
            drain.Drain, "m.Elif(begin)", "m.Elif(0)", id="row 0 never ends", marks=pytest.mark.slow
        ),
        pytest.param(
            stage_b.StageB,
            "draws.w_addr.eq(self.start_addr)",
            "draws.w_addr.eq(0)",
            id="one state for all blocks",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_planted_faults_are_found(target: Any, old: str, new: str) -> None:
    with installed([Mutant(target, old, new)]), pytest.raises(Mismatch):
        _plays(SMALL, 4)
