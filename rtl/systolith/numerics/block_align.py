"""A product moved to its place in the block's fixed point, with its sign."""

from collections.abc import Callable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["Later", "align"]

Later = Callable[[Value, str], Value]
"""Returns a value, named, as it is after the registers at one place of a pipeline."""


def align(
    m: Module,
    product: Value,
    places: Value,
    negative: Value,
    *,
    fold: int,
    width: int,
    middle: Later,
) -> Signal:
    """Return ``product << (places << fold)``, or its ones' complement if ``negative``.

    The low levels shift one after the other, small steps first, while the number is narrow. As
    soon as it has at most two steps' bits, the remaining levels are one: a result bit is then one
    of two bits of the number or padding. Two control signals per group of result bits tell which,
    and whether padding is one or zero, so that each result bit is a single LUT4 and the sign costs
    nothing in the wide part. Registers in ``middle`` keep synthesis from trading that for depth.

    Parameters
    ----------
    m
        Module that gets the logic.
    product
        Magnitude.
    places
        Shift in steps of ``2^fold`` places; may have no bits.
    negative
        Sign.
    fold
        See ``places``.
    width
        Bits that the shifted magnitude has at most; the result has one more, the sign.
    middle
        Applied to what goes from the narrow part to the wide one.
    """
    level, bit = product, 0
    while bit < len(places) and len(level) > 2 << bit + fold:
        step = 1 << bit + fold
        moved = Signal(min(len(level) + step, width), name=f"moved_{step}")
        m.d.comb += moved.eq(Mux(places[bit], level << step, level))
        level, bit = moved, bit + 1
    level = level[:width]
    number = middle(level ^ negative.replicate(len(level)), "number")
    sign = middle(negative, "sign")
    steps, step = places[bit:], 1 << bit + fold
    term = Signal(width + 1, name="term")
    if not len(steps):
        m.d.comb += term.eq(Cat(number, sign.replicate(width + 1 - len(number))))
        return term
    m.d.comb += term[width].eq(sign)
    for group in range(-(-width // step)):
        lower = steps == group  # the lower half of the number goes to this group
        upper = steps == group - 1 if group else Const(0)
        data = lower | upper
        which = middle(Mux(data, lower, negative), f"which_{group}")
        data = middle(data, f"data_{group}")
        for i in range(min(step, width - group * step)):
            low = number[i] if i < len(number) else sign
            high = number[step + i] if step + i < len(number) else sign
            m.d.comb += term[group * step + i].eq(Mux(data, Mux(which, low, high), which))
    return term
