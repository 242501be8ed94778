"""Walks the words of a box in the scratchpad."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import move_layout

__all__ = ["PlaceWalker"]


class PlaceWalker(Block):
    """Address of one word after the other, one a clock, through three levels of strides.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    start, move : In(1), In(move_layout)
        Begin with this box.
    address : Out
        Of the word; from the clock after ``start``.
    step : In(1)
        Go on to the next one.
    """

    start: Signal
    move: data.View
    address: Signal
    step: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "move": In(move_layout(config)),
                "address": Out(config.local_bits),
                "step": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_places"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, bits = self.config, self.config.local_bits
        levels = range(3)
        heads = [Signal(bits, name=f"head_{n}", reset_less=True) for n in (1, 2)]
        last, left, strides = (
            [Signal(width, name=f"{name}_{n}", reset_less=True) for n in levels]
            for name, width in (
                ("last", config.count_bits),
                ("left", config.count_bits),
                ("stride", bits),
            )
        )
        froms = [self.address, *heads]
        nexts = [Signal(bits, name=f"next_{n}") for n in levels]
        m.d.comb += [nexts[n].eq(froms[n] + strides[n]) for n in levels]
        with m.If(self.start):
            m.d.sync += [self.address.eq(self.move.local)]
            m.d.sync += [head.eq(self.move.local) for head in heads]
            for n in levels:
                m.d.sync += [
                    last[n].eq(self.move.last[n]),
                    left[n].eq(self.move.last[n]),
                    strides[n].eq(self.move.stride[n]),
                ]
        with m.Elif(self.step):
            for n in levels:
                with m.If(left[n] != 0) if n == 0 else m.Elif(left[n] != 0):
                    m.d.sync += [self.address.eq(nexts[n]), left[n].eq(left[n] - 1)]
                    m.d.sync += [heads[k - 1].eq(nexts[n]) for k in range(1, n + 1)]
                    m.d.sync += [left[k].eq(last[k]) for k in range(n)]
        return m
