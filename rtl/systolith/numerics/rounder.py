"""Stage C: binary32 to narrower formats, rounded once."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block
from systolith.numerics.formats import Format
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, fp32
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.shifters import shift_right
from systolith.numerics.target import Target

__all__ = ["Rounder"]

_EXPONENT_BITS = FIELD_BITS + 1
_DOWN_BITS = 5


class Rounder(Block):
    """Converts a word to the format selected beside it; a new word in every cycle.

    ::

        1 rebias   exponent field of the target; how far the value lies below its normal numbers
        2 align    moved down by that: now every format is cut at a fixed place of its own
        3 round    one addition at that place: half a unit, or the random bits
        4 encode   range test, special values, sign

    To nearest, ties go to even. Stochastic rounding adds ``random`` to the first 16 discarded bits
    and drops later ones. Rounding comes first, the range test second.

    Parameters
    ----------
    formats : sequence of Format
        The targets, at least one; each with a sign and fewer fraction bits than binary32.
    stochastic : bool
        Whether there is stochastic rounding at all; without it the unit is half as large.

    Members
    -------
    word : In(fp32)
        Value.
    select : In
        Position of the target in ``formats``; absent with a single one.
    stochastic : In(1), random : In(16)
        Random bits decide, not the nearest; absent without stochastic rounding.
    saturate : In(1)
        Overflow and infinity become the largest finite value, where the format leaves a choice.
    code : Out
        :attr:`latency` cycles later, from a register; high bits of narrower formats are zero. NaN
        becomes the format's only NaN, or +0 where it has none.
    nan : Out(1)
        With ``code``: the word was NaN.
    """

    word: data.View
    select: Signal
    stochastic: Signal
    random: Signal
    saturate: Signal
    code: Signal
    nan: Signal

    latency = 4

    def __init__(self, formats: Sequence[Format], *, stochastic: bool = True) -> None:
        self.has_stochastic = stochastic
        self.targets = tuple(Target(form) for form in formats)
        if not self.targets:
            raise ValueError("Rounder.formats must name at least one format, not none")
        self.width = max(target.width for target in self.targets)
        self.select_bits = ceil_log2(len(self.targets))
        ports = {
            "word": In(fp32),
            "saturate": In(1),
            "code": Out(self.width),
            "nan": Out(1),
        }
        if self.select_bits:
            ports["select"] = In(self.select_bits)
        if stochastic:
            ports |= {"stochastic": In(1), "random": In(RANDOM_BITS)}
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        names = (target.form.name for target in self.targets)
        return "_".join(["rounder" if self.has_stochastic else "nearest", *names])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        targets = self.targets
        # Fraction bits that can matter by themselves; what lies below goes into the sticky bit.
        tail = RANDOM_BITS if self.has_stochastic else 1
        precision = max(target.fraction_bits for target in targets) + tail
        side = data.StructLayout(
            {
                "sign": 1,
                "nan": 1,
                "saturate": 1,
                "stochastic": int(self.has_stochastic),
                "random": RANDOM_BITS if self.has_stochastic else 0,
                "select": self.select_bits,
            }
        )

        # 1: rebias. A subnormal word has the exponent of field 1.
        word = self.word
        beside_1, beside_2 = Signal(side, reset_less=True), Signal(side, reset_less=True)
        field = Signal(_EXPONENT_BITS, reset_less=True)
        below = Signal(_EXPONENT_BITS, reset_less=True)
        tiny = Signal(reset_less=True)
        significand = Signal(1 + precision + 1, reset_less=True)
        select = self.select if self.select_bits else Const(0, 0)
        normal = word.field.any()
        least = Cat(word.field[0] | ~normal, word.field[1:])
        rebias = _pick(select, [target.rebias for target in targets])
        short = FRACTION_BITS - precision
        if short > 0:
            fraction = Cat(word.fraction[:short].any(), word.fraction[short:])
        else:
            fraction = Cat(Const(0, 1 - short), word.fraction)
        m.d.sync += [
            field.eq(least - rebias),
            below.eq(rebias + 1 - least),
            tiny.eq(least <= rebias),
            significand.eq(Cat(fraction, normal)),
            beside_1.sign.eq(word.sign),
            beside_1.nan.eq(word.field.all() & word.fraction.any()),
            beside_1.saturate.eq(self.saturate),
            beside_1.select.eq(select),
        ]
        if self.has_stochastic:
            m.d.sync += [
                beside_1.stochastic.eq(self.stochastic),
                beside_1.random.eq(self.random),
            ]

        # 2: align. Field and fraction together are the magnitude code, with too many bits.
        linear = Signal(1 + precision + FIELD_BITS, reset_less=True)
        far = tiny & below[_DOWN_BITS:].any()
        down = below[:_DOWN_BITS] & tiny.replicate(_DOWN_BITS)
        moved = shift_right(m, significand, down, "down")
        moved = Mux(far, 0, moved)
        m.d.sync += [
            linear.eq(Cat(moved[:-1], field[:FIELD_BITS] & moved[-1].replicate(FIELD_BITS))),
            beside_2.eq(beside_1),
        ]

        # 3: round, at the place where the target is cut.
        beside_3 = Signal(side, reset_less=True)
        code_bits = FIELD_BITS + max(target.fraction_bits for target in targets)
        magnitude = Signal(code_bits, reset_less=True)
        addends, evens = [], []
        places = [1 + precision - target.fraction_bits for target in targets]  # of the last bit
        for at in places:
            # With a one in every place below half a unit, the last bit decides ties.
            addend_rne, even = Const((1 << at - 1) - 1, at), linear[at]
            if self.has_stochastic:
                drawn = Cat(Const(0, at - RANDOM_BITS), beside_2.random)
                addends.append(Mux(beside_2.stochastic, drawn, addend_rne))
                evens.append(even & ~beside_2.stochastic)
            else:
                addends.append(addend_rne)
                evens.append(even)
        addend = Signal(max(len(value) for value in addends))
        carry = Signal()
        total = Signal(len(linear) + 1)
        m.d.comb += [
            addend.eq(_pick(beside_2.select, addends)),
            carry.eq(_pick(beside_2.select, evens)),
            total.eq((Cat(carry, linear) + Cat(carry, addend))[1:]),
        ]
        m.d.sync += [
            magnitude.eq(_pick(beside_2.select, [total[at:] for at in places])),
            beside_3.eq(beside_2),
        ]

        # 4: encode.
        select, sign = beside_3.select, beside_3.sign
        most = _pick(select, [target.max_code for target in targets])
        over = magnitude > most
        edge = _pick(select, [Mux(beside_3.saturate, t.saturated, t.infinite) for t in targets])
        keeps = _pick(select, [Const(t.signed_infinite) | beside_3.saturate for t in targets])
        limited, negative = Signal(self.width), Signal()
        code = Signal(self.width, reset_less=True)
        nan = Signal(reset_less=True)
        m.d.comb += [
            limited.eq(Mux(over, edge, magnitude)),
            negative.eq(sign & (~over | keeps)),
            self.code.eq(code),
            self.nan.eq(nan),
        ]
        signed_codes = [
            (limited ^ negative.replicate(self.width)) + negative
            if target.complements
            else limited[: target.width - 1] | negative << target.width - 1
            for target in targets
        ]
        m.d.sync += [
            code.eq(
                _pick(select, [v[: t.width] for v, t in zip(signed_codes, targets, strict=True)])
            ),
            nan.eq(beside_3.nan),
        ]
        with m.If(beside_3.nan):
            m.d.sync += code.eq(_pick(select, [target.nan for target in targets]))
        return m


def _pick(select: Value, choices: Sequence[Value | int]) -> Value:
    """The selected one of ``choices``; beyond the last one, the last."""
    value = Value.cast(choices[-1])
    for index in reversed(range(len(choices) - 1)):
        value = Mux(select == index, choices[index], value)
    return value
