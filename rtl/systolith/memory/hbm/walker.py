"""The walker: takes turns among the streams and announces the rows that their runs will visit."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.picking import first_of, round_robin
from systolith.memory.sram import RegisterFile

__all__ = ["Walker", "bank_of"]

_NEAR = 3  # bits of a distance of turns that may be known some cycles late


class Walker(Block):
    """Turns runs into visits, in the order in which streams have their turns.

    Streams have their turns one run each, in rotation: first those of which nothing has been
    announced, then, while fewer than ``config.ahead`` atoms are under way, the others. This order
    is the one in which rows are opened and, as far as rows are open, atoms are moved. A run is cut
    at the borders of blocks, and what it needs of a block is one visit for every bank group
    concerned.

    That is a pipeline: the choice of a stream, its run, a block of it, how many atoms are in each
    bank group, a visit. With several slots it gives a visit in every cycle. With one slot a stage
    takes the next word a cycle after its own has left, which is half as many, and enough.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    waiting, next : In(streams), In(array of config.run)
        The first run of each stream that has not been walked.
    fresh : In(streams)
        Streams that have one and nothing before it.
    issued : In
        Count of atoms that have been issued.
    walk, turn : Out(streams), Out
        This one is taken, and has this number.
    oldest : In
        Number of the oldest turn that is not finished, if there is ``unfinished`` one: no turn is
        begun that could not be told from it.
    map : In
        Number of the address map.
    push, visit : Out(banks), Out(config.visit)
        A visit for a bank.
    same : Out(1)
        It has owner and row of the one before it in that bank.
    space : In(banks)
        Banks that can take one. The walker waits for them in order.
    """

    waiting: Signal
    fresh: Signal
    issued: Signal
    next: data.View
    walk: Signal
    turn: Signal
    oldest: Signal
    unfinished: Signal
    map: Signal
    push: Signal
    visit: data.View
    same: Signal
    space: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "waiting": In(config.streams),
                "fresh": In(config.streams),
                "issued": In(config.due_bits),
                "next": In(data.ArrayLayout(config.run, config.streams)),
                "walk": Out(config.streams),
                "turn": Out(config.turn_bits),
                "oldest": In(config.turn_bits),
                "unfinished": In(1),
                "map": In(range(len(config.maps))),
                "push": Out(config.banks),
                "visit": Out(config.visit),
                "same": Out(1),
                "space": In(config.banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        run = _Stage(m, self._run_layout, "run")
        block = _Stage(m, self._block_layout, "block")
        parts = _Stage(m, self._parts_layout, "parts")
        visit = _Stage(m, self._visit_layout, "visit")
        quick = self.config.slots > 1
        # Whether the word of a stage is the last of what it came from, and goes on.
        more_blocks, more_parts = Signal(), Signal()
        m.d.comb += [
            visit.leaves.eq(self.push.any()),
            parts.steps.eq(parts.valid & (~visit.valid | visit.leaves)),
            parts.leaves.eq(parts.steps & ~more_parts),
            block.steps.eq(block.valid & (~parts.valid | (parts.leaves if quick else 0))),
            block.leaves.eq(block.steps & ~more_blocks),
            run.leaves.eq(run.valid & (~block.valid | (block.leaves if quick else 0))),
        ]
        self._take(m, run, ~run.valid | (run.leaves if quick else 0))
        self._cut(m, run, block, more_blocks)
        self._visit(m, parts, visit, more_parts, platform)
        self._share(m, block, parts)  # behind it: a new block replaces what is left of the last
        there = visit.valid if quick else visit.valid & ~visit.leaves
        push = Mux(there, (1 << visit.word.bank)[: self.config.banks], 0) & self.space
        step = m.d.comb if quick else m.d.sync  # nothing but a push takes space away
        step += self.push.eq(push)
        m.d.comb += [
            *(self.visit[name].eq(visit.word[name]) for name in dict(self.config.visit.members)),
            self.same.eq(visit.word.same),
        ]
        return m

    @property
    def _run_layout(self) -> data.StructLayout:
        config = self.config
        return data.StructLayout(
            {"owner": config.stream_bits, "atom": config.atom_bits, "count": config.run_bits}
        )

    @property
    def _block_bits(self) -> int:
        return self.config.maps[0].block_bits

    @property
    def _block_layout(self) -> data.StructLayout:
        """Part of a run from ``start`` in a block to ``end``, counted from the block's begin."""
        config, bits = self.config, self._block_bits
        return data.StructLayout(
            {
                "owner": config.stream_bits,
                "number": config.atom_bits - bits,
                "start": bits,
                "end": max(config.run_bits, bits) + 1,
                "due": config.due_bits,
                "next_due": config.due_bits,
            }
        )

    @property
    def _parts_layout(self) -> data.StructLayout:
        """What is needed of each bank group of a block; the bank is that of the first group."""
        config = self.config
        groups = config.organisation.groups
        return data.StructLayout(
            {
                "owner": config.stream_bits,
                "row": config.row_bits,
                "bank": ceil_log2(config.banks),
                "need": groups,
                "counts": data.ArrayLayout(range(config.organisation.columns + 1), groups),
                "due": config.due_bits,
            }
        )

    @property
    def _visit_layout(self) -> data.StructLayout:
        config = self.config
        members = dict(config.visit.members)
        return data.StructLayout({**members, "bank": ceil_log2(config.banks), "same": 1})

    def _take(self, m: Module, run: "_Stage", free: Value) -> None:
        """Choose a stream, and take its run."""
        config = self.config
        taken = Signal(config.due_bits)  # count of atoms of all runs taken
        room, near = Signal(), Signal()
        apart = (self.turn - self.oldest)[: config.turn_bits]
        under_way = Signal(config.due_bits)
        m.d.comb += under_way.eq(taken - self.issued)
        far = apart[_NEAR:-1].all() | apart[-1]
        now_room, now_near = ~self.unfinished | ~far, under_way < config.ahead
        if config.foresight:
            known = Signal.like(under_way)
            m.d.sync += [known.eq(under_way), near.eq(known < config.ahead), room.eq(now_room)]
        else:
            m.d.comb += [near.eq(now_near), room.eq(now_room)]
        able = Signal(config.streams)
        m.d.comb += able.eq(Mux(self.fresh.any(), self.fresh, Mux(near, self.waiting, 0)))
        choice: Value
        if config.foresight:
            found, take = Signal(), Signal()
            choice = Signal(range(max(2, config.streams)), name="stream")
            # While a run is taken its stream seems to wait still.
            candidates, current = able, ~found
            if config.foresight > 1:
                candidates, recent = Signal.like(able, name="candidates"), Signal()
                m.d.sync += [candidates.eq(able), recent.eq(take)]
                current = ~found & ~recent
            chosen, any_able = round_robin(m, candidates, advance=current & candidates.any())
            m.d.sync += found.eq(Mux(found, ~take, current & any_able))
            with m.If(~found):
                m.d.sync += choice.eq(chosen)
            m.d.comb += take.eq(found & room & free)
        else:
            take = Signal()
            choice, any_able = round_robin(m, able, advance=take)
            m.d.comb += take.eq(any_able & room & free)
        coming = Signal(config.run)
        m.d.comb += [
            coming.eq(self.next[choice]),
            self.walk.eq(Mux(take, 1 << choice, 0)),
        ]
        with m.If(take):
            m.d.sync += [
                self.turn.eq(self.turn + 1),
                run.word.owner.eq(choice),
                run.word.atom.eq(coming.atom),
                run.word.count.eq(coming.count),
            ]
        m.d.sync += run.valid.eq(take | (run.valid & ~run.leaves))
        # With registers anyway, a run is counted a little late.
        counted, count = (run.leaves, run.word.count) if config.foresight else (take, coming.count)
        with m.If(counted):
            m.d.sync += taken.eq(taken + count)

    def _cut(self, m: Module, run: "_Stage", block: "_Stage", more: Signal) -> None:
        """One block after the other: all groups of it are needed from its first atoms on."""
        bits, size = self._block_bits, 1 << self._block_bits
        start = run.word.atom[:bits]
        passed = Signal(self.config.due_bits)
        m.d.comb += more.eq(block.word.end[bits:].any())
        with m.If(run.leaves):
            m.d.sync += [
                block.word.owner.eq(run.word.owner),
                block.word.number.eq(run.word.atom[bits:]),
                block.word.start.eq(start),
                block.word.end.eq(start + run.word.count - 1),
                block.word.due.eq(passed),
                block.word.next_due.eq(passed - start + size),
                passed.eq(passed + run.word.count),
            ]
        with m.Elif(block.steps):
            m.d.sync += [
                block.word.number.eq(block.word.number + 1),
                block.word.start.eq(0),
                block.word.end[bits:].eq(block.word.end[bits:] - 1),
                block.word.due.eq(block.word.next_due),
                block.word.next_due.eq(block.word.next_due + size),
            ]
        m.d.sync += block.valid.eq(run.leaves | (block.valid & ~block.leaves))

    def _share(self, m: Module, block: "_Stage", parts: "_Stage") -> None:
        """Atoms of each bank group, and the place of the block."""
        bits, maps = self._block_bits, self.config.maps
        stop = Signal(bits)  # the last atom
        m.d.comb += stop.eq(Mux(block.word.end[bits:].any(), -1, block.word.end[:bits]))
        at = Cat(Const(0, bits), block.word.number)
        places = [amap.decode(at) for amap in maps]
        with m.If(block.steps):
            m.d.sync += [
                parts.word.owner.eq(block.word.owner),
                parts.word.row.eq(Array(place["row"] for place in places)[self.map]),
                parts.word.bank.eq(Array(bank_of(place) for place in places)[self.map]),
                parts.word.due.eq(block.word.due),
            ]
            for g in range(self.config.organisation.groups):
                reach = [_up_to(amap, stop, g) - _below(amap, block.word.start, g) for amap in maps]
                count = Signal.like(parts.word.counts[g], name=f"count_{g}")
                m.d.comb += count.eq(Array(reach)[self.map])
                m.d.sync += [parts.word.counts[g].eq(count), parts.word.need[g].eq(count.any())]
        m.d.sync += parts.valid.eq(block.steps | (parts.valid & ~parts.leaves))

    def _visit(
        self, m: Module, parts: "_Stage", visit: "_Stage", more: Signal, platform: object
    ) -> None:
        """One bank group after the other, and whether its bank had the same visit before."""
        config = self.config
        need = parts.word.need
        group = first_of(m, need, "group")
        bank = Signal(ceil_log2(config.banks))
        shift = ceil_log2(config.organisation.banks)
        m.d.comb += [
            more.eq((need & (need - 1)).any()),
            bank.eq(parts.word.bank ^ (group << shift)),
        ]
        known = data.StructLayout({"row": config.row_bits, "owner": config.stream_bits})
        before = RegisterFile(depth=config.banks, width=known.size)
        m.submodules.before = place(before, platform)
        here: Any = Signal(known)
        m.d.comb += [
            here.row.eq(parts.word.row),
            here.owner.eq(parts.word.owner),
            before.r_addr.eq(bank),
            before.w_addr.eq(bank),
            before.w_data.eq(here),
            before.w_en.eq(parts.steps),
        ]
        with m.If(parts.steps):
            m.d.sync += [
                need.eq(need & (need - 1)),
                visit.word.bank.eq(bank),
                visit.word.row.eq(parts.word.row),
                visit.word.owner.eq(parts.word.owner),
                visit.word.left.eq(parts.word.counts[group]),
                visit.word.due.eq(parts.word.due),
                visit.word.same.eq(before.r_data == here.as_value()),
            ]
        m.d.sync += visit.valid.eq(parts.steps | (visit.valid & ~visit.leaves))


class _Stage:
    """A word between two steps: ``steps`` while a part of it goes on, ``leaves`` with the last."""

    def __init__(self, m: Module, layout: data.StructLayout, name: str) -> None:
        self.valid, self.steps = Signal(name=f"{name}_valid"), Signal(name=f"{name}_steps")
        self.leaves = Signal(name=f"{name}_leaves")
        self.word: Any = Signal(layout, name=name)


def _below(amap: AddressMap, end: Value, group: int) -> Value:
    """Atoms of a bank group below ``end`` in a block."""
    below, bits = amap.below, amap.widths["group"]
    part, here = end[:below], end[below : below + bits]
    whole = end[below + bits :] + (here > group)
    return (whole << below) + (Mux(here == group, part, 0) if below else 0)


def _up_to(amap: AddressMap, last: Value, group: int) -> Value:
    """Atoms of a bank group up to ``last``, that one included."""
    return _below(amap, last, group) + (last[amap.below :][: amap.widths["group"]] == group)


def bank_of(fields: dict[str, Value]) -> Value:
    """Return the number of a bank in hardware."""
    return Cat(fields["bank"], fields["group"], fields["sid"])
