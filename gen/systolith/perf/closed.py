"""Closed forms: cycles, utilisation and what bounds it, for one GEMM under one split."""

from dataclasses import dataclass
from typing import Literal

from systolith.array.config import ArrayConfig, EngineConfig
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split, ceil_div, legal_splits
from systolith.perf.cycles import BandClock, tile_period

__all__ = ["Dataflow", "Estimate", "best_split", "estimate", "single_buffered", "split_form"]

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


Dataflow = Literal["ws", "os", "is"]


def single_buffered(side: tuple[int, int], gemm: Gemm, dataflow: Dataflow = "ws") -> int:
    """Cycles of an array that never overlaps loading with computing, as SCALE-Sim v3 counts them.

    On R x C elements: ``F*(2R + C + moving - 2) - 1`` with weights (inputs) stationary, where F
    folds of K x N (K x M) are loaded and M (N) rows move; ``F*(R + C + K - 2) - 1`` with outputs
    stationary. It counts from zero, hence the last term.
    """
    rows, cols = side
    m, n, k = gemm.m, gemm.n, gemm.k
    match dataflow:
        case "ws":
            return ceil_div(k, rows) * ceil_div(n, cols) * (2 * rows + cols + m - 2) - 1
        case "is":
            return ceil_div(k, rows) * ceil_div(m, cols) * (2 * rows + cols + n - 2) - 1
        case "os":
            return ceil_div(m, rows) * ceil_div(n, cols) * (rows + cols + k - 2) - 1


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
