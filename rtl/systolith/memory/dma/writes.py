"""Atoms on their way from the scratchpad to large memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.requests import memory_port

__all__ = ["Writes"]


class Writes(Block):
    """Queue of atoms to be written. What the scratchpad refused leaves its atom as it is.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    put, word, poison, keep : In(1), In(data bits), In(1), In(1)
        Append an atom; without ``keep`` none of its bytes is written. Room is counted by the
        mover.
    write : Out(stream)
        To the memory.
    left, wrote : Out(1)
        An atom of the queue, any atom was taken.
    stopped, owed : In(1)
        When stopped, the atoms that the memory still waits for are sent with an empty mask.
    clear : In(1)
        Forget all.
    """

    put: Signal
    word: Signal
    poison: Signal
    keep: Signal
    write: stream.Interface
    left: Signal
    wrote: Signal
    stopped: Signal
    owed: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "put": In(1),
                "word": In(config.data_bits),
                "poison": In(1),
                "keep": In(1),
                "write": Out(stream.Signature(memory_port(config).write_layout)),
                "left": Out(1),
                "wrote": Out(1),
                "stopped": In(1),
                "owed": In(1),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_writes"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, write = self.config, self.write
        bits = config.data_bits
        queue = Fifo(depth=config.write_room, width=bits + 2)
        m.submodules.queue = place(queue, platform)
        head = data.View(
            data.StructLayout({"data": bits, "poison": 1, "keep": 1}),
            Signal(bits + 2, name="head"),
        )
        keep = Signal(
            attrs={"keep": 1}
        )  # else one bit of the mask would be the source of the others
        m.d.comb += [
            head.as_value().eq(queue.head),
            keep.eq(queue.valid & head.keep),
            queue.put.eq(self.put),
            queue.entry[:bits].eq(self.word),
            queue.entry[bits].eq(self.poison),
            queue.entry[bits + 1].eq(self.keep),
            write.valid.eq(queue.valid | (self.stopped & self.owed)),
            write.p.data.eq(head.data),
            write.p.poison.eq(keep & head.poison),
            write.p.mask.eq(keep.replicate(config.atom)),
            self.wrote.eq(write.valid & write.ready),
            self.left.eq(queue.valid & write.ready),
            queue.take.eq(self.left),
            queue.clear.eq(self.clear),
        ]
        return m
