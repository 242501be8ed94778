"""What is written to an engine before it can be used: operands of a GEMM, or every memory word."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from systolith.array.config import EngineConfig
from systolith.compiler.gemm import GemmPlan
from systolith.numerics.pairs import Pair

__all__ = ["fill_banks", "fill_results", "operand_writes"]

Payload = Mapping[str, int]


def operand_writes(
    plan: GemmPlan,
    x: NDArray[Any],
    w: NDArray[Any],
    x_scales: NDArray[Any] | None = None,
    w_scales: NDArray[Any] | None = None,
    *,
    pad: int = 0,
) -> dict[str, Iterable[Payload]]:
    """Payloads that place the operands of ``plan``, by port; block formats have scales."""
    writes: dict[str, Iterable[Payload]] = {
        "x_write": plan.x_writes(x, pad=pad),
        "w_write": plan.w_writes(w, pad=pad),
    }
    if x_scales is not None:
        writes["x_scale"] = plan.x_scale_writes(x_scales)
    if w_scales is not None:
        writes["w_scale"] = plan.w_scale_writes(w_scales, pad=pad)
    if plan.block and len(writes) < 4:
        missing = "x_scales" if x_scales is None else "w_scales"
        raise ValueError(f"{missing} must be given for blocks of {plan.block} elements, not None")
    if plan.block and plan.config.stochastic:
        writes["w_random"] = plan.w_random_writes()
    return writes


def fill_banks(config: EngineConfig, pad: int) -> dict[str, Iterator[Payload]]:
    """Payloads that write ``pad`` to every lane of every operand memory, by port.

    Real memories hold something; in a simulator with unknown values an unwritten word would make
    even its product with zero unknown.
    """
    a, memory = config.array, config.memory
    everywhere = {"row_mask": (1 << a.row_bands) - 1, "col_mask": (1 << a.col_bands) - 1}

    def words(depth: int, tiles: int, bits: int) -> Iterator[Payload]:
        lane = pad & (1 << bits) - 1
        word = sum(lane << n * bits for n in range(a.tile))
        for tile in range(tiles):
            for addr in range(depth):
                yield {"data": word, "addr": addr, "tile": tile, **everywhere}

    banks = {
        "x_write": words(memory.x_depth, a.row_tiles, a.x_bits),
        "w_write": words(memory.w_depth, a.col_tiles, a.w_bits),
    }
    if config.scaled:
        depth = range(memory.x_depth)
        banks["x_scale"] = ({"data": pad, "addr": addr, **everywhere} for addr in depth)
        banks["w_scale"] = words(config.max_tiles, a.col_tiles, 8)
    if config.stochastic:
        banks["w_random"] = (
            {"data": pad, "addr": addr, "tile": stage, **everywhere}
            for stage in range(a.band_cols // config.unit_lanes)
            for addr in range(config.max_tiles)
        )
    return banks


def fill_results(config: EngineConfig) -> Iterator[Payload]:
    """Commands that write every word of every result memory.

    The exact sums of blocks go through the memory of the int32 results: those come last.
    """
    array = config.array
    fits = [pair for pair in config.block_pairs if pair.block >= array.band_rows]
    choices: list[Pair | None] = list(fits[:1])
    choices += [pair for pair in array.pairs if not pair.block][:1] if array.mac else [None]
    rows = config.max_m
    for pair in choices:
        forms = {}
        if array.mac and pair:
            forms["x_form"] = array.mac.x.formats.index(pair.x)
            forms["w_form"] = array.mac.w.formats.index(pair.w)
        for band in range(array.bands):
            for base in range(0, config.memory.y_depth, rows):
                yield {
                    "tag": 0,
                    "row": band // array.col_bands,
                    "col": band % array.col_bands,
                    "rows_log2": 0,
                    "cols_log2": 0,
                    "m": min(rows, config.memory.y_depth - base),
                    "k_tiles": 1,
                    "n_tiles": 1,
                    "k_last": 1,
                    "n_last": array.band_cols,
                    "x_base": 0,
                    "w_base": 0,
                    "y_base": base,
                    "n_inside": 0,
                    "accumulate": 0,
                    "idle_only": 0,
                    "follow": 0,
                    **forms,
                }
