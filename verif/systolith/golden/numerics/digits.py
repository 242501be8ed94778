"""Elements wider than the multiplier: unsigned 8-bit digits, one pass per pair of digits."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import as_codes
from systolith.golden.numerics.decode import decode
from systolith.numerics.formats import Kind, lookup
from systolith.numerics.pairs import pair

__all__ = ["digits", "sliced_sums"]


def digits(codes: ArrayLike, fmt: str) -> NDArray[np.int64]:
    """Return the signed 8-bit digits [digits, ...] of an integer format, lowest first.

    Each digit carries the element's sign: the multiplier sees magnitudes, and the most negative
    code has one too.
    """
    form = lookup(fmt)
    if form.kind is not Kind.INTEGER:
        raise ValueError(f"digits: fmt must be an integer format, not {fmt!r}")
    signed = np.ldexp(decode(as_codes(codes, form, "digits"), fmt), -form.lsb).astype(np.int64)
    magnitude = np.abs(signed)
    return np.stack([np.sign(signed) * (magnitude >> 8 * d & 0xFF) for d in range(form.digits)])


def sliced_sums(
    x_codes: ArrayLike, w_codes: ArrayLike, x_fmt: str, w_fmt: str
) -> tuple[NDArray[np.int64], ...]:
    """Return the integer sum [M, N] of every pass over one block; together the exact sum.

    The sum of pass i is to be shifted by ``pair(x_fmt, w_fmt).shifts[i]``. Partner formats of one
    digit enter as their integers.
    """
    pair(x_fmt, w_fmt)  # refuses an illegal one

    def parts(codes: ArrayLike, fmt: str) -> NDArray[np.int64]:
        form = lookup(fmt)
        if form.digits > 1:
            return digits(codes, fmt)
        return np.ldexp(decode(codes, fmt), -form.lsb).astype(np.int64)[None]

    x, w = parts(x_codes, x_fmt), parts(w_codes, w_fmt)
    order = sorted((i + j, i, j) for i in range(len(x)) for j in range(len(w)))
    return tuple(x[i] @ w[j] for _, i, j in order)
