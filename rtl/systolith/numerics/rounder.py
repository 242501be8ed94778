"""Stage C: binary32, or its quotient by a power of two, to narrower formats, rounded once."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block
from systolith.numerics.divide import quotient
from systolith.numerics.formats import Format
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, fp32
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.pick import pick
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
        3 choose   what is added at that place: half a unit, or the random bits
        4 round    the addition
        5 limit    range test
        6 encode   sign, special values

    To nearest, ties go to even. Stochastic rounding adds ``random`` to the first 16 discarded bits
    and drops later ones; with random bits of 0 it rounds toward zero. Rounding comes first, the
    range test second.

    Parameters
    ----------
    formats : sequence of Format
        The targets, at least one; each with a sign and fewer fraction bits than binary32.
    stochastic : bool
        Whether there is stochastic rounding at all; without it the unit is half as large.
    divided : bool
        Values come as quotients, not as words. They have to be finite, and their exponent at most
        that of the target's largest value before they are rounded.

    Members
    -------
    word : In(fp32)
        Value; In(quotient) if ``divided``.
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

    latency = 6

    def __init__(
        self,
        formats: Sequence[Format],
        *,
        stochastic: bool = True,
        divided: bool = False,
    ) -> None:
        self.divided = divided
        self.has_stochastic = stochastic
        self.targets = tuple(Target(form) for form in formats)
        if not self.targets:
            raise ValueError("Rounder.formats must name at least one format, not none")
        self.width = max(target.width for target in self.targets)
        self.select_bits = ceil_log2(len(self.targets))
        ports = {
            "word": In(quotient if divided else fp32),
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
        kind = "rounder" if self.has_stochastic else "nearest"
        if self.divided:
            kind += "_divided"
        return "_".join([kind, *names])

    @property
    def _field_bits(self) -> int:
        """Bits of the target's exponent field, with room for the carry of rounding."""
        if not self.divided:
            return FIELD_BITS
        most = max(target.max_code >> target.fraction_bits for target in self.targets)
        return (most + 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        targets, field_bits = self.targets, self._field_bits
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

        # 1: rebias. How far a value lies below the normal numbers counts only if it does.
        number = self.word
        beside_1, beside_2 = Signal(side, reset_less=True), Signal(side, reset_less=True)
        field = Signal(_EXPONENT_BITS, reset_less=True)
        below = Signal(_EXPONENT_BITS, reset_less=True)
        tiny = Signal(reset_less=True)
        significand = Signal(1 + precision + 1, reset_less=True)
        select = self.select if self.select_bits else Const(0, 0)
        if self.divided:
            whole, least, rebias, nan = number.significand, number.field, Const(0), Const(0)
        else:
            # A subnormal word has the exponent of field 1.
            normal = number.field.any()
            whole = Cat(number.fraction, normal)
            least = Cat(number.field[0] | ~normal, number.field[1:])
            rebias = pick(select, [target.rebias for target in targets])
            nan = number.field.all() & number.fraction.any()
        short = FRACTION_BITS - precision
        if short > 0:
            cut = Cat(whole[:short].any(), whole[short:])
        else:
            cut = Cat(Const(0, 1 - short), whole)
        m.d.sync += [
            field.eq(least - rebias),
            below.eq(rebias + 1 - least),
            tiny.eq(least <= rebias),
            significand.eq(cut),
            beside_1.sign.eq(number.sign),
            beside_1.nan.eq(nan),
            beside_1.saturate.eq(self.saturate),
            beside_1.select.eq(select),
        ]
        if self.has_stochastic:
            m.d.sync += [
                beside_1.stochastic.eq(self.stochastic),
                beside_1.random.eq(self.random),
            ]

        # 2: align. Field and fraction together are the magnitude code, with too many bits.
        linear = Signal(1 + precision + field_bits, reset_less=True)
        far = tiny & below[_DOWN_BITS:].any()
        down = below[:_DOWN_BITS] & tiny.replicate(_DOWN_BITS)
        moved = shift_right(m, significand, down, "down")
        moved = Mux(far, 0, moved)
        m.d.sync += [
            linear.eq(Cat(moved[:-1], field[:field_bits] & moved[-1].replicate(field_bits))),
            beside_2.eq(beside_1),
        ]

        # 3: what is added at the place where the target is cut.
        places = [1 + precision - target.fraction_bits for target in targets]  # of the last bit
        beside_3 = Signal(side, reset_less=True)
        uncut = Signal(len(linear), reset_less=True)
        addend = Signal(max(places), reset_less=True)
        carry = Signal(reset_less=True)
        addends, evens = [], []
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
        m.d.sync += [
            uncut.eq(linear),
            addend.eq(pick(beside_2.select, addends)),
            carry.eq(pick(beside_2.select, evens)),
            beside_3.eq(beside_2),
        ]

        # 4: round.
        beside_4 = Signal(side, reset_less=True)
        code_bits = field_bits + max(target.fraction_bits for target in targets)
        magnitude = Signal(code_bits, reset_less=True)
        total = Signal(len(uncut) + 1)
        m.d.comb += total.eq((Cat(carry, uncut) + Cat(carry, addend))[1:])
        m.d.sync += [
            magnitude.eq(pick(beside_3.select, [total[at:] for at in places])),
            beside_4.eq(beside_3),
        ]

        # 5: limit.
        beside_5 = Signal(side, reset_less=True)
        limited = Signal(self.width, reset_less=True)
        negative = Signal(reset_less=True)
        select = beside_4.select
        most = pick(select, [target.max_code for target in targets])
        over = magnitude > most
        edge = pick(select, [Mux(beside_4.saturate, t.saturated, t.infinite) for t in targets])
        keeps = pick(select, [Const(t.signed_infinite) | beside_4.saturate for t in targets])
        m.d.sync += [
            limited.eq(Mux(over, edge, magnitude)),
            negative.eq(beside_4.sign & (~over | keeps)),
            beside_5.eq(beside_4),
        ]

        # 6: encode.
        code = Signal(self.width, reset_less=True)
        nan = Signal(reset_less=True)
        signed_codes = [
            (limited ^ negative.replicate(self.width)) + negative
            if target.complements
            else limited[: target.width - 1] | negative << target.width - 1
            for target in targets
        ]
        codes = [value[: t.width] for value, t in zip(signed_codes, targets, strict=True)]
        m.d.sync += [code.eq(pick(beside_5.select, codes)), nan.eq(beside_5.nan)]
        with m.If(beside_5.nan):
            m.d.sync += code.eq(pick(beside_5.select, [target.nan for target in targets]))
        m.d.comb += [self.code.eq(code), self.nan.eq(nan)]
        return m
