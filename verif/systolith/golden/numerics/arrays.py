"""What every function of the package accepts as values and codes, and how it refuses the rest."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.numerics.formats import Format, Kind

__all__ = ["Float32Array", "Float64Array", "as_codes", "as_float32", "code_type", "widen"]

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]


def code_type(fmt: Format) -> type[np.unsignedinteger[Any]]:
    """Smallest unsigned integer that holds one code."""
    if fmt.width <= 8:
        return np.uint8
    return np.uint16 if fmt.width <= 16 else np.uint32


def as_float32(x: ArrayLike, where: str) -> Float32Array:
    """Return ``x`` as binary32; a value that would be rounded by that raises ValueError.

    A silent float64 -> float32 -> narrow conversion rounds twice; whoever wants it says so.
    """
    given = np.asarray(x)
    if given.dtype == np.float32:
        return given
    if given.dtype.kind not in "fiu":
        raise ValueError(f"{where}: x must be an array of float32, not of {given.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        single = given.astype(np.float32)
    if not np.array_equal(single.astype(np.float64), given.astype(np.float64), equal_nan=True):
        raise ValueError(
            f"{where}: x must hold float32 values, not {given.dtype} values between them; "
            "round with .astype(np.float32) first"
        )
    return single


def widen(x: Float32Array) -> Float64Array:
    """Return ``x`` as float64, which is exact; a signalling NaN is nothing to warn about."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.float64)


def as_codes(codes: ArrayLike, fmt: Format, where: str) -> NDArray[np.int64]:
    """Return ``codes`` as int64 in ``0..2^width-1``, or raise ValueError.

    Formats in two's complement also take signed integers, the natural way to hold them.
    """
    given = np.asarray(codes)
    if given.dtype.kind not in "iu":
        raise ValueError(f"{where}: codes of {fmt.name} must be integers, not {given.dtype}")
    wide = given.astype(np.int64)
    if not wide.size:
        return wide
    low = 0
    if fmt.kind is Kind.INTEGER and given.dtype.kind == "i":
        low = -(1 << fmt.width - 1)
    high = (1 << fmt.width) - 1
    if wide.min() < low or wide.max() > high:
        odd = int(wide.min()) if wide.min() < low else int(wide.max())
        raise ValueError(
            f"{where}: codes of {fmt.name} must be in 0..{high}, not {odd}; "
            "one element per item, never packed"
        )
    masked: NDArray[np.int64] = wide & high
    return masked
