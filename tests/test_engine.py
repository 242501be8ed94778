"""The engine: results bit for bit, cycles exactly, under every split."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith.array.codes import Code
from systolith.array.config import EngineConfig, MemoryConfig
from systolith.benches.gemms import GemmProgram
from systolith.benches.interpreter import interpret
from systolith.benches.play import EngineSimulation, build_engine
from systolith.benches.program import Mismatch, Program
from systolith.benches.random_programs import random_program
from systolith.compiler.gemm import CapacityError, GemmPlan
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.config.presets import demo8, demo16, demo16_plain, tiny

SMALL = replace(tiny, memory=MemoryConfig(x_depth=40, w_depth=32, y_depth=32, latency=1))
CONFIGS = {"tiny": tiny, "demo8": demo8, "demo16": demo16, "demo16-plain": demo16_plain}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    return shared / "models"


def _engine(name: str, cache: Path) -> EngineSimulation:
    return build_engine(CONFIGS[name], cache=cache)


# In the Amaranth simulator ------------------------------------------------------------------


@pytest.mark.parametrize("latency", [1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_random_programs_in_the_amaranth_simulator(seed: int, latency: int) -> None:
    config = replace(SMALL, memory=replace(SMALL.memory, latency=latency))
    program = random_program(config, seed=seed, commands=40, resplit=seed % 3 > 0)
    verdict = program.check(interpret(program)).require()
    assert len(verdict.spans) > 30


def test_sixteen_bands() -> None:
    """The dispatcher takes more steps than its multiplications."""
    array = replace(tiny.array, rows=8, cols=8, row_bands=4, col_bands=4)
    memory = MemoryConfig(x_depth=24, w_depth=16, y_depth=8, latency=2)
    config = replace(SMALL, array=array, memory=memory)
    assert config.dispatch_steps > 6
    program = random_program(config, seed=1, commands=16)
    assert len(program.check(interpret(program)).require().spans) > 12


@pytest.mark.parametrize("mac_latency", [0, 2])
def test_multiplier_latency_is_a_parameter(mac_latency: int) -> None:
    config = replace(SMALL, array=replace(SMALL.array, mac_latency=mac_latency))
    program = random_program(config, seed=11, commands=30)
    program.check(interpret(program)).require()


@pytest.mark.parametrize(
    ("rows", "cols", "row_bands", "col_bands", "tile"),
    [(4, 2, 2, 2, 1), (4, 4, 1, 1, 1), (8, 4, 2, 1, 2), (4, 8, 1, 4, 2), (4, 2, 1, 2, 1)],
)
def test_other_geometries(rows: int, cols: int, row_bands: int, col_bands: int, tile: int) -> None:
    array = replace(
        SMALL.array, rows=rows, cols=cols, row_bands=row_bands, col_bands=col_bands, tile=tile
    )
    program = random_program(replace(SMALL, array=array), seed=3, commands=30)
    program.check(interpret(program)).require()


# On the emitted Verilog ---------------------------------------------------------------------


@pytest.mark.cosim
def test_simulator_and_verilog_agree_in_every_transfer(cache: Path) -> None:
    program = random_program(SMALL, seed=21, commands=40)
    verilog = build_engine(SMALL, cache=cache).play(program).transfers
    amaranth = interpret(program)
    offset = verilog["x_write"][0].cycle - amaranth["x_write"][0].cycle
    for stream, moved in amaranth.items():
        assert [(t.cycle + offset, t.payload) for t in moved] == [tuple(t) for t in verilog[stream]]


def _all_shapes(config: EngineConfig) -> Iterator[tuple[Gemm, Split]]:
    limit = 2 * config.array.rows + 1
    for split in legal_splits(config.array):
        for m, n, k in itertools.product(range(1, limit + 1), repeat=3):
            yield Gemm(m=m, n=n, k=k), split


@pytest.mark.cosim
def test_every_shape_on_tiny_under_every_split(cache: Path) -> None:
    rng = np.random.default_rng(seed=5)
    program = GemmProgram(tiny)
    count = 0
    for gemm, split in _all_shapes(tiny):
        plan = GemmPlan(config=tiny, gemm=gemm, split=split, n_inside=bool(rng.integers(2)))
        x = rng.integers(-128, 128, (gemm.m, gemm.k), dtype=np.int8)
        w = rng.integers(-128, 128, (gemm.k, gemm.n), dtype=np.int8)
        program.add(plan, x, w)
        count += 1
    results = program.evaluate(_engine("tiny", cache).play(program.program).transfers)
    assert count == len(results) == 4 * 9**3
    assert not sum(result.mismatches for result in results)
    assert all(result.cycles == result.cycles_model for result in results)


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["demo8", "demo16", "demo16-plain"])
def test_random_shapes_and_splits(name: str, cache: Path) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(seed=6)
    program = GemmProgram(config)
    splits = legal_splits(config.array)
    while len(program.items) < 40:
        m, n, k = (int(v) for v in rng.integers(1, [24, 70, 70]))
        split = splits[rng.integers(len(splits))]
        share = "k" if rng.random() < 0.3 else "n"
        try:
            plan = GemmPlan(config=config, gemm=Gemm(m=m, n=n, k=k), split=split, share=share)  # type: ignore[arg-type]
        except ValueError:
            continue
        x = rng.integers(-128, 128, (m, k), dtype=np.int8)
        program.add(plan, x, rng.integers(-128, 128, (k, n), dtype=np.int8))
    results = program.evaluate(_engine(name, cache).play(program.program).transfers)
    assert not sum(result.mismatches for result in results)
    assert all(result.cycles == result.cycles_model for result in results)
    assert {result.plan.share for result in results} >= {"n"}


@pytest.mark.cosim
@pytest.mark.parametrize("name", ["tiny", "demo8", "demo16"])
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_on_verilog(name: str, seed: int, cache: Path) -> None:
    program = random_program(CONFIGS[name], seed=100 + seed, commands=80, resplit=seed != 3)
    verdict = program.check(_engine(name, cache).play(program).transfers).require()
    assert len(verdict.spans) > 60


@pytest.mark.cosim
def test_extremes_everywhere(cache: Path) -> None:
    program = GemmProgram(demo16)
    for split in legal_splits(demo16.array):
        for x, w in ((-128, -128), (127, -128), (-128, 127), (127, 127)):
            gemm = Gemm(m=5, n=40, k=256)
            program.add(
                GemmPlan(config=demo16, gemm=gemm, split=split),
                np.full((5, 256), x, dtype=np.int8),
                np.full((256, 40), w, dtype=np.int8),
            )
    results = program.evaluate(_engine("demo16", cache).play(program.program).transfers)
    assert not sum(result.mismatches for result in results)
    assert {int(result.y.max()) for result in results} == {
        256 * 128 * 128,
        -256 * 127 * 128,
        256 * 127 * 127,
    }


@pytest.mark.cosim
def test_groups_run_different_gemms_at_once_each_in_its_own_time(cache: Path) -> None:
    rng = np.random.default_rng(seed=8)
    split = Split(row_groups=4, col_groups=2)
    shapes = [(1, 3), (7, 1), (4, 4), (16, 2), (2, 9), (5, 5), (30, 1), (3, 2)]
    program = Program(demo16)
    commands = []
    for n, (group, (m, k_tiles)) in enumerate(zip(split.groups(demo16.array), shapes, strict=True)):
        commands.append(
            {
                "tag": 0,
                "row": group.row,
                "col": group.col,
                "rows_log2": 0,
                "cols_log2": 0,
                "m": m,
                "k_tiles": k_tiles,
                "n_tiles": 2,
                "k_last": 3,
                "n_last": 5,
                "x_base": 0,
                "w_base": 0,
                "y_base": 0,
                "n_inside": 0,
                "accumulate": 0,
                "idle_only": 0,
                "follow": len(shapes) - 1 - n,
            }
        )
    program.initialise()
    before = len(program.commands)
    for i, j, addr in itertools.product(range(4), range(2), range(200)):
        x = int(rng.integers(1 << 32))
        where = {"addr": addr, "row_mask": 1 << i, "col_mask": 1 << j}
        program.send("x_write", [{"data": x, "tile": 0, **where}])
        for tile in range(2):
            program.send("w_write", [{"data": int(rng.integers(1 << 32)), "tile": tile, **where}])
    for command in commands:
        program.command(command)
    program.drain()
    program.read_all()
    verdict = program.check(_engine("demo16", cache).play(program).transfers).require()
    spans = verdict.spans[before:]
    assert len({span.start for span in spans}) == 1  # a batch starts together
    assert [span.cycles for span in spans] == [
        1 + (2 * k - 1) * max(m, 4) + m + 2 + 4 + 7 + 3 for m, k in shapes
    ]


@pytest.mark.cosim
def test_a_fresh_tile_every_four_cycles(cache: Path) -> None:
    for split in (Split(), Split(row_groups=4, col_groups=2)):
        cycles = []
        for tiles in (1, 2, 9):
            program = GemmProgram(demo16)
            gemm = Gemm(m=1, n=4, k=tiles * demo16.array.rows // split.row_groups)
            x, w = np.ones((1, gemm.k), np.int8), np.ones((gemm.k, 4), np.int8)
            program.add(GemmPlan(config=demo16, gemm=gemm, split=split), x, w)
            played = _engine("demo16", cache).play(program.program)
            cycles.append(program.evaluate(played.transfers)[0].cycles)
        assert [c - cycles[0] for c in cycles] == [0, 4, 32]


@pytest.mark.cosim
def test_reset_in_mid_command(cache: Path) -> None:
    config = demo8
    gemm = Gemm(m=30, n=32, k=32)
    rng = np.random.default_rng(seed=9)
    x = rng.integers(-128, 128, (gemm.m, gemm.k), dtype=np.int8)
    w = rng.integers(-128, 128, (gemm.k, gemm.n), dtype=np.int8)
    plan = GemmPlan(config=config, gemm=gemm, split=Split(row_groups=2))
    program = GemmProgram(config)
    lost = Program(config, modelled=False)
    for delay in (0, 3, 8, 17, 40, 90):
        lost.load(plan, x, w)
        for command in plan.commands():
            lost.command(command)
        lost.idle(delay)
        lost.segments[-1].reset(2)
    program.add(plan, x, w)
    segments = [*lost.segments, *program.program.segments]
    transfers = _engine("demo8", cache).simulation.run(segments).transfers
    # Only what came after the last reset counts: the lost commands never complete.
    first = transfers["x_write"][-program.items[0].x_writes].cycle
    after = {name: [t for t in moved if t.cycle >= first] for name, moved in transfers.items()}
    assert len(transfers["completion"]) == len(after["completion"]) == len(plan.parts)
    (result,) = program.evaluate(after)
    assert (result.mismatches, result.cycles) == (0, result.cycles_model)


@pytest.mark.cosim
def test_busy_bands_refuse_on_request(cache: Path) -> None:
    config = demo8
    program = Program(config)
    program.initialise()
    base = {
        "tag": 0,
        "row": 0,
        "col": 0,
        "rows_log2": 0,
        "cols_log2": 0,
        "m": 100,
        "k_tiles": 4,
        "n_tiles": 4,
        "k_last": 4,
        "n_last": 4,
        "x_base": 0,
        "w_base": 0,
        "y_base": 0,
        "n_inside": 0,
        "accumulate": 0,
        "idle_only": 0,
        "follow": 0,
    }
    program.command(base)
    program.command({**base, "rows_log2": 1, "idle_only": 1})  # busy elsewhere: refused
    program.command({**base, "idle_only": 1, "m": 3})  # the same group: queued
    program.command({**base, "row": 1, "m": 3, "rows_log2": 0, "idle_only": 1})  # idle: runs
    program.drain()
    program.command({**base, "rows_log2": 1, "idle_only": 1, "m": 5})  # all idle again: runs
    program.drain()
    codes = program.codes
    refused = len(codes) - 4
    codes[refused] = Code.BUSY
    # The golden engine knows no time: undo the refused command's results.
    fresh = Program(config)
    fresh.initialise()
    for n, command in enumerate(program.commands):
        if n >= len(fresh.commands) and n != refused:
            fresh.golden.run(command)
    program.golden = fresh.golden
    program.read_all()
    program.check(_engine("demo8", cache).play(program).transfers).require()


@pytest.mark.cosim
def test_completions_wait_for_the_host(cache: Path) -> None:
    program = random_program(tiny, seed=31, commands=60, illegal=0.3)
    for segment in program.segments:
        segment.steps.insert(0, type(segment)().ready("completion", 0x0010_0400).steps[0])
    program.check(_engine("tiny", cache).play(program).transfers).require()


@pytest.mark.cosim
def test_icarus_agrees(cache: Path) -> None:
    import shutil

    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not on PyPI; install it for a second opinion")
    program = random_program(tiny, seed=41, commands=80)
    icarus = build_engine(tiny, simulator="icarus", cache=cache).play(program).transfers
    program.check(icarus).require()
    assert icarus == _engine("tiny", cache).play(program).transfers


def test_a_difference_is_reported() -> None:
    program = random_program(SMALL, seed=51, commands=10)
    transfers = interpret(program)
    word = transfers["y_data"][7]
    transfers["y_data"][7] = word._replace(payload=word.payload ^ 1)
    with pytest.raises(Mismatch, match=r"1 of .* words differ: 7 is"):
        program.check(transfers).require()


def test_too_large_names_need_and_supply() -> None:
    with pytest.raises(CapacityError, match=r"needs 1562500 words of memory\.w_depth .* has 1024"):
        GemmPlan(config=demo16, gemm=Gemm(m=1, n=9999, k=9999), split=Split())
