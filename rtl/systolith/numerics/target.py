"""What a conversion from binary32 needs to know of a format: constants derived from its row."""

from dataclasses import dataclass

from systolith.numerics.formats import Format, Kind, Overflow, Specials
from systolith.numerics.fp32 import BIAS, FRACTION_BITS

__all__ = ["Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """A format as the rounder sees it: a float whose magnitude code counts up.

    An integer is a float of a single exponent: its codes are the subnormal numbers and the first
    binade above them, which are consecutive integers. Everything that differs between formats is a
    number here, so that the hardware selects constants and has no cases.

    Parameters
    ----------
    form
        Row of the table: signed, with fewer fraction bits than binary32.
    """

    form: Format

    def __post_init__(self) -> None:
        if self.form.kind is Kind.POWER or self.fraction_bits >= FRACTION_BITS:
            raise ValueError(
                f"Target.form must have a sign and fewer than {FRACTION_BITS} fraction bits, "
                f"not {self.form.name!r}"
            )

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.form.width

    @property
    def fraction_bits(self) -> int:
        """Bits of the magnitude code below the exponent field."""
        return self.form.width - 2 if self.complements else self.form.fraction_bits

    @property
    def rebias(self) -> int:
        """Exponent field of binary32 where this format's exponent field would be 0."""
        return BIAS + self.form.lsb + self.fraction_bits - 1

    @property
    def complements(self) -> bool:
        """Whether negative codes are two's complement, not a sign and a magnitude."""
        return self.form.kind is Kind.INTEGER

    @property
    def max_code(self) -> int:
        """Magnitude code of the largest finite value."""
        return self.form.max_code

    @property
    def nan(self) -> int:
        """Code of a NaN: zero where the format has none."""
        return 0 if self.form.specials is Specials.NONE else self.form.nan_code

    @property
    def infinite(self) -> int:
        """Magnitude code of overflow that does not saturate."""
        if self.form.overflow is Overflow.SATURATE:
            return self.form.max_code
        if self.form.specials is Specials.NAN:
            return self.form.nan_code
        return self.form.infinity_code

    @property
    def signed_infinite(self) -> bool:
        """Whether overflow keeps its sign; the one NaN has none."""
        return self.form.overflow is Overflow.SATURATE or self.form.specials is Specials.IEEE

    @property
    def saturated(self) -> int:
        """Magnitude code of overflow that saturates, if the format does."""
        return self.infinite if self.form.overflow is Overflow.INFINITY else self.form.max_code
