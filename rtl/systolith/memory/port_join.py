"""One port to memory for two users, of which one only reads and the other one only writes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.ports import MemoryPort

__all__ = ["PortJoin"]


class PortJoin(Block):
    """Takes requests of reads and of writes in turn, in no time; data needs no choice.

    A read that waits for room, or a write that waits for data, holds up the other one as far as
    the memory behind it does.

    Parameters
    ----------
    port : MemoryPort
        The ports.

    Members
    -------
    reads, writes : In(MemoryPort)
        Users.
    memory : Out(MemoryPort)
        For both.
    """

    reads: wiring.Signature
    writes: wiring.Signature
    memory: wiring.Signature

    def __init__(self, port: MemoryPort) -> None:
        members = wiring.Signature(port.members)
        super().__init__({"reads": In(members), "writes": In(members), "memory": Out(members)})

    @property
    def module_name(self) -> str:
        return "port_join"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads, writes, memory = self.reads, self.writes, self.memory
        written, held = Signal(), Signal()  # whose turn it was; whose request is on the table
        write = Signal()
        taken = memory.request.valid & memory.request.ready
        fresh = Mux(written, ~reads.request.valid, writes.request.valid)
        m.d.comb += [
            write.eq(Mux(held, written, fresh)),
            memory.request.valid.eq(Mux(write, writes.request.valid, reads.request.valid)),
            memory.request.payload.eq(
                Mux(write, writes.request.payload.as_value(), reads.request.payload.as_value())
            ),
            reads.request.ready.eq(memory.request.ready & ~write),
            writes.request.ready.eq(memory.request.ready & write),
            writes.done.eq(memory.done),
            writes.refused.eq(memory.refused),
        ]
        m.d.sync += held.eq(memory.request.valid & ~memory.request.ready)
        with m.If(memory.request.valid):
            m.d.sync += written.eq(write)
        with m.Else():
            m.d.sync += written.eq(written ^ taken)
        for source, sink in ((writes.write, memory.write), (memory.read, reads.read)):
            m.d.comb += [
                sink.valid.eq(source.valid),
                sink.payload.eq(source.payload),
                source.ready.eq(sink.ready),
            ]
        return m
