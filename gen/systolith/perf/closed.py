"""Closed forms: cycles, utilisation and what bounds it, for one GEMM under one split."""

from dataclasses import dataclass
from typing import Literal

from systolith.array.config import ArrayConfig, EngineConfig
from systolith.compiler.gemm import CapacityError, GemmPlan
from systolith.compiler.split import Gemm, Split, ceil_div, legal_splits
from systolith.numerics.pairs import Pair
from systolith.perf.cycles import BandClock, command_tiles, tile_period

__all__ = ["Dataflow", "Estimate", "best_split", "estimate", "single_buffered", "split_form"]

Bound = Literal["weights", "activations", "edge", "fill", "digits", "stage-b"]


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
        ragged edges, idle groups, digits, and tiles that wait for weights or for stage B.
    bound_by
        The largest loss: tiles wait for ``weights`` (M < r); ``edge``: ragged or idle parts of the
        array; ``fill``: pipeline and skew; ``digits``: elements in several passes; ``stage-b``:
        tiles wait for the rounding of blocks, or for sums that pass from block to block;
        ``activations``: none, a row enters in every cycle.
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


def estimate(config: EngineConfig, gemm: Gemm, split: Split, pair: Pair | None = None) -> Estimate:
    """Cycles of ``gemm`` under ``split`` by the max-plus program, as the RTL takes them.

    ``pair`` names the formats, as in :class:`GemmPlan`.

    Raises
    ------
    CapacityError
        If it does not fit the memories.
    ValueError
        If the formats cannot run under ``split``.
    """
    plan = GemmPlan(config=config, gemm=gemm, split=split, pair=pair)
    commands = plan.commands()
    spans = BandClock(config).program(commands, [0] * len(commands))
    cycles = max(span.done for span in spans) - min(span.start for span in spans) + 1

    peak = config.array.rows * config.array.cols
    busiest = max(commands, key=lambda c: command_tiles(config, c) * tile_period(config, c))
    tiles, period = command_tiles(config, busiest), tile_period(config, busiest)
    steady = tiles * period
    loaded = max(gemm.m, config.array.band_rows)
    losses: dict[Bound, float] = {
        "weights": 1 - gemm.m / loaded,
        "edge": 1 - gemm.macs * plan.digits / (tiles * gemm.m * peak),
        "fill": 1 - steady / cycles,
        "digits": 1 - 1 / plan.digits,
        "stage-b": 1 - loaded / period,
    }
    worst = max(losses, key=lambda cause: losses[cause])
    return Estimate(
        cycles=cycles,
        pipeline_cycles=config.pipeline_cycles,
        utilization=gemm.macs / (cycles * peak),
        roof=gemm.macs / (steady * peak),
        bound_by=worst if losses[worst] > 0.05 else "activations",
        split=split,
    )


def best_split(config: EngineConfig, gemm: Gemm, pair: Pair | None = None) -> Split:
    """The split with the fewest cycles among those that fit; the least split of equals.

    ``pair`` is as in :func:`estimate`. Block formats allow every split: a group that is taller than
    a block pays with the time of its loop, and wins where there are few N tiles to share out.

    Raises
    ------
    CapacityError
        If it fits under no split.
    ValueError
        If the array does not have the formats.
    """
    choices: list[tuple[int, Split]] = []
    refusals: list[ValueError] = []
    for split in legal_splits(config.array):
        try:
            choices.append((estimate(config, gemm, split, pair).cycles, split))
        except ValueError as error:
            refusals.append(error)
    if not choices:
        # Sizes explain more than splits that the formats exclude anyway.
        raise next((error for error in refusals if isinstance(error, CapacityError)), refusals[0])
    return min(choices)[1]
