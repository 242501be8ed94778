"""The walker: takes turns among the streams and announces the rows that their runs will visit."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.picking import first_of, round_robin

__all__ = ["Walker"]


class Walker(Block):
    """Turns runs into visits, one visit per cycle, in the order in which streams have their turns.

    Streams have their turns one run each, in rotation: first those of which nothing has been
    announced, then, while fewer than ``config.ahead`` atoms are under way, the others. This order
    is the one in which rows are opened and, as far as rows are open, atoms are moved. A run is cut
    at the borders of blocks, and what it needs of a block is one visit for every bank group
    concerned.

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
                "space": In(config.banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        busy, finished = Signal(), Signal()
        owner = Signal(config.stream_bits)
        atom, left = Signal(config.atom_bits), Signal(config.run_bits)

        # The next run waits in registers, so that one run follows another without a gap.
        ready, ready_owner, run = Signal(), Signal(config.stream_bits), Signal(config.run)
        taken = Signal(config.due_bits)  # count of atoms, those of runs still waiting here included
        under_way = Signal(config.due_bits)
        m.d.comb += under_way.eq(taken - self.issued)
        able = Mux(self.fresh.any(), self.fresh, Mux(under_way < config.ahead, self.waiting, 0))
        able = able[: config.streams]
        choice, any_able = round_robin(m, able, advance=self.walk.any())
        room = ~self.unfinished | (
            (self.turn - self.oldest)[: config.turn_bits - 1] != _ones(config)
        )
        coming = Signal(config.run)
        m.d.comb += coming.eq(self.next[choice])
        free = ~busy | finished
        with m.If(any_able & room & (~ready | free)):
            m.d.comb += self.walk.eq(1 << choice)
            m.d.sync += [
                ready.eq(~free | ready),
                ready_owner.eq(choice),
                run.eq(coming),
                self.turn.eq(self.turn + 1),
                taken.eq(taken + coming.count),
            ]
        with m.Elif(free):
            m.d.sync += ready.eq(0)
        with m.If(free):
            m.d.sync += [
                busy.eq(ready | self.walk.any()),
                owner.eq(Mux(ready, ready_owner, choice)),
                atom.eq(Mux(ready, run.atom, coming.atom)),
                left.eq(Mux(ready, run.count, coming.count)),
            ]

        # One bank group of the block per cycle.
        groups = config.organisation.groups
        done = Signal(groups)
        due = Signal(config.due_bits)
        maps = [_Block(m, amap, atom, left, n) for n, amap in enumerate(config.maps)]
        here = Signal(range(config.organisation.columns * groups + 1))
        counts = [Signal.like(self.visit.left, name=f"count_{g}") for g in range(groups)]
        m.d.comb += here.eq(Array([b.here for b in maps])[self.map])
        for g, count in enumerate(counts):
            m.d.comb += count.eq(Array([b.counts[g] for b in maps])[self.map])
        need = Signal(groups)
        m.d.comb += need.eq(Cat(count.any() for count in counts) & ~done)
        group = first_of(m, need, "group")
        banks = Array([b.bank(group) for b in maps])
        bank = Signal(range(config.banks))
        rows = Array([b.row for b in maps])
        pushed = Signal()
        m.d.comb += [
            bank.eq(banks[self.map]),
            self.visit.row.eq(rows[self.map]),
            self.visit.owner.eq(owner),
            self.visit.left.eq(Array(counts)[group]),
            self.visit.due.eq(due),
            pushed.eq(busy & self.space.bit_select(bank, 1)),
            self.push.eq(pushed << bank),
        ]
        over = pushed & ((need & (need - 1)) == 0)  # the block's last one
        m.d.comb += finished.eq(over & (here == left))
        with m.If(pushed):
            m.d.sync += done.eq(done | (1 << group))
        with m.If(over):
            # All groups of a block are needed from its first atoms on.
            m.d.sync += [done.eq(0), due.eq(due + here)]
            with m.If(~finished):
                m.d.sync += [atom.eq(atom + here), left.eq(left - here)]
        return m


def _ones(config: ControllerConfig) -> int:
    return (1 << (config.turn_bits - 1)) - 1


class _Block:
    """What a run needs of the block it is in, by one address map."""

    def __init__(self, m: Module, amap: AddressMap, atom: Value, left: Value, number: int) -> None:
        self.amap, self.atom = amap, atom
        size = 1 << amap.block_bits
        start = atom[: amap.block_bits]
        self.here = Signal(range(size + 1), name=f"here_{number}")
        stop = Signal(range(size + 1), name=f"stop_{number}")
        m.d.comb += [
            self.here.eq(Mux(left < size - start, left, size - start)),
            stop.eq(start + self.here),
        ]
        groups = amap.organisation.groups
        self.counts = []
        for g in range(groups):
            count = Signal(range(amap.organisation.columns + 1), name=f"in_{number}_{g}")
            m.d.comb += count.eq(self._before(stop, g) - self._before(start, g))
            self.counts.append(count)
        self.row = amap.decode(atom)["row"]

    def _before(self, end: Value, group: int) -> Value:
        """Atoms of a bank group below ``end`` in a block."""
        below, bits = self.amap.below, self.amap.widths["group"]
        whole = end >> (below + bits) << below
        part, size = end[: below + bits], 1 << below
        first = group << below
        some: Value = part - first
        if first + size < 1 << (below + bits):
            some = Mux(part >= first + size, size, some)
        if first:
            some = Mux(part < first, 0, some)
        return whole + some

    def bank(self, group: Value) -> Value:
        """Number of the bank of a group, which is counted in the order of the block."""
        bits = self.amap.widths["group"]
        moved = Cat(self.atom[: self.amap.below], group[:bits], self.atom[self.amap.below + bits :])
        return bank_of(self.amap.decode(moved))


def bank_of(fields: dict[str, Value]) -> Value:
    """Return the number of a bank in hardware."""
    return Cat(fields["bank"], fields["group"], fields["sid"])
