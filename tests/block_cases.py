"""Configurations and operands of block formats shared by tests."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import ArrayConfig, EngineConfig, FormatsConfig, MemoryConfig
from systolith.benches.random_codes import random_codes, random_scales
from systolith.compiler.split import Gemm, Split, ceil_div, legal_splits
from systolith.config.presets import tiny
from systolith.numerics.pairs import Pair

MX = ("mxint8", "mxint16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1")
EVERY = FormatsConfig(acts=("int8", "int4", *MX, "nvfp4"), weights=("int8", "int4", *MX, "nvfp4"))
Operands = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]


def block_config(
    formats: FormatsConfig | None,
    *,
    rows: int = 8,
    cols: int = 4,
    row_bands: int = 4,
    col_bands: int = 2,
    tile: int = 2,
    latency: int = 1,
    mac_latency: int = 1,
    words: tuple[int, int, int] = (96, 128, 24),
) -> EngineConfig:
    array = ArrayConfig(
        rows=rows,
        cols=cols,
        row_bands=row_bands,
        col_bands=col_bands,
        tile=tile,
        mac_latency=mac_latency,
        formats=formats,
    )
    x_depth, w_depth, y_depth = words
    memory = MemoryConfig(x_depth=x_depth, w_depth=w_depth, y_depth=y_depth, latency=latency)
    return replace(tiny, name="blocks", array=array, memory=memory)


MODEL = block_config(EVERY, words=(512, 512, 64))  # never built: only planned for and modelled
TALL = block_config(EVERY, rows=64, cols=4, row_bands=8, words=(512, 512, 64))


def block_operands(rng: np.random.Generator, formats: Pair, gemm: Gemm) -> Operands:
    if not formats.block:
        x, w = (
            rng.integers(-(1 << form.width - 1), 1 << form.width - 1, shape, dtype=np.int8)
            for form, shape in ((formats.x, (gemm.m, gemm.k)), (formats.w, (gemm.k, gemm.n)))
        )
        return x, w, None, None
    kinds = [np.uint16 if form.width > 8 else np.uint8 for form in (formats.x, formats.w)]
    blocks = ceil_div(gemm.k, formats.block)
    return (
        random_codes(rng, [formats.x], (gemm.m, gemm.k)).astype(kinds[0]),
        random_codes(rng, [formats.w], (gemm.k, gemm.n)).astype(kinds[1]),
        random_scales(rng, [formats.x.scale], (gemm.m, blocks)),
        random_scales(rng, [formats.w.scale], (blocks, gemm.n)),
    )


def usable_splits(config: EngineConfig, formats: Pair) -> list[Split]:
    fits = not formats.block or config.array.band_rows <= formats.block
    return legal_splits(config.array) if fits else []


def bits(y: NDArray[Any]) -> list[int]:
    bits: list[int] = y.view(np.uint32).ravel().tolist()
    return bits


def block_command(config: EngineConfig, formats: Pair, **fields: int) -> dict[str, int]:
    mac = config.array.mac
    assert mac is not None
    base = dict.fromkeys(("row", "col", "rows_log2", "cols_log2", "accumulate", "follow"), 0)
    base |= {"m": 1, "k_tiles": 1, "n_tiles": 1, "n_inside": 0}
    base |= {"x_form": mac.x.formats.index(formats.x), "w_form": mac.w.formats.index(formats.w)}
    return {**base, **fields}


SETS = {
    "fp8_fp4": FormatsConfig(acts=("e4m3",), weights=("e2m1", "e4m3")),
    "nvfp4": FormatsConfig(acts=("nvfp4",), weights=("nvfp4",)),
    "mxint16": FormatsConfig(acts=("mxint16", "mxint8"), weights=("mxint16", "e2m1")),
    "mixed": FormatsConfig(
        acts=("int8", "e5m2", "nvfp4"), weights=("int4", "int8", "e3m2", "nvfp4")
    ),
    "plain": FormatsConfig(acts=("int8", "int4"), weights=("int8", "int4")),
}
