"""Block formats in the cycle model: its formulas, and what chooses by them."""

from dataclasses import replace

import pytest
from block_cases import MODEL, TALL, block_command, usable_splits

from systolith.compiler.gemm import CapacityError
from systolith.compiler.split import Gemm, Split
from systolith.numerics.pairs import pair
from systolith.perf.closed import best_split, estimate
from systolith.perf.cycles import BandClock, command_cycles, tile_period


@pytest.mark.parametrize(
    ("names", "fields", "period"),
    [
        # MODEL: r = 2, U = 2 lanes a unit of stage B; 16, 8 or 4 tiles make a block of 32. A = 7.
        (("int8", "int8"), {"m": 5, "k_tiles": 40}, 5),
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 16}, 2),
        (("e4m3", "e2m1"), {"m": 5, "k_tiles": 16}, 5),
        (("e4m3", "e2m1"), {"m": 5, "k_tiles": 1}, 10),  # a row of a block takes U cycles
        (("e4m3", "e2m1"), {"m": 5, "k_tiles": 17}, 10),  # the last block is one tile
        (("e4m3", "e2m1"), {"m": 5, "k_tiles": 18}, 5),
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 17}, 7),  # stage B's loop
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 18}, 4),
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 19}, 4),  # 3 tiles count as 2
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 20}, 2),
        (("e4m3", "e2m1"), {"m": 1, "k_tiles": 9, "rows_log2": 1}, 7),
        (("mxint16", "e2m1"), {"m": 1, "k_tiles": 17}, 4),  # each tile twice
        (("mxint16", "mxint16"), {"m": 1, "k_tiles": 17}, 2),
        (("mxint16", "mxint16"), {"m": 5, "k_tiles": 17}, 5),
        (("nvfp4", "nvfp4"), {"m": 1, "k_tiles": 9}, 7),
        (("nvfp4", "nvfp4"), {"m": 1, "k_tiles": 8}, 2),
    ],
)
def test_periods(names: tuple[str, str], fields: dict[str, int], period: int) -> None:
    assert (MODEL.loop_cycles, MODEL.unit_lanes) == (7, 2)
    assert tile_period(MODEL, block_command(MODEL, pair(*names), **fields)) == period


@pytest.mark.parametrize(
    ("fields", "period"),
    [
        ({"n_tiles": 1, "k_tiles": 2}, 7),
        ({"n_tiles": 2, "k_tiles": 2}, 4),
        ({"n_tiles": 3, "k_tiles": 2}, 4),
        ({"n_tiles": 4, "k_tiles": 2}, 2),
        ({"n_tiles": 1, "k_tiles": 1}, 2),
        ({"n_tiles": 4, "k_tiles": 2, "m": 3}, 6),
    ],
)
def test_periods_with_n_tiles_inside(fields: dict[str, int], period: int) -> None:
    config = replace(MODEL, array=replace(MODEL.array, rows=32, row_bands=16))
    formats = pair("e4m3", "e2m1")
    command = block_command(config, formats, rows_log2=4, n_inside=1, **fields)
    assert tile_period(config, command) == period


def test_cycles_and_occupancy() -> None:
    formats = pair("mxint16", "e2m1")
    array = MODEL.array
    command = block_command(MODEL, formats, m=5, k_tiles=16, n_tiles=3, rows_log2=1, cols_log2=1)
    tiles, period = 16 * 3 * 2, 5
    cycles = (
        1
        + (tiles - 1) * period
        + (5 + (MODEL.unit_lanes - 1) * 4)
        + array.multiply_cycles
        + 4
        + 3
        + MODEL.pipeline_cycles
    )
    assert command_cycles(MODEL, command) == cycles
    clock = BandClock(MODEL)
    first = clock.run(command, earliest=0)
    second = clock.run({**command, "accumulate": 1}, earliest=0)
    assert first.cycles == second.cycles == cycles
    # The last rows of a block keep stage B busy for U cycles each.
    assert second.start - first.start == tiles * period + (2 * 5 - period) + MODEL.accumulate_gap
    plain = block_command(MODEL, pair("int8", "int8"), m=5, k_tiles=16, n_tiles=3)
    alone = BandClock(MODEL)
    starts = [alone.run(plain, earliest=0).start for _ in range(2)]
    assert starts[1] - starts[0] == 16 * 3 * 5


def test_best_split_of_blocks() -> None:
    gemm = Gemm(m=4, n=8, k=256)
    for names in (("e4m3", "e2m1"), ("nvfp4", "nvfp4")):
        formats = pair(*names)
        chosen = best_split(TALL, gemm, formats)
        cycles = {s: estimate(TALL, gemm, s, formats).cycles for s in usable_splits(TALL, formats)}
        assert chosen == min(cycles, key=lambda split: (cycles[split], split))
    whole = best_split(TALL, Gemm(m=64, n=4, k=256), pair("int8", "int8"))
    assert whole.row_groups == 1
    with pytest.raises(CapacityError, match=r"words of memory\.w_depth"):
        best_split(TALL, Gemm(m=1, n=9999, k=9999), pair("e4m3", "e2m1"))


def test_what_bounds_blocks() -> None:
    split = Split(row_groups=2)  # 32 rows, 4 columns, r = 8, T = 2
    gemm = Gemm(m=16, n=32, k=256)
    for names, cause in (
        (("e4m3", "e2m1"), "stage-b"),
        (("mxint16", "mxint16"), "digits"),
        (("mxint16", "e2m1"), "digits"),
    ):
        result = estimate(TALL, gemm, split, pair(*names))
        assert result.bound_by == cause
        assert result.utilization < result.roof
    four = estimate(TALL, gemm, split, pair("mxint16", "mxint16"))
    assert four.roof == 0.25
