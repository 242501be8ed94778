"""Keeps requests that must not be carried out from a memory's port, and answers them."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.ports import MemoryPort

__all__ = ["PortGuard"]


class PortGuard(Block):
    """Requests within the memory pass in no time, all others are refused: empty, or beyond its end.

    A request that is refused waits until all before it have been answered, and is answered here
    before the next one is taken. A read has ``count`` atoms of zeros, all with ``error``, one if
    ``count`` is 0. A write has its ``count`` atoms taken and dropped, none if ``count`` is 0, then
    ``done`` with ``refused``. The memory sees nothing of either.

    Other requests lose no clock, and neither do their atoms: one of each a clock. Atoms of a write
    wait until its request has been taken, so that none goes to the memory that is to be dropped.

    Parameters
    ----------
    port : MemoryPort
        The user's, and the memory's.
    atoms : int
        Of the memory; by default as many as there are addresses.
    outstanding : int
        Requests that can be under way, a power of two.

    Members
    -------
    user : In(MemoryPort)
        Who asks.
    memory : Out(MemoryPort)
        The memory. It tells a write as done after it has taken its atoms.
    """

    user: wiring.Signature
    memory: wiring.Signature

    def __init__(
        self, port: MemoryPort, *, atoms: int | None = None, outstanding: int = 1024
    ) -> None:
        most = 1 << port.atom_bits
        if atoms is not None and not 1 <= atoms <= most:
            raise ValueError(f"atoms must be from 1 to {most}, not {atoms!r}")
        if outstanding < 2 or outstanding & (outstanding - 1):
            raise ValueError(f"outstanding must be a power of two, at least 2, not {outstanding!r}")
        self.atoms, self.outstanding, self.count_bits = atoms or most, outstanding, port.count_bits
        self.sizes = f"{port.atom}x{port.atom_bits}_c{port.count_bits}"
        members = wiring.Signature(port.members)
        super().__init__({"user": In(members), "memory": Out(members)})

    @property
    def module_name(self) -> str:
        return f"port_guard_{self.sizes}_{self.atoms}_o{self.outstanding}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        user, memory = self.user, self.memory
        asked, write, read = user.request, user.write, user.read

        # Requests: sent on, or refused.
        under_way = Signal(range(self.outstanding + 1))  # at the memory, not yet answered
        answers, drops = Signal(), Signal()  # a read or a write that is refused goes on
        # Atoms of writes that were taken and are to come, or of the answer to a read, less one.
        left, none, room = Signal(signed(self.count_bits + 2), init=-1), Signal(), Signal()
        bad, free, able, sent, refuses = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            bad.eq((asked.p.count == 0) | (asked.p.atom + asked.p.count > self.atoms)),
            none.eq(left < 0),
            room.eq(none | ~left[self.count_bits]),
            free.eq(~answers & ~drops),
            able.eq(free & (under_way != self.outstanding) & (~asked.p.write | room)),
            memory.request.valid.eq(asked.valid & able & ~bad),
            memory.request.payload.eq(asked.payload),
            asked.ready.eq(Mux(bad, free & (under_way == 0), able & memory.request.ready)),
            sent.eq(memory.request.valid & memory.request.ready),
            refuses.eq(asked.valid & asked.ready & bad),
        ]
        with m.If(refuses):
            m.d.sync += [answers.eq(~asked.p.write), drops.eq(asked.p.write)]

        # Atoms of writes, to the memory or nowhere, and the ends of writes.
        put, ended = Signal(), Signal()
        m.d.comb += [
            memory.write.valid.eq(write.valid & ~none & free),
            memory.write.payload.eq(write.payload),
            write.ready.eq(~none & ~answers & (drops | memory.write.ready)),
            put.eq(write.valid & write.ready),
            ended.eq(drops & none),
            user.done.eq(memory.done | ended),
            user.refused.eq(ended | (memory.done & memory.refused)),
        ]
        with m.If(ended):
            m.d.sync += drops.eq(0)

        # Atoms of reads, from the memory or from nowhere. One that is of no atoms has an end, too.
        final, leaves, got = Signal(), Signal(), Signal()
        m.d.comb += [
            final.eq(none | (left == 0)),
            read.valid.eq(memory.read.valid | answers),
            read.p.data.eq(Mux(answers, 0, memory.read.p.data)),
            read.p.error.eq(memory.read.p.error | answers),
            read.p.last.eq(Mux(answers, final, memory.read.p.last)),
            memory.read.ready.eq(read.ready & ~answers),
            leaves.eq(answers & read.ready),
            got.eq(memory.read.valid & memory.read.ready & memory.read.p.last),
        ]
        with m.If(leaves & final):
            m.d.sync += answers.eq(0)

        more = refuses | (sent & asked.p.write)
        m.d.sync += [
            left.eq(left + Mux(more, asked.p.count, 0) - (put | (leaves & ~none))),
            under_way.eq(under_way + sent - got - memory.done),
        ]
        return m
