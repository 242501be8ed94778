"""Division of a binary32 word by a power of two, before it is rounded: exact, without limits."""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, fp32
from systolith.numerics.shifters import leading_zeros, shift_left
from systolith.numerics.target import Target

__all__ = ["REBIAS_BITS", "Divide", "places_of", "quotient"]

REBIAS_BITS = FIELD_BITS + 2
"""Bits, with a sign, of the exponent field of a word whose quotient has the field 0."""


def places_of(targets: Iterable[Target], bias: int) -> int:
    """Return how far a subnormal word may have to move up, whatever the scale of bias ``bias``.

    Its quotient is normal in a target that is finer near zero than the smallest scale is small.
    """
    return max(0, *(bias - target.rebias for target in targets))


quotient = data.StructLayout(
    {"significand": FRACTION_BITS + 1, "field": signed(REBIAS_BITS), "sign": 1}
)
"""A word divided by a power of two, as :class:`systolith.numerics.rounder.Rounder` takes it.

The field is the one that the target would have, of any sign. Without a one on top of the
significand the field is 1 or less.
"""


class Divide(Block):
    """A word over a power of two, as a significand and an exponent; a new one in every cycle.

    ::

        1 subtract   exponents; how far the first one of a subnormal word is below the top
        2 move       it up

    Nothing is rounded: a quotient may be far below the numbers of binary32, and a subnormal word
    over a small scale is a normal number of the target, which needs its first one on top.

    Parameters
    ----------
    places : int
        Places that subnormal words have to move up, from :func:`places_of`; one less than a power
        of two.

    Members
    -------
    word : In(fp32)
        Finite value, anything with ``clear``.
    rebias : In(signed(REBIAS_BITS))
        Exponent field of a word whose quotient has the field 0 in the target.
    clear : In(1)
        The quotient is +0 instead.
    quotient : Out(quotient)
        :attr:`latency` cycles later, from a register.
    """

    word: data.View
    rebias: Signal
    clear: Signal
    quotient: data.View

    latency = 2

    def __init__(self, *, places: int) -> None:
        self.places = places
        super().__init__(
            {
                "word": In(fp32),
                "rebias": In(signed(REBIAS_BITS)),
                "clear": In(1),
                "quotient": Out(quotient),
            }
        )

    @property
    def module_name(self) -> str:
        return f"divide_{self.places}"

    def elaborate(self, platform: object) -> Module:
        m = Module()

        # 1: subtract. A subnormal word has the exponent of field 1, and no hidden one.
        word = Signal(fp32, reset_less=True)
        field = Signal(signed(REBIAS_BITS), reset_less=True)
        hidden, cleared = Signal(reset_less=True), Signal(reset_less=True)
        up = Signal(self.places.bit_length(), reset_less=True)
        normal = self.word.field.any()
        least = Cat(self.word.field[0] | ~normal, self.word.field[1:])
        m.d.sync += [
            word.eq(self.word),
            hidden.eq(normal),
            field.eq(least - self.rebias),
            cleared.eq(self.clear),
        ]
        if self.places:
            # Words with a hidden one have it on top already and do not move.
            top = Cat(Const(1, 1), Cat(self.word.fraction, normal)[-self.places :])
            m.d.sync += up.eq(leading_zeros(m, top, "zeros"))

        # 2: move.
        result = Signal(quotient, reset_less=True)
        m.d.sync += [
            result.significand.eq(shift_left(m, Cat(word.fraction, hidden), up, "up")),
            result.field.eq(field - up),
            result.sign.eq(word.sign),
        ]
        with m.If(cleared):
            m.d.sync += [result.significand.eq(0), result.sign.eq(0)]
        m.d.comb += self.quotient.eq(result)
        return m
