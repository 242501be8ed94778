"""Cycle model: its special cases, and a third party's numbers for the form it improves on."""

import itertools

import numpy as np
import pytest
from data_scalesim import TOTALS

from systolith.compiler.gemm import CapacityError
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.config.presets import PRESETS, demo16, demo16_plain, tiny
from systolith.perf.closed import best_split, estimate, single_buffered, split_form
from systolith.perf.cycles import BandClock


@pytest.mark.parametrize(("shape", "side"), list(itertools.product(TOTALS, (16, 32))))
def test_single_buffered_form_equals_scalesim(shape: tuple[int, int, int], side: int) -> None:
    m, n, k = shape
    gemm = Gemm(m=m, n=n, k=k)
    assert TOTALS[shape][side] == (
        single_buffered((side, side), gemm, "ws"),
        single_buffered((side, side), gemm, "os"),
        single_buffered((side, side), gemm, "is"),
    )


@pytest.mark.parametrize("shape", TOTALS)
def test_double_buffering_never_loses(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    gemm = Gemm(m=m, n=n, k=k)
    whole = Split()
    assert split_form(demo16_plain.array, gemm, whole) <= single_buffered((16, 16), gemm) + 1


@pytest.mark.parametrize("name", ["tiny", "demo8", "demo16", "demo16-plain"])
def test_program_equals_closed_form(name: str) -> None:
    config = PRESETS[name].config
    rng = np.random.default_rng(seed=7)
    checked = 0
    for split in legal_splits(config.array):
        for _ in range(100):
            m, n, k = (int(v) for v in rng.integers(1, 3 * config.array.rows, 3))
            gemm = Gemm(m=m, n=n, k=k)
            try:
                cycles = estimate(config, gemm, split).cycles
            except CapacityError:
                continue
            assert cycles == split_form(config.array, gemm, split) + config.pipeline_cycles
            checked += 1
    assert checked > 50 * len(legal_splits(config.array))


def test_figures_of_the_16x16_array() -> None:
    gemm = Gemm(m=1, n=128, k=128)
    assert split_form(demo16_plain.array, gemm, Split()) == 1043
    assert split_form(demo16.array, gemm, Split()) == 287
    assert split_form(demo16.array, gemm, Split(row_groups=4, col_groups=2)) == 267
    assert best_split(demo16, gemm) == Split(row_groups=4, col_groups=2)


def test_bounds() -> None:
    assert estimate(demo16, Gemm(m=1, n=128, k=128), Split()).bound_by == "weights"
    assert estimate(demo16, Gemm(m=16, n=17, k=256), Split()).bound_by == "edge"
    assert estimate(demo16, Gemm(m=4, n=16, k=16), Split()).bound_by == "fill"
    assert estimate(demo16, Gemm(m=64, n=256, k=256), Split()).bound_by == "activations"


def _command(**fields: int) -> dict[str, int]:
    base = {
        "row": 0,
        "col": 0,
        "rows_log2": 0,
        "cols_log2": 0,
        "m": 1,
        "k_tiles": 1,
        "n_tiles": 1,
        "accumulate": 0,
        "follow": 0,
    }
    return {**base, **fields}


def test_a_growing_group_starts_before_its_last_band_is_free() -> None:
    clock = BandClock(tiny)
    last = _command(row=1, m=9)  # band (1, 0) is busy for 9 cycles
    fused = _command(rows_log2=1)
    alone = clock.run(last, earliest=0)
    both = clock.run(fused, earliest=0)
    assert both.start - alone.start == 9 - tiny.array.band_rows


def test_a_shrinking_group_releases_its_bands_one_after_the_other() -> None:
    clock = BandClock(tiny)
    fused = clock.run(_command(rows_log2=1, cols_log2=1, m=5), earliest=0)
    starts = [clock.run(_command(row=i, col=j), earliest=0).start for i in (0, 1) for j in (0, 1)]
    assert [start - fused.start for start in starts] == [5, 7, 7, 9]


def test_an_accumulating_command_keeps_its_distance() -> None:
    clock = BandClock(tiny)
    first = clock.run(_command(m=4), earliest=0)
    second = clock.run(_command(m=4, accumulate=1), earliest=0)
    assert second.start - first.start == 4 + tiny.accumulate_gap
