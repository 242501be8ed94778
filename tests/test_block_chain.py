"""Groups taller than a block: blocks one below the other hand their binary32 sums down."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from block_cases import (
    EVERY,
    SETS,
    TALL,
    Operands,
    bits,
    block_command,
    block_config,
    block_operands,
)
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig, FormatsConfig
from systolith.benches.idle_scales import idle_scales, stored_scales
from systolith.benches.interpreter import interpret
from systolith.benches.placing import operand_writes
from systolith.benches.program import Program
from systolith.benches.random_programs import fill_memories, random_program
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.golden.engine import EngineModel
from systolith.golden.numerics import matmul
from systolith.numerics.pairs import Pair, pair
from systolith.perf.closed import best_split, estimate
from systolith.perf.cycles import BandClock, command_cycles, stacked_blocks, tile_period

FP4 = pair("nvfp4", "nvfp4")  # blocks of 16
FP8 = pair("e4m3", "e2m1")  # blocks of 32
WIDE = pair("mxint16", "e3m2")  # every tile runs twice
BANDS = block_config(EVERY, rows=64, cols=4, row_bands=4, words=(512, 512, 64))  # r = L of NVFP4
ROOM = block_config(EVERY, rows=64, cols=4, row_bands=8, words=(4096, 512, 256))
DEEP = block_config(EVERY, rows=128, cols=2, row_bands=32, col_bands=1, words=(512, 512, 64))


def _engine(config: EngineConfig) -> EngineModel:
    """Memories of garbage, and scales that are no numbers wherever nobody writes others."""
    model = EngineModel(config)
    rng = np.random.default_rng(seed=98)
    for bank in (model.x, model.w, model.y, model.ys):
        bank.view(np.uint8)[...] = rng.integers(0, 256, bank.view(np.uint8).shape, dtype=np.uint8)
    model.x_scale[...] = model.w_scale[...] = 0xFF
    return model


def _run(model: EngineModel, plan: GemmPlan, operands: Operands) -> NDArray[np.float32]:
    for port, payloads in operand_writes(plan, *operands, pad=0x7F).items():
        for payload in payloads:
            model.write(port, payload)
    for command in plan.commands():
        assert model.run(command) is Code.OK
    words = [
        int.from_bytes(model.read(request).astype("<u4").tobytes(), "little")
        for request in plan.y_requests()
    ]
    return plan.y_gather(words)


def _wanted(formats: Pair, operands: Operands) -> NDArray[np.float32]:
    x, w, x_scales, w_scales = operands
    return matmul(x, x_scales, w, w_scales, formats.x.name, formats.w.name)


def _stacks(config: EngineConfig, formats: Pair) -> Iterator[tuple[Split, int]]:
    """Splits with several blocks below each other, and how many."""
    for split in legal_splits(config.array):
        height = config.array.rows // split.row_groups
        if height > formats.block:
            yield split, height // formats.block


def test_heights() -> None:
    seen = {(c, p): {g for _, g in _stacks(c, p)} for c in (TALL, BANDS, DEEP) for p in (FP4, FP8)}
    assert seen[TALL, FP4] == seen[BANDS, FP4] == {2, 4}
    assert seen[TALL, FP8] == seen[BANDS, FP8] == {2}
    assert (seen[DEEP, FP4], seen[DEEP, FP8]) == ({2, 4, 8}, {2, 4})
    for (config, formats), _ in seen.items():
        for split, g in _stacks(config, formats):
            plan = GemmPlan(config=config, gemm=Gemm(m=1, n=1, k=1), split=split, pair=formats)
            assert (plan.stacked, plan.passes) == (g, 1)
            assert stacked_blocks(config, plan.commands()[0], formats.block) == g
    low = GemmPlan(config=TALL, gemm=Gemm(m=1, n=1, k=1), split=Split(row_groups=4), pair=FP8)
    assert (low.stacked, low.passes) == (1, 2)


@pytest.mark.parametrize("config", [TALL, BANDS, DEEP], ids=["tall", "bands", "deep"])
@pytest.mark.parametrize("formats", [FP4, FP8, WIDE], ids=lambda p: p.name)
def test_products(config: EngineConfig, formats: Pair) -> None:
    """K whose last tile has any number of blocks, the last one short; ragged M and N."""
    for split, g in _stacks(config, formats):
        height = g * formats.block
        for k_last in sorted({1, formats.block, formats.block + 1, height - 1, height}):
            for tiles in (0, 2):
                gemm = Gemm(m=3, n=5, k=tiles * height + k_last)
                operands = block_operands(np.random.default_rng(gemm.k), formats, gemm)
                wanted = bits(_wanted(formats, operands))
                for n_inside in (None, False) if formats is WIDE else (None, False, True):
                    plan = GemmPlan(
                        config=config,
                        gemm=gemm,
                        split=split,
                        pair=formats,
                        n_inside=n_inside,
                        x_base=5,
                        w_base=config.array.band_rows,
                        y_base=7,
                    )
                    assert bits(_run(_engine(config), plan, operands)) == wanted, (split, gemm)


@pytest.mark.parametrize("formats", [FP4, FP8, WIDE], ids=lambda p: p.name)
def test_every_block_hands_its_sum_down(formats: Pair) -> None:
    """A block's lowest band keeps the sum so far, below the end of K too; other bands nothing."""
    for split, g in _stacks(TALL, formats):
        k = (g - 2) * formats.block + 3
        gemm = Gemm(m=2, n=2, k=k)  # the columns of a single band
        operands = block_operands(np.random.default_rng(11), formats, gemm)
        x, w, x_scales, w_scales = operands
        assert x_scales is not None and w_scales is not None
        plan = GemmPlan(config=TALL, gemm=gemm, split=split, pair=formats, y_base=4)
        model, before = _engine(TALL), _engine(TALL)
        _run(model, plan, operands)
        high = formats.block // TALL.array.band_rows
        for s in range(g):
            upto = min((s + 1) * formats.block, k)
            blocks = -(-upto // formats.block)
            sums = _wanted(
                formats, (x[:, :upto], w[:upto], x_scales[:, :blocks], w_scales[:blocks])
            )
            spot = ((s + 1) * high - 1, 0, 0, slice(4, 6))
            assert (model.ys[spot] == sums.view(np.uint32)).all()
            assert not model.known[spot].any()
            model.ys[spot], model.known[spot] = before.ys[spot], True
        assert (model.ys == before.ys).all()
        assert model.known.all()


@pytest.mark.parametrize("blocks", [1, 3, 4, 5])
def test_a_second_command_goes_on(blocks: int) -> None:
    """Wherever in the group the first one ended."""
    cut, k = 16 * blocks, 16 * blocks + 41
    operands = block_operands(np.random.default_rng(blocks), FP4, Gemm(m=3, n=5, k=k))
    x, w, x_scales, w_scales = operands
    assert x_scales is not None and w_scales is not None
    for split in legal_splits(TALL.array):
        model = _engine(TALL)
        for here, scales, base in (
            (slice(0, cut), slice(0, blocks), 0),
            (slice(cut, k), slice(blocks, None), 256),
        ):
            plan = GemmPlan(
                config=TALL,
                gemm=Gemm(m=3, n=5, k=len(range(k)[here])),
                split=split,
                pair=FP4,
                accumulate=base > 0,
                x_base=base,
                w_base=base,
            )
            y = _run(model, plan, (x[:, here], w[here], x_scales[:, scales], w_scales[scales]))
        assert bits(y) == bits(_wanted(FP4, operands))


def test_minus_zero_passes_blocks_without_rows() -> None:
    """As in a lower group, which has no such block: nothing is added, not even zero."""
    rough = FormatsConfig(acts=("e4m3",), weights=("e4m3",), frac=7)
    config = replace(TALL, array=replace(TALL.array, formats=rough))
    one = [np.full((1, 1), code, np.uint8) for code in (0x81, 0x01, 66, 66)]  # -2^-140
    x, w, x_scales, w_scales = one
    for split in legal_splits(config.array):
        plan = GemmPlan(
            config=config, gemm=Gemm(m=1, n=1, k=1), split=split, pair=pair("e4m3", "e4m3")
        )
        assert bits(_run(_engine(config), plan, (x, w, x_scales, w_scales))) == [0x8000_0000]


def test_minus_zero_passes_a_stage_b_without_rows() -> None:
    """The same in the array itself, where the lower block could add +0 by mistake."""
    rough = FormatsConfig(acts=("e4m3",), weights=("e4m3",), frac=7)
    config = block_config(
        rough, rows=64, cols=1, row_bands=2, col_bands=1, tile=1, words=(4, 32, 4)
    )
    program = Program(config)
    program.initialise()
    fill_memories(program, np.random.default_rng(3))
    bands = {"row_mask": 3, "col_mask": 1}
    program.send("x_write", [{"data": 0x81, "addr": 0, "tile": t, **bands} for t in range(32)])
    program.send("w_write", [{"data": 0x01, "addr": k, "tile": 0, **bands} for k in range(32)])
    program.send("x_scale", [{"data": 66, "addr": 0, **bands}])
    program.send("w_scale", [{"data": 66, "addr": 0, "tile": 0, **bands}])
    fields = {"n_last": 1, "x_base": 0, "w_base": 0, "rows_log2": 1, "m": 1, "idle_only": 0}
    for at, k_last in enumerate((1, 33)):
        command = block_command(config, pair("e4m3", "e4m3"), k_last=k_last, y_base=at, **fields)
        program.command(command)
        program.drain()
    assert [int(word) for word in program.golden.ys[1, 0, 0, :2, 0]] == [0x8000_0000] * 2
    program.read_all()
    program.check(interpret(program, deadline=2000)).require()


def test_bands_taller_than_a_block_are_refused() -> None:
    config = block_config(EVERY, rows=64, row_bands=2, words=(512, 512, 64))
    fields = {"k_last": 1, "n_last": 1, "x_base": 0, "w_base": 0, "y_base": 0}
    for rows_log2 in (0, 1):
        command = block_command(config, FP4, rows_log2=rows_log2, **fields)
        assert EngineModel(config).check(command) is Code.BAD_FORMAT
        command = block_command(config, FP8, rows_log2=rows_log2, **fields)
        assert EngineModel(config).check(command) is Code.OK


# Time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formats", "fields", "period"),
    [
        # r = 8, U = 2, A = 7; 64 rows are 4 blocks of 16 or 2 of 32: 48 or 32 cycles more.
        (FP4, {"k_tiles": 2}, 55),
        (FP4, {"k_tiles": 1, "n_tiles": 3}, 8),  # no sum returns
        (FP4, {"k_tiles": 2, "rows_log2": 2}, 23),
        (FP4, {"k_tiles": 2, "rows_log2": 1}, 8),
        (FP4, {"k_tiles": 2, "m": 30}, 60),
        (FP4, {"k_tiles": 2, "n_tiles": 7}, 55),
        (FP4, {"k_tiles": 2, "n_tiles": 1, "n_inside": 1}, 55),
        (FP4, {"k_tiles": 2, "n_tiles": 3, "n_inside": 1}, 28),
        (FP4, {"k_tiles": 2, "n_tiles": 4, "n_inside": 1}, 14),
        (FP4, {"k_tiles": 1, "n_tiles": 4, "n_inside": 1}, 8),
        (FP4, {"k_tiles": 2, "n_tiles": 4, "n_inside": 1, "m": 9}, 18),
        (FP8, {"k_tiles": 2}, 39),
        (FP8, {"k_tiles": 2, "rows_log2": 2}, 8),
        (WIDE, {"k_tiles": 3}, 20),  # each tile twice
        (WIDE, {"k_tiles": 3, "m": 21}, 21),
        (pair("mxint16", "mxint16"), {"k_tiles": 3}, 10),
    ],
)
def test_periods(formats: Pair, fields: dict[str, int], period: int) -> None:
    assert (TALL.loop_cycles, TALL.unit_lanes, TALL.array.band_rows) == (7, 2, 8)
    command = block_command(TALL, formats, **{"rows_log2": 3, **fields})
    assert tile_period(TALL, command) == period


def test_cycles_and_occupancy() -> None:
    whole = block_command(TALL, FP4, m=5, k_tiles=2, n_tiles=3, rows_log2=3, cols_log2=1)
    cycles = 1 + 5 * 55 + (5 + 4) + TALL.array.multiply_cycles + 64 + 3 + TALL.pipeline_cycles
    assert command_cycles(TALL, whole) == cycles
    clock, gap = BandClock(TALL), TALL.accumulate_gap
    starts = [clock.run(whole, earliest=0).start]
    starts.append(clock.run(whole, earliest=0).start)
    starts.append(clock.run({**whole, "accumulate": 1}, earliest=0).start)
    # 6 tiles, and 48 cycles in which a lower block still reads what the one above it wrote; then
    # the first block adds to what the last one writes 48 cycles after it.
    assert np.diff(starts).tolist() == [6 * 55 + 48, 6 * 55 + 48 + gap + 48]
    # A wide drain after a single tile: 2 * 30 cycles for a period of 30.
    clock = BandClock(TALL)
    single = block_command(TALL, FP8, m=30, rows_log2=3)
    starts = [clock.run(single, earliest=0).start for _ in range(2)]
    assert np.diff(starts).tolist() == [60 + 32]


def test_a_band_that_goes_on_alone_keeps_clear() -> None:
    """The lowest band's results are needed by the first block of the next, taller group."""
    clock = BandClock(TALL)
    lowest = clock.run(block_command(TALL, FP4, m=3, row=7, k_tiles=4), earliest=0)
    taller = block_command(TALL, FP4, m=3, rows_log2=3, accumulate=1)
    start = clock.run(taller, earliest=0).start
    assert start - lowest.start == 4 * 8 - 7 * 8 + TALL.accumulate_gap + 48


def test_planner_keeps_several_n_tiles_in_flight() -> None:
    def inner(gemm: Gemm, formats: Pair = FP4) -> bool:
        return GemmPlan(config=ROOM, gemm=gemm, split=Split(), pair=formats).n_inner

    assert inner(Gemm(m=4, n=16, k=128))
    assert not inner(Gemm(m=4, n=4, k=128))  # one N tile
    assert not inner(Gemm(m=4, n=16, k=64))  # one K tile
    assert not inner(Gemm(m=28, n=16, k=128))  # enough rows: 2 * 28 cycles a tile
    assert inner(Gemm(m=27, n=16, k=128))
    assert not inner(Gemm(m=4, n=16, k=128), WIDE)  # every tile twice in a row


def test_best_split_with_few_columns() -> None:
    """A single N tile: many rows share the time of the loop, a few do not."""
    for formats, many, few in ((FP4, 28, 4), (FP8, 20, 4)):
        gemm = Gemm(m=many, n=2, k=256)
        cycles = {s: estimate(ROOM, gemm, s, formats).cycles for s in legal_splits(ROOM.array)}
        chosen = best_split(ROOM, gemm, formats)
        assert chosen.row_groups == 1
        assert cycles[chosen] < min(c for s, c in cycles.items() if s.row_groups > 1)
        assert best_split(ROOM, replace(gemm, m=few), formats).row_groups > 1
    waits = estimate(ROOM, Gemm(m=4, n=4, k=256), Split(), FP4)
    assert waits.bound_by == "stage-b"


# Random programs ----------------------------------------------------------------------------


def test_random_programs_have_taller_groups() -> None:
    config = block_config(SETS["nvfp4"], rows=64, cols=2, row_bands=16, col_bands=1, tile=2)
    heights: Counter[int] = Counter()
    lonely = inside = 0
    for seed in range(3):
        program = random_program(config, seed=seed, commands=40)
        for command, code in zip(program.commands, program.codes, strict=True):
            if code is not Code.OK:
                continue
            g = stacked_blocks(config, command, 16)
            heights[g] += 1
            inside += g > 1 and command["n_inside"]
            lonely += bool(idle_scales(config, command))
        sums = program.golden.ys.view(np.float32)
        assert np.isfinite(sums).mean() > 0.5
    assert min(heights[g] for g in (1, 2, 4)) > 10
    assert min(lonely, inside) > 10


def test_idle_scales() -> None:
    """Exactly those that change nothing: without them all results stay, without others not."""
    rng = np.random.default_rng(12)
    gemm = Gemm(m=2, n=4, k=64 + 17)
    operands = block_operands(rng, FP8, gemm)
    operands = (operands[0] & 0x3F, operands[1] & 7, *operands[2:])  # no NaN, none negative
    operands[2][...] = operands[3][...] = 127
    plan = GemmPlan(config=TALL, gemm=gemm, split=Split(), pair=FP8)
    model = _engine(TALL)
    _run(model, plan, operands)
    command = plan.commands()[0]
    idle = idle_scales(TALL, command)
    assert {p["row_mask"] for _, p in idle} == {1 << 7}  # its second block of the second K tile
    assert [p["addr"] for port, p in idle if port == "x_scale"] == [2, 3]
    assert {p["addr"] for port, p in idle if port == "w_scale"} == {1}
    for port, payload in (*idle, *stored_scales(model, idle)):
        assert payload["data"] in (0xFF, 0xFFFF)
        model.write(port, payload)
    assert model.run(command) is Code.OK
    assert np.isfinite(model.ys[7, :, 0, :2].view(np.float32)).all()
    full = {**command, "k_last": 33}
    assert idle_scales(TALL, full) == []
    assert model.run(full) is Code.OK
    assert np.isnan(model.ys[7, :, 0, :2].view(np.float32)).all()
