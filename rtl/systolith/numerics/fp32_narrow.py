"""Last stages of an addition that keeps fewer bits: the sum moves up first and is rounded then."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, INFINITY, NAN, fp32
from systolith.numerics.fp32_stage import LIMIT_BITS, MARK_BITS, SIGNIFICAND, register
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.shifters import leading_zeros, shift_left

__all__ = ["finish_narrow", "spare_places"]

_TAIL = {"rne": 1, "rz": 0, "sr": RANDOM_BITS}  # discarded bits that count by themselves
_COARSE = 1 << LIMIT_BITS - 1  # places that a sum may move up before its stage 4 ends


def spare_places(frac: int, rounding: str) -> int:
    """Return the places that an aligned sum needs below a binary32 significand.

    After a difference of exponents of one the lowest place is a bit of its own. After a longer one
    it is sticky, and the sum moves up by one place at most: the sticky bit must stay below the
    discarded bits that count.
    """
    return max(1, 1 + frac + _TAIL[rounding] + 2 - SIGNIFICAND)


def finish_narrow(
    m: Module, added: data.View, frac: int, rounding: str, random: Value
) -> data.View:
    """Add stages 4 and 5 of :class:`systolith.numerics.fp32_add.Fp32Add` for any rounding.

    ::

        4 count    zeros above the first one; up by 16 places if there are as many
        5 round    up by what is left; one short addition, whose carry moves on into the exponent

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
    probe, zeros = Signal(MARK_BITS), Signal(LIMIT_BITS)
    coarse = ~probe[-_COARSE:].any()
    m.d.comb += [
        probe.eq(added.sum[-MARK_BITS:] | added.limit),
        zeros.eq(leading_zeros(m, probe, "zeros")),
    ]
    m.d.sync += [
        counted.sum.eq(Mux(coarse, added.sum << _COARSE, added.sum)),
        counted.up.eq(zeros),
        counted.field.eq(added.field + 1),
        counted.sign.eq(added.sign & ~(added.differ & ~added.sum.any())),
        counted.infinite.eq(added.special),
        counted.over.eq(added.sum[-1] & (added.field == (1 << FIELD_BITS) - 2)),
        counted.nan.eq(added.nan),
    ]

    # 5: round. Without a hidden one the sum is subnormal or zero.
    moved = shift_left(m, counted.sum, counted.up[:-1], "move")
    at = width - 1 - frac
    kept, tail = moved[at:-1], moved[:at]
    field = (counted.field - counted.up)[:FIELD_BITS] & moved[-1].replicate(FIELD_BITS)
    exact, size = Cat(kept, field), Signal(FIELD_BITS + frac)
    if rounding == "rne":
        up = tail[-1] & (tail[:-1].any() | kept[0])
        m.d.comb += size.eq((Cat(up, exact) + up)[1:])
    elif rounding == "sr":
        drawn = tail[-RANDOM_BITS:]
        m.d.comb += size.eq((Cat(drawn, exact) + random)[RANDOM_BITS:])
    else:
        m.d.comb += size.eq(exact)
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
