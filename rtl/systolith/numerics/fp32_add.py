"""Addition of two binary32 numbers: the loop of stage B."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, INFINITY, NAN, fp32
from systolith.numerics.shifters import leading_zeros, shift_left, shift_right

__all__ = ["Fp32Add"]

_SIGNIFICAND = FRACTION_BITS + 1
_SPARE = 3  # guard, round and sticky below the significand
_ALIGNED = _SIGNIFICAND + _SPARE
_LIMIT_BITS = 5  # a significand moves up by less than 32 places


class Fp32Add(Block):
    """IEEE 754 sum, to nearest with ties to even; subnormals kept; a new pair in every cycle.

    ::

        1 order    larger magnitude first, distance of the exponents
        2 align    smaller significand down, lost bits into sticky; NaN and infinity found
        3 add      sum or difference of 28 bits; how far it may move up before it is subnormal
        4 round    if it moves by at most one place   |  zeros counted, if by more
        5 choose   rounded, or moved up, or special

    Rounding and a long move up exclude each other: after a difference of exponents of two or more
    the sum lost at most one place, otherwise nothing lies below the guard bit, and moving up by
    one place makes it exact. So no path has a long shift and an adder behind it.

    Members
    -------
    a, b : In(fp32)
        Words. Every NaN counts the same.
    total : Out(fp32)
        Sum, :attr:`latency` cycles later, from a register. A NaN is 0x7FC00000; overflow is
        infinity; exact cancellation is +0.
    """

    a: data.View
    b: data.View
    total: data.View

    latency = 5

    def __init__(self) -> None:
        super().__init__({"a": In(fp32), "b": In(fp32), "total": Out(fp32)})

    @property
    def module_name(self) -> str:
        return "fp32_add"

    @staticmethod
    def loop_cycles(memory_latency: int) -> int:
        """Cycles from the address of an accumulator to the first read that sees the new sum.

        The word arrives ``memory_latency`` cycles after its address, the sum is on the write port
        :attr:`latency` cycles after the word, and is stored at the end of that cycle.
        """
        return memory_latency + Fp32Add.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # 1: order by magnitude. Subnormals have the exponent of field 1, and no hidden one.
        ordered = _register(
            {
                "field": FIELD_BITS,
                "large": _SIGNIFICAND,
                "small": _SIGNIFICAND,
                "distance": FIELD_BITS,
                "sign": 1,
                "differ": 1,
            },
            "ordered",
        )
        swap = Signal()
        m.d.comb += swap.eq(self.a.as_value()[:-1] < self.b.as_value()[:-1])
        (a_field, a_part), (b_field, b_part) = _unpack(m, self.a, "a"), _unpack(m, self.b, "b")
        m.d.sync += [
            ordered.field.eq(Mux(swap, b_field, a_field)),
            ordered.large.eq(Mux(swap, b_part, a_part)),
            ordered.small.eq(Mux(swap, a_part, b_part)),
            ordered.distance.eq(Mux(swap, b_field - a_field, a_field - b_field)),
            ordered.sign.eq(Mux(swap, self.b.sign, self.a.sign)),
            ordered.differ.eq(self.a.sign ^ self.b.sign),
        ]

        # 2: align. Infinity and NaN are larger than all else, so they come first.
        aligned = _register(
            {
                "field": FIELD_BITS,
                "large": _SIGNIFICAND,
                "small": _ALIGNED,
                "sign": 1,
                "differ": 1,
                "special": 1,
                "nan": 1,
            },
            "aligned",
        )
        near = shift_right(m, Cat(Const(0, _SPARE), ordered.small), ordered.distance[:5], "align")
        far = ordered.distance[5:].any()
        special = ordered.field.all()
        fraction = ordered.large[:FRACTION_BITS]
        opposed = (ordered.distance == 0) & ordered.differ  # two infinities
        m.d.sync += [
            aligned.field.eq(ordered.field),
            aligned.large.eq(ordered.large),
            aligned.small.eq(Mux(far, ordered.small.any(), near)),
            aligned.sign.eq(ordered.sign),
            aligned.differ.eq(ordered.differ),
            aligned.special.eq(special),
            aligned.nan.eq(special & (fraction.any() | opposed)),
        ]

        # 3: add or subtract; never negative.
        added = _register(
            {
                "sum": _ALIGNED + 1,
                "field": FIELD_BITS,
                "limit": _LIMIT_BITS,
                "sign": 1,
                "differ": 1,
                "special": 1,
                "nan": 1,
            },
            "added",
        )
        large = Cat(Const(0, _SPARE), aligned.large)
        addend = aligned.small ^ aligned.differ.replicate(_ALIGNED)
        below = Signal(FIELD_BITS)
        # One more bit at the bottom carries the one of the two's complement into the same adder.
        whole = Signal(_ALIGNED + 2)
        m.d.comb += [
            whole.eq(Cat(aligned.differ, large) + Cat(aligned.differ, addend)),
            below.eq(aligned.field - 1),
        ]
        m.d.sync += [
            added.sum.eq(Cat(whole[1 : _ALIGNED + 1], whole[_ALIGNED + 1] & ~aligned.differ)),
            added.field.eq(aligned.field),
            added.limit.eq(below[:_LIMIT_BITS] | below[_LIMIT_BITS:].any().replicate(_LIMIT_BITS)),
            added.sign.eq(aligned.sign),
            added.differ.eq(aligned.differ),
            added.special.eq(aligned.special),
            added.nan.eq(aligned.nan),
        ]

        # 4: round a sum whose first one is in the top three places; count the zeros of any other.
        rounded = _register(
            {
                "word": FIELD_BITS + FRACTION_BITS,
                "exact": 1,
                "part": _SIGNIFICAND + 1,
                "field": FIELD_BITS,
                "up": _LIMIT_BITS,
                "sign": 1,
                "special": 1,
                "nan": 1,
            },
            "rounded",
        )
        carry, hidden = added.sum[-1], added.sum[-2]
        kept, guard, sticky = Signal(FRACTION_BITS), Signal(), Signal()
        with m.If(carry):
            m.d.comb += Cat(guard, kept).eq(added.sum[_SPARE:])
            m.d.comb += sticky.eq(added.sum[:_SPARE].any())
        with m.Elif(hidden):
            m.d.comb += Cat(guard, kept).eq(added.sum[_SPARE - 1 :])
            m.d.comb += sticky.eq(added.sum[: _SPARE - 1].any())
        with m.Else():
            # Subnormal operands stay where they are: field 1 and nothing to move.
            stays = added.field == 1
            m.d.comb += Cat(guard, kept).eq(
                Mux(stays, added.sum[_SPARE - 1 :], added.sum[_SPARE - 2 :])
            )
            m.d.comb += sticky.eq(added.sum[: _SPARE - 2].any())
        # The field moves by one or none, and the carry of rounding moves on into it.
        change = Cat(carry | ~hidden, (~carry & ~hidden).replicate(FIELD_BITS - 1))
        up = guard & (sticky | kept[0])
        zeros = Signal(_LIMIT_BITS)
        part = added.sum[_SPARE - 1 : _ALIGNED]
        m.d.comb += zeros.eq(leading_zeros(m, part, "zeros"))
        m.d.sync += [
            rounded.word.eq(
                (Cat(up, kept, added.field) + Cat(up, Const(0, FRACTION_BITS), change))[1:]
            ),
            rounded.exact.eq(~added.sum[-3:].any()),
            rounded.part.eq(part),
            rounded.field.eq(added.field),
            rounded.up.eq(Mux(zeros < added.limit, zeros, added.limit)),
            rounded.sign.eq(added.sign & ~(added.differ & ~added.sum.any())),
            rounded.special.eq(added.special),
            rounded.nan.eq(added.nan),
        ]

        # 5: choose. Without a hidden one the sum is subnormal or zero.
        moved = shift_left(m, rounded.part, rounded.up, "move")
        exact = Cat(
            moved[1:-1], (rounded.field - rounded.up)[:FIELD_BITS] & moved[-1].replicate(FIELD_BITS)
        )
        total = Signal(fp32, reset_less=True)
        word = total.as_value()
        m.d.sync += [
            word[:-1].eq(Mux(rounded.exact, exact, rounded.word)),
            word[-1].eq(rounded.sign),
        ]
        with m.If(rounded.nan):
            m.d.sync += word.eq(NAN)
        with m.Elif(rounded.special | (~rounded.exact & rounded.word[FRACTION_BITS:].all())):
            m.d.sync += word[:-1].eq(INFINITY)
        m.d.comb += self.total.eq(total)
        return m


def _register(fields: dict[str, int], name: str) -> data.View:
    """The registers behind one stage. Data is written before it is read: no reset."""
    register: data.View = Signal(data.StructLayout(fields), name=name, reset_less=True)
    return register


def _unpack(m: Module, word: data.View, name: str) -> tuple[Value, Value]:
    """Exponent field, at least 1, and significand."""
    field = Signal(FIELD_BITS, name=f"{name}_field")
    normal = word.field.any()
    m.d.comb += field.eq(Cat(word.field[0] | ~normal, word.field[1:]))
    return field, Cat(word.fraction, normal)
