"""Room for the atoms that are read."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.sram import Sram

__all__ = ["ReadBuffer"]


class ReadBuffer(Block):
    """Queue of read atoms in a block RAM: one in and one out in every clock.

    An atom is seen two clocks after it was put. Room is accounted for where requests are made.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    put, data, error : In
        Append an atom.
    valid, head, head_error : Out
        The oldest one.
    take : In(1)
        Drop it; only while ``valid`` is set.
    clear : In(1)
        Forget all.
    overflow : Out(1)
        An atom is put although there is no room; never, if requests are counted.
    """

    put: Signal
    data: Signal
    error: Signal
    valid: Signal
    head: Signal
    head_error: Signal
    take: Signal
    clear: Signal
    overflow: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        bits = config.data_bits
        super().__init__(
            {
                "put": In(1),
                "data": In(bits),
                "error": In(1),
                "valid": Out(1),
                "head": Out(bits),
                "head_error": Out(1),
                "take": In(1),
                "clear": In(1),
                "overflow": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"read_buffer_{self.config.room}x{self.config.data_bits}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, bits = self.config.room, self.config.data_bits
        store = Sram(depth=depth, width=bits + 1)
        m.submodules.store = place(store, platform)
        first, behind = Signal(ceil_log2(depth)), Signal(ceil_log2(depth))
        stored, next_first = Signal(bits_for(depth)), Signal(ceil_log2(depth))
        left = Signal.like(stored)
        m.d.comb += [
            next_first.eq(first + self.take),
            left.eq(stored - self.take),
            self.overflow.eq(self.put & (stored == depth)),
            store.w_en.eq(self.put),
            store.w_addr.eq(behind),
            store.w_data[:bits].eq(self.data),
            store.w_data[bits].eq(self.error),
            store.r_addr.eq(next_first),
            self.head.eq(store.r_data[:bits]),
            self.head_error.eq(store.r_data[bits]),
        ]
        m.d.sync += [
            first.eq(next_first),
            behind.eq(behind + self.put),
            stored.eq(left + self.put),
            self.valid.eq(left != 0),  # what is put now can be read from the next clock on
        ]
        with m.If(self.clear):
            m.d.sync += [first.eq(0), behind.eq(0), stored.eq(0), self.valid.eq(0)]
        return m
