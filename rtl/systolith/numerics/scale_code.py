"""What the code of a block's scale says: exponent, significand, not a number."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Mux, Value

from systolith.numerics.format import Kind, Specials
from systolith.numerics.formats import Format

__all__ = ["ScaleCode", "decode_scale", "decode_scales", "scale_unit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaleCode:
    """A scale of ``significand * 2^(exponent + scale_unit)``.

    Parameters
    ----------
    exponent
        Exponent field, at least that of the smallest number.
    significand
        1 for powers of two.
    nan
        The scale is not a number.
    """

    exponent: Value
    significand: Value
    nan: Value


def scale_unit(form: Format) -> int:
    """Exponent that belongs to exponent field 0 and a significand in units of its last place."""
    return -form.bias - form.fraction_bits


def decode_scale(form: Format, code: Value) -> ScaleCode:
    """Decode a scale; the sign bit of a float is not used."""
    if form.kind is Kind.POWER:
        return ScaleCode(exponent=code, significand=Const(1, 1), nan=code.all())
    body = code[: form.width - 1]
    fraction, field = body[: form.fraction_bits], body[form.fraction_bits :]
    normal = field.any()
    nan: Value = Const(0, 1)
    if form.specials is not Specials.NONE:
        nan = body > form.max_code
    return ScaleCode(
        exponent=Cat(field[0] | ~normal, field[1:]),
        significand=Cat(fraction, normal),
        nan=nan,
    )


def decode_scales(forms: Sequence[Format], code: Value, second: Value) -> ScaleCode:
    """Decode a scale of the only format, or of the second of two if ``second``."""
    one, *others = (decode_scale(form, code) for form in forms)
    for other in others:
        one = ScaleCode(
            exponent=Mux(second, other.exponent, one.exponent),
            significand=Mux(second, other.significand, one.significand),
            nan=Mux(second, other.nan, one.nan),
        )
    return one
