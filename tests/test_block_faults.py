"""Planted faults in what block formats add to the engine: each must be noticed by the programs."""

from collections.abc import Iterator
from typing import Any

import pytest

from systolith.array import (
    accumulator,
    block_loop,
    chain,
    dispatcher,
    drain,
    feeder,
    pace,
    results,
    sequencer,
    stage_b,
    unit,
)
from systolith.array.config import (
    ArrayConfig,
    ControlConfig,
    EngineConfig,
    FormatsConfig,
    MemoryConfig,
)
from systolith.benches.interpreter import interpret
from systolith.benches.program import Mismatch, Program
from systolith.benches.random_programs import random_program
from systolith.numerics import scale_code
from systolith.proofs.substitute import Mutant, installed


def _config(name: str, *, latency: int, **formats: tuple[str, ...]) -> EngineConfig:
    return EngineConfig(
        name=name,
        array=ArrayConfig(
            rows=4, cols=4, row_bands=2, col_bands=2, tile=2, formats=FormatsConfig(**formats)
        ),
        memory=MemoryConfig(x_depth=48, w_depth=64, y_depth=16, latency=latency),
        control=ControlConfig(queue_depth=2, outstanding=8),
    )


SMALL = _config("small", latency=2, acts=("nvfp4", "int8"), weights=("nvfp4", "int8"))
WIDE = _config("wide", latency=1, acts=("mxint16", "e5m2"), weights=("e4m3", "mxint16"))
ONE = EngineConfig(  # a block in one tile: the tightest loop
    name="one",
    array=ArrayConfig(
        rows=16,
        cols=4,
        row_bands=4,
        col_bands=1,
        tile=4,
        formats=FormatsConfig(acts=("nvfp4", "e2m1"), weights=("nvfp4", "e2m1")),
    ),
    memory=MemoryConfig(x_depth=64, w_depth=64, y_depth=16),
    control=ControlConfig(queue_depth=2, outstanding=8),
)

TALL = EngineConfig(  # groups can be taller than a block
    name="tall",
    array=ArrayConfig(
        rows=32,
        cols=2,
        row_bands=4,
        col_bands=1,
        tile=1,
        formats=FormatsConfig(acts=("nvfp4",), weights=("nvfp4",)),
    ),
    memory=MemoryConfig(x_depth=64, w_depth=64, y_depth=16, latency=1),
)

FAULTS: list[tuple[str, EngineConfig, Any, str, str]] = [
    ("scale of the row before", SMALL, drain.Drain, "tile.x_addr + begin", "tile.x_addr"),
    (
        "next row before the last lane's turn",
        ONE,
        drain.Drain,
        "turns[size - 2]",
        "turns[size - 3]",
    ),
    ("end of a command with its first row", SMALL, drain.Drain, "& (waiting == 1)", ""),
    ("rows one address too far", SMALL, drain.Drain, "tile.addr + begin", "tile.addr + 2 * begin"),
    (
        "first block added to old results",
        SMALL,
        stage_b.StageB,
        "begin.valid & ~begin.fresh",
        "begin.valid",
    ),
    ("every block is the first", SMALL, block_loop.BlockLoop, "& ~job.accumulate", "| 1"),
    (
        "result not forwarded",
        ONE,
        results.Results,
        "before.valid & (before.addr == asked.addr)",
        "Const(0, 1)",
    ),
    ("column mask off by one", SMALL, results.Results, "(end.cols > j)", "(end.cols >= j)"),
    (
        "scale of the neighbouring column",
        SMALL,
        stage_b.StageB,
        "word_select(k, 8)",
        "word_select(k ^ 1, 8)",
    ),
    (
        "stage B takes a sum too early",
        SMALL,
        accumulator.Accumulator,
        "finals[at + sums]",
        "finals[at]",
    ),
    (
        "flags of a pass forgotten",
        WIDE,
        accumulator.Accumulator,
        "Mux(adds[adding], stored[width:], 0) | flags",
        "flags",
    ),
    (
        "digit at the wrong place",
        WIDE,
        block_loop.BlockLoop,
        "y.shift.eq(x_digit + w_digit)",
        "y.shift.eq(x_digit)",
    ),
    ("repeats do not add", WIDE, block_loop.BlockLoop, "& self.repeat_first))", "))"),
    ("repeated tile runs on", WIDE, block_loop.BlockLoop, "m.d.sync += addr.eq(start)", "pass"),
    (
        "block one pass too long",
        SMALL,
        block_loop.BlockLoop,
        "self.block_last.eq((self.left == 0) | k_end)",
        "self.block_last.eq(k_end)",
    ),
    (
        "last block not complete",
        SMALL,
        block_loop.BlockLoop,
        "self.block_last.eq((self.left == 0) | k_end)",
        "self.block_last.eq(self.left == 0)",
    ),
    (
        "tiles too fast for the lanes",
        SMALL,
        pace.Pace,
        "shared.eq(command.m << lanes - power)",
        "shared.eq(command.m)",
    ),
    ("tiles too fast for the loop", ONE, pace.Pace, "loops & (spread_loop == power)", "0"),
    ("last drain not waited for", SMALL, pace.Pace, "scaled & (whole > self.period)", "0"),
    ("partial sums from block to block", TALL, dispatcher.Dispatcher, "last & (span - 1)", "last"),
    ("sums of the same band", TALL, dispatcher.Dispatcher, "(i - span) & last", "i & last"),
    (
        "lower blocks start from zero",
        TALL,
        dispatcher.Dispatcher,
        "command.accumulate | (first != 0)",
        "command.accumulate",
    ),
    ("scales beyond K", TALL, stage_b.StageB, "flags = Mux(empty, 0, flags)", "pass"),
    (
        "block at the end of K is not there",
        TALL,
        dispatcher.Dispatcher,
        "((first == whole) & (rest == 0))",
        "(first == whole)",
    ),
    (
        "every block reports",
        TALL,
        sequencer.Sequencer,
        "(job.head, job.foot)",
        "(job.head, job.bottom)",
    ),
    ("loop of one block", TALL, pace.Pace, "self.lag + (config.loop_cycles - 1)", "7"),
    ("upper bands free too early", TALL, pace.Pace, "(self.lag if config.chained else 0)", "0"),
    (
        "lowest band not waited for",
        TALL,
        dispatcher.Dispatcher,
        "(pace.lag if pace and chained else 0)",
        "0",
    ),
    ("address of another row", TALL, results.Results, "asked.addr, held)", "asked.addr, 0)"),
    ("another stage's word", TALL, chain.Chain, "(stages[i].take == n)", "(stages[i].take >= 0)"),
    (
        "NaN scale is a number",
        SMALL,
        scale_code.decode_scale,
        "nan = body > form.max_code",
        "nan = Const(0)",
    ),
    (
        "subnormal scale one too small",
        SMALL,
        scale_code.decode_scale,
        "Cat(field[0] | ~normal, field[1:])",
        "field",
    ),
    (
        "unused rows of stale memory",
        SMALL,
        feeder.Feeder,
        "decode.used.eq(used)",
        "decode.used.eq(late.valid)",
    ),
    (
        "row of the left band lost",
        SMALL,
        unit.BandUnit,
        "Mux(self.left_block.valid, self",
        "Mux(0, self",
    ),
]


ALWAYS = (  # the others take the slow mark: two and a half minutes for all of them
    "scale of the row before",
    "first block added to old results",
    "column mask off by one",
    "block one pass too long",
    "sums of the same band",
    "scales beyond K",
)
assert set(ALWAYS) <= {fault[0] for fault in FAULTS}


def _programs(config: EngineConfig, count: int) -> Iterator[Program]:
    for seed in range(1000):
        program = random_program(config, seed=seed, commands=10)
        if config is not TALL or _tall(program):
            yield program
            count -= 1
        if not count:
            return


def _tall(program: Program) -> bool:
    return any(command["rows_log2"] > 1 for command in program.commands)


def _plays(config: EngineConfig, count: int) -> None:
    for program in _programs(config, count):
        program.check(interpret(program, deadline=4000)).require()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(c, id=c.name, marks=pytest.mark.slow if c is TALL else [])
        for c in (SMALL, WIDE, ONE, TALL)
    ],
)
def test_without_a_fault(config: EngineConfig) -> None:
    _plays(config, 2)


@pytest.mark.parametrize(
    ("config", "target", "old", "new"),
    [
        pytest.param(*fault[1:], id=fault[0], marks=[] if fault[0] in ALWAYS else pytest.mark.slow)
        for fault in FAULTS
    ],
)
def test_caught(config: EngineConfig, target: Any, old: str, new: str) -> None:
    with (
        installed([Mutant(target, old, new)]),
        pytest.raises((Mismatch, TimeoutError)),
    ):
        _plays(config, 8)
