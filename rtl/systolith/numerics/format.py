"""What a number format is: a row of data, and the sizes and codes that derive from the row."""

from dataclasses import dataclass
from enum import Enum

__all__ = ["FAMILIES", "RULES", "Family", "Format", "Kind", "Overflow", "Specials"]

RULES = ("floor", "even", "ceil", "rceil")
"""How the exponent of a block's scale follows from the block's largest magnitude."""


class Kind(Enum):
    """How the bits of a code become a number.

    Members
    -------
    INTEGER
        Two's complement times ``2^-fraction_bits``.
    FLOAT
        Sign, biased exponent, fraction; subnormals where the exponent field is zero.
    POWER
        Unsigned biased exponent and nothing else: a power of two, never zero.
    """

    INTEGER = "integer"
    FLOAT = "float"
    POWER = "power"


class Specials(Enum):
    """Which codes are not numbers.

    Members
    -------
    NONE
        Every code is a finite number.
    NAN
        All bits but the sign set is NaN; there is no infinity.
    IEEE
        The largest exponent field holds infinity (fraction 0) and NaN (any other).
    """

    NONE = "none"
    NAN = "nan"
    IEEE = "ieee"


class Overflow(Enum):
    """What a conversion does with a finite value that rounds beyond the largest one.

    Members
    -------
    SATURATE
        Always the largest finite value: the format has nothing else.
    CHOICE
        The ``saturate`` argument decides between that and infinity (NaN without infinities).
    INFINITY
        Always infinity, as in IEEE 754.
    """

    SATURATE = "saturate"
    CHOICE = "choice"
    INFINITY = "infinity"


@dataclass(frozen=True, kw_only=True, slots=True)
class Family:
    """What formats have in common beyond one element; operands pair within a family only.

    Parameters
    ----------
    name
        Identifier.
    operand
        Whether the elements may enter the array. The others are for scales and storage.
    block
        Elements along K that share a scale; 0 if there are no scales.
    scale
        Name of the scale's format; empty if there are no scales.
    """

    name: str
    operand: bool
    block: int = 0
    scale: str = ""


FAMILIES = {
    family.name: family
    for family in (
        Family(name="plain", operand=True),
        Family(name="mx", operand=True, block=32, scale="e8m0"),
        Family(name="nvfp4", operand=True, block=16, scale="e4m3"),
        Family(name="scale", operand=False),
        Family(name="storage", operand=False),
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """One row of the table.

    Parameters
    ----------
    name
        Identifier in every interface.
    kind, specials, overflow
        See the enumerations.
    width
        Bits of a code.
    exponent_bits
        Bits of the exponent field; 0 for integers.
    fraction_bits
        Bits after the binary point: of a float's significand, or of an integer.
    family
        Name in :data:`FAMILIES`.
    rule
        Scale rule unless the user says otherwise, one of :data:`RULES`; empty without E8M0 scales.
    """

    name: str
    kind: Kind
    width: int
    exponent_bits: int = 0
    fraction_bits: int = 0
    specials: Specials = Specials.NONE
    overflow: Overflow = Overflow.SATURATE
    family: str
    rule: str = ""

    def __post_init__(self) -> None:
        if self.kind is Kind.FLOAT and self.width != 1 + self.exponent_bits + self.fraction_bits:
            raise ValueError(
                f"Format.width of {self.name} must be 1 + exponent_bits + fraction_bits = "
                f"{1 + self.exponent_bits + self.fraction_bits}, not {self.width!r}"
            )
        if self.family not in FAMILIES:
            raise ValueError(
                f"Format.family of {self.name} must be one of {', '.join(FAMILIES)}, "
                f"not {self.family!r}"
            )
        if self.rule and self.rule not in RULES:
            raise ValueError(
                f"Format.rule of {self.name} must be one of {', '.join(RULES)}, not {self.rule!r}"
            )

    @property
    def operand(self) -> bool:
        """Whether the elements may enter the array."""
        return FAMILIES[self.family].operand

    @property
    def block(self) -> int:
        """Elements along K that share a scale; 0 if there are no scales."""
        return FAMILIES[self.family].block

    @property
    def scale(self) -> str:
        """Name of the scale's format; empty if there are no scales."""
        return FAMILIES[self.family].scale

    @property
    def bias(self) -> int:
        """Subtracted from the exponent field."""
        return (1 << self.exponent_bits - 1) - 1 if self.exponent_bits else 0

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number (of a scale: of the smallest one)."""
        return (1 if self.kind is Kind.FLOAT else 0) - self.bias

    @property
    def lsb(self) -> int:
        """Every value is an integer times ``2^lsb``."""
        return self.emin - self.fraction_bits

    @property
    def max_code(self) -> int:
        """Code of the largest finite number."""
        if self.specials is Specials.IEEE:
            return self.infinity_code - 1
        all_ones = (1 << self.width - (self.kind is not Kind.POWER)) - 1
        return all_ones - (self.specials is Specials.NAN)

    @property
    def infinity_code(self) -> int:
        """Code of plus infinity; formats without one have no use for it."""
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def nan_code(self) -> int:
        """The one NaN that conversions produce; meaningless without NaN."""
        if self.specials is Specials.IEEE:
            return self.infinity_code | 1 << self.fraction_bits - 1
        return self.max_code + 1

    @property
    def largest(self) -> int:
        """Largest finite value that a conversion produces, in units of ``2^lsb``."""
        if self.kind is Kind.INTEGER:
            return self.max_code
        significand = 1 << self.fraction_bits | self.max_code & ((1 << self.fraction_bits) - 1)
        return significand << self.max_shift

    @property
    def magnitude(self) -> int:
        """Largest magnitude that a code can have: -2^(width-1) is legal, if never produced."""
        return self.largest + (self.kind is Kind.INTEGER)

    @property
    def integer_bits(self) -> int:
        """Bits of :attr:`magnitude`, without a sign."""
        return self.magnitude.bit_length()

    @property
    def max_shift(self) -> int:
        """Largest left shift that turns a significand into an integer of ``2^lsb``."""
        if self.kind is Kind.INTEGER:
            return 0
        return (self.max_code >> self.fraction_bits) - (self.kind is Kind.FLOAT)

    @property
    def significand_bits(self) -> int:
        """Bits of the unsigned magnitude that a multiplier sees before any shift."""
        return self.width if self.kind is Kind.INTEGER else 1 + self.fraction_bits

    @property
    def digits(self) -> int:
        """Passes of 8-bit digits that a multiplier of 8 bits needs for one element."""
        return -(-self.significand_bits // 8)

    @property
    def emax(self) -> int:
        """Exponent of the largest value."""
        return self.largest.bit_length() - 1 + self.lsb

    @property
    def rceil_threshold(self) -> int:
        """Fraction of the largest value as a binary32 fraction field.

        A block whose largest magnitude has a greater fraction needs the next higher scale.
        """
        length = self.largest.bit_length()
        aligned = self.largest << 24 - length if length <= 24 else self.largest >> length - 24
        return aligned - (1 << 23)
