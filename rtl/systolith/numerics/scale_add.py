"""Stage B: a block sum, scaled and rounded, onto the accumulator of its output."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.numerics.fp32 import fp32
from systolith.numerics.fp32_add import Fp32Add
from systolith.numerics.fp32_term import EXPONENT_BITS, Fp32Term, sum_flags, term_latency

__all__ = ["ScaleAdd"]


class ScaleAdd(Block):
    """``stored + RNE32(total * 2^exponent)`` in binary32, a new block in every cycle.

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

    Members
    -------
    total : In(signed(width)), exponent : In(signed(EXPONENT_BITS)), flags : In(sum_flags)
        Of a block, as in :class:`Fp32Term`.
    stored : In(fp32)
        Accumulator, ``lead`` cycles after ``total``.
    first : In(1)
        With ``stored``: this is the output's first block, and the accumulator is +0 instead.
    result : Out(fp32)
        Accumulator after the block, ``latency`` cycles after ``total``, from a register.
    """

    total: Signal
    exponent: Signal
    flags: data.View
    stored: data.View
    first: Signal
    result: data.View

    def __init__(self, *, width: int) -> None:
        self.width = width
        self.lead = term_latency(width)
        self.latency = self.lead + Fp32Add.latency
        super().__init__(
            {
                "total": In(signed(width)),
                "exponent": In(signed(EXPONENT_BITS)),
                "flags": In(sum_flags),
                "stored": In(fp32),
                "first": In(1),
                "result": Out(fp32),
            }
        )

    @property
    def module_name(self) -> str:
        return f"scale_add_{self.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        term, add = Fp32Term(width=self.width), Fp32Add()
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
        return m
