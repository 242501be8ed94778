"""Queues of the memory controller: nothing is lost, doubled, or out of order.

Each statement follows one entry, which the solver chooses, from the moment it is put in, with
counters of what stands before it. As the choice is free it holds for all of them.
"""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.memory.hbm import bank_queue, run_queue
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["runs_in_order", "visits_conserved"]


def _before(m: Module, value: Value, name: str) -> Signal:
    """``value`` a cycle ago, 0 in the first one."""
    old = Signal(value.shape(), name=name)
    m.d.sync += old.eq(value)
    return old


class _Visits(Elaboratable):
    def __init__(self, config: ControllerConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.queue = queue = bank_queue.BankQueue(config)
        visit = data.View(config.visit, free(m, config.visit.size, "visit"))
        push, access = free(m, 1, "push"), free(m, 1, "access")
        known, old_visit = Signal(), Signal(config.visit)
        with m.If(push):
            m.d.sync += [known.eq(1), old_visit.eq(visit)]
        m.d.comb += [
            queue.push.eq(push),
            queue.visit.eq(visit),
            queue.access.eq(access),
            queue.ends.eq(access & queue.final),
            queue.same.eq(known & (old_visit.row == visit.row) & (old_visit.owner == visit.owner)),
            Assume(~push | (queue.space & (visit.left != 0))),
            Assume(visit.left <= config.organisation.columns),
            Assume(~access | queue.valid),
        ]

        # All accesses that are owed; and the chosen visit with those before it.
        most = (config.visits + 2) * config.most_left
        owed, ahead = Signal(bits_for(most)), Signal(bits_for(most))
        chosen, mine = Signal(), Signal.like(visit.left)
        row, owner = Signal.like(visit.row), Signal.like(visit.owner)
        choose = free(m, 1, "choose") & push & ~chosen
        m.d.sync += owed.eq(owed + Mux(push, visit.left, 0) - access)
        with m.If(choose):
            m.d.sync += [
                chosen.eq(1),
                ahead.eq(owed - access),
                mine.eq(visit.left),
                row.eq(visit.row),
                owner.eq(visit.owner),
            ]
        with m.Elif(chosen & access & (ahead != 0)):
            m.d.sync += ahead.eq(ahead - 1)
        with m.Elif(chosen & access & (mine != 0)):
            m.d.sync += mine.eq(mine - 1)
        turn = chosen & (ahead == 0) & (mine != 0)
        pushed = Signal()
        m.d.comb += [
            Assert(~(turn & queue.valid) | (queue.first.row == row)),
            Assert(~(turn & queue.valid) | (queue.first.owner == owner)),
            # As many accesses as were pushed; none for ever behind an empty head.
            Assert(~queue.valid | (queue.first.left != 0)),
            Assert(~queue.valid | (queue.first.left <= owed)),
            Assert(owed <= most),
            # The final access, unless a visit was added just now.
            Assert(~(queue.valid & queue.final) | (queue.first.left == 1)),
            Assert(~queue.valid | queue.final | (queue.first.left != 1) | pushed),
        ]
        waited = _before(m, owed != 0, "waited")
        longer = _before(m, waited & (owed != 0), "longer")
        m.d.sync += pushed.eq(push)
        m.d.comb += Assert(~(longer & (owed != 0)) | queue.valid | _before(m, queue.valid, "was"))

        # A visit stays until its final access, and another one then takes its place.
        stays = _before(m, queue.valid & ~(access & queue.final), "stays")
        old_row, old_owner = (
            _before(m, field, f"old_{name}")
            for name, field in (("row", queue.first.row), ("owner", queue.first.owner))
        )
        old_due = _before(m, queue.first.due, "old_due")
        m.d.comb += [
            Assert(~stays | queue.valid),
            Assert(~stays | ((queue.first.row == old_row) & (queue.first.owner == old_owner))),
            Assert(~stays | (queue.first.due == old_due)),
            Assert(~_before(m, queue.valid & queue.final & ~access, "final") | queue.final),
            Cover(turn & queue.valid & (ahead == 0) & (mine == 1) & access & ~queue.final),
            Cover(~queue.space),
            Cover(chosen & (ahead == 0) & (mine == 0) & (owed == 0)),
        ]
        return m


def visits_conserved(config: ControllerConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Every visit has its accesses, by its owner, to its row, and in order.

    Visits that were merged have one owner and one row, no more than ``most_left`` accesses are
    ever counted, and a visit is the first one until its final access.
    """
    with installed(mutants):
        return to_rtlil(_Visits(config))


class _Runs(Elaboratable):
    def __init__(self, config: ControllerConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.queue = queue = run_queue.RunQueue(config)
        run = data.View(config.run, free(m, config.run.size, "run"))
        put, walk = free(m, 1, "put"), free(m, 1, "walk")
        turn = free(m, config.turn_bits, "turn")
        moved = free(m, len(queue.moved), "moved")
        head = queue.head
        m.d.comb += [
            queue.valid.eq(put),
            queue.run.eq(run),
            queue.walk.eq(walk),
            queue.turn.eq(turn),
            queue.moved.eq(moved),
            Assume(~put | (run.count != 0)),
            Assume(~walk | queue.waiting),
            Assume((moved == 0) | queue.head_valid),
            Assume((moved <= config.ports) & (moved <= head.count)),
        ]
        taken, ended = put & queue.ready, queue.head_valid & (head.count == moved)

        # Runs not walked and not ended; the chosen one, and what is before it.
        most = config.runs + 1
        unwalked, unended = Signal(range(most + 1)), Signal(range(most + 1))
        to_walk, to_end = Signal(range(most + 1)), Signal(range(most + 1))
        chosen, walked, over = Signal(), Signal(), Signal()
        mine, number = Signal(config.run), Signal(config.turn_bits)
        m.d.sync += [
            unwalked.eq(unwalked + taken - walk),
            unended.eq(unended + taken - ended),
        ]
        with m.If(free(m, 1, "choose") & taken & ~chosen):
            m.d.sync += [chosen.eq(1), mine.eq(run)]
            m.d.sync += [to_walk.eq(unwalked - walk), to_end.eq(unended - ended)]
        with m.If(chosen & walk):
            with m.If(to_walk != 0):
                m.d.sync += to_walk.eq(to_walk - 1)
            with m.Elif(~walked):
                m.d.sync += [walked.eq(1), number.eq(turn)]
        with m.If(chosen & ended):
            with m.If(to_end != 0):
                m.d.sync += to_end.eq(to_end - 1)
            with m.Else():
                m.d.sync += over.eq(1)
        here = chosen & ~over & (to_end == 0) & queue.head_valid
        with m.If(here):
            m.d.sync += [mine.atom.eq(mine.atom + moved), mine.count.eq(mine.count - moved)]
        first = chosen & ~walked & (to_walk == 0)
        idle = _before(m, ~queue.head_valid & (unended > unwalked), "idle")
        m.d.comb += [
            Assert(queue.waiting == (unwalked != 0)),
            Assert(~first | ((queue.next.atom == mine.atom) & (queue.next.count == mine.count))),
            Assert(~first | (queue.next.write == mine.write)),
            Assert(~here | walked),
            Assert(~here | ((head.atom == mine.atom) & (head.count == mine.count))),
            Assert(~here | ((head.write == mine.write) & (head.turn == number))),
            Assert(~queue.head_valid | ((unended != 0) & (head.count != 0))),
            Assert((unwalked <= unended) & (unended <= most)),
            Assert(queue.ready | (unended >= config.runs)),
            # A run that was walked does not wait behind an empty head.
            Assert(queue.head_valid | (unended == unwalked) | ~idle),
            Cover(over & (unended == 0)),
            Cover(~queue.ready & (to_walk == 1) & (to_end == config.runs)),
        ]
        return m


def runs_in_order(config: ControllerConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Every run is walked once and then moved once, all of its atoms, in order."""
    with installed(mutants):
        return to_rtlil(_Runs(config))
