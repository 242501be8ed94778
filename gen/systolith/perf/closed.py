"""Closed forms: cycles, utilisation and what bounds it, for one GEMM under one split."""

from dataclasses import dataclass
from typing import Literal

from systolith.array.config import ArrayConfig, EngineConfig
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split, ceil_div, legal_splits
from systolith.perf.cycles import BandClock, tile_period

__all__ = ["Estimate", "best_split", "estimate", "single_buffered", "split_form"]

Bound = Literal["weights", "activations", "edge", "fill"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Cycles of a GEMM and their cause.

    Parameters
    ----------
    cycles
        From the first weight row on a port to the last result visible, inclusive.
    pipeline_cycles
        The constant among them that the pipeline adds to the textbook form.
    utilization
        ``M*N*K / (cycles*R*C)``.
    roof
        What remains when the matrices are so large that filling the pipeline does not count:
        ragged edges, idle groups and tiles that wait for their weights.
    bound_by
        The largest loss: tiles wait for ``weights`` (M < r); ``edge``: ragged or idle parts of the
        array; ``fill``: pipeline and skew; ``activations``: none, a row enters in every cycle.
    split
        The split it holds for.
    """

    cycles: int
    pipeline_cycles: int
    utilization: float
    roof: float
    bound_by: Bound
    split: Split


def split_form(array: ArrayConfig, gemm: Gemm, split: Split) -> int:
    """Textbook cycles of a GEMM whose N tiles are shared out between the groups.

    ``1 + (q-1)*max(M, r, T) + M + D + R_g + (C_g - 1)`` with
    ``q = ceil(ceil(N/C_g) / groups) * ceil(K/R_g)`` tiles on the busiest group.
    """
    rows, cols = array.rows // split.row_groups, array.cols // split.col_groups
    groups = split.row_groups * split.col_groups
    n_tiles = ceil_div(ceil_div(gemm.n, cols), groups)
    tiles = n_tiles * ceil_div(gemm.k, rows)
    period = max(gemm.m, array.band_rows, array.tile)
    return 1 + (tiles - 1) * period + gemm.m + array.multiply_cycles + rows + (cols - 1)


def single_buffered(rows: int, cols: int, gemm: Gemm) -> int:
    """Cycles of a weight-stationary array that never overlaps loading with computing.

    ``ceil(K/R)*ceil(N/C)*(2R + C + M - 2) - 1``: what SCALE-Sim v3 prints (it counts from zero).
    """
    folds = ceil_div(gemm.k, rows) * ceil_div(gemm.n, cols)
    return folds * (2 * rows + cols + gemm.m - 2) - 1


def estimate(config: EngineConfig, gemm: Gemm, split: Split) -> Estimate:
    """Cycles of ``gemm`` under ``split`` by the max-plus program, as the RTL takes them.

    Raises
    ------
    CapacityError
        If it does not fit the memories.
    """
    plan = GemmPlan(config=config, gemm=gemm, split=split)
    spans = BandClock(config).program(plan.commands(), [0] * len(plan.parts))
    cycles = max(span.done for span in spans) - min(span.start for span in spans) + 1

    peak = config.array.rows * config.array.cols
    tiles = max(part.tiles for part in plan.parts)
    steady = tiles * tile_period(config, gemm.m)
    roof = gemm.macs / (steady * peak)
    losses: dict[Bound, float] = {
        "weights": 1 - gemm.m / tile_period(config, gemm.m),
        "edge": 1 - gemm.macs / (tiles * gemm.m * peak),
        "fill": 1 - steady / cycles,
    }
    worst = max(losses, key=lambda cause: losses[cause])
    return Estimate(
        cycles=cycles,
        pipeline_cycles=config.pipeline_cycles,
        utilization=gemm.macs / (cycles * peak),
        roof=roof,
        bound_by=worst if losses[worst] > 0.05 else "activations",
        split=split,
    )


def best_split(config: EngineConfig, gemm: Gemm) -> Split:
    """The split with the fewest cycles among those that fit; the least split of equals.

    Raises
    ------
    CapacityError
        If it fits under no split.
    """
    choices, refusal = [], None
    for split in legal_splits(config.array):
        try:
            choices.append((estimate(config, gemm, split).cycles, split))
        except ValueError as error:
            refusal = refusal or error
    if not choices:
        raise refusal or ValueError(f"gemm {gemm} fits under no split")
    return min(choices)[1]
