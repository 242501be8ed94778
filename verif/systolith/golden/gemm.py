"""Exact integer matrix product."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["gemm"]


def gemm(x: NDArray[np.int8], w: NDArray[np.int8]) -> NDArray[np.int32]:
    """``x[M, K] @ w[K, N]`` summed without rounding, wrapped to int32 once at the end."""
    return (x.astype(np.int64) @ w.astype(np.int64)).astype(np.int32)
