"""Guard of a memory's port: what is sent on is within the memory, what is not is answered in turn.

User and memory do whatever a port allows. The memory tells its last write as done only after it
has taken all atoms.
"""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data

from systolith.memory import port_guard as guard_module
from systolith.memory.ports import MemoryPort
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["what_is_sent_on"]


class _Refusals(Elaboratable):
    def __init__(self, port: MemoryPort, atoms: int, outstanding: int) -> None:
        self.port, self.atoms, self.outstanding = port, atoms, outstanding

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.guard = guard = guard_module.PortGuard(
            self.port, atoms=self.atoms, outstanding=self.outstanding
        )
        user: Any = guard.user
        memory: Any = guard.memory
        for name, source in (
            ("request", user.request),
            ("write", user.write),
            ("back", memory.read),
        ):
            self._offers(m, source, name)
        for name, sink in (("sent", memory.request), ("word", memory.write), ("atom", user.read)):
            self._stays(m, sink, name)
        m.d.comb += [
            memory.request.ready.eq(free(m, 1, "request_ready")),
            memory.write.ready.eq(free(m, 1, "write_ready")),
            user.read.ready.eq(free(m, 1, "read_ready")),
            memory.done.eq(free(m, 1, "done")),
            memory.refused.eq(free(m, 1, "refused")),
        ]

        # What the memory was sent, and owes.
        sent, asked = memory.request.payload, user.request.payload
        goes = memory.request.valid & memory.request.ready
        reads, writes = (Signal(range(self.outstanding + 2), name=n) for n in ("reads", "writes"))
        atoms = Signal(self.port.count_bits + 2)  # of its writes, that it has not taken
        put = memory.write.valid & memory.write.ready
        ends = memory.read.valid & memory.read.ready & memory.read.payload.last
        m.d.sync += [
            reads.eq(reads + (goes & ~sent.write) - ends),
            writes.eq(writes + (goes & sent.write) - memory.done),
            atoms.eq(atoms + Mux(goes & sent.write, sent.count, 0) - put),
        ]
        m.d.comb += [
            Assume(~memory.read.valid | (reads != 0)),
            Assume(~memory.done | (writes > 1) | ((writes == 1) & (atoms == 0))),
            Assert(~memory.request.valid | (sent.count != 0)),
            Assert(~memory.request.valid | (sent.atom + sent.count <= self.atoms)),
            Assert(~memory.request.valid | (sent.as_value() == asked.as_value())),
            Assert(~memory.write.valid | (atoms != 0)),
            Assert((reads + writes) <= self.outstanding),
        ]

        # What was refused, and is to be answered.
        taken = user.request.valid & user.request.ready
        bad = (asked.count == 0) | (asked.atom + asked.count > self.atoms)
        answers, drops = Signal(), Signal()
        rest = Signal(self.port.count_bits)
        got, dropped = (
            s.valid & s.ready & on for s, on in ((user.read, answers), (user.write, drops))
        )
        with m.If(taken & bad):
            m.d.sync += [
                answers.eq(~asked.write),
                drops.eq(asked.write),
                rest.eq(Mux(~asked.write & (asked.count == 0), 1, asked.count)),
            ]
        with m.Else():
            m.d.sync += rest.eq(rest - (got | dropped))
            with m.If(got & (rest == 1)):
                m.d.sync += answers.eq(0)
            with m.If(drops & (rest == 0)):
                m.d.sync += drops.eq(0)
        read = user.read.payload
        known = memory.read.payload
        busy = answers | drops
        told = drops & (rest == 0)
        m.d.comb += [
            Assert(~taken | ~busy),
            Assert(~(taken & bad) | ((reads == 0) & (writes == 0) & (atoms == 0))),
            Assert(~(taken & ~bad) | goes),
            Assert(~busy | ~(memory.request.valid | memory.write.valid)),
            Assert(~answers | (user.read.valid & read.error & (read.data == 0))),
            Assert(~answers | (read.last == (rest == 1))),
            Assert(answers | (user.read.valid == memory.read.valid)),
            Assert(answers | ~user.read.valid | (read.as_value() == known.as_value())),
            Assert(~drops | (user.write.ready == (rest != 0))),
            Assert(user.done == (memory.done | told)),
            Assert(user.refused == ((memory.done & memory.refused) | told)),
            Cover(got & (rest == 3)),
            Cover(told & user.write.valid),
            Cover(dropped & (rest == 3)),
            Cover(goes & (writes != 0) & (atoms == 1) & put),
        ]
        return m

    def _offers(self, m: Module, source: Any, name: str) -> None:
        """Whatever, but it stays until it is taken."""
        payload = data.View(source.payload.shape(), free(m, len(source.payload.as_value()), name))
        valid = free(m, 1, f"{name}_valid")
        m.d.comb += [source.valid.eq(valid), source.payload.eq(payload)]
        m.d.comb += Assume(self._kept(m, source, name))

    def _stays(self, m: Module, sink: Any, name: str) -> None:
        m.d.comb += Assert(self._kept(m, sink, name))

    def _kept(self, m: Module, offer: Any, name: str) -> Value:
        word = offer.payload.as_value()
        waited, was = Signal(name=f"{name}_waited"), Signal(len(word), name=f"{name}_was")
        m.d.sync += [waited.eq(offer.valid & ~offer.ready), was.eq(word)]
        return ~waited | (offer.valid & (word == was))


def what_is_sent_on(
    port: MemoryPort, *, atoms: int, outstanding: int = 4, mutants: Iterable[Mutant] = ()
) -> str:
    """No request beyond the memory or of nothing is sent on; others are, as they are, in turn.

    Parameters
    ----------
    port
        Sizes of the port.
    atoms
        Of the memory.
    outstanding
        Requests that can be under way.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Refusals(port, atoms, outstanding))
