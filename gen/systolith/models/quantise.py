"""Symmetric INT8: the number format of the array's first generation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.models.ops import FloatArray

__all__ = ["LIMIT", "Quantised", "quantise"]

LIMIT = 127
"""Largest code. -128 is not used, so that negation never overflows."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """A tensor as integers and their scale: ``value = codes * scale``.

    Parameters
    ----------
    codes
        int8, in -127..127.
    scale
        float32, broadcastable to ``codes``.
    """

    codes: NDArray[np.int8]
    scale: FloatArray


def quantise(x: FloatArray, *, axis: int | None = None) -> Quantised:
    """Round ``x`` to INT8, to nearest with ties to even, with ``scale = max|x| / 127``.

    Parameters
    ----------
    x
        Finite values.
    axis
        None for one scale for the whole tensor; otherwise the maximum runs over this axis only, and
        the scale keeps it with length 1.
    """
    peak: Any = np.max(np.abs(x), axis=axis, keepdims=True)
    scale = peak / np.float32(LIMIT)
    # Zeros have no scale of their own: any will do, one stays finite.
    scale = np.where(scale > 0, scale, np.float32(1))
    # The quotient of the peak may exceed 127 by a rounding error, never by half a step.
    codes = np.clip(np.rint(x / scale), -LIMIT, LIMIT).astype(np.int8)
    return Quantised(codes, scale)
