"""Merges consecutive atoms into requests that are as long as possible."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.rows import piece_layout

__all__ = ["RunBuilder", "run_layout"]


def run_layout(config: DmaConfig) -> data.StructLayout:
    """Consecutive atoms of one request; ``last`` of its box."""
    return PackedStruct({"atom": config.atom_bits, "count": config.run_bits, "last": 1})


class RunBuilder(Block):
    """Takes a piece, or as much of it as fits, in every clock in which it has not to wait.

    A run is offered once it has the most atoms, or the next piece does not follow on it, or there
    is none. So runs depend on the atoms in their order alone, not on time. It is offered a clock
    later.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    valid, piece, take : In(1), In(piece_layout), Out
        The next atoms, and how many of them are taken now.
    more : In(1)
        There are, or will be, pieces.
    run : Out(stream of run_layout)
        The result.
    empty : Out(1)
        No run is being built.
    stop : In(1)
        Forget the run.
    """

    valid: Signal
    piece: data.View
    take: Signal
    more: Signal
    run: stream.Interface
    empty: Signal
    stop: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "piece": In(piece_layout(config)),
                "take": Out(config.run_bits),
                "more": In(1),
                "run": Out(stream.Signature(run_layout(config))),
                "empty": Out(1),
                "stop": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_runs"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, run = self.config, self.run
        atom, count = Signal(config.atom_bits), Signal(config.run_bits)
        behind = Signal(config.atom_bits + 1)  # never the address after the last one of all
        full, joins, fits = Signal(), Signal(), Signal(config.run_bits)
        fresh = Signal()  # what is taken begins a run
        ends = Signal()  # the run that is being built
        made = run_layout(config)
        queue = Fifo(depth=2, width=made.size)  # nothing of who takes runs reaches the pieces
        m.submodules.queue = place(queue, platform)
        entry = data.View(made, queue.entry)
        m.d.comb += [
            behind.eq(atom + count),
            full.eq(count == config.longest),
            joins.eq((count != 0) & ~full & (behind == self.piece.atom)),
            self.empty.eq((count == 0) & ~queue.valid),
            ends.eq((count != 0) & (full | Mux(self.valid, ~joins, ~self.more)) & queue.space),
            queue.put.eq(ends),
            entry.atom.eq(atom),
            entry.count.eq(count),
            entry.last.eq(~self.more),
            run.valid.eq(queue.valid),
            run.payload.eq(queue.head),
            queue.take.eq(run.valid & run.ready),
            queue.clear.eq(self.stop),
            fresh.eq((count == 0) | ends),
            fits.eq(config.longest - Mux(fresh, 0, count)),
        ]
        with m.If(self.valid & (fresh | joins)):
            m.d.comb += self.take.eq(Mux(self.piece.left > fits, fits, self.piece.left))
        m.d.sync += count.eq(Mux(fresh, 0, count) + self.take)
        with m.If(fresh):
            m.d.sync += atom.eq(self.piece.atom)
        with m.If(self.stop):
            m.d.sync += count.eq(0)
        return m
