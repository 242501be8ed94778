"""A short queue."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.sram import RegisterFile

__all__ = ["Fifo"]


class Fifo(Block):
    """Holds entries in order; an entry is seen in the cycle after it was put.

    Parameters
    ----------
    depth : int
        Entries, a power of two, 2 or more.
    width : int
        Bits of an entry.

    Members
    -------
    put, entry : In(1), In(width)
        Append; only while ``space`` is set.
    space : Out(1)
        Another entry fits.
    valid, head : Out(1), Out(width)
        The oldest entry.
    take : In(1)
        Drop it; only while ``valid`` is set.
    clear : In(1)
        Forget all entries, and one that is put in this cycle.
    """

    put: Signal
    entry: Signal
    space: Signal
    valid: Signal
    head: Signal
    take: Signal
    clear: Signal

    def __init__(self, *, depth: int, width: int) -> None:
        self.depth = depth
        self.width = width
        super().__init__(
            {
                "put": In(1),
                "entry": In(width),
                "space": Out(1),
                "valid": Out(1),
                "head": Out(width),
                "take": In(1),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"fifo_{self.depth}x{self.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        store = RegisterFile(depth=self.depth, width=self.width)
        m.submodules.store = place(store, platform)
        bits = ceil_log2(self.depth)
        first, behind = Signal(bits + 1), Signal(bits + 1)
        m.d.comb += [
            self.space.eq((behind ^ first) != self.depth),
            self.valid.eq(behind != first),
            store.w_en.eq(self.put),
            store.w_addr.eq(behind[:bits]),
            store.w_data.eq(self.entry),
            store.r_addr.eq(first[:bits]),
            self.head.eq(store.r_data),
        ]
        m.d.sync += [first.eq(first + self.take), behind.eq(behind + self.put)]
        with m.If(self.clear):
            m.d.sync += [first.eq(0), behind.eq(0)]
        return m
