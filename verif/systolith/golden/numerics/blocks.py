"""Stage A: the exact sum of the products of one block, and its three flags."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.golden.numerics.arrays import Float64Array
from systolith.golden.numerics.decode import decode
from systolith.golden.numerics.rounding import add_to_odd
from systolith.numerics.formats import Format, Specials
from systolith.numerics.pairs import Pair

__all__ = ["Elements", "block_sum", "elements", "flag_values"]

_EXACT = 53  # bits of a float64 significand: integers of so many bits add exactly in any order
_LIMB = 16

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Elements:
    """Decoded elements of one operand.

    Parameters
    ----------
    integers
        Finite values in units of the format's ``2^lsb``; 0 in place of specials.
    values
        The same with NaN and infinities, if there is any in the tensor; otherwise None.
    """

    integers: Float64Array
    values: Float64Array | None

    def __getitem__(self, key: Any) -> "Elements":
        values = None if self.values is None else self.values[key]
        return Elements(self.integers[key], values)


def elements(codes: Any, form: Format) -> Elements:
    """Decode ``codes`` to integers."""
    values = decode(codes, form.name)
    finite = np.isfinite(values)
    special = form.specials is not Specials.NONE and not bool(finite.all())
    # Adding +0 turns the -0 of negative zeros into +0.
    integers = np.ldexp(np.where(finite, values, 0.0), -form.lsb) + 0.0
    return Elements(integers, values if special else None)


def block_sum(x: Elements, w: Elements, pair: Pair) -> Float64Array:
    """Return the sums of one block, ``x [M, k]`` times ``w [k, N]``, in units of ``2^lsb``.

    Sums of up to 53 bits are exact. Wider ones are rounded to odd at 53 bits, so that their
    conversion to binary32 gives what the exact sum would give.
    """
    if pair.block_bits <= _EXACT:
        return x.integers @ w.integers + 0.0
    # Limbs of 16 bits: each partial product sum is a small exact integer.
    x_high, x_low = _limbs(x.integers)
    w_high, w_low = _limbs(w.integers)
    low = (x_low @ w_low).astype(np.int64)
    middle = (x_high @ w_low + x_low @ w_high).astype(np.int64)
    high = (x_high @ w_high).astype(np.int64)
    low += (middle & (1 << _LIMB) - 1) << _LIMB
    high += (middle >> _LIMB) + (low >> 2 * _LIMB)
    low &= (1 << 2 * _LIMB) - 1
    return add_to_odd(np.ldexp(high.astype(np.float64), 2 * _LIMB), low.astype(np.float64))


def _limbs(integers: Float64Array) -> tuple[Float64Array, Float64Array]:
    high = np.floor(np.ldexp(integers, -_LIMB))
    return high, integers - np.ldexp(high, _LIMB)


def flag_values(x: Elements, w: Elements) -> Float64Array | None:
    """Return what the flags of one block make of its sum [M, N]: 0, NaN, +inf or -inf.

    NaN wins, and so do infinity times zero and infinities of both signs. None if no operand holds
    a special value.
    """
    if x.values is None and w.values is None:
        return None
    x_values = x.integers if x.values is None else x.values
    w_values = w.integers if w.values is None else w.values

    def meet(a: Mask, b: Mask) -> Mask:
        counts: Mask = a.astype(np.float64) @ b.astype(np.float64) > 0
        return counts

    nan = np.isnan(x_values).any(axis=1, keepdims=True)
    nan = nan | np.isnan(w_values).any(axis=0, keepdims=True)
    x_inf, w_inf = np.isinf(x_values), np.isinf(w_values)
    nan = nan | meet(x_inf, w_values == 0) | meet(x_values == 0, w_inf)
    x_up, x_down, w_up, w_down = x_values > 0, x_values < 0, w_values > 0, w_values < 0
    plus = (
        meet(x_inf & x_up, w_up)
        | meet(x_up, w_inf & w_up)
        | meet(x_inf & x_down, w_down)
        | meet(x_down, w_inf & w_down)
    )
    minus = (
        meet(x_inf & x_up, w_down)
        | meet(x_up, w_inf & w_down)
        | meet(x_inf & x_down, w_up)
        | meet(x_down, w_inf & w_up)
    )
    result: Float64Array = np.select(
        [nan | (plus & minus), plus, minus], [np.nan, np.inf, -np.inf], 0.0
    )
    return result
