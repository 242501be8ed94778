"""What the engine computes for a GEMM: an exact integer product, or block sums in binary32."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import EngineConfig
from systolith.golden.numerics.matmul import matmul
from systolith.golden.numerics.spec import AccSpec
from systolith.numerics.pairs import Pair

__all__ = ["accumulator_of", "gemm", "product"]


def gemm(x: NDArray[np.int8], w: NDArray[np.int8]) -> NDArray[np.int32]:
    """``x[M, K] @ w[K, N]`` summed without rounding, wrapped to int32 once at the end."""
    return (x.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)


def product(
    pair: Pair | None,
    x: NDArray[Any],
    w: NDArray[Any],
    x_scales: NDArray[Any] | None = None,
    w_scales: NDArray[Any] | None = None,
    tensor_scale: float = 1.0,
    acc: AccSpec | None = None,
) -> NDArray[Any]:
    """``x[M, K] @ w[K, N]`` in the formats of ``pair``; None: int8 and int32.

    Parameters are those of :func:`systolith.golden.numerics.matmul`.
    """
    if pair is None:
        return gemm(x, w)
    names = (pair.x.name, pair.w.name)
    return matmul(x, x_scales, w, w_scales, *names, acc, tensor_scale)


def accumulator_of(config: EngineConfig, seed: int = 0) -> AccSpec:
    """How the engine's stage B adds; ``seed`` is that of stochastic rounding."""
    formats = config.array.formats
    if formats is None:
        return AccSpec()
    return AccSpec(frac=formats.frac, rounding=formats.rounding, seed=seed)
