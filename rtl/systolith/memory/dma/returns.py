"""Hands every atom that was read to who asked for it."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.requests import Kind, expected_layout, memory_port

__all__ = ["Returns"]


class Returns(Block):
    """Sorts read atoms by the requests, in order. Nothing waits here.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    expected, expected_valid, expected_space : In(expected_layout), In(1), Out(1)
        Requests, as they are committed.
    valid, read : In(1), In(read payload)
        An atom from the memory.
    load, table, fetch : Out(1)
        It belongs to a load, a page table, a descriptor; in the same cycle.
    waiting : Out(1)
        Atoms are under way.
    disorder : Out(1)
        The mark of the last atom of a request is missing, or is in the wrong place: an atom was
        lost or added.
    stray : Out(1)
        Nothing waits for this atom; it is dropped.
    clear : In(1)
        Forget all requests.
    """

    expected: data.View
    expected_valid: Signal
    expected_space: Signal
    valid: Signal
    read: data.View
    load: Signal
    table: Signal
    fetch: Signal
    waiting: Signal
    disorder: Signal
    stray: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "expected": In(expected_layout(config)),
                "expected_valid": In(1),
                "expected_space": Out(1),
                "valid": In(1),
                "read": In(memory_port(config).read_layout),
                "load": Out(1),
                "table": Out(1),
                "fetch": Out(1),
                "waiting": Out(1),
                "disorder": Out(1),
                "stray": Out(1),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_returns"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = expected_layout(config)
        queue = Fifo(depth=config.reads, width=layout.size)
        m.submodules.queue = place(queue, platform)
        head = data.View(layout, queue.head)
        before, last, comes = Signal(config.run_bits), Signal(), Signal()
        m.d.comb += [
            queue.put.eq(self.expected_valid),
            queue.entry.eq(self.expected),
            self.expected_space.eq(queue.space),
            comes.eq(self.valid & queue.valid),
            last.eq(before + 1 == head.count),
            self.load.eq(comes & (head.kind == Kind.LOAD)),
            self.table.eq(comes & (head.kind == Kind.TABLE)),
            self.fetch.eq(comes & (head.kind == Kind.FETCH)),
            self.waiting.eq(queue.valid),
            self.disorder.eq(comes & (self.read.last != last)),
            self.stray.eq(self.valid & ~queue.valid),
            queue.take.eq(comes & last),
            queue.clear.eq(self.clear),
        ]
        with m.If(comes):
            m.d.sync += before.eq(before + 1)
        with m.If((comes & last) | self.clear):
            m.d.sync += before.eq(0)
        return m
