"""Words of a scratchpad behind a port for large memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import LocalPort, MemoryPort

__all__ = ["LocalMemory"]


class LocalMemory(Block):
    """A scratchpad as a memory whose atoms are its words, with the same addresses.

    A request for ``n`` atoms becomes ``n`` accesses, one a clock, the first one in the clock after
    it was accepted; the next request follows without a gap. A read is asked for only if there is
    room for its word, a write once its data are here. So users that let reads or writes wait hold
    up nobody but themselves.

    A word that is refused or beyond correction is read with ``error``. A write is done once its
    last word was answered, refused or not: a :class:`~systolith.memory.ports.MemoryPort` cannot
    tell. ``refused`` tells, for an interrupt or a count; the scratchpad knows where and why.

    Parameters
    ----------
    local : LocalPort
        The scratchpad's port.
    count_bits : int
        Bits of the number of atoms of a request.
    depth : int
        Words that can be under way, and kept for the user; a power of two. Reads keep up with a
        word a clock from two more than the clocks from a request to its response on.

    Members
    -------
    user : In(MemoryPort)
        Who asks.
    local : Out(LocalPort)
        To the scratchpad.
    refused : Out(1)
        A word was not written.
    """

    user: wiring.Signature
    local: wiring.Signature
    refused: Signal

    def __init__(self, local: LocalPort, *, count_bits: int, depth: int = 16) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, at least 2, not {depth!r}")
        if not 1 <= count_bits <= 32:
            raise ValueError(f"count_bits must be from 1 to 32, not {count_bits!r}")
        self.bytes, self.address_bits = local.bytes, local.address_bits
        self.count_bits, self.depth = count_bits, depth
        port = MemoryPort(atom=local.bytes, atom_bits=local.address_bits, count_bits=count_bits)
        self.read_layout = port.read_layout
        super().__init__(
            {
                "user": In(wiring.Signature(port.members)),
                "local": Out(wiring.Signature(local.members)),
                "refused": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        sizes = f"{self.bytes}x{self.address_bits}_c{self.count_bits}_d{self.depth}"
        return f"local_memory_{sizes}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        user, request, response = self.user, self.local.request, self.local.response
        asked = Fifo(depth=self.depth, width=2)
        words = Fifo(depth=self.depth, width=self.read_layout.size)
        m.submodules.asked = place(asked, platform)
        m.submodules.words = place(words, platform)

        # The request that is carried out, word by word.
        busy, write = Signal(), Signal()
        address, left = Signal(self.address_bits), Signal(self.count_bits)
        owed = Signal(range(self.depth + 1))  # reads that are under way or wait for the user
        able, step, final = Signal(), Signal(), Signal()
        m.d.comb += [
            able.eq(busy & asked.space & Mux(write, user.write.valid, owed != self.depth)),
            step.eq(able & request.ready),
            final.eq(left == 1),
            user.request.ready.eq(~busy | (step & final)),
            user.write.ready.eq(busy & write & asked.space & request.ready),
            request.valid.eq(able),
            request.p.write.eq(write),
            request.p.address.eq(address),
            # Of a read nothing else, or its offer could change while it waits.
            request.p.data.eq(Mux(write, user.write.p.data, 0)),
            request.p.mask.eq(Mux(write, user.write.p.mask, 0)),
            request.p.poison.eq(write & user.write.p.poison),
            asked.put.eq(step),
            asked.entry.eq(Cat(write, final)),
        ]
        with m.If(user.request.ready):
            m.d.sync += [
                busy.eq(user.request.valid),
                write.eq(user.request.p.write),
                address.eq(user.request.p.atom),
                left.eq(user.request.p.count),
            ]
        with m.Elif(step):
            m.d.sync += [address.eq(address + 1), left.eq(left - 1)]

        # Answers, in the order of the accesses.
        wrote, last, leaves = Signal(), Signal(), Signal()
        some = Signal()  # words of this request were refused
        with m.If(response.valid & wrote):
            m.d.sync += some.eq(~last & (some | response.refused))
        bad = response.error | response.refused
        m.d.comb += [
            Cat(wrote, last).eq(asked.head),
            asked.take.eq(response.valid),
            words.put.eq(response.valid & ~wrote),
            words.entry.eq(Cat(response.data, bad, last)),
            user.done.eq(response.valid & wrote & last),
            user.refused.eq(user.done & (some | response.refused)),
            self.refused.eq(response.valid & wrote & response.refused),
            user.read.valid.eq(words.valid),
            user.read.payload.eq(words.head),
            leaves.eq(words.valid & user.read.ready),
            words.take.eq(leaves),
        ]
        m.d.sync += owed.eq(owed + (step & ~write) - leaves)
        return m
