"""Requests to large memory: all that is under way is counted here."""

from enum import IntEnum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import MemoryPort

__all__ = ["Kind", "Requests", "ask_layout", "expected_layout", "memory_port"]


class Kind(IntEnum):
    """What atoms are for."""

    LOAD = 0
    STORE = 1
    TABLE = 2
    FILL = 3  # of tokens
    FETCH = 3  # of requests: a descriptor of a list


def memory_port(config: DmaConfig) -> MemoryPort:
    """The port of an engine."""
    return MemoryPort(atom=config.atom, atom_bits=config.atom_bits, count_bits=config.run_bits)


def ask_layout(config: DmaConfig) -> data.StructLayout:
    """A request, and what it is for; only a ``STORE`` writes."""
    return PackedStruct({"kind": 2, "atom": config.atom_bits, "count": config.run_bits})


def expected_layout(config: DmaConfig) -> data.StructLayout:
    """Atoms that will be read."""
    return PackedStruct({"kind": 2, "count": config.run_bits})


class Requests(Block):
    """Commits requests and sends them. What is committed has room for all of its answers.

    A request is committed in the clock in which it is accepted by ``ask``, and offered to the
    memory from the next one on.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    ask : In(stream of ask_layout)
        To be committed: waits for room for the atoms of a load, and for the limits of requests.
    request : Out(stream)
        To the memory.
    expected, expected_valid, expected_space : Out(expected_layout), Out(1), In(1)
        What a committed read will bring.
    freed : In(1)
        An atom has left the buffer of read data.
    done : In(1)
        A write is visible.
    wrote : In(1)
        An atom of a write was handed over.
    owed : Out(1)
        Atoms of committed writes are still to be handed over.
    undone : Out(1)
        Writes are under way.
    issued, finished : Out
        Counts of writes committed, and visible; they wrap.
    clear : In(1)
        Forget all that is under way.
    """

    ask: stream.Interface
    request: stream.Interface
    expected: data.View
    expected_valid: Signal
    expected_space: Signal
    freed: Signal
    done: Signal
    wrote: Signal
    owed: Signal
    undone: Signal
    issued: Signal
    finished: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "ask": In(stream.Signature(ask_layout(config))),
                "request": Out(stream.Signature(memory_port(config).request_layout)),
                "expected": Out(expected_layout(config)),
                "expected_valid": Out(1),
                "expected_space": In(1),
                "freed": In(1),
                "done": In(1),
                "wrote": In(1),
                "owed": Out(1),
                "undone": Out(1),
                "issued": Out(config.mark_bits),
                "finished": Out(config.mark_bits),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_requests"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, ask = self.config, self.ask
        layout = memory_port(config).request_layout
        queue = Fifo(depth=2, width=layout.size)
        m.submodules.queue = place(queue, platform)
        free = Signal(bits_for(config.room), init=config.room)
        writes = Signal(bits_for(config.writes))
        owed = Signal(bits_for(config.writes * config.longest))
        write, load, commit = Signal(), Signal(), Signal()
        count, used, more = Signal.like(ask.p.count), Signal.like(ask.p.count), Signal.like(owed)
        finishes = Signal()  # a `done` that nothing waits for counts nothing
        entry = data.View(layout, queue.entry)
        m.d.comb += [
            count.eq(ask.p.count),
            write.eq(ask.p.kind == Kind.STORE),
            load.eq(ask.p.kind == Kind.LOAD),
            ask.ready.eq(
                queue.space
                & Mux(
                    write, writes != config.writes, self.expected_space & (~load | (free >= count))
                )
            ),
            commit.eq(ask.valid & ask.ready),
            queue.put.eq(commit),
            entry.write.eq(write),
            entry.atom.eq(ask.p.atom),
            entry.count.eq(count),
            self.request.valid.eq(queue.valid),
            self.request.payload.eq(queue.head),
            queue.take.eq(queue.valid & self.request.ready),
            queue.clear.eq(self.clear),
            self.expected_valid.eq(commit & ~write),
            self.expected.kind.eq(ask.p.kind),
            self.expected.count.eq(count),
            used.eq(Mux(commit & load, count, 0)),
            more.eq(Mux(commit & write, count, 0)),
            finishes.eq(self.done & (writes != 0)),
            self.owed.eq(owed != 0),
            self.undone.eq(writes != 0),
        ]
        m.d.sync += [
            free.eq(free - used + self.freed),
            writes.eq(writes + (commit & write) - finishes),
            owed.eq(owed + more - self.wrote),
            self.issued.eq(self.issued + (commit & write)),
            self.finished.eq(self.finished + finishes),
        ]
        with m.If(self.clear):
            m.d.sync += [free.eq(config.room), writes.eq(0), owed.eq(0)]
            m.d.sync += [self.issued.eq(0), self.finished.eq(0)]
        return m
