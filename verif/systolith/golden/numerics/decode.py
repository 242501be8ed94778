"""Codes to numbers: one formula per kind of format, straight from the table."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import Float64Array, as_codes
from systolith.numerics.formats import Format, Kind, Specials, lookup

__all__ = ["decode"]


def decode(codes: ArrayLike, fmt: str) -> Float64Array:
    """Return the value of every code, exactly, in float64.

    Parameters
    ----------
    codes
        Unsigned integers, one element per item, any shape.
    fmt
        Name in :data:`systolith.numerics.formats.FORMATS`.
    """
    form = lookup(fmt)
    given = as_codes(codes, form, "decode")
    if form.width <= 16:
        return _table(form)[given]
    return _values(given, form)


@cache
def _table(form: Format) -> Float64Array:
    table = _values(np.arange(1 << form.width, dtype=np.int64), form)
    table.flags.writeable = False
    return table


def _values(codes: NDArray[np.int64], form: Format) -> Float64Array:
    top = np.int64(1) << (form.width - 1)
    if form.kind is Kind.INTEGER:
        signed = codes - ((codes & top) << 1)
        return np.ldexp(signed.astype(np.float64), form.lsb)
    if form.kind is Kind.POWER:
        return np.where(codes > form.max_code, np.nan, np.ldexp(1.0, codes + form.emin))

    magnitude = codes & (top - 1)
    field = magnitude >> form.fraction_bits
    fraction = magnitude & ((1 << form.fraction_bits) - 1)
    significand = np.where(field > 0, fraction | (1 << form.fraction_bits), fraction)
    values = np.ldexp(significand.astype(np.float64), np.maximum(field, 1) - 1 + form.lsb)
    if form.specials is not Specials.NONE:
        values = np.where(magnitude > form.max_code, np.nan, values)
    if form.specials is Specials.IEEE:
        values = np.where(magnitude == form.infinity_code, np.inf, values)
    signs = np.where(codes & top, -1.0, 1.0)
    result: Float64Array = np.copysign(values, signs)
    return result
