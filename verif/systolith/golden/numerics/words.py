"""Binary32 and narrow codes on Python integers: every bit of the rounding is visible.

The other modules leave arithmetic to numpy's float64. These functions do not use floating point at
all; tests hold both against each other and against references from elsewhere.
"""

from systolith.golden.numerics.rounding import RANDOM_BITS
from systolith.numerics.formats import Format, Kind, Overflow, Specials

__all__ = ["INFINITY", "NAN", "add", "encode_word", "linear_code", "pack", "unpack"]

INFINITY = 0x7F800000
NAN = 0x7FC00000
_SIGN = 1 << 31
_UNIT = -149
_EMIN = -126


def linear_code(
    magnitude: int, unit: int, fraction: int, emin: int, rounding: str, random: int = 0
) -> int:
    """Return ``magnitude * 2^unit`` as exponent field and fraction, of unlimited exponent.

    Parameters
    ----------
    magnitude, unit
        The exact value, at least 0.
    fraction, emin
        Fraction bits and smallest normal exponent of the result; below it values are subnormal.
    rounding, random
        One of "rne", "rz", "sr", and the random number of "sr".
    """
    exponent = max(magnitude.bit_length() - 1 + unit, emin) if magnitude else emin
    shift = exponent - fraction - unit
    if shift <= 0:
        kept = magnitude << -shift
    else:
        kept, tail = magnitude >> shift, magnitude & (1 << shift) - 1
        half = 1 << shift - 1
        if rounding == "rne":
            kept += tail > half or (tail == half and kept & 1)
        elif rounding == "sr":
            kept += ((tail << RANDOM_BITS) >> shift) + random >= 1 << RANDOM_BITS
    # With the hidden bit inside ``kept``, a carry moves on to the next exponent by itself.
    return (exponent - emin << fraction) + kept


def unpack(word: int) -> tuple[int, int]:
    """Return sign and magnitude in units of 2^-149 of a finite binary32 word."""
    field, fraction = word >> 23 & 0xFF, word & 0x7FFFFF
    magnitude = (fraction | 1 << 23) << field - 1 if field else fraction
    return word >> 31, magnitude


def pack(
    sign: int, magnitude: int, unit: int, frac: int = 23, rounding: str = "rne", random: int = 0
) -> int:
    """Return the binary32 word nearest to ``+-magnitude * 2^unit``, with ``frac`` fraction bits."""
    spare = 23 - frac
    code = linear_code(magnitude, unit, frac, _EMIN, rounding, random) << spare
    if code >= INFINITY:
        code = INFINITY - (1 << spare) if rounding == "rz" else INFINITY
    return sign << 31 | code


def add(a: int, b: int, frac: int = 23, rounding: str = "rne", random: int = 0) -> int:
    """Return the sum of two binary32 words; exact cancellation gives +0."""
    special = [word for word in (a, b) if word & INFINITY == INFINITY]
    if special:
        return special[0] if set(special) in ({INFINITY}, {INFINITY | _SIGN}) else NAN
    (a_sign, a_size), (b_sign, b_size) = unpack(a), unpack(b)
    total = (-a_size if a_sign else a_size) + (-b_size if b_sign else b_size)
    sign = int(total < 0 or (total == 0 and a_sign and b_sign and not a_size))
    return pack(sign, abs(total), _UNIT, frac, rounding, random)


def encode_word(
    word: int, form: Format, rounding: str = "rne", saturate: bool = True, random: int = 0
) -> int:
    """Return the code of a binary32 word, as :func:`systolith.golden.numerics.encode` does."""
    infinite = word & ~_SIGN == INFINITY
    if word & ~_SIGN > INFINITY:
        return 0 if form.specials is Specials.NONE else form.nan_code
    sign, magnitude = (word >> 31, 0) if infinite else unpack(word)
    if form.kind is Kind.INTEGER:
        # A grid without exponents is what subnormals are: keep every value below the normals.
        beyond = 1 << 10
        code = linear_code(magnitude, _UNIT, beyond - form.lsb, beyond, rounding, random)
    else:
        code = linear_code(magnitude, _UNIT, form.fraction_bits, form.emin, rounding, random)
    if infinite or code > form.max_code:
        clamps = form.overflow is Overflow.SATURATE or (
            form.overflow is Overflow.CHOICE and saturate
        )
        if clamps or (rounding == "rz" and not infinite):
            code = form.max_code
        elif form.specials is Specials.NAN:
            return form.nan_code
        else:
            code = form.infinity_code
    if form.kind is Kind.INTEGER:
        return (-code if sign else code) & (1 << form.width) - 1
    return sign << form.width - 1 | code
