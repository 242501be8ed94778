"""Tells of descriptors that are done with, in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.answers import finish_layout
from systolith.memory.dma.codes import DmaCode
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import retired_layout
from systolith.memory.dma.fifo import Fifo

__all__ = ["Retire"]


class Retire(Block):
    """Waits for the writes of a descriptor, then offers it.

    There is room for as many as can be under way, however long the host does not look.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    finish_put, finish : In(1), In(finish_layout)
        Descriptors in order.
    finished : In
        Count of visible writes.
    retired : Out(stream of retired_layout)
        To the host.
    stopped, reason : In(1), In
        Wait for no write; this is the code of those that were waited for.
    """

    finish_put: Signal
    finish: data.View
    finished: Signal
    retired: stream.Interface
    stopped: Signal
    reason: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "finish_put": In(1),
                "finish": In(finish_layout(config)),
                "finished": In(config.mark_bits),
                "retired": Out(stream.Signature(retired_layout(config))),
                "stopped": In(1),
                "reason": In(config.code_bits),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_retire"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        finish, told = finish_layout(config), retired_layout(config)
        waits = Fifo(depth=config.descriptors, width=finish.size)
        ready = Fifo(depth=config.descriptors, width=told.size)
        m.submodules.waits = place(waits, platform)
        m.submodules.ready = place(ready, platform)
        head, entry = data.View(finish, waits.head), data.View(told, ready.entry)
        ahead, reached, moves = Signal(config.mark_bits), Signal(), Signal()
        m.d.comb += [
            waits.put.eq(self.finish_put),
            waits.entry.eq(self.finish),
            ahead.eq(self.finished - head.mark),
            reached.eq(~ahead[-1]),
            moves.eq(waits.valid & (reached | self.stopped)),
            waits.take.eq(moves),
            ready.put.eq(moves),
            *(entry[name].eq(head[name]) for name in ("tag", "listed", "atoms", "code")),
            self.retired.valid.eq(ready.valid),
            self.retired.payload.eq(ready.head),
            ready.take.eq(ready.valid & self.retired.ready),
        ]
        refused = (head.code != DmaCode.OK) & (head.code < DmaCode.BAD_TABLE)  # it has no writes
        with m.If(~reached & ~head.listed & ~refused):
            m.d.comb += entry.code.eq(self.reason)
        return m
