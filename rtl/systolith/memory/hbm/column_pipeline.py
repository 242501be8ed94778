"""The column sequencer of one slot: as the other one, with registers inside of the choice."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.hbm.column_sequencer import ColumnSequencer, access_layout, moves
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import column_issue
from systolith.memory.hbm.head_place import where_layout
from systolith.memory.hbm.picking import earliest_of, one_of, order_of
from systolith.memory.hbm.run_queue import head_layout

__all__ = ["ColumnPipeline", "column_sequencer"]


class ColumnPipeline(Block):
    """Moves the atom of the oldest turn that is ready, chosen ``config.foresight`` clocks before.

    The policy is that of :class:`~systolith.memory.hbm.column_sequencer.ColumnSequencer`. What the
    guard allows is about the clock of the issue. What has been chosen for the next clocks is
    dropped with every access, and is legal otherwise: a row stays open for the owner of its visit
    until the visit's final access, unless it is closed for maintenance or a refresh, which wait
    for ``config.foresight`` clocks.

    A partial run has its turn when it is the oldest of all, and is read before it is written, as
    there.

    With three clocks these are: which banks may be accessed, which heads are ready, the oldest of
    them. With one it is a single step.

    Parameters
    ----------
    config : ControllerConfig
        Sizes; one slot.

    Members
    -------
    places : In(array of where_layout)
        Of the heads, which are valid together with them.
    busy : Out(1)
        An access may be issued in the next cycle.

    The others are those of :class:`~systolith.memory.hbm.column_sequencer.ColumnSequencer`, without
    the number of the map, but the state of the oldest turn comes some clocks later.
    """

    heads_valid: Signal
    heads: data.View
    places: data.View
    moved: data.View
    usable: Signal
    owner: data.View
    final: Signal
    access: Signal
    ends: Signal
    oldest: Signal
    unfinished: Signal
    oldest_open: Signal
    oldest_bank: Signal
    offer0: Signal
    read_ok0: Signal
    write_ok0: Signal
    issue0: data.View
    access0: data.View
    busy: Signal
    merging: Signal
    merge_ready: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "heads_valid": In(config.streams),
                "heads": In(data.ArrayLayout(head_layout(config), config.streams)),
                "places": In(data.ArrayLayout(where_layout(config), config.streams)),
                "moved": Out(data.ArrayLayout(range(2), config.streams)),
                "usable": In(config.banks),
                "owner": In(data.ArrayLayout(config.stream_bits, config.banks)),
                "final": In(config.banks),
                "access": Out(config.banks),
                "ends": Out(config.banks),
                "oldest": Out(config.turn_bits),
                "unfinished": Out(1),
                "oldest_open": Out(1),
                "oldest_bank": Out(range(max(2, config.banks))),
                "offer0": In(1),
                "read_ok0": In(config.banks),
                "write_ok0": In(config.banks),
                "issue0": Out(column_issue(config)),
                "access0": Out(access_layout(config)),
                "busy": Out(1),
                **({"merging": In(1), "merge_ready": In(1)} if config.merges else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        streams = range(config.streams)
        heads = [self.heads[n] for n in streams]
        places = [self.places[n] for n in streams]
        # An atom that is written in part is read until its old data is there.
        writes: list[Value] = [head.write for head in heads]
        part: list[Value] = [Const(0) for _ in heads]
        if config.merges:
            part = [head.partial for head in heads]
            for n, head in enumerate(heads):
                writes[n] = Signal(name=f"writes_{n}")
                m.d.comb += writes[n].eq(head.write & (~head.partial | self.merge_ready))
        deep = config.foresight > 1
        step = m.d.sync if deep else m.d.comb
        issued = Signal()

        # The oldest turn of all: its direction is the one in which atoms move. A head of which the
        # order is not known yet is the youngest.
        settled, ended = Signal(config.streams), Signal(config.streams)
        m.d.sync += settled.eq(self.heads_valid & ~ended)
        order = order_of(m, [head.turn for head in heads], settled, "before")
        first = earliest_of(m, self.heads_valid & settled, order, "first")
        oldest = Signal.like(first)
        step += oldest.eq(first)
        writing = Signal()
        opened = Signal(config.streams)
        m.d.sync += [
            self.unfinished.eq(oldest.any()),
            self.oldest.eq(one_of(oldest, [head.turn for head in heads])),
            self.oldest_bank.eq(one_of(oldest, [place.number for place in places])),
            self.oldest_open.eq((oldest & opened).any()),
            writing.eq(one_of(oldest, writes)),
        ]

        # Banks, heads, the oldest head.
        able = {}
        just = Signal()  # what the guard says does not count the last access yet
        if deep:
            m.d.sync += just.eq(issued)
        for write, ok in ((0, self.read_ok0), (1, self.write_ok0)):
            able[write] = Signal(config.banks, name=f"able_{write}")
            kept = Mux(issued | just, 0, self.usable & ok) if deep else self.usable & ok
            step += able[write].eq(kept)
        ready, final, last = (Signal(config.streams, name=n) for n in ("ready", "will_end", "last"))
        for n, (head, place) in enumerate(zip(heads, places, strict=True)):
            mine = Signal(config.banks, name=f"mine_{n}")
            m.d.comb += mine.eq(Cat(self.owner[b] == n for b in range(config.banks)))
            allowed = Mux(writes[n], able[1], able[0]) & mine
            now = self.heads_valid[n] & (writes[n] == writing) & _at(allowed, place)
            goes = Signal(name=f"goes_{n}")  # it moves for its run
            m.d.comb += goes.eq(1)
            if config.merges:
                m.d.comb += goes.eq(~part[n] | writes[n])
                turn = oldest[n] & self.unfinished & (head.turn == self.oldest)
                now &= ~part[n] | (turn & ~(self.merging & ~self.merge_ready))
            step += [
                ready[n].eq(now & ~issued if deep else now),
                opened[n].eq(_at(self.usable & mine, place)),
                final[n].eq(_at(self.final, place) & goes),
                last[n].eq((head.count == 1) & goes),
            ]
        chosen = earliest_of(m, ready, order, "chosen")
        picked, mover = Signal(), Signal(config.streams)
        banks: Any = Signal(config.banks)
        access = Signal(access_layout(config))
        where = data.View(where_layout(config), Signal(where_layout(config).size, name="where"))
        m.d.comb += where.eq(one_of(chosen, [place.as_value() for place in places]))
        m.d.sync += [
            picked.eq(ready.any() & ~issued),
            mover.eq(chosen),
            banks.eq(
                Cat(
                    Cat(chosen[n] & (places[n].number == b) for n in streams).any()
                    for b in range(config.banks)
                )
            ),
            access.write.eq(one_of(chosen, writes)),
            access.auto.eq((chosen & final).any()),
            access.last.eq((chosen & last).any()),
            access.stream.eq(one_of(chosen, list(streams))),
            *(access[field].eq(where[field]) for field in ("sid", "group", "bank", "column")),
        ]

        if config.merges:
            m.d.sync += access.partial.eq(one_of(chosen, part))
        if config.codec:
            m.d.sync += access.atom.eq(one_of(chosen, [head.atom for head in heads]))

        # Issue.
        goes_on = moves(config, self.access0)
        m.d.comb += [
            issued.eq(picked & self.offer0),
            self.busy.eq(ready.any()),
            self.issue0.valid.eq(issued),
            self.issue0.write.eq(access.write),
            self.issue0.auto.eq(access.auto),
            self.issue0.banks.eq(banks),
            ended.eq(Mux(issued & access.last, mover, 0)),
            self.access0.eq(access),
            self.access0.valid.eq(issued),
            self.access.eq(Mux(goes_on, banks, 0)),
            self.ends.eq(Mux(issued & access.auto, banks, 0)),
            *(self.moved[n].eq(goes_on & mover[n]) for n in streams),
        ]
        return m


def _at(banks: Value, place: data.View) -> Value:
    return Array(banks)[place.number]


def column_sequencer(config: ControllerConfig) -> ColumnSequencer | ColumnPipeline:
    """The column sequencer for ``config``: with registers inside if there is time for them."""
    return ColumnPipeline(config) if config.foresight else ColumnSequencer(config)
