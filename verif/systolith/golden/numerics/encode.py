"""Numbers to codes, rounded once."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import Float64Array, as_float32, code_type, widen
from systolith.golden.numerics.rounding import as_random, check_rounding, round_units
from systolith.numerics.formats import Format, Kind, Overflow, Specials, lookup

__all__ = ["encode", "encode_exact"]


def encode(
    x: ArrayLike,
    fmt: str,
    rounding: str = "rne",
    saturate: bool = True,
    random: ArrayLike | None = None,
) -> NDArray[Any]:
    """Return the code of every value.

    Rounding comes first, the range test second. NaN becomes the format's canonical NaN, or +0
    where the format has none. Integers saturate symmetrically: the most negative code is never
    produced.

    Parameters
    ----------
    x
        float32 values, any shape.
    fmt
        Name of a format with a sign; scales come from the quantiser.
    rounding
        "rne", "rz" or "sr".
    saturate
        For the FP8 formats: overflow and infinity become the largest finite value; otherwise
        infinity (E5M2) or NaN (E4M3). Formats without such codes always saturate; bf16 and fp32
        never do.
    random
        For "sr": integers in 0..65535 with the shape of ``x``.
    """
    form = lookup(fmt)
    if form.kind is Kind.POWER:
        raise ValueError(
            f"encode: fmt must be a format with a sign, not {fmt!r}; quantize makes scales"
        )
    check_rounding(rounding, "encode")
    values = as_float32(x, "encode")
    bits = as_random(random, values.shape, rounding, "encode")
    return encode_exact(widen(values), form, rounding, saturate, bits)


def encode_exact(
    x: Float64Array,
    form: Format,
    rounding: str = "rne",
    saturate: bool = True,
    random: NDArray[np.int64] | None = None,
) -> NDArray[Any]:
    """Encode as :func:`encode` does, from float64 values that stand for exact ones.

    The caller guarantees that ``x`` is on the right side of every rounding boundary.
    """
    finite = np.isfinite(x)
    magnitude = np.abs(np.where(finite, x, 0.0))
    if form.kind is Kind.INTEGER:
        units = round_units(magnitude, form.lsb, rounding, random)
        capped = np.minimum(units, float(1 << form.width)).astype(np.int64)
    else:
        # frexp has its significand in [0.5, 1), and calls the exponent of zero 0.
        exponent = np.frexp(magnitude)[1].astype(np.int64) - 1
        exponent = np.where(magnitude > 0, exponent, form.emin)
        exponent = np.clip(exponent, form.emin, form.emax + 1)
        units = round_units(magnitude, exponent - form.fraction_bits, rounding, random)
        # Codes of a sign are consecutive: a carry out of the fraction is the next exponent.
        ceiling = float(1 << form.fraction_bits + 2)
        capped = (exponent - form.emin << form.fraction_bits) + np.minimum(units, ceiling).astype(
            np.int64
        )

    over = capped > form.max_code
    code = np.minimum(capped, form.max_code)
    keeps_infinity = form.overflow is Overflow.INFINITY or (
        form.overflow is Overflow.CHOICE and not saturate
    )
    negative = np.signbit(x)
    nan = np.isnan(x)
    if keeps_infinity:
        beyond = form.infinity_code if form.specials is Specials.IEEE else form.nan_code
        lost = np.isinf(x) if rounding == "rz" else over | np.isinf(x)
        code = np.where(lost, beyond, code)
        if form.specials is Specials.NAN:
            nan = nan | lost
    else:
        code = np.where(np.isinf(x), form.max_code, code)

    if form.kind is Kind.INTEGER:
        code = np.where(negative, -code, code) & ((1 << form.width) - 1)
    else:
        code = code | (negative.astype(np.int64) << form.width - 1)
    code = np.where(nan, 0 if form.specials is Specials.NONE else form.nan_code, code)
    return code.astype(code_type(form))
