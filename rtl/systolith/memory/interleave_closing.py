"""When a write is done: when every channel that took part in it is."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.interleave_map import InterleaveConfig
from systolith.memory.interleave_parts import closing_layout

__all__ = ["InterleaveClosing"]


class InterleaveClosing(Block):
    """Counts what each channel has done beyond the oldest write, and tells the writes in order.

    One write a clock, two clocks after the last of its channels.

    Parameters
    ----------
    config : InterleaveConfig
        Sizes; ``config.outstanding`` pieces are kept.

    Members
    -------
    closing : In(stream of closing_layout)
        Writes, at the latest with the last of their requests.
    told : In(channels)
        This channel is done with its next request.
    done : Out(1)
        The next request of the user is.
    """

    closing: Any
    told: Signal
    done: Signal

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        super().__init__(
            {
                "closing": In(stream.Signature(closing_layout(config))),
                "told": In(config.channels),
                "done": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"interleave_closing_{self.config.key}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = closing_layout(config)
        queue = Fifo(depth=config.outstanding, width=layout.size)
        m.submodules.queue = place(queue, platform)
        head: Any = Signal(layout)
        missing, take = Signal(config.channels), Signal()
        m.d.comb += [
            queue.put.eq(self.closing.valid & self.closing.ready),
            queue.entry.eq(self.closing.payload),
            self.closing.ready.eq(queue.space),
            head.eq(queue.head),
            take.eq(queue.valid & ~(head.channels & missing).any()),
            queue.take.eq(take),
        ]
        for n in range(config.channels):
            # Those of the writes in the queue, and of one that is not yet put.
            ahead = Signal(range(config.outstanding + 2), name=f"ahead_{n}")
            m.d.comb += missing[n].eq(ahead == 0)
            m.d.sync += ahead.eq(ahead + self.told[n] - (take & head.channels[n]))
        m.d.sync += self.done.eq(take & head.final)
        return m
