"""Who owns each half of each set of banks: a bit that changes when a token is handed over."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig

__all__ = ["ScratchTokens"]


class ScratchTokens(Block):
    """Owners of the halves: the DMA after reset.

    A token names a half and a set of groups. It is accepted as a whole if whoever hands it over
    owns all of them; otherwise, or if it names none, it is refused and nothing changes. The new
    owner may act in the next cycle.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    give, back : In(stream)
        Tokens from the DMA to the array, and from the array to the DMA.
    give_refused, back_refused : Out(1)
        In the cycle after acceptance.
    still : In(1)
        The DMA has no write under way; until then its tokens wait.
    reading : In(groups per half)
        The array still reads these; until then its tokens wait.
    owned : Out(groups per half)
        Halves that are the array's.
    keeps : Out(groups per half)
        Those that it does not hand over in this cycle.
    """

    give: stream.Interface
    back: stream.Interface
    give_refused: Signal
    back_refused: Signal
    still: Signal
    reading: data.View
    owned: data.View
    keeps: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        sets = PackedArray(config.groups, HALVES)
        super().__init__(
            {
                "give": In(stream.Signature(config.token)),
                "back": In(stream.Signature(config.token)),
                "give_refused": Out(1),
                "back_refused": Out(1),
                "still": In(1),
                "reading": In(sets),
                "owned": Out(sets),
                "keeps": Out(sets),
            }
        )

    @property
    def module_name(self) -> str:
        return f"tokens_{self.config.groups}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given: Any = self.give.payload
        backed: Any = self.back.payload
        give_bad, back_bad, waits = Signal(), Signal(), Signal()
        give, back = Signal(), Signal()
        foreign, missing, read = [], [], []
        for half in range(HALVES):
            gives, backs = given.half == half, backed.half == half
            owned = Signal(self.config.groups, name=f"owned_{half}")
            to_array = Signal(self.config.groups, name=f"to_array_{half}")
            to_dma = Signal(self.config.groups, name=f"to_dma_{half}")
            foreign.append(gives & (owned & given.groups).any())
            missing.append(backs & (~owned & backed.groups).any())
            read.append(backs & (self.reading[half] & backed.groups).any())
            m.d.comb += [
                to_array.eq(Mux(gives & give, given.groups, 0)),
                to_dma.eq(Mux(backs & back, backed.groups, 0)),
                self.owned[half].eq(owned),
                self.keeps[half].eq(owned & ~to_dma),
            ]
            m.d.sync += owned.eq((owned | to_array) & ~to_dma)
        m.d.comb += [
            waits.eq(Cat(read).any()),
            give_bad.eq(Cat(foreign).any() | ~given.groups.any()),
            back_bad.eq(Cat(missing).any() | ~backed.groups.any()),
            self.give.ready.eq(self.still),
            self.back.ready.eq(~waits),
            give.eq(self.give.valid & self.still & ~give_bad),
            back.eq(self.back.valid & ~waits & ~back_bad),
        ]
        m.d.sync += [
            self.give_refused.eq(self.give.valid & self.still & give_bad),
            self.back_refused.eq(self.back.valid & ~waits & back_bad),
        ]
        return m
