"""The column sequencer: which atoms move next, first-ready among the heads of the streams."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import column_issue
from systolith.memory.hbm.head_place import place_of, where_layout
from systolith.memory.hbm.picking import oldest_of
from systolith.memory.hbm.run_queue import head_layout

__all__ = ["ColumnSequencer", "access_layout", "moves"]


def access_layout(config: ControllerConfig) -> data.StructLayout:
    """An atom that moves: where it is, whose it is, whether it is the last one of its run.

    ``partial`` if it belongs to a partial run, which is read before it is written. With ECC also
    the address.
    """
    widths = config.maps[0].widths
    partial = {"partial": 1} if config.merges else {}
    atom = {"atom": config.atom_bits} if config.codec else {}
    return PackedStruct(
        {
            "valid": 1,
            "write": 1,
            "auto": 1,
            "sid": widths["sid"],
            "group": widths["group"],
            "bank": widths["bank"],
            "column": max(1, widths["column"]),
            "stream": config.stream_bits,
            "last": 1,
            **partial,
            **atom,
        }
    )


def moves(config: ControllerConfig, access: data.View) -> Value:
    """Whether an atom moves for its run: not if it is read only to be written."""
    only_read = access.partial & ~access.write if config.merges else Const(0)
    return access.valid & ~only_read


class ColumnSequencer(Block):
    """Moves in every column slot the atom of the oldest turn that is ready.

    An atom is ready if the first visit of its bank is its stream's, the row is open, and timing
    allows the access. Only atoms in the direction of the oldest turn move, so that the bus turns
    around as often as the order of turns asks for, and none waits for ever: whatever is ready
    before the oldest atom delays it by no rule that it does not wait for anyway. The last access
    of a visit closes the row by auto-precharge.

    With two ports the second one prefers the next atom of the first one's stream, and leaves out
    the first one's bank group and other stacks: those are not timed within a cycle.

    A partial run has its turn when it is the oldest of all: its atom is read on the first port,
    and written once the old data is there. The visit goes on until then, so nobody else comes
    between.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    heads_valid, heads : In(streams), In(array of head_layout)
        What the streams are doing.
    moved : Out(array)
        Atoms of each stream that move.
    map : In
        Number of the address map.
    merging, merge_ready : In(1)
        Only with ``config.merges``: an atom is read to be written in part; its old data is there.
    usable, owner, final : In(banks), In(array), In(banks)
        Rows that are open and may be accessed, whose they are, which have one access left.
    access, ends : Out(banks)
        Accesses of this cycle, for which a visit was made; those that are the final ones of theirs.
    offer0, read_ok0, write_ok0, ... : In
        Slots that are offered, and what timing allows in them, for each port.
    issue0, access0, ... : Out(column_issue), Out(access_layout)
        What is issued, for the guard and in full.
    oldest, unfinished : Out
        Number of the oldest turn of all heads a cycle ago, if there was one.
    oldest_open, oldest_bank : Out
        Whether its next row may be accessed, and in which bank that is, a cycle ago.
    """

    heads_valid: Signal
    heads: data.View
    moved: data.View
    map: Signal
    merging: Signal
    merge_ready: Signal
    usable: Signal
    owner: data.View
    final: Signal
    access: Signal
    ends: Signal
    oldest: Signal
    unfinished: Signal
    oldest_open: Signal
    oldest_bank: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        members = {
            "heads_valid": In(config.streams),
            "heads": In(data.ArrayLayout(head_layout(config), config.streams)),
            "moved": Out(data.ArrayLayout(range(config.ports + 1), config.streams)),
            "map": In(range(len(config.maps))),
            "usable": In(config.banks),
            "owner": In(data.ArrayLayout(config.stream_bits, config.banks)),
            "final": In(config.banks),
            "access": Out(config.banks),
            "ends": Out(config.banks),
            "oldest": Out(config.turn_bits),
            "unfinished": Out(1),
            "oldest_open": Out(1),
            "oldest_bank": Out(range(max(2, config.banks))),
        }
        if config.merges:
            members |= {"merging": In(1), "merge_ready": In(1)}
        for p in range(config.ports):
            members |= {
                f"offer{p}": In(1),
                f"read_ok{p}": In(config.banks),
                f"write_ok{p}": In(config.banks),
                f"issue{p}": Out(column_issue(config)),
                f"access{p}": Out(access_layout(config)),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        heads = [self.heads[n] for n in range(config.streams)]
        places = [
            place_of(m, config, self.map, head.atom, f"head_{n}") for n, head in enumerate(heads)
        ]

        valid, key, at = oldest_of(
            m, [(self.heads_valid[n], h.turn) for n, h in enumerate(heads)], "oldest_head"
        )
        writing = Signal()
        partial: list[Value] = [Const(0) for _ in heads]
        writes: list[Value] = [h.write for h in heads]
        if config.merges:
            partial = [h.partial for h in heads]
            for n, head in enumerate(heads):
                writes[n] = Signal(name=f"writes_{n}")
                m.d.comb += writes[n].eq(head.write & (~head.partial | self.merge_ready))
        m.d.sync += [
            self.unfinished.eq(valid),
            self.oldest.eq(key),
            writing.eq(Array(writes)[at]),
            self.oldest_open.eq(self._ready(self.usable, Array(places)[at], at)),
            self.oldest_bank.eq(Array(places)[at].number),
        ]

        taken: list[tuple[Value, Signal]] = []  # of each port: valid, stream
        for p in range(config.ports):
            usable = Signal(config.banks, name=f"usable{p}")
            right = Mux(writing, getattr(self, f"write_ok{p}"), getattr(self, f"read_ok{p}"))
            m.d.comb += usable.eq(self.usable & right)
            entries = []
            for n, head in enumerate(heads):
                ready = self._ready(usable, places[n], n) & (writes[n] == writing)
                if config.merges:
                    mine = self.unfinished & (head.turn == self.oldest)
                    ready &= ~partial[n] | (mine & ~(self.merging & ~self.merge_ready) & (p == 0))
                for picked, stream in taken:
                    other = Array(places)[stream]
                    apart = (other.group != places[n].group) & (other.sid == places[n].sid)
                    ready &= ~picked | ((stream != n) & apart)
                entries.append((self.heads_valid[n] & ready, head.turn))
            any_ready, _, stream = oldest_of(m, entries, f"ready{p}")
            where = Signal(where_layout(config), name=f"where{p}")
            left = Array(h.count for h in heads)[stream]
            m.d.comb += where.eq(Array(places)[stream])
            last: Value = left == 1
            address = Signal(config.atom_bits, name=f"address{p}")
            m.d.comb += address.eq(Array(h.atom for h in heads)[stream])
            if p:
                first_ok, first = taken[0]
                head = Array(heads)[first]
                atom = Signal(config.atom_bits, name="following")
                m.d.comb += atom.eq(head.atom + 1)
                place = place_of(m, config, self.map, atom, "following")
                before = Array(places)[first]
                goes_on = Signal()
                m.d.comb += goes_on.eq(
                    first_ok
                    & (head.count > 1)
                    & self._ready(usable, place, first)
                    & (place.group != before.group)
                    & (place.sid == before.sid)
                )
                chosen = Signal.like(stream, name="chosen")
                with m.If(goes_on):
                    m.d.comb += [where.eq(place), address.eq(atom)]
                m.d.comb += chosen.eq(Mux(goes_on, first, stream))
                last = Mux(goes_on, head.count == 2, last)
                any_ready, stream = any_ready | goes_on, chosen
            picked = Signal(name=f"picked{p}")
            m.d.comb += picked.eq(any_ready & getattr(self, f"offer{p}"))
            taken.append((picked, stream))
            access = getattr(self, f"access{p}")
            if config.merges:
                m.d.comb += access.partial.eq(Array(partial)[stream] & (p == 0))
            if config.codec:
                m.d.comb += access.atom.eq(address)
            self._issue(m, p, picked, stream, where, last, writing)

        m.d.comb += [
            self.ends.eq(self.access & self.final),
            self.access.eq(
                Cat(
                    Cat(
                        moves(config, getattr(self, f"access{p}"))
                        & getattr(self, f"issue{p}").banks[b]
                        for p in range(config.ports)
                    ).any()
                    for b in range(config.banks)
                )
            ),
            *(
                self.moved[n].eq(
                    sum(
                        moves(config, getattr(self, f"access{p}")) & (stream == n)
                        for p, (_, stream) in enumerate(taken)
                    )
                )
                for n in range(config.streams)
            ),
        ]
        return m

    def _ready(self, usable: Value, place: data.View, stream: Value | int) -> Value:
        owner = Array(self.owner[b] for b in range(self.config.banks))[place.number]
        return usable.bit_select(place.number, 1) & (owner == stream)

    def _issue(
        self,
        m: Module,
        port: int,
        picked: Value,
        stream: Value,
        where: data.View,
        last: Value,
        writing: Value,
    ) -> None:
        issue, access = getattr(self, f"issue{port}"), getattr(self, f"access{port}")
        final = self.final.bit_select(where.number, 1)
        auto = final & ~(access.partial & ~writing) if self.config.merges else final
        m.d.comb += [
            issue.valid.eq(picked),
            issue.write.eq(writing),
            issue.auto.eq(auto),
            issue.banks.eq(1 << where.number),
            access.valid.eq(picked),
            access.write.eq(writing),
            access.auto.eq(auto),
            access.stream.eq(stream),
            access.last.eq(last),
            *(access[field].eq(where[field]) for field in ("sid", "group", "bank", "column")),
        ]
