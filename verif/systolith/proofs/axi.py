"""AXI4 in front of memory: every burst is answered once, in order, and nothing else is told.

Managers and memory do whatever the rules of their ports allow. The rules of the bus are those of
:class:`~systolith.devices.axi_checker.AxiChecker`, the same that watches the simulations.
"""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal, Value

from systolith.devices.axi_checker import AxiChecker
from systolith.memory.axi import front as front_module
from systolith.memory.axi.signature import Axi4, AxiConfig, pins
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["bursts_answered"]

_COUNT = 8  # bits of a number of atoms or requests, for as long as a bounded proof looks
_WAITING = 8  # requests that the memory may owe

_MASTERS = {
    "aw": ("id", "addr", "len", "size", "burst"),
    "w": ("data", "strb", "last"),
    "ar": ("id", "addr", "len", "size", "burst"),
}


class _Bursts(Elaboratable):
    def __init__(self, config: AxiConfig, longest: int, marked: bool) -> None:
        self.config, self.longest, self.marked = config, longest, marked

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.front = front = front_module.AxiFront(config)
        m.submodules.checker = checker = AxiChecker(config)
        bus: Any = pins(front, "s_axi", Axi4(config))
        for name in Axi4(config).members:
            m.d.comb += getattr(checker, f"m_axi_{name}").eq(getattr(bus, name))
        for channel, fields in _MASTERS.items():
            self._offers(m, bus, channel, fields)
        m.d.comb += [bus.bready.eq(free(m, 1, "bready")), bus.rready.eq(free(m, 1, "rready"))]
        m.d.comb += Assert(checker.wrong == 0)
        if self.marked:  # the manager marks the beats that it should
            self._marks(m, bus)

        ports: Any = front
        asked_r, owed_r = self._requests(m, ports.reads, 0)
        asked_w, _ = self._requests(m, ports.writes, 1)
        self._reads(m, ports.reads, asked_r, owed_r, checker)
        self._writes(m, ports.writes, asked_w, checker)
        done = bus.bvalid & bus.bready
        answers = Signal(_COUNT)
        m.d.sync += answers.eq(answers + done)
        m.d.comb += [
            Cover(done & (answers == 1) & (bus.bresp == 0)),
            Cover(bus.rvalid & bus.rlast & (bus.rresp == 0) & (asked_r == self.longest)),
            Cover(bus.rvalid & (bus.rresp == 3)),
            Cover(bus.bvalid & (bus.bresp == 2)),
        ]
        return m

    def _offers(self, m: Module, bus: Any, channel: str, fields: tuple[str, ...]) -> None:
        """What is offered stays until it is taken."""
        valid, ready = getattr(bus, f"{channel}valid"), getattr(bus, f"{channel}ready")
        payload = Cat(getattr(bus, f"{channel}{field}") for field in fields)
        waited, was = Signal(name=f"{channel}_held"), Signal(len(payload), name=f"{channel}_was")
        m.d.comb += valid.eq(free(m, 1, f"{channel}_valid"))
        for field in fields:
            pin = getattr(bus, f"{channel}{field}")
            # Of data only that they stay matters: few bits are as good as many.
            bits = 1 if field == "data" else len(pin)
            value = free(m, bits, f"{channel}_{field}")
            m.d.comb += pin.eq(value.replicate(len(pin) // bits))
        m.d.sync += [waited.eq(valid & ~ready), was.eq(payload)]
        m.d.comb += Assume(~waited | (valid & (payload == was)))
        if channel != "w":
            m.d.comb += Assume(getattr(bus, f"{channel}len") < self.longest)

    def _marks(self, m: Module, bus: Any) -> None:
        """Data come after their address here; the last beat is marked and no other."""
        lens = Array(Signal(8, name=f"len_{n}") for n in range(_WAITING))
        head, tail, beat = Signal(3), Signal(3), Signal(8)
        m.d.comb += Assume(~bus.wvalid | (head != tail))
        m.d.comb += Assume(~bus.wvalid | (bus.wlast == (beat == lens[head])))
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [lens[tail].eq(bus.awlen), tail.eq(tail + 1)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [
                beat.eq(Mux(bus.wlast, 0, beat + 1)),
                head.eq(head + bus.wlast),
            ]

    def _requests(self, m: Module, port: Any, write: int) -> tuple[Signal, Signal]:
        """Requests are within the memory; atoms asked for so far, before this cycle."""
        name = "writes" if write else "reads"
        request, config = port.request, self.config
        asked = Signal(_COUNT, name=f"asked_{name}")
        end = request.payload.atom + request.payload.count
        m.d.comb += [
            request.ready.eq(free(m, 1, f"{name}_ready")),
            Assert(~request.valid | (request.payload.count != 0)),
            Assert(~request.valid | (end <= 1 << config.atom_bits)),
            Assert(request.payload.write == write),
        ]
        taken = request.valid & request.ready
        m.d.sync += asked.eq(asked + Mux(taken, request.payload.count, 0))
        return asked, taken

    def _reads(self, m: Module, port: Any, asked: Value, _: Value, checker: AxiChecker) -> None:
        """Atoms come once they were asked for; all of them are taken."""
        came = Signal(_COUNT)
        valid = free(m, 1, "read_valid")
        read = port.read
        data, error, last = (free(m, 1, f"read_{n}") for n in ("data", "error", "last"))
        payload = Cat(data.replicate(len(read.payload.data)), error, last)
        waited, was = Signal(), Signal(len(payload))
        m.d.sync += [waited.eq(valid & ~read.ready), was.eq(payload)]
        m.d.comb += [
            read.valid.eq(valid),
            read.payload.eq(payload),
            Assume(~valid | (came != asked)),
            Assume(~waited | (valid & (payload == was))),
            Assert((checker.waits_r != 0) | (came == asked)),
        ]
        m.d.sync += came.eq(came + (valid & read.ready))

    def _writes(self, m: Module, port: Any, asked: Value, checker: AxiChecker) -> None:
        """A request is done once all its atoms have been taken."""
        put, dones = Signal(_COUNT), Signal(range(_WAITING))
        ends = Array(Signal(_COUNT, name=f"end_{n}") for n in range(_WAITING))
        tail, done = Signal(range(_WAITING)), free(m, 1, "done")
        request = port.request
        m.d.comb += [
            port.write.ready.eq(free(m, 1, "write_ready")),
            port.done.eq(done),
            port.refused.eq(free(m, 1, "refused")),
            Assume(~done | ((dones != tail) & (put >= ends[dones]))),
            # Nothing is told before it is done, and no data is left over or missing then.
            Assert((checker.waits_b != 0) | ((dones == tail) & (put == asked))),
        ]
        m.d.sync += [
            put.eq(put + (port.write.valid & port.write.ready)),
            dones.eq(dones + done),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += [ends[tail].eq(asked + request.payload.count), tail.eq(tail + 1)]


def bursts_answered(
    config: AxiConfig, *, longest: int = 4, marked: bool = False, mutants: Iterable[Mutant] = ()
) -> str:
    """All rules of the bus hold, and requests are within the memory and as many as atoms.

    Parameters
    ----------
    config
        Bus and memory.
    longest
        Most beats of a burst.
    marked
        Managers mark the last beat and no other; else anything.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Bursts(config, longest, marked))
