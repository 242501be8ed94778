"""A short queue of payloads."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.sram import RegisterFile

__all__ = ["Ring"]


class Ring(Block):
    """First in, first out; what came in a cycle can leave in the next one.

    Parameters
    ----------
    depth : int
        Payloads, a power of two up to 64.
    layout : StructLayout
        Of a payload.

    Members
    -------
    put, out : In(stream), Out(stream)
        Both ends. Neither ``ready`` nor ``valid`` waits for the other side.
    """

    put: stream.Interface
    out: stream.Interface

    def __init__(self, *, depth: int, layout: data.StructLayout) -> None:
        self.depth, self.layout = depth, layout
        signature = stream.Signature(layout)
        super().__init__({"put": In(signature), "out": Out(signature)})

    @property
    def module_name(self) -> str:
        return f"axi_ring_{self.depth}x{self.layout.size}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        store: Any = RegisterFile(depth=self.depth, width=self.layout.size)
        m.submodules.store = place(store, platform)
        head, tail = Signal(range(2 * self.depth)), Signal(range(2 * self.depth))
        m.d.comb += [
            self.put.ready.eq((tail ^ head) != self.depth),
            self.out.valid.eq(tail != head),
            store.w_en.eq(self.put.valid & self.put.ready),
            store.w_addr.eq(tail),
            store.w_data.eq(self.put.payload),
            store.r_addr.eq(head),
            self.out.payload.eq(store.r_data),
        ]
        m.d.sync += [
            tail.eq(tail + store.w_en),
            head.eq(head + (self.out.valid & self.out.ready)),
        ]
        return m
