"""Stage B: a block sum, scaled and rounded, onto the accumulator of its output."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.numerics.fp32 import FRACTION_BITS, fp32
from systolith.numerics.fp32_add import Fp32Add, check_accumulator
from systolith.numerics.fp32_term import EXPONENT_BITS, Fp32Term, sum_flags, term_latency
from systolith.numerics.lfsr import RANDOM_BITS

__all__ = ["ScaleAdd"]


class ScaleAdd(Block):
    """``stored + RNE32(total * 2^exponent)``, rounded once, a new block in every cycle.

    ::

        total, exponent, flags --> term --+
                                          +--> add --> result
                        first, stored ----+

    The accumulator is needed only ``lead = term_latency(width)`` cycles after the block sum, so
    that the loop from its read to its write is as short as the adder: :meth:`Fp32Add.loop_cycles`.
    NaN and infinities stay in the accumulator because IEEE addition keeps them.

    Parameters
    ----------
    width : int
        Bits of the block sum.
    frac : int
        Fraction bits of the accumulator, 1 to 23; 23 is binary32. The lower ones are zero in every
        result, so that a memory may leave them out. The term is rounded to binary32 all the same.
    rounding : str
        Of the accumulator: "rne", "rz" or "sr", as in :class:`Fp32Add`.

    Members
    -------
    total : In(signed(width)), exponent : In(signed(EXPONENT_BITS)), flags : In(sum_flags)
        Of a block, as in :class:`Fp32Term`.
    stored : In(fp32)
        Accumulator, ``lead`` cycles after ``total``.
    first : In(1)
        With ``stored``: this is the output's first block, and the accumulator is +0 instead.
    random : In(16)
        Random bits, ``lead + Fp32Add.random_lag`` cycles after ``total``; only with "sr".
    result : Out(fp32)
        Accumulator after the block, ``latency`` cycles after ``total``, from a register.
    """

    total: Signal
    exponent: Signal
    flags: data.View
    stored: data.View
    first: Signal
    random: Signal
    result: data.View

    def __init__(self, *, width: int, frac: int = FRACTION_BITS, rounding: str = "rne") -> None:
        check_accumulator(frac, rounding)
        self.width = width
        self.frac = frac
        self.rounding = rounding
        self.lead = term_latency(width)
        self.latency = self.lead + Fp32Add.latency
        ports: dict[str, Any] = {
            "total": In(signed(width)),
            "exponent": In(signed(EXPONENT_BITS)),
            "flags": In(sum_flags),
            "stored": In(fp32),
            "first": In(1),
            "result": Out(fp32),
        }
        if rounding == "sr":
            ports["random"] = In(RANDOM_BITS)
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        if (self.frac, self.rounding) == (FRACTION_BITS, "rne"):
            return f"scale_add_{self.width}"
        return f"scale_add_{self.width}_{self.frac}_{self.rounding}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        term = Fp32Term(width=self.width)
        add = Fp32Add(frac=self.frac, rounding=self.rounding)
        m.submodules.scaler = place(term, platform)
        m.submodules.adder = place(add, platform)
        m.d.comb += [
            term.total.eq(self.total),
            term.exponent.eq(self.exponent),
            term.flags.eq(self.flags),
            add.a.eq(Mux(self.first, 0, self.stored.as_value())),
            add.b.eq(term.term),
            self.result.eq(add.total),
        ]
        if self.rounding == "sr":
            m.d.comb += add.random.eq(self.random)
        return m
