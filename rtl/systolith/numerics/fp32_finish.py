"""Last stages of a binary32 addition: a rounded sum beside an exact one that moves up."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data

from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, INFINITY, NAN, fp32
from systolith.numerics.fp32_stage import LIMIT_BITS, SIGNIFICAND, register
from systolith.numerics.shifters import leading_zeros, shift_left

__all__ = ["SPARE", "finish"]

SPARE = 3
"""Guard, round and sticky below the significand."""


def finish(m: Module, added: data.View) -> data.View:
    """Add stages 4 and 5 of :class:`systolith.numerics.fp32_add.Fp32Add` in full precision.

    Rounding and a long move up exclude each other: after a difference of exponents of two or more
    the sum lost at most one place, otherwise nothing lies below the guard bit, and moving up by
    one place makes it exact. So no path has a long shift and an adder behind it.

    Parameters
    ----------
    m
        Gets the registers behind both stages.
    added
        Sum behind stage 3, with :data:`SPARE` places below the significand.
    """
    aligned_bits = SIGNIFICAND + SPARE

    # 4: whether a sum whose first one is in the top three places is rounded up; zeros of others.
    rounded = register(
        {
            "kept": FRACTION_BITS,
            "change": 2,
            "round": 1,
            "full": 1,
            "brim": 1,
            "exact": 1,
            "part": SIGNIFICAND + 1,
            "field": FIELD_BITS,
            "up": LIMIT_BITS,
            "sign": 1,
            "special": 1,
            "nan": 1,
        },
        "rounded",
    )
    carry, hidden = added.sum[-1], added.sum[-2]
    kept, guard, sticky = Signal(FRACTION_BITS), Signal(), Signal()
    with m.If(carry):
        m.d.comb += Cat(guard, kept).eq(added.sum[SPARE:])
        m.d.comb += sticky.eq(added.sum[:SPARE].any())
    with m.Elif(hidden):
        m.d.comb += Cat(guard, kept).eq(added.sum[SPARE - 1 :])
        m.d.comb += sticky.eq(added.sum[: SPARE - 1].any())
    with m.Else():
        # Subnormal operands stay where they are: field 1 and nothing to move.
        stays = added.field == 1
        m.d.comb += Cat(guard, kept).eq(Mux(stays, added.sum[SPARE - 1 :], added.sum[SPARE - 2 :]))
        m.d.comb += sticky.eq(added.sum[: SPARE - 2].any())
    # The field moves by one or none, and the carry of rounding moves on into it.
    change = Cat(carry | ~hidden, ~carry & ~hidden)
    largest = (1 << FIELD_BITS) - 2  # field of the largest number
    up = guard & (sticky | kept[0])
    zeros = Signal(LIMIT_BITS)
    part = added.sum[SPARE - 1 : aligned_bits]
    # Subnormal sums stop at the place of field 1.
    m.d.comb += zeros.eq(leading_zeros(m, part | added.limit[: len(part)], "zeros"))
    m.d.sync += [
        rounded.kept.eq(kept),
        rounded.change.eq(change),
        rounded.round.eq(up),
        rounded.full.eq(carry & (added.field == largest)),
        rounded.brim.eq(
            kept.all() & Mux(carry, added.field == largest - 1, hidden & (added.field == largest))
        ),
        rounded.exact.eq(~added.sum[-3:].any()),
        rounded.part.eq(part),
        rounded.field.eq(added.field),
        rounded.up.eq(zeros),
        rounded.sign.eq(added.sign & ~(added.differ & ~added.sum.any())),
        rounded.special.eq(added.special),
        rounded.nan.eq(added.nan),
    ]

    # 5: round, or choose what moved up: without a hidden one it is subnormal or zero.
    change = Cat(rounded.change[0], rounded.change[1].replicate(FIELD_BITS - 1))
    whole = Cat(rounded.round, rounded.kept, rounded.field)
    nearest = (whole + Cat(rounded.round, Const(0, FRACTION_BITS), change))[1:]
    infinite = rounded.full | (rounded.brim & rounded.round)
    moved = shift_left(m, rounded.part, rounded.up, "move")
    exact = Cat(
        moved[1:-1], (rounded.field - rounded.up)[:FIELD_BITS] & moved[-1].replicate(FIELD_BITS)
    )
    total: data.View = Signal(fp32, reset_less=True)
    word = total.as_value()
    m.d.sync += [
        word[:-1].eq(Mux(rounded.exact, exact, nearest[: FRACTION_BITS + FIELD_BITS])),
        word[-1].eq(rounded.sign),
    ]
    with m.If(rounded.nan):
        m.d.sync += word.eq(NAN)
    with m.Elif(rounded.special | (~rounded.exact & infinite)):
        m.d.sync += word[:-1].eq(INFINITY)
    return total
