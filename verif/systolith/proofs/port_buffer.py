"""Port buffer: what the controller is promised is there, and every request is done once.

The user does whatever a port allows; so does the controller: it takes runs, fetches atoms, answers
and tells in any cycle. Atoms are followed by their number among those of their kind.
"""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data

from systolith.memory import port_buffer as buffer_module
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["PARTS", "promises_kept"]

_COUNT = 6  # bits of a number of atoms or requests, for as long as a bounded proof looks
_RUNS = 8  # runs of a kind, and requests, that may be under way

PARTS = ("room", "backed", "data", "done")
"""What can be stated on its own, since together it is more than the solvers like."""

Ring = tuple[Array, Signal, Signal]


def _ring(m: Module, name: str, put: Value, word: Value) -> Ring:
    """What came, in order; its head is moved by who takes."""
    words = Array(Signal(len(word), name=f"{name}_{n}") for n in range(_RUNS))
    head, tail = (Signal(range(_RUNS), name=f"{name}_{e}") for e in ("head", "tail"))
    with m.If(put):
        m.d.sync += [words[tail].eq(word), tail.eq(tail + 1)]
    return words, head, tail


class _Promises(Elaboratable):
    def __init__(
        self, config: ControllerConfig, depth: int, count_bits: int, parts: tuple[str, ...]
    ) -> None:
        self.config, self.depth, self.count_bits, self.parts = config, depth, count_bits, parts

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = buffer_module.PortBuffer(
            config, depth=self.depth, count_bits=self.count_bits, small=True
        )
        port: Any = buffer.port
        run: Any = buffer.run
        self.m = m
        self.number = free(m, _COUNT, "number", constant=True)  # of the atom that is followed
        asked = self._asks(m, port)
        sent = self._runs(m, run, asked)
        self._write(m, port, run, sent, asked)
        self._read(m, port, run, sent, asked)
        return m

    def _state(self, part: str, *holds: Value) -> None:
        """What has to hold, if it is asked for."""
        if part in self.parts:
            self.m.d.comb += [Assert(value) for value in holds]

    def _asks(self, m: Module, port: Any) -> dict[str, Any]:
        """Requests; atoms and requests of each kind so far."""
        request = port.request
        payload = data.View(
            request.payload.shape(), free(m, len(request.payload.as_value()), "request")
        )
        valid = free(m, 1, "request_valid")
        waited, was = Signal(name="request_waited"), Signal(len(payload.as_value()))
        end = payload.atom + payload.count
        m.d.comb += [
            request.valid.eq(valid),
            request.payload.eq(payload),
            Assume(~valid | ((payload.count != 0) & (end <= 1 << self.config.atom_bits))),
            Assume(~waited | (valid & (payload.as_value() == was))),
            Assume(payload.count <= self.depth - 2),
        ]
        m.d.sync += [waited.eq(valid & ~request.ready), was.eq(payload)]
        taken = valid & request.ready
        asked: dict[str, Any] = {}
        for kind, write in (("read", 0), ("write", 1)):
            mine = taken & (payload.write == write)
            count = Signal(_COUNT, name=f"asked_{kind}")
            m.d.sync += count.eq(count + Mux(mine, payload.count, 0))
            stop = Signal(_COUNT, name=f"stop_{kind}")  # of the atom that is followed
            here = mine & (self.number >= count) & (self.number < count + payload.count)
            with m.If(here):
                m.d.sync += stop.eq(count + payload.count)
            asked[kind] = {
                "count": count,
                "stop": stop,
                "ends": _ring(m, f"asks_{kind}", mine, (count + payload.count)[:_COUNT]),
            }
        return asked

    def _runs(self, m: Module, run: Any, asked: dict[str, Any]) -> dict[str, Any]:
        """Runs as the controller takes them."""
        m.d.comb += run.ready.eq(free(m, 1, "run_ready"))
        sent: dict[str, Any] = {}
        for kind, write in (("read", 0), ("write", 1)):
            mine = run.valid & run.ready & (run.run.write == write)
            count = Signal(_COUNT, name=f"sent_{kind}")
            m.d.sync += count.eq(count + Mux(mine, run.run.count, 0))
            here = mine & (self.number >= count) & (self.number < count + run.run.count)
            m.d.comb += [
                Cover(here & (self.number == self.depth // 2 + 1)),
                Assume(asked[kind]["count"] < 3 << (_COUNT - 2)),
            ]
            partial = Signal(name=f"partial_{kind}")
            if self.config.merges:
                with m.If(here):
                    m.d.sync += partial.eq(run.run.partial)
            ends = _ring(m, f"runs_{kind}", mine, (count + run.run.count)[:_COUNT])
            m.d.comb += Assume(((ends[2] - ends[1])[: len(ends[1])]) != _RUNS - 1)
            sent[kind] = {"count": count, "ends": ends, "partial": partial, "mine": mine}
        return sent

    def _moves(self, m: Module, kind: str, sent: dict[str, Any]) -> tuple[Signal, Signal, Signal]:
        """Ports on which atoms move, which are the last of their runs, how many moved before."""
        ports = self.config.ports
        valid = free(m, ports, f"{kind}_moves")
        words, head, _ = sent["ends"]
        moved, last = Signal(_COUNT, name=f"{kind}_moved"), Signal(ports, name=f"{kind}_last")
        passed = 0
        for p in range(ports):
            number = moved + sum(valid[:p])
            at = (head + passed)[: len(head)] if p else head
            m.d.comb += [
                Assume(~valid[p] | (number[:_COUNT] != sent["count"])),
                last[p].eq(valid[p] & ((number + 1)[:_COUNT] == words[at])),
            ]
            passed = passed + last[p]
        m.d.sync += [moved.eq(moved + sum(valid)), head.eq(head + passed)]
        return valid, last, moved

    def _write(
        self, m: Module, port: Any, run: Any, sent: dict[str, Any], asked: dict[str, Any]
    ) -> None:
        """Atoms of writes are there when they are fetched."""
        word = free(m, len(port.write.payload.as_value()), "write")
        valid = free(m, 1, "write_valid")
        waited, was = Signal(name="write_waited"), Signal(len(word))
        put = Signal(_COUNT)
        taken = valid & port.write.ready
        kept: Any = Signal(port.write.payload.shape())
        m.d.comb += [
            port.write.valid.eq(valid),
            port.write.payload.eq(word),
            Assume(~waited | (valid & (word == was))),
        ]
        self._state(
            "backed",  # every run is, as it is sent
            sent["write"]["count"] <= put,
            ~sent["write"]["mine"] | (sent["write"]["count"] + run.run.count <= put),
            put <= asked["write"]["count"],
        )
        m.d.sync += [waited.eq(valid & ~port.write.ready), was.eq(word), put.eq(put + taken)]
        with m.If(taken & (put == self.number)):
            m.d.sync += kept.eq(word)
        valid_, last, moved = self._moves(m, "write", sent["write"])
        m.d.comb += [run.fetch.eq(valid_), run.done.eq(last)]
        for p in range(self.config.ports):
            number = (moved + sum(valid_[:p]))[:_COUNT]
            mine = Signal(name=f"fetched_{p}")
            m.d.sync += mine.eq(valid_[p] & (number == self.number))
            out = getattr(run, f"write{p}")
            self._state("data", ~mine | (out.data == kept.data), ~mine | (out.mask == kept.mask))
            if self.config.merges:
                self._state("data", ~mine | (sent["write"]["partial"] == ~kept.mask.all()))
            m.d.comb += Cover(mine & (self.number == 2))
        # Done is told once for each request, in order, once its last atom was fetched.
        told = Signal(range(_RUNS))
        words, head, tail = asked["write"]["ends"]
        self._state("done", ~port.done | (told != tail), ~port.done | (moved >= words[told]))
        m.d.comb += Cover(port.done & (told == 1))
        m.d.sync += [told.eq(told + port.done), head.eq(told + port.done)]
        quiet = Signal(3)
        whole = (moved == asked["write"]["count"]) & (told != tail) & ~port.done
        m.d.sync += quiet.eq(Mux(whole, quiet + 1, 0))
        self._state("done", quiet < 4)
        # The rings above are long enough.
        m.d.comb += Assume(((tail - told)[: len(told)]) != _RUNS - 1)

    def _read(
        self, m: Module, port: Any, run: Any, sent: dict[str, Any], asked: dict[str, Any]
    ) -> None:
        """There is room for every atom that was promised to be taken."""
        valid, last, moved = self._moves(m, "read", sent["read"])
        taken, kept = Signal(_COUNT), Signal(len(port.read.payload.data) + 1)
        ready = free(m, 1, "read_ready")
        m.d.comb += port.read.ready.eq(ready)
        self._state("room", (sent["read"]["count"] - taken)[:_COUNT] <= self.depth)
        for p in range(self.config.ports):
            back = getattr(run, f"response{p}")
            word = free(m, len(back.data), f"data_{p}")
            lost = free(m, 1, f"lost_{p}")
            number = (moved + sum(valid[:p]))[:_COUNT]
            m.d.comb += [
                back.valid.eq(valid[p]),
                back.last.eq(last[p]),
                back.data.eq(word),
                back.lost.eq(lost),
            ]
            with m.If(valid[p] & (number == self.number)):
                m.d.sync += kept.eq(Cat(word, lost))
        payload = port.read.payload
        waited, was = Signal(name="read_waited"), Signal(len(payload.as_value()))
        mine = port.read.valid & (taken == self.number)
        m.d.sync += [
            waited.eq(port.read.valid & ~ready),
            was.eq(payload),
            taken.eq(taken + (port.read.valid & ready)),
        ]
        stop = asked["read"]["stop"]
        self._state("room", ~port.read.valid | (taken != moved))
        self._state(
            "data",
            ~waited | (port.read.valid & (payload.as_value() == was)),
            ~mine | (Cat(payload.data, payload.error) == kept),
            ~mine | (payload.last == (self.number + 1 == stop)),
        )
        m.d.comb += Cover(mine & (self.number == 2) & payload.last)


def promises_kept(
    config: ControllerConfig,
    *,
    depth: int = 8,
    count_bits: int = 3,
    parts: tuple[str, ...] = PARTS,
    mutants: Iterable[Mutant] = (),
) -> str:
    """What the controller was promised is kept, and so is what the user was.

    Parameters
    ----------
    config
        Of the controller.
    depth, count_bits
        Of the buffer.
    parts
        Of :data:`PARTS`. ``room``: reads never overflow. ``backed``: writes are there when their
        run is sent.
        ``data``: atoms and marks arrive as they were put. ``done``: once for each request.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Promises(config, depth, count_bits, parts))
