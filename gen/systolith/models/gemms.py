"""Who computes the weight GEMMs: float32, a recorder, or symmetric INT8.

The reference model sends every product with a weight matrix through one ``linear(name, x)``, so an
object given to it can look at the activations or replace the arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from systolith.models.ops import FloatArray, matmul
from systolith.models.quantise import quantise

__all__ = ["CaptureGemms", "CapturedGemm", "FloatGemms", "Gemms", "Int8Gemms"]


class Gemms(Protocol):
    """Computes ``x @ w`` for a weight matrix known by name."""

    def linear(self, name: str, x: FloatArray) -> FloatArray:
        """Return ``x[M, K] @ w[K, N]`` for the weight GEMM ``name``."""
        ...


class FloatGemms:
    """The float32 arithmetic of the reference.

    Parameters
    ----------
    matrices
        Weight matrix [K, N] of each GEMM.
    """

    def __init__(self, matrices: Mapping[str, FloatArray]) -> None:
        self.matrices = matrices

    def linear(self, name: str, x: FloatArray) -> FloatArray:
        """Return ``x[M, K] @ w[K, N]``, each sum rounded once to float32."""
        return matmul(x, self.matrices[name])


@dataclass(frozen=True, slots=True, eq=False)
class CapturedGemm:
    """One call of ``linear``.

    Parameters
    ----------
    name
        Name of the GEMM.
    x
        Its activations [M, K], a copy.
    """

    name: str
    x: FloatArray


class CaptureGemms:
    """Records the activations of every GEMM and leaves the arithmetic to another.

    Parameters
    ----------
    inner
        Computes the results.
    """

    def __init__(self, inner: Gemms) -> None:
        self.inner = inner
        self.calls: list[CapturedGemm] = []

    def linear(self, name: str, x: FloatArray) -> FloatArray:
        """Record ``x`` in :attr:`calls` and return the inner result."""
        self.calls.append(CapturedGemm(name, x.copy()))
        return self.inner.linear(name, x)


class Int8Gemms:
    """Symmetric INT8 weights (one scale per output channel) and activations, exact integer sums.

    Parameters
    ----------
    matrices
        Weight matrix [K, N] of each GEMM, float32.
    per_row
        False: one activation scale for the whole [M, K] matrix, as a chip does that scales once per
        command; rows then share a scale, so a row's result depends on its neighbours.
        True: one scale per row, so that a token depends on nothing but its past.
    """

    def __init__(self, matrices: Mapping[str, FloatArray], *, per_row: bool = False) -> None:
        self.weights = {name: quantise(matrix, axis=0) for name, matrix in matrices.items()}
        self.per_row = per_row

    def linear(self, name: str, x: FloatArray) -> FloatArray:
        """Return the de-quantised product of the rounded operands."""
        left = quantise(x, axis=1 if self.per_row else None)
        right = self.weights[name]
        # Integer sums below 2^53 are exact in float64, and BLAS has no integer product.
        total = left.codes.astype(np.float64) @ right.codes.astype(np.float64)
        return total.astype(np.float32) * (left.scale * right.scale)
