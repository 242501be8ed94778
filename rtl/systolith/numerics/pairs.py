"""Which formats may be multiplied with each other, and the exact widths that follow."""

from collections.abc import Iterable
from dataclasses import dataclass

from systolith.numerics.formats import FORMATS, Format, lookup

__all__ = ["INTEGER_SUM_BITS", "PAIRS", "Pair", "accumulator_bits", "pair"]

INTEGER_SUM_BITS = 32
"""Width of the accumulators of plain integers, which are exact over the whole of K."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A legal pair of operand formats.

    Parameters
    ----------
    x, w
        Formats of activations and weights, of one family.
    """

    x: Format
    w: Format

    @property
    def name(self) -> str:
        """``<activations>x<weights>``."""
        return f"{self.x.name}x{self.w.name}"

    @property
    def block(self) -> int:
        """Elements along K that share a scale; 0 for plain integers."""
        return self.x.block

    @property
    def lsb(self) -> int:
        """Every product and every block sum is an integer times ``2^lsb``."""
        return self.x.lsb + self.w.lsb

    @property
    def product_bits(self) -> int:
        """Bits of the largest product's magnitude."""
        return (self.x.magnitude * self.w.magnitude).bit_length()

    @property
    def passes(self) -> int:
        """Passes through a multiplier of 8-bit magnitudes per product."""
        return self.x.digits * self.w.digits

    @property
    def shifts(self) -> tuple[int, ...]:
        """Left shift of each pass in the block accumulator, ascending."""
        return tuple(
            sorted(8 * (i + j) for i in range(self.x.digits) for j in range(self.w.digits))
        )

    @property
    def block_bits(self) -> int:
        """Bits of the exact two's-complement sum of one block; of all of K for plain integers."""
        return self.sum_bits(self.block) if self.block else INTEGER_SUM_BITS

    @property
    def exact_in_fp32(self) -> bool:
        """Whether every block sum is a binary32 number, so that its conversion never rounds."""
        return self.block > 0 and self.block_bits <= 25

    @property
    def max_k(self) -> int | None:
        """Longest K whose sum cannot overflow; None if blocks bound the sum."""
        if self.block:
            return None
        return ((1 << INTEGER_SUM_BITS - 1) - 1) // (self.x.magnitude * self.w.magnitude)

    def sum_bits(self, length: int) -> int:
        """Bits of the exact two's-complement sum of any ``length`` >= 1 products."""
        return (length * self.x.magnitude * self.w.magnitude).bit_length() + 1


def pair(x: str, w: str) -> Pair:
    """Return the pair of formats ``x`` and ``w``; raises ValueError if it is not legal."""
    first, second = lookup(x), lookup(w)
    if first.operand and first.family == second.family:
        return Pair(first, second)
    if not first.operand:
        partners = "nothing: it is not an operand format"
    else:
        partners = ", ".join(f.name for f in FORMATS.values() if f.family == first.family)
    raise ValueError(f"{x} x {w} is not a legal pair of formats; {x} goes with {partners}")


PAIRS = tuple(
    Pair(x, w)
    for x in FORMATS.values()
    for w in FORMATS.values()
    if x.operand and x.family == w.family
)
"""Every legal pair; the order of the operands does not matter to any width."""


def accumulator_bits(pairs: Iterable[Pair], *, limit: int | None = None) -> int:
    """Return the bits of a two's-complement accumulator that no block of ``pairs`` overflows.

    Parameters
    ----------
    pairs
        The enabled pairs, at least one.
    limit
        Declared maximum in bits. A wider accumulator raises ValueError.
    """
    enabled = tuple(pairs)
    if not enabled:
        raise ValueError("accumulator_bits: pairs must name at least one pair of formats")
    widest = max(enabled, key=lambda p: p.block_bits)
    if limit is not None and widest.block_bits > limit:
        raise ValueError(
            f"accumulator_bits: {widest.name} needs an accumulator of {widest.block_bits} bits, "
            f"more than the limit of {limit}; raise the limit or disable the pair"
        )
    return widest.block_bits
