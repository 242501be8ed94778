"""Exact block sums to binary32: what stage B does before its loop."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.numerics.fp32 import BIAS, FIELD_BITS, FRACTION_BITS, INFINITY, NAN, fp32
from systolith.numerics.shifters import normalise, powers_below, shift_right

__all__ = ["EXPONENT_BITS", "Fp32Term", "sum_flags", "term_latency"]

EXPONENT_BITS = 10
"""Bits of the exponent of a block: two ``e8m0`` scales and the unit of any pair of formats."""

sum_flags = data.StructLayout({"nan": 1, "plus": 1, "minus": 1})
"""What a block's products left behind: a NaN, plus infinity, minus infinity."""

_STEPS = 2  # of normalising in one stage
_DOWN_BITS = 5  # beyond 25 places a significand is less than half a unit: 0


def term_latency(width: int) -> int:
    """Cycles from a block sum of ``width`` bits to its term: four stages, and those that normalise.

    Raises ValueError unless ``width`` is in 3..128.
    """
    if not 3 <= width <= 128:
        raise ValueError(f"Fp32Term.width must be in 3..128, not {width!r}")
    return 4 + -(-len(powers_below(width)) // _STEPS)


class Fp32Term(Block):
    """``total * 2^exponent`` to nearest with ties to even; a new block in every cycle.

    ::

        magnitude   of the sum, and its sign
        normalise   its first one to the top, two steps of powers of two a stage, largest first
        place       exponent; how far it lies below the normal numbers; low bits into sticky
        lower       moved down by that
        round       one addition, whose carry moves on into the exponent; special values

    Parameters
    ----------
    width : int
        Bits of the block sum, 3 to 128; every value of that width is legal.

    Members
    -------
    total : In(signed(width))
        Exact sum of a block.
    exponent : In(signed(EXPONENT_BITS))
        Of the sum's unit, scales included.
    flags : In(sum_flags)
        Special values among the products or the scales. Plus and minus infinity make NaN.
    term : Out(fp32)
        Rounded, :func:`term_latency` cycles later, from a register. A sum of zero is +0; a
        negative one that rounds to zero is -0.
    """

    total: Signal
    exponent: Signal
    flags: data.View
    term: data.View

    def __init__(self, *, width: int) -> None:
        self.latency = term_latency(width)
        self.width = width
        super().__init__(
            {
                "total": In(signed(width)),
                "exponent": In(signed(EXPONENT_BITS)),
                "flags": In(sum_flags),
                "term": Out(fp32),
            }
        )

    @property
    def module_name(self) -> str:
        return f"fp32_term_{self.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.width
        marks = data.StructLayout({"sign": 1, "infinite": 1, "nan": 1})
        wide = signed(EXPONENT_BITS + 2)

        # Magnitude.
        part: Value = Signal(width, reset_less=True)
        exponent = Signal(wide, reset_less=True)
        mark: data.View = Signal(marks, reset_less=True)
        negative, flags = self.total[-1], self.flags
        infinite = flags.plus | flags.minus
        m.d.sync += [
            part.eq(Mux(negative, -self.total, self.total)),
            # Of a first one at the top, less the exponent of field 1.
            exponent.eq(self.exponent + (width - 1 + BIAS - 1)),
            mark.sign.eq(Mux(infinite, flags.minus, negative)),
            mark.infinite.eq(infinite),
            mark.nan.eq(flags.nan | (flags.plus & flags.minus)),
        ]

        # Normalise.
        steps = powers_below(width)
        taken: Value = Const(0, 0)
        for stage, at in enumerate(range(0, len(steps), _STEPS)):
            late_part = Signal(width, name=f"part_{stage}", reset_less=True)
            late_exponent = Signal(wide, name=f"exponent_{stage}", reset_less=True)
            late_mark = Signal(marks, name=f"mark_{stage}", reset_less=True)
            part, fresh = normalise(m, part, steps[at : at + _STEPS], f"normal_{stage}")
            late_taken = Signal(at + len(fresh), name=f"taken_{stage}", reset_less=True)
            m.d.sync += [
                late_part.eq(part),
                late_taken.eq(Cat(*reversed(fresh), taken)),
                late_exponent.eq(exponent),
                late_mark.eq(mark),
            ]
            part, taken, exponent, mark = late_part, late_taken, late_exponent, late_mark

        # Place. ``above`` is the exponent field less one, unless it is negative.
        above = Signal(wide)
        precise = FRACTION_BITS + 2  # significand and guard; the sticky bit is below
        cut = Signal(precise + 1, reset_less=True)
        down = Signal(_DOWN_BITS, reset_less=True)
        far = Signal(reset_less=True)
        field = Signal(FIELD_BITS, reset_less=True)
        placed_mark = Signal(marks, reset_less=True)
        if width <= precise:
            m.d.sync += cut.eq(part << precise + 1 - width)
        else:
            m.d.sync += cut.eq(Cat(part[: width - precise].any(), part[width - precise :]))
        # Compared with constants by hand: above >= 254, and above <= -32.
        large = ~above[-1] & (above[FIELD_BITS:].any() | above[1:FIELD_BITS].all())
        low = above[-1] & ~(above[_DOWN_BITS:].all() & above[:_DOWN_BITS].any())
        m.d.comb += above.eq(exponent - taken)
        m.d.sync += [
            down.eq(Mux(above[-1], -above[:_DOWN_BITS], 0)),
            far.eq(low),
            field.eq(above),
            placed_mark.eq(mark),
            placed_mark.infinite.eq(mark.infinite | (large & part[-1])),
        ]

        # Lower: subnormal numbers share the exponent of field 1.
        lowered = Signal(precise + 1, reset_less=True)
        lowered_field = Signal(FIELD_BITS, reset_less=True)
        lowered_mark = Signal(marks, reset_less=True)
        m.d.sync += [
            lowered.eq(Mux(far, 0, shift_right(m, cut, down, "down"))),
            lowered_field.eq(field),
            lowered_mark.eq(placed_mark),
        ]

        # Round. The hidden one makes the field of a normal number; zero has none.
        hidden = lowered[-1]
        kept, guard = lowered[2:], lowered[1]
        up = guard & (lowered[0] | kept[0])
        above_fraction = lowered_field & hidden.replicate(FIELD_BITS)
        # One more bit at the bottom carries the rounding into the same adder.
        rounded = Cat(up, kept) + Cat(up, Const(0, FRACTION_BITS), above_fraction)
        term = Signal(fp32, reset_less=True)
        word = term.as_value()
        m.d.sync += word.eq(Cat(rounded[1 : FIELD_BITS + FRACTION_BITS + 1], lowered_mark.sign))
        with m.If(lowered_mark.nan):
            m.d.sync += word.eq(NAN)
        with m.Elif(lowered_mark.infinite):
            m.d.sync += word[:-1].eq(INFINITY)
        m.d.comb += self.term.eq(term)
        return m
