"""Addition of two binary32 numbers: the loop of stage B."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS, fp32
from systolith.numerics.fp32_finish import finish, spare_places
from systolith.numerics.fp32_stage import MARK_BITS, SIGNIFICAND, limit_mark, register
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.shifters import shift_right

__all__ = ["ROUNDINGS", "Fp32Add", "check_accumulator"]

ROUNDINGS = ("rne", "rz", "sr")
"""To nearest with ties to even, toward zero, stochastic."""


def check_accumulator(frac: int, rounding: str) -> None:
    """Raise ValueError unless there is an adder of these parameters."""
    if not 1 <= frac <= FRACTION_BITS:
        raise ValueError(f"Fp32Add.frac must be in 1..{FRACTION_BITS}, not {frac!r}")
    if rounding not in ROUNDINGS:
        raise ValueError(
            f"Fp32Add.rounding must be one of {', '.join(ROUNDINGS)}, not {rounding!r}"
        )


class Fp32Add(Block):
    """Sum of two binary32 numbers, rounded once; subnormals kept; a new pair in every cycle.

    ::

        1 order    larger magnitude first, distance of the exponents
        2 align    smaller significand down, lost bits into sticky; NaN and infinity found
        3 add      sum or difference; how far it may move up before it is subnormal
        4, 5       up to the first one, round: :func:`systolith.numerics.fp32_finish.finish`

    Operands may have all 23 fraction bits, whatever the sum keeps: a term is rounded to binary32
    before it meets a narrower accumulator.

    Parameters
    ----------
    frac : int
        Fraction bits that the sum keeps, 1 to 23; the lower ones are zero. The exponent range is
        that of binary32, with subnormals.
    rounding : str
        "rne", to nearest with ties to even; "rz", toward zero; "sr", stochastic: ``random`` is
        added to the first 16 discarded bits, later ones are dropped.

    Members
    -------
    a, b : In(fp32)
        Words. Every NaN counts the same.
    random : In(16)
        Random bits, :attr:`random_lag` cycles after ``a`` and ``b``; only with "sr".
    total : Out(fp32)
        Sum, :attr:`latency` cycles later, from a register. A NaN is 0x7FC00000; overflow is
        infinity, or with "rz" the largest number; exact cancellation is +0.
    """

    a: data.View
    b: data.View
    random: Signal
    total: data.View

    latency = 5
    random_lag = 4

    def __init__(self, *, frac: int = FRACTION_BITS, rounding: str = "rne") -> None:
        check_accumulator(frac, rounding)
        self.frac = frac
        self.rounding = rounding
        ports: dict[str, Any] = {"a": In(fp32), "b": In(fp32), "total": Out(fp32)}
        if rounding == "sr":
            ports["random"] = In(RANDOM_BITS)
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        if (self.frac, self.rounding) == (FRACTION_BITS, "rne"):
            return "fp32_add"
        return f"fp32_add_{self.frac}_{self.rounding}"

    @staticmethod
    def loop_cycles(memory_latency: int) -> int:
        """Cycles from the address of an accumulator to the first read that sees the new sum.

        The word arrives ``memory_latency`` cycles after its address, the sum is on the write port
        :attr:`latency` cycles after the word, and is stored at the end of that cycle.
        """
        return memory_latency + Fp32Add.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        spare = spare_places(self.frac, self.rounding)
        aligned_bits = SIGNIFICAND + spare

        # 1: order by magnitude. Subnormals have the exponent of field 1, and no hidden one.
        ordered = register(
            {
                "field": FIELD_BITS,
                "large": SIGNIFICAND,
                "small": SIGNIFICAND,
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
        aligned = register(
            {
                "field": FIELD_BITS,
                "large": SIGNIFICAND,
                "small": aligned_bits,
                "sign": 1,
                "differ": 1,
                "special": 1,
                "nan": 1,
            },
            "aligned",
        )
        reach = (aligned_bits - 1).bit_length()
        small = Cat(Const(0, spare), ordered.small)
        near = shift_right(m, small, ordered.distance[:reach], "align")
        far = ordered.distance[reach:].any()
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
        added = register(
            {
                "sum": aligned_bits + 1,
                "field": FIELD_BITS,
                "probe": MARK_BITS,
                "sign": 1,
                "differ": 1,
                "special": 1,
                "nan": 1,
            },
            "added",
        )
        large = Cat(Const(0, spare), aligned.large)
        addend = aligned.small ^ aligned.differ.replicate(aligned_bits)
        # One more bit at the bottom carries the one of the two's complement into the same adder.
        whole = Signal(aligned_bits + 2)
        m.d.comb += whole.eq(Cat(aligned.differ, large) + Cat(aligned.differ, addend))
        total = Cat(whole[1 : aligned_bits + 1], whole[aligned_bits + 1] & ~aligned.differ)
        m.d.sync += [
            added.sum.eq(total),
            added.field.eq(aligned.field),
            added.probe.eq(total[-MARK_BITS:] | limit_mark(aligned.field)),
            added.sign.eq(aligned.sign),
            added.differ.eq(aligned.differ),
            added.special.eq(aligned.special),
            added.nan.eq(aligned.nan),
        ]

        random = self.random if self.rounding == "sr" else Const(0)
        m.d.comb += self.total.eq(finish(m, added, self.frac, self.rounding, random))
        return m


def _unpack(m: Module, word: data.View, name: str) -> tuple[Value, Value]:
    """Exponent field, at least 1, and significand."""
    field = Signal(FIELD_BITS, name=f"{name}_field")
    normal = word.field.any()
    m.d.comb += field.eq(Cat(word.field[0] | ~normal, word.field[1:]))
    return field, Cat(word.fraction, normal)
