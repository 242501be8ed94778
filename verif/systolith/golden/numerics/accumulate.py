"""Stage B: block sums to binary32 terms, terms to one accumulator per output."""

import numpy as np
from numpy.typing import NDArray

from systolith.golden.numerics.arrays import Float32Array, Float64Array, widen
from systolith.golden.numerics.lfsr import element_index, random_bits
from systolith.golden.numerics.rounding import add_to_odd, round_units
from systolith.golden.numerics.spec import AccSpec

__all__ = ["Accumulator", "canonical", "round_fraction", "to_float32"]

_EMIN = -126
_NAN = np.uint32(0x7FC00000)


def to_float32(x: Float64Array) -> Float32Array:
    """Round to binary32, to nearest with ties to even; overflow gives infinity, silently."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return x.astype(np.float32)


def canonical(x: Float32Array) -> Float32Array:
    """Return ``x`` with every NaN as 0x7FC00000."""
    words = np.where(np.isnan(x), _NAN, x.view(np.uint32))
    result: Float32Array = words.view(np.float32)
    return result


def round_fraction(
    x: Float64Array, frac: int, rounding: str, random: NDArray[np.int64] | None = None
) -> Float32Array:
    """Round to ``frac`` fraction bits in the exponent range of binary32, subnormals included.

    ``x`` is exact, or rounded to odd. Overflow gives infinity, or the largest finite value when
    rounding toward zero. The sign of what rounds to zero stays.
    """
    finite = np.isfinite(x)
    magnitude = np.abs(np.where(finite, x, 0.0))
    exponent = np.maximum(np.frexp(magnitude)[1].astype(np.int64) - 1, _EMIN)
    units = round_units(magnitude, exponent - frac, rounding, random)
    rounded = np.ldexp(units, exponent - frac)
    if rounding == "rz":
        rounded = np.minimum(rounded, np.ldexp(2.0 - 2.0**-frac, 127))
    return to_float32(np.where(finite, np.copysign(rounded, x), x))


class Accumulator:
    """One accumulator per output element, starting at +0.

    Parameters
    ----------
    shape : tuple of int
        Outputs, [M, N].
    spec : AccSpec
        Fraction bits and rounding.

    Members
    -------
    value : float32 [M, N]
        The sum so far.
    """

    def __init__(self, shape: tuple[int, int], spec: AccSpec) -> None:
        self.spec = spec
        self.value: Float32Array = np.zeros(shape, np.float32)
        self._blocks = 0
        self._index: NDArray[np.int64] | None = None
        if spec.rounding == "sr":
            self._index = element_index(np.arange(shape[0])[:, None], np.arange(shape[1])[None, :])

    def add(self, term: Float32Array, random: NDArray[np.int64] | None = None) -> None:
        """Add the terms [M, N] of the next block, with ``random`` bits instead of the spec's."""
        spec = self.spec
        if spec.frac == 23 and spec.rounding == "rne":
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                self.value = self.value + term
        else:
            exact = add_to_odd(widen(self.value), widen(term))
            if random is None and self._index is not None:
                random = random_bits(spec.seed + self._blocks, self._index).astype(np.int64)
            self.value = round_fraction(exact, spec.frac, spec.rounding, random)
        self._blocks += 1
