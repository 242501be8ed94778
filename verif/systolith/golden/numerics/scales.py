"""The scale of a block, as integers on the binary32 word of the block's largest magnitude.

Logarithms are absent on purpose: ``floor(log2(amax))`` is one too high just below most powers of
two.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import Float32Array, Float64Array, as_float32, widen
from systolith.golden.numerics.encode import encode_exact
from systolith.numerics.formats import RULES, Format, lookup

__all__ = ["power_scale", "tensor_scale", "two_level_scale"]

_NAN = 0xFF
_FRACTION = 0x7FFFFF


def power_scale(peak: Float32Array, form: Format, rule: str | None = None) -> NDArray[np.uint8]:
    """Return the E8M0 scale code of blocks whose largest magnitudes are ``peak``.

    ========  ==========================================  ==========================
    rule      exponent field of the peak, plus            may saturate elements
    ========  ==========================================  ==========================
    floor     nothing                                     yes (OCP MX 1.0)
    even      1 if rounding the peak to the element's     sometimes
              fraction bits, halves up, carries
    ceil      1 if the fraction is not zero               no
    rceil     1 if the fraction is above that of the      no
              largest element
    ========  ==========================================  ==========================

    minus the exponent of the largest element, kept within 0..254. A peak of zero gives 0, an
    infinite or NaN peak 0xFF.

    Parameters
    ----------
    peak
        Magnitudes, any shape.
    form
        Element format with E8M0 scales.
    rule
        One of :data:`systolith.numerics.formats.RULES`; None for the format's own.
    """
    chosen = check_rule(rule) or form.rule
    word = np.abs(peak).view(np.uint32).astype(np.int64)
    fraction = word & _FRACTION
    if chosen == "even":
        field = word + (1 << 22 - form.fraction_bits) >> 23
    elif chosen == "ceil":
        field = (word >> 23) + (fraction != 0)
    elif chosen == "rceil":
        field = (word >> 23) + (fraction > form.rceil_threshold)
    else:
        field = word >> 23
    code = np.clip(field - form.emax, 0, 254)
    return np.where(np.isfinite(peak), code, _NAN).astype(np.uint8)


def check_rule(rule: str | None) -> str | None:
    """Return ``rule``; raises ValueError if it is no scale rule."""
    if rule is not None and rule not in RULES:
        raise ValueError(f"quantize: rule must be one of {', '.join(RULES)}, not {rule!r}")
    return rule


def two_level_scale(peak: Float32Array, form: Format, tensor: float) -> NDArray[np.uint8]:
    """Return the block scale codes of NVFP4: ``peak / (6 * tensor)``, rounded once to E4M3.

    An infinite or NaN peak gives NaN. The quotient is taken in float64, which cannot move it
    across a rounding boundary: two numbers of 24 and 31 bits that differ, differ by more than
    2^-52 of themselves.
    """
    largest = np.ldexp(float(form.largest), form.lsb)
    quotient: Float64Array = widen(peak) / (largest * tensor)
    quotient = np.where(np.isfinite(peak), quotient, np.nan)
    return encode_exact(quotient, lookup(form.scale)).astype(np.uint8)


def tensor_scale(x: ArrayLike, fmt: str = "nvfp4") -> np.float32:
    """Return the float32 scale of a whole tensor: its largest magnitude over 6 * 448, rounded.

    A tensor of zeros gets 1. NaN or infinity in ``x`` raises ValueError: such a tensor has no
    largest magnitude.
    """
    form = lookup(fmt)
    if not form.scale or lookup(form.scale).fraction_bits == 0:
        raise ValueError(f"tensor_scale: fmt must be a format with two scales, not {fmt!r}")
    peak = np.max(np.abs(as_float32(x, "tensor_scale")), initial=np.float32(0))
    if not np.isfinite(peak):
        raise ValueError("tensor_scale: x must be finite; it holds NaN or infinity")
    scale = lookup(form.scale)
    reach = np.ldexp(float(form.largest), form.lsb) * np.ldexp(float(scale.largest), scale.lsb)
    quotient = np.float32(float(peak) / reach)
    # A tensor of the smallest subnormals: a zero here would divide by zero everywhere else.
    smallest = np.float32(2.0**-149)
    return np.float32(1) if peak == 0 else max(quotient, smallest)
