"""Corners of a box of atoms, and ends of what is kept in pages: products, one after the other."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.numerics.multiplier import Multiplier

__all__ = ["BOX_STEPS", "Box"]

BOX_STEPS = 8
"""Clocks from ``start`` to the last sum."""


class Box(Block):
    """Sums of ``(count - 1) * stride``, exact: of those above zero, and of those below.

    Six products on one multiplier, one a clock: those of the memory, then those of the scratchpad.
    With ``paged`` the first three are replaced by ``count * first`` and ``count * tokens``.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    step : In
        0 to 7 in clocks in a row; the operands hold for as long.
    last, count, tokens, first, paged : In
        Counts less one; the count of the innermost level, that of the next one, first token.
    memory_stride, local_stride : In
        Signed.
    low, high : Out
        Of the memory in step 5, of the scratchpad in step 8: sums of the products below zero,
        as a positive number, and of the others.
    position, total : Out
        From step 4 on, with ``paged``: atoms before the first token, atoms of all tokens.
    """

    step: Signal
    last: data.View
    count: Signal
    tokens: Signal
    first: Signal
    paged: Signal
    memory_stride: data.View
    local_stride: data.View
    low: Signal
    high: Signal
    position: Signal
    total: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        count = config.count_bits
        self.factor_bits = max(config.space_bits + 1, config.token_bits, count)
        super().__init__(
            {
                "step": In(4),
                "last": In(PackedArray(count, 3)),
                "count": In(count),
                "tokens": In(count),
                "first": In(config.token_bits),
                "paged": In(1),
                "memory_stride": In(PackedArray(config.atom_bits + 1, 3)),
                "local_stride": In(PackedArray(config.local_bits + 1, 3)),
                "low": Out(self.sum_bits(config)),
                "high": Out(self.sum_bits(config)),
                "position": Out(count + config.token_bits),
                "total": Out(2 * count),
            }
        )

    @staticmethod
    def sum_bits(config: DmaConfig) -> int:
        """Bits of a sum of three products."""
        factor = max(config.space_bits + 1, config.token_bits, config.count_bits)
        return config.count_bits + factor + 2

    @property
    def module_name(self) -> str:
        return "dma_box"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, factor = self.config, self.factor_bits
        multiplier = Multiplier(a_width=config.count_bits, b_width=factor)
        m.submodules.multiplier = place(multiplier, platform)

        counts = [self.last[n] for n in (0, 1, 2, 0, 1, 2)]
        strides = [Signal(signed(factor + 1), name=f"stride_{n}") for n in range(6)]
        for n in range(3):
            m.d.comb += [
                strides[n].eq(self.memory_stride[n].as_signed()),
                strides[n + 3].eq(self.local_stride[n].as_signed()),
            ]
        a, b = Signal(config.count_bits), Signal(signed(factor + 1))
        index = Signal(range(6))
        m.d.comb += [
            index.eq(Mux(self.step < 6, self.step, 5)),
            a.eq(Array(counts)[index]),
            b.eq(Array(strides)[index]),
        ]
        with m.If(self.paged & (self.step < 3)):
            m.d.comb += [
                a.eq(Mux(self.step == 2, 0, self.count)),
                b.eq(Mux(self.step == 0, self.first, self.tokens)),
            ]
        magnitude = Signal(factor)
        negative = Signal(2)  # of the operands of the last two steps
        m.d.comb += [
            magnitude.eq(Mux(b < 0, -b, b)),
            multiplier.a.eq(a),
            multiplier.b.eq(magnitude),
        ]
        m.d.sync += negative.eq((negative << 1) | (b < 0))
        begin, below = Signal(), negative[1]
        below_only, above_only = Signal.like(multiplier.p), Signal.like(multiplier.p)
        m.d.comb += [
            begin.eq((self.step == 2) | (self.step == 5)),
            below_only.eq(Mux(below, multiplier.p, 0)),
            above_only.eq(Mux(below, 0, multiplier.p)),
        ]
        m.d.sync += [
            self.low.eq(Mux(begin, 0, self.low) + below_only),
            self.high.eq(Mux(begin, 0, self.high) + above_only),
        ]
        with m.If(self.step == 2):
            m.d.sync += self.position.eq(multiplier.p)
        with m.If(self.step == 3):
            m.d.sync += self.total.eq(multiplier.p)
        return m
