"""Last stages of a binary32 addition: the sum moves up first and is rounded then."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data

from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, INFINITY, NAN, fp32
from systolith.numerics.fp32_stage import LIMIT_BITS, SIGNIFICAND, register
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.shifters import leading_zeros, shift_left

__all__ = ["finish", "spare_places"]

_TAIL = {"rne": 1, "rz": 0, "sr": RANDOM_BITS}  # discarded bits that count by themselves
_FINE = 3  # bits of the way up that are left for stage 5


def spare_places(frac: int, rounding: str) -> int:
    """Return the places that an aligned sum needs below a binary32 significand.

    After a difference of exponents of one the lowest place is a bit of its own. After a longer one
    it is sticky, and the sum moves up by one place at most: the sticky bit must stay below the
    discarded bits that count.
    """
    return max(1, 1 + frac + _TAIL[rounding] + 2 - SIGNIFICAND)


def finish(m: Module, added: data.View, frac: int, rounding: str, random: Value) -> data.View:
    """Add stages 4 and 5 of :class:`systolith.numerics.fp32_add.Fp32Add`.

    ::

        4 count    zeros above the first one; up by 24, 16 or 8 places if there are as many
        5 round    up by what is left; one addition, whose carry moves on into the exponent

    A sum that keeps few bits may have moved up far and still be inexact, so rounding comes last.

    Parameters
    ----------
    m
        Gets the registers behind both stages.
    added
        Sum behind stage 3, with :func:`spare_places` below the significand.
    frac, rounding
        As in ``Fp32Add``.
    random
        Random bits in stage 5, for "sr".
    """
    width = len(added.sum)

    # 4: count. Infinity is known here: rounding carries into it by itself.
    counted = register(
        {
            "sum": width,
            "up": LIMIT_BITS,
            "field": FIELD_BITS,
            "sign": 1,
            "infinite": 1,
            "over": 1,
            "nan": 1,
        },
        "counted",
    )
    zeros = Signal(LIMIT_BITS)
    empty = ~added.sum.any()
    m.d.comb += zeros.eq(leading_zeros(m, added.probe, "zeros"))
    coarse = Cat(Const(0, _FINE), zeros[_FINE:])
    m.d.sync += [
        counted.sum.eq(shift_left(m, added.sum, coarse, "coarse")),
        counted.up.eq(zeros),
        counted.field.eq(added.field),
        counted.sign.eq(added.sign & ~(added.differ & empty)),
        counted.infinite.eq(added.special),
        counted.over.eq(added.sum[-1] & (added.field == (1 << FIELD_BITS) - 2)),
        counted.nan.eq(added.nan),
    ]
    with m.If(~added.probe.any()):
        m.d.sync += counted.field.eq((1 << LIMIT_BITS) - 1)  # up by as much: zero

    # 5: round. The hidden one makes the field of a normal number.
    moved = shift_left(m, counted.sum, counted.up[:_FINE], "move")
    at = width - 1 - frac
    kept, tail = moved[at:-1], moved[:at]
    below = (counted.field - counted.up)[:FIELD_BITS]  # the field less one
    exact, hidden = Cat(kept, below), Cat(Const(0, frac), moved[-1])
    size = Signal(FIELD_BITS + frac)
    if rounding == "rne":
        up = tail[-1] & (tail[:-1].any() | kept[0])
        # One more bit at the bottom carries the rounding into the same adder.
        m.d.comb += size.eq((Cat(up, exact) + Cat(up, hidden))[1:])
    elif rounding == "sr":
        drawn = tail[-RANDOM_BITS:]
        m.d.comb += size.eq((Cat(drawn, exact) + Cat(random, hidden))[RANDOM_BITS:])
    else:
        m.d.comb += size.eq(exact + hidden)
    total: data.View = Signal(fp32, reset_less=True)
    word = total.as_value()
    spare = FRACTION_BITS - frac
    m.d.sync += [word[:-1].eq(Cat(Const(0, spare), size)), word[-1].eq(counted.sign)]
    with m.If(counted.nan):
        m.d.sync += word.eq(NAN)
    with m.Elif(counted.infinite | counted.over):
        m.d.sync += word[:-1].eq(INFINITY)
        if rounding == "rz":
            with m.If(~counted.infinite):
                m.d.sync += word[:-1].eq(INFINITY - (1 << spare))
    return total
