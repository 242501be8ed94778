"""The column sequencer: which atoms move next, first-ready among the heads of the streams."""

from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import column_issue
from systolith.memory.hbm.head_place import place_of
from systolith.memory.hbm.picking import earliest_of, oldest_of, one_of, pairs_of
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


@dataclass(frozen=True)
class _Atom:
    """An atom that may move: whose it is, where, the bank it is in if that may be accessed."""

    stream: int
    address: Value
    place: data.View
    bank: Signal  # one bit for each, none if the first visit there is another stream's
    last: Value
    partial: Value

    def may_move(self, usable: Value) -> Value:
        return (self.bank & usable).any()

    def is_apart(self, other: "_Atom") -> Value:
        """Not timed within a cycle: in another bank group of the same stack."""
        here, there = self.place, other.place
        return (here.group != there.group) & (here.sid == there.sid)


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
        atoms = [
            self._atom(m, f"head_{n}", n, head.atom, last=head.count == 1, partial=partial[n])
            for n, head in enumerate(heads)
        ]
        m.d.sync += [
            self.unfinished.eq(valid),
            self.oldest.eq(key),
            writing.eq(Array(writes)[at]),
            self.oldest_open.eq(Array(atom.may_move(self.usable) for atom in atoms)[at]),
            self.oldest_bank.eq(Array(atom.place.number for atom in atoms)[at]),
        ]

        # What timing allows is known last. The order of the heads, and where they are and go on,
        # is found beside it; a choice is a bit for each head.
        usable, ready = [], []
        for p in range(config.ports):
            usable.append(Signal(config.banks, name=f"usable{p}"))
            right = Mux(writing, getattr(self, f"write_ok{p}"), getattr(self, f"read_ok{p}"))
            m.d.comb += usable[p].eq(self.usable & right)
            ready.append(Signal(config.streams, name=f"ready{p}"))
            for n, head in enumerate(heads):
                now = self.heads_valid[n] & atoms[n].may_move(usable[p]) & (writes[n] == writing)
                if config.merges:
                    mine = self.unfinished & (head.turn == self.oldest)
                    now &= ~partial[n] | (mine & ~(self.merging & ~self.merge_ready) & (p == 0))
                m.d.comb += ready[p][n].eq(now)
        order = pairs_of([head.turn for head in heads])

        first = earliest_of(m, ready[0], order, "first")
        taken = Signal(config.streams)
        m.d.comb += taken.eq(Mux(self.offer0, first, 0))
        self._issue(m, 0, writing, taken, atoms)

        goes_on, free = Signal(config.streams), Signal(config.streams)
        following = []
        for n, head in enumerate(heads):
            address = Signal(config.atom_bits, name=f"address_{n}")
            m.d.comb += address.eq(head.atom + 1)
            atom = self._atom(m, f"following_{n}", n, address, last=head.count == 2)
            near = (head.count > 1) & atom.may_move(usable[1]) & atom.is_apart(atoms[n])
            others = [k for k in range(config.streams) if k != n]
            aside = Cat(taken[k] & atoms[n].is_apart(atoms[k]) for k in others).any()
            m.d.comb += [
                goes_on[n].eq(taken[n] & near),
                free[n].eq(~taken.any() | aside),
            ]
            following.append(atom)
        second = earliest_of(m, ready[1] & free, order, "second")
        also = Signal(2 * config.streams)
        m.d.comb += also.eq(Mux(self.offer1, Cat(Mux(goes_on.any(), 0, second), goes_on), 0))
        self._issue(m, 1, writing, also, atoms + following)

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
                    (moves(config, self.access0) & taken[n])
                    + (moves(config, self.access1) & (also[n] | also[n + config.streams]))
                )
                for n in range(config.streams)
            ),
        ]
        return m

    def _atom(
        self,
        m: Module,
        name: str,
        stream: int,
        address: Value,
        *,
        last: Value,
        partial: Value | None = None,
    ) -> _Atom:
        """An atom of a stream, and the bank that it is in if the first visit there is its own."""
        config = self.config
        place = place_of(m, config, self.map, address, name)
        bank = Signal(config.banks, name=f"{name}_bank")
        m.d.comb += bank.eq(
            Cat((place.number == b) & (self.owner[b] == stream) for b in range(config.banks))
        )
        return _Atom(stream, address, place, bank, last, Const(0) if partial is None else partial)

    def _issue(
        self, m: Module, port: int, writing: Value, taken: Value, atoms: list[_Atom]
    ) -> None:
        """Issue the one that is taken, if there is one."""
        config = self.config
        issue, access = getattr(self, f"issue{port}"), getattr(self, f"access{port}")
        final = one_of(taken, [(self.final & atom.bank).any() for atom in atoms])
        if config.merges:
            m.d.comb += access.partial.eq(one_of(taken, [atom.partial for atom in atoms]))
        auto = final & ~(access.partial & ~writing) if config.merges else final
        if config.codec:
            m.d.comb += access.atom.eq(one_of(taken, [atom.address for atom in atoms]))
        m.d.comb += [
            issue.valid.eq(taken.any()),
            issue.write.eq(writing),
            issue.auto.eq(auto),
            issue.banks.eq(one_of(taken, [atom.bank for atom in atoms])),
            access.valid.eq(taken.any()),
            access.write.eq(writing),
            access.auto.eq(auto),
            access.stream.eq(one_of(taken, [Const(atom.stream) for atom in atoms])),
            access.last.eq(one_of(taken, [atom.last for atom in atoms])),
            *(
                access[field].eq(one_of(taken, [atom.place[field] for atom in atoms]))
                for field in ("sid", "group", "bank", "column")
            ),
        ]
