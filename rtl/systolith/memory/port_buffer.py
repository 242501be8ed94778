"""Between one who asks for memory, and may wait, and a stream of the controller, which must not."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block, place
from systolith.memory.atom_store import ReadStore, WriteStore
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import response_layout, write_layout
from systolith.memory.marks import Marks
from systolith.memory.ports import MemoryPort
from systolith.memory.streams import RunPort

__all__ = ["PortBuffer"]

_SHARE = 4


class PortBuffer(Block):
    """Keeps what the controller is promised: write data until they are fetched, room for reads.

    A request is cut into runs of at most :attr:`longest` atoms, at multiples of it if it is
    longer. A run of a read is sent once there is room for all its atoms; a run of a write once
    all its atoms are here. Reads come back one per clock, writes are taken one per clock, so are
    requests of one atom. If the controller merges, an atom that is written in part is a run of its
    own. Atoms of a write are taken once the requests before it have been cut.

    Who asks may let reads wait for ever: the controller goes on with its other streams.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller.
    depth : int
        Atoms that can be kept of reads, and as many of writes: a power of two from 64 on. It has
        to cover the time from a run to its data; see ``docs/axi.md`` for how much that is.
    count_bits : int
        Bits of the number of atoms of a request; by default as those of a run.
    share : int
        Runs that the buffer can back at a time, a power of two from 2 on. More of them hide the
        time from a run to its data, shorter runs cost more rows where streams take turns.
    small : bool
        Allows a ``depth`` from 8 on, for proofs.

    Members
    -------
    port : In(MemoryPort)
        Who asks.
    run : Out(RunPort)
        A stream of the controller.
    """

    port: MemoryPort
    run: RunPort

    def __init__(
        self,
        config: ControllerConfig,
        *,
        depth: int = 64,
        count_bits: int | None = None,
        share: int = 2,
        small: bool = False,
    ) -> None:
        least = 8 if small else 64
        if depth < least or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two, at least {least}, not {depth!r}")
        if share not in (2, 4, 8):
            raise ValueError(f"share must be 2, 4 or 8, not {share!r}")
        if count_bits is not None and not 1 <= count_bits <= 32:
            raise ValueError(f"count_bits must be from 1 to 32, not {count_bits!r}")
        self.config, self.depth, self.share = config, depth, share
        self.count_bits = count_bits or config.run_bits
        port = MemoryPort(
            atom=config.organisation.atom, atom_bits=config.atom_bits, count_bits=self.count_bits
        )
        self.read_layout, self.write_layout = port.read_layout, port.write_layout
        # By its members: named signatures are equal only to themselves, and buffers are alike.
        asked = wiring.Signature(port.members)
        super().__init__({"port": In(asked), "run": Out(RunPort(config))})

    @property
    def module_name(self) -> str:
        return f"port_buffer_{self.depth}_s{self.share}_c{self.count_bits}"

    @property
    def longest(self) -> int:
        """Most atoms of a run, a power of two."""
        return min(self.config.turn, self.depth // self.share)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, port, run = self.config, self.port, self.run
        ports = range(config.ports)
        reads = ReadStore(depth=self.depth, width=self.read_layout.size, ports=config.ports)
        writes = WriteStore(depth=self.depth, width=write_layout(config).size, ports=config.ports)
        # Whether the runs under way are the last ones of their requests.
        size = 1 << bits_for(2 * config.runs + 3)
        read_ends = Marks(size=size, ports=config.ports)
        write_ends = Marks(size=size, ports=config.ports)
        for name, block in (
            ("reads", reads),
            ("writes", writes),
            ("read_ends", read_ends),
            ("write_ends", write_ends),
        ):
            m.submodules[name] = place(block, platform)

        # The request that is cut, and the longest run that can be cut from it.
        busy, write = Signal(), Signal()
        atom, left = Signal(config.atom_bits), Signal(self.count_bits)
        piece, final = Signal(bits_for(self.longest)), Signal()  # with it the request ends

        # Atoms of a write gather until they are a run. One that is written in part stays alone.
        count, part, split, ends = Signal.like(piece), Signal(), Signal(), Signal()
        if config.merges:
            m.d.comb += part.eq(~port.write.payload.mask.all())
        m.d.comb += [
            split.eq(part & (count != 0)),
            ends.eq((count + 1 == piece) | part),
        ]

        # Runs leave through a register.
        free, room = Signal(), Signal()
        vacant = Signal(range(self.depth + 1), init=self.depth)  # not promised to a read
        cut_read, cut_write, cut = Signal(), Signal(), Signal()
        put, taken, finished = Signal(), Signal(), Signal()
        length = Signal.like(piece)
        gather = Signal()
        m.d.comb += [
            free.eq(~run.valid | run.ready),
            room.eq(piece <= vacant),
            cut_read.eq(busy & ~write & free & room & read_ends.space),
            gather.eq(busy & write & writes.space & (~ends | (free & write_ends.space))),
            port.write.ready.eq(gather & ~split),
            put.eq(port.write.valid & port.write.ready),
            cut_write.eq(port.write.valid & gather & ends),
            cut.eq(cut_read | cut_write),
            length.eq(Mux(write, Mux(split, count, count + 1), piece)),
            finished.eq(cut & final & (~write | ((count + 1 == piece) & ~split))),
            taken.eq(port.read.valid & port.read.ready),
            port.request.ready.eq(~busy | finished),
        ]
        m.d.sync += [
            vacant.eq(vacant - Mux(cut_read, piece, 0) + taken),
            count.eq(Mux(cut, 0, count + put)),
        ]
        with m.If(port.request.ready):
            m.d.sync += [
                busy.eq(port.request.valid),
                write.eq(port.request.payload.write),
                atom.eq(port.request.payload.atom),
                left.eq(port.request.payload.count),
            ]
            first = port.request.payload.atom & (self.longest - 1)
            m.d.sync += self._next(piece, final, port.request.payload.count, self.longest - first)
        with m.Elif(cut):
            rest = Signal.like(left)
            m.d.comb += rest.eq(left - length)
            m.d.sync += [atom.eq(atom + length), left.eq(rest)]
            # A run up to the edge leaves a multiple of the longest one.
            to_edge = Mux(piece == length, self.longest, piece - length)
            m.d.sync += self._next(piece, final, rest, to_edge)
        with m.If(free):
            m.d.sync += [
                run.valid.eq(cut),
                run.run.write.eq(write),
                run.run.atom.eq(atom),
                run.run.count.eq(length),
            ]
            if config.merges:
                m.d.sync += run.run.partial.eq(write & part & ~split)

        # Data.
        word: Any = Signal(write_layout(config))
        m.d.comb += [
            *(
                word[name].eq(port.write.payload[name])
                for name in dict(write_layout(config).members)
            ),
            writes.put.eq(put),
            writes.word.eq(word),
            writes.take.eq(run.fetch),
            port.read.payload.eq(reads.out.payload),
            port.read.valid.eq(reads.out.valid),
            reads.out.ready.eq(port.read.ready),
            read_ends.put.eq(cut_read),
            read_ends.mark.eq(finished),
            write_ends.put.eq(cut_write),
            write_ends.mark.eq(finished),
            write_ends.take.eq(run.done),
        ]
        for p in ports:
            back: Any = getattr(run, f"response{p}")
            answer: Any = Signal(self.read_layout, name=f"answer_{p}")
            poison = back.poison if "poison" in dict(response_layout(config).members) else 0
            m.d.comb += [
                getattr(run, f"write{p}").eq(getattr(writes, f"out{p}")),
                reads.put[p].eq(back.valid),
                read_ends.take[p].eq(back.valid & back.last),
                answer.data.eq(back.data),
                answer.error.eq(back.lost | poison),
                answer.last.eq(back.last & read_ends.out[p]),
                getattr(reads, f"word{p}").eq(answer),
            ]

        # Requests may end faster than they are told.
        owed = Signal(range(size + 1))
        told = sum(run.done & write_ends.out)
        m.d.comb += port.done.eq(owed != 0)
        m.d.sync += owed.eq(owed + told - port.done)
        return m

    def _next(self, piece: Signal, final: Signal, left: Value, to_edge: Value) -> list[Any]:
        """Choose the longest run that can be cut from what is left."""
        short = left <= self.longest
        return [piece.eq(Mux(short, left, to_edge)), final.eq(short)]
