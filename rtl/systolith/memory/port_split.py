"""One port for two memories, one behind the other in its addresses."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import MemoryPort

__all__ = ["PortSplit"]

_PAGE = 4096  # bytes that no burst crosses


class PortSplit(Block):
    """Requests below ``boundary`` go to ``low``, all others to ``high``, in no time.

    Nothing is kept but the order: which memory each request went to. Reads come from the memory
    whose turn it is, so what the other one has ready waits there; write atoms wait for their
    request, then go straight to its memory, one a clock. ``done`` is a clock behind that of the
    memory, and waits for the writes before it.

    Order is kept: an atom is always in the same memory, whose port carries out its requests in
    order, and ``done`` is told when the memory has told it. Nothing can lock up: the oldest
    request that is not finished is the oldest in its memory, and its data are next in either
    direction.

    A request never crosses the boundary: who asks checks. One that does would go on in the memory
    in which it began. Bursts of AXI cannot, as the boundary is a multiple of 4 KB.

    Parameters
    ----------
    port : MemoryPort
        The user's.
    boundary : int
        Atom from which on the other memory begins, at ``high``'s atom 0.
    low_bits, high_bits : int
        Bits of the address of an atom in each memory.
    outstanding : int
        Requests of each direction that can be under way, a power of two.

    Members
    -------
    user : In(MemoryPort)
        Who asks.
    low, high : Out(MemoryPort)
        The memories.
    """

    user: wiring.Signature
    low: wiring.Signature
    high: wiring.Signature

    def __init__(
        self,
        port: MemoryPort,
        *,
        boundary: int,
        low_bits: int,
        high_bits: int,
        outstanding: int = 16,
    ) -> None:
        page = max(1, _PAGE // port.atom)
        if boundary % page or not 0 < boundary < 1 << port.atom_bits:
            raise ValueError(
                f"boundary must be a multiple of 4 KB, {page} atoms, within the port's "
                f"{1 << port.atom_bits}, not {boundary!r}"
            )
        if boundary > 1 << low_bits:
            raise ValueError(
                f"low_bits must be at least {(boundary - 1).bit_length()} for the atoms below "
                f"{boundary}, not {low_bits!r}"
            )
        if not 1 <= high_bits <= port.atom_bits:
            raise ValueError(f"high_bits must be from 1 to {port.atom_bits}, not {high_bits!r}")
        if outstanding < 2 or outstanding & (outstanding - 1):
            raise ValueError(f"outstanding must be a power of two, at least 2, not {outstanding!r}")
        self.boundary, self.outstanding, self.count_bits = boundary, outstanding, port.count_bits
        self.sizes = f"{port.atom}x{port.atom_bits}_{low_bits}_{high_bits}"
        sides = {
            name: MemoryPort(atom=port.atom, atom_bits=bits, count_bits=port.count_bits)
            for name, bits in (("low", low_bits), ("high", high_bits))
        }
        super().__init__(
            {
                "user": In(wiring.Signature(port.members)),
                **{name: Out(wiring.Signature(side.members)) for name, side in sides.items()},
            }
        )

    @property
    def module_name(self) -> str:
        kind = f"{self.sizes}_c{self.count_bits}_o{self.outstanding}"
        return f"port_split_{self.boundary}_{kind}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        user: Any = self.user
        sides: list[Any] = [self.low, self.high]
        # Which memory: of reads, of writes with atoms to come, of writes that are not done.
        reads = Fifo(depth=self.outstanding, width=1)
        writes = Fifo(depth=self.outstanding, width=1 + self.count_bits)
        dones = Fifo(depth=self.outstanding, width=1)
        for name, block in (("reads", reads), ("writes", writes), ("dones", dones)):
            m.submodules[name] = place(block, platform)

        # Requests. There is room in `writes` if there is in `dones`.
        asked, above, able, taken = user.request, Signal(), Signal(), Signal()
        m.d.comb += [
            above.eq(asked.p.atom >= self.boundary),
            able.eq(Mux(asked.p.write, dones.space, reads.space)),
            asked.ready.eq(able & Mux(above, self.high.request.ready, self.low.request.ready)),
            taken.eq(asked.valid & asked.ready),
            reads.put.eq(taken & ~asked.p.write),
            reads.entry.eq(above),
            writes.put.eq(taken & asked.p.write),
            writes.entry.eq(Cat(above, asked.p.count)),
            dones.put.eq(taken & asked.p.write),
            dones.entry.eq(above),
        ]

        # Data, and ends of writes.
        turn, last, step = Signal(), Signal(), Signal()
        left, before = Signal(self.count_bits), Signal(self.count_bits)
        read, write = user.read, user.write
        m.d.comb += [
            read.valid.eq(reads.valid & Mux(reads.head, self.high.read.valid, self.low.read.valid)),
            read.payload.eq(
                Mux(
                    reads.head,
                    self.high.read.payload.as_value(),
                    self.low.read.payload.as_value(),
                )
            ),
            reads.take.eq(read.valid & read.ready & read.p.last),
            Cat(turn, left).eq(writes.head),
            last.eq(before + 1 == left),
            write.ready.eq(writes.valid & Mux(turn, self.high.write.ready, self.low.write.ready)),
            step.eq(write.valid & write.ready),
            writes.take.eq(step & last),
            dones.take.eq(user.done),
        ]
        with m.If(step):
            m.d.sync += before.eq(Mux(last, 0, before + 1))
        ended = []
        for n, side in enumerate(sides):
            # Writes that this memory has done and the user was not told of, and how they ended.
            told = Fifo(depth=self.outstanding, width=1)
            m.submodules[f"told_{n}"] = place(told, platform)
            m.d.comb += [
                told.put.eq(side.done),
                told.entry.eq(side.refused),
                told.take.eq(user.done & (dones.head == n)),
                side.request.valid.eq(asked.valid & able & (above == n)),
                side.request.p.write.eq(asked.p.write),
                side.request.p.atom.eq(asked.p.atom - n * self.boundary),
                side.request.p.count.eq(asked.p.count),
                side.read.ready.eq(read.ready & reads.valid & (reads.head == n)),
                side.write.valid.eq(write.valid & writes.valid & (turn == n)),
                side.write.payload.eq(write.payload),
            ]
            ended.append(told)
        low, high = ended
        m.d.comb += [
            user.done.eq(dones.valid & Mux(dones.head, high.valid, low.valid)),
            user.refused.eq(user.done & Mux(dones.head, high.head, low.head)),
        ]
        return m
