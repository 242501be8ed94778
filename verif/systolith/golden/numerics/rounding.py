"""The one rounder: a magnitude to an integer multiple of a power of two."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import Float64Array

__all__ = ["RANDOM_BITS", "ROUNDINGS", "add_to_odd", "as_random", "check_rounding", "round_units"]

ROUNDINGS = ("rne", "rz", "sr")
"""To nearest with ties to even, toward zero, stochastic."""

RANDOM_BITS = 16
"""Discarded bits that stochastic rounding looks at, and bits of the random number beside them."""


def check_rounding(rounding: str, where: str) -> None:
    """Raise ValueError unless ``rounding`` is one of :data:`ROUNDINGS`."""
    if rounding not in ROUNDINGS:
        raise ValueError(
            f"{where}: rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}"
        )


def as_random(
    random: ArrayLike | None, shape: tuple[int, ...], rounding: str, where: str
) -> NDArray[np.int64] | None:
    """Return the random numbers of a stochastic rounding, one per element; otherwise None."""
    if rounding != "sr":
        return None
    if random is None:
        raise ValueError(
            f"{where}: random must hold {RANDOM_BITS} random bits per element for rounding 'sr'; "
            "systolith.golden.numerics.random_bits makes them"
        )
    bits = np.asarray(random)
    if bits.dtype.kind not in "iu":
        raise ValueError(f"{where}: random must hold integers, not {bits.dtype}")
    if bits.shape != shape:
        raise ValueError(f"{where}: random must have the shape {shape} of x, not {bits.shape}")
    wide = bits.astype(np.int64)
    if wide.size and (wide.min() < 0 or wide.max() >> RANDOM_BITS):
        raise ValueError(f"{where}: random must be in 0..{(1 << RANDOM_BITS) - 1}")
    return wide


def round_units(
    magnitude: Float64Array,
    unit: int | NDArray[np.int64],
    rounding: str,
    random: NDArray[np.int64] | None = None,
) -> Float64Array:
    """Return ``magnitude / 2^unit`` rounded to an integer.

    The quotient is exact, so there is a single rounding. Stochastic rounding compares the first
    :data:`RANDOM_BITS` discarded bits with the random number; later bits are dropped.

    Parameters
    ----------
    magnitude
        Finite values of at least zero.
    unit
        Exponent of the grid, broadcastable.
    rounding
        One of :data:`ROUNDINGS`.
    random
        Random numbers for "sr".
    """
    exact: Float64Array = np.ldexp(magnitude, np.negative(unit))
    if rounding == "rne":
        nearest: Float64Array = np.rint(exact)
        return nearest
    kept: Float64Array = np.floor(exact)
    if rounding == "sr":
        tail = np.floor(np.ldexp(exact - kept, RANDOM_BITS))
        kept = kept + (tail + random >= 1 << RANDOM_BITS)
    return kept


def add_to_odd(a: Float64Array, b: Float64Array) -> Float64Array:
    """Return ``a + b`` in float64 such that any later rounding to 51 bits or fewer is exact.

    An inexact sum goes to the neighbour with an odd significand ("round to odd"): it keeps the
    sticky bit. Plain float64 addition would round twice.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = a + b
        # The rounding error of an addition is a float64 itself (Knuth's two-sum).
        part = total - a
        error = (a - (total - part)) + (b - part)
        even = (total.view(np.int64) & 1) == 0
        fix = np.isfinite(total) & (error != 0) & even
        toward = np.where(error > 0, np.inf, -np.inf)
        result: Float64Array = np.where(fix, np.nextafter(total, toward), total)
    return result
