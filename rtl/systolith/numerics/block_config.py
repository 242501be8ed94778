"""Sizes of a block-scaled processing element, all derived from the enabled pairs of formats.

Nothing here knows any HDL.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from systolith.numerics.format import Format, Kind, Specials
from systolith.numerics.pairs import Pair, accumulator_bits

__all__ = ["DIGIT_BITS", "BlockMacConfig", "ElementConfig"]

DIGIT_BITS = 8
"""Widest magnitude that enters a multiplier; wider integers come in digits of this many bits."""


def _magnitude_bits(form: Format) -> int:
    return min(form.significand_bits, DIGIT_BITS)


@dataclass(frozen=True, kw_only=True, slots=True)
class ElementConfig:
    """One operand of the multiplier, decoded: ``magnitude << (shift << fold)`` and a sign.

    The low ``fold`` bits of a float's shift are spent in the decoder, where ``magnitude`` has
    bits to spare: the product's shifter, which every processing element has, loses a level each.

    Parameters
    ----------
    formats
        The enabled formats, at least one.
    fold
        Bits of the shift that the decoder applies.
    partner_nan, partner_infinity
        Whether the other operand's formats have a NaN, an infinity.
    silenced
        Whether this operand has the ``used`` input, which silences the other one too.
    """

    formats: tuple[Format, ...]
    fold: int = 0
    partner_nan: bool = False
    partner_infinity: bool = False
    silenced: bool = False

    @property
    def code_bits(self) -> int:
        """Bits of the widest code."""
        return max(form.width for form in self.formats)

    @property
    def digits(self) -> int:
        """Most digits that an element has."""
        return max(form.digits for form in self.formats)

    @property
    def magnitude_bits(self) -> int:
        """Bits of the unsigned factor."""
        return max(
            _magnitude_bits(form) + min((1 << self.fold) - 1, form.max_shift)
            for form in self.formats
        )

    @property
    def shift_bits(self) -> int:
        """Bits of what is left of the shift, in steps of ``2^fold`` places."""
        return (max(form.max_shift for form in self.formats) >> self.fold).bit_length()

    @property
    def nan(self) -> bool:
        """Whether an element can be NaN."""
        return any(form.specials is not Specials.NONE for form in self.formats)

    @property
    def infinity(self) -> bool:
        """Whether an element can be infinite."""
        return any(form.specials is Specials.IEEE for form in self.formats)

    @property
    def zero(self) -> bool:
        """Whether the partner has to know zeros: infinity times zero is NaN."""
        return self.partner_infinity

    @property
    def used(self) -> bool:
        """Whether the partner has special values that this operand must silence."""
        return self.silenced and (self.partner_nan or self.partner_infinity)

    @property
    def bits(self) -> int:
        """Bits of a decoded element, for every register that it passes."""
        return (
            self.magnitude_bits
            + self.shift_bits
            + 1
            + sum((self.nan, self.infinity, self.zero, self.used))
        )

    @property
    def name(self) -> str:
        """Identifier of the formats and the fold."""
        return "_".join([*(form.name for form in self.formats), f"f{self.fold}"])


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockMacConfig:
    """A processing element for the products of some pairs of formats.

    Parameters
    ----------
    pairs
        The enabled pairs, at least one.
    rows
        Most products that one pass sums in a column; blocks that are longer are summed over
        several passes in the accumulator at the edge.
    limit
        Declared maximum of :attr:`accumulator_bits`; a config that needs more raises ValueError.
    latency
        Register stages between the operands and their product.
    """

    pairs: tuple[Pair, ...]
    rows: int = 32
    limit: int | None = None
    latency: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rows", 1), ("latency", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ValueError(f"BlockMacConfig.{name} must be at least {least}, not {value!r}")
        accumulator_bits(self.pairs, limit=self.limit)  # refuses no pairs and too wide ones
        for each in self.pairs:
            if each.max_k is not None and self.rows > each.max_k:
                raise ValueError(
                    f"BlockMacConfig.rows must be at most {each.max_k} with {each.name}, "
                    f"not {self.rows!r}"
                )

    @property
    def accumulator_bits(self) -> int:
        """Bits of the accumulator of a whole block, at the edge."""
        return accumulator_bits(self.pairs)

    @property
    def x(self) -> ElementConfig:
        """Decoded activations."""
        return self._element(self._x_formats, self._w_formats, True)

    @property
    def w(self) -> ElementConfig:
        """Decoded weights."""
        return self._element(self._w_formats, self._x_formats, False)

    @property
    def _x_formats(self) -> tuple[Format, ...]:
        return _distinct(pair.x for pair in self.pairs)

    @property
    def _w_formats(self) -> tuple[Format, ...]:
        return _distinct(pair.w for pair in self.pairs)

    @property
    def fold(self) -> int:
        """Bits of every shift that the decoders apply.

        As many as widen no multiplier that the other formats need anyway.
        """
        sides = (self._x_formats, self._w_formats)
        widths = [max(map(_magnitude_bits, side)) for side in sides]
        fold = 0
        while any(form.max_shift >> fold for side in sides for form in side) and all(
            _magnitude_bits(form) + min((2 << fold) - 1, form.max_shift) <= width
            for side, width in zip(sides, widths, strict=True)
            for form in side
            if form.kind is Kind.FLOAT
        ):
            fold += 1
        return fold

    @property
    def place_bits(self) -> int:
        """Bits of the sum of both shifts, in steps of ``2^fold`` places."""
        return sum(
            max(form.max_shift for form in side) >> self.fold
            for side in (self._x_formats, self._w_formats)
        ).bit_length()

    @property
    def product_bits(self) -> int:
        """Bits of the magnitude of the largest product of one pass."""
        return max(_largest(pair).bit_length() for pair in self.pairs)

    @property
    def sum_bits(self) -> int:
        """Bits of a column: the two's-complement sum of the products of one pass."""
        return max(
            (_largest(pair) * min(self.rows, pair.block or self.rows)).bit_length() + 1
            for pair in self.pairs
        )

    @property
    def name(self) -> str:
        """Identifier: two configs of one name are the same hardware."""
        x, w = self.x, self.w
        return f"{x.name}_{w.name}_s{self.sum_bits}_l{self.latency}"

    def _element(
        self, formats: tuple[Format, ...], partners: tuple[Format, ...], silenced: bool
    ) -> ElementConfig:
        partner = ElementConfig(formats=partners)
        return ElementConfig(
            formats=formats,
            fold=self.fold,
            partner_nan=partner.nan,
            partner_infinity=partner.infinity,
            silenced=silenced,
        )


def _distinct(formats: Iterable[Format]) -> tuple[Format, ...]:
    return tuple(dict.fromkeys(formats))


def _largest(pair: Pair) -> int:
    """Largest magnitude of a product of one pass, in units of the pair (and of its digits)."""
    return _digit(pair.x) * _digit(pair.w)


def _digit(form: Format) -> int:
    return (1 << DIGIT_BITS) - 1 if form.digits > 1 else form.magnitude
