"""Fetches a page table, ahead of its use."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block, place
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo

__all__ = ["TableFetch"]


class TableFetch(Block):
    """Asks for the atoms of a table, half of its room at a time, and hands out their entries.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    start : In(1)
        Begin, with the following members.
    table, atoms, entry : In
        First atom of the table, number of atoms, first entry within the first atom.
    ask, address, count, taken : Out(1), Out, Out, In(1)
        Atoms that are wanted; held until they are ``taken``, as asked for.
    put, data, bad : In
        An atom that was asked for; ``bad``: it could not be read.
    valid, number, number_bad, take : Out(1), Out(32), Out(1), In(1)
        The next entry, and that it is used.
    pending : Out(1)
        Atoms that were asked for are under way.
    stop : In(1)
        Forget the table. What is under way is forgotten, too: it must not come any more.
    """

    start: Signal
    table: Signal
    atoms: Signal
    entry: Signal
    ask: Signal
    address: Signal
    count: Signal
    taken: Signal
    put: Signal
    data: Signal
    bad: Signal
    valid: Signal
    number: Signal
    number_bad: Signal
    take: Signal
    pending: Signal
    stop: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "table": In(config.space_bits),
                "atoms": In(config.count_bits + config.token_bits + 1),
                "entry": In(max(1, config.entries_log2)),
                "ask": Out(1),
                "address": Out(config.space_bits),
                "count": Out(config.run_bits),
                "taken": In(1),
                "put": In(1),
                "data": In(config.data_bits),
                "bad": In(1),
                "valid": Out(1),
                "number": Out(32),
                "number_bad": Out(1),
                "take": In(1),
                "pending": Out(1),
                "stop": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_table"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        room, burst = config.table_room, config.table_room // 2
        queue = Fifo(depth=room, width=config.data_bits + 1)
        m.submodules.queue = place(queue, platform)
        left = Signal(len(self.atoms))
        free = Signal(bits_for(room), init=room)
        under_way = Signal(bits_for(room))
        at = Signal(max(1, config.entries_log2))
        done = Signal()  # with the oldest atom
        given, back = Signal(bits_for(room)), Signal()
        m.d.comb += [
            self.count.eq(Mux(left > burst, burst, left)),
            self.pending.eq(under_way != 0),
            queue.put.eq(self.put),
            queue.entry[: config.data_bits].eq(self.data),
            queue.entry[config.data_bits].eq(self.bad),
            self.valid.eq(queue.valid),
            self.number.eq(queue.head[: config.data_bits].word_select(at, 32)),
            self.number_bad.eq(queue.head[config.data_bits]),
            done.eq(at == (1 << config.entries_log2) - 1),
            back.eq(self.take & done),
            queue.take.eq(back),
            queue.clear.eq(self.start | self.stop),
            given.eq(Mux(self.taken, self.count, 0)),
        ]
        m.d.sync += [
            left.eq(left - given),
            self.address.eq(self.address + given),
            free.eq(free - given + back),
            under_way.eq(under_way + given - self.put),
        ]
        m.d.sync += self.ask.eq(~self.taken & (left != 0) & (free >= self.count))
        with m.If(self.take):
            m.d.sync += at.eq(Mux(done, 0, at + 1))
        with m.If(self.start):
            m.d.sync += [left.eq(self.atoms), self.address.eq(self.table), at.eq(self.entry)]
            m.d.sync += [free.eq(room), under_way.eq(0), self.ask.eq(0)]
        with m.If(self.stop):
            m.d.sync += [left.eq(0), free.eq(room), under_way.eq(0), self.ask.eq(0)]
        return m
