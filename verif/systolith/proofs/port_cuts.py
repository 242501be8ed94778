"""Port buffer: its runs are the requests, cut. One atom of one request is followed to its run."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.memory import port_buffer as buffer_module
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["runs_are_requests"]


class _Cuts(Elaboratable):
    def __init__(self, config: ControllerConfig, depth: int, count_bits: int) -> None:
        self.config, self.depth, self.count_bits = config, depth, count_bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.buffer = buffer = buffer_module.PortBuffer(
            config, depth=self.depth, count_bits=self.count_bits, small=True
        )
        port: Any = buffer.port
        run: Any = buffer.run
        asked: Any = data.View(
            port.request.payload.shape(), free(m, len(port.request.payload.as_value()), "request")
        )
        valid, word = free(m, 1, "request_valid"), free(m, 1, "word")
        writes, mask = free(m, 1, "write_valid"), free(m, len(port.write.payload.mask), "mask")
        waited, was = Signal(), Signal(len(asked.as_value()))
        held, kept = Signal(), Signal(len(mask))
        m.d.sync += [
            waited.eq(valid & ~port.request.ready),
            was.eq(asked),
            held.eq(writes & ~port.write.ready),
            kept.eq(mask),
        ]
        m.d.comb += [
            port.request.valid.eq(valid),
            port.request.payload.eq(asked),
            port.write.valid.eq(writes),
            port.write.payload.data.eq(word),
            port.write.payload.mask.eq(mask),
            port.read.ready.eq(1),
            run.ready.eq(free(m, 1, "run_ready")),
            Assume(~valid | (asked.count != 0)),
            Assume(~waited | (valid & (asked.as_value() == was))),
            Assume(~held | (writes & (mask == kept))),
        ]
        self._answers(m, run)

        # Atoms that were asked for and are not yet in a run; the one that is followed among them.
        layout = run.run
        taken, leaves = valid & port.request.ready, run.valid & run.ready
        owed = Signal(self.count_bits + 2)
        m.d.sync += owed.eq(owed + Mux(taken, asked.count, 0) - Mux(leaves, layout.count, 0))
        chosen, write = Signal(), Signal()
        ahead, rest = Signal.like(owed), Signal.like(owed)  # before it; from it to the last one
        place = Signal(config.atom_bits)
        offset = free(m, self.count_bits, "offset")
        after = Signal.like(owed)
        m.d.comb += after.eq(owed - Mux(leaves, layout.count, 0))
        with m.If(taken & ~chosen & free(m, 1, "choose")):
            m.d.comb += Assume(offset < asked.count)
            m.d.sync += [
                chosen.eq(1),
                ahead.eq(after + offset),
                rest.eq(asked.count - offset),
                place.eq(asked.atom + offset),
                write.eq(asked.write),
            ]
        waits = chosen & (rest != 0)
        mine = run.valid & waits & (ahead < layout.count)
        with m.If(leaves & waits):
            m.d.sync += [
                ahead.eq(ahead - layout.count),
                rest.eq(Mux(ahead < layout.count, 0, rest)),
            ]
        at = (layout.atom + ahead)[: config.atom_bits]
        m.d.comb += [
            Assert(~run.valid | ((layout.count != 0) & (layout.count <= buffer.longest))),
            Assert(~run.valid | (layout.count <= owed)),
            Assert(~mine | (at == place)),
            Assert(~mine | (layout.write == write)),
            Assert(~mine | (layout.count - ahead <= rest)),  # no run is of two requests
            Cover(mine & leaves & (ahead == 1) & write),
            Cover(leaves & waits & (ahead > layout.count)),
        ]
        stays, before = Signal(), Signal(len(layout.as_value()))
        m.d.sync += [stays.eq(run.valid & ~run.ready), before.eq(layout)]
        m.d.comb += Assert(~stays | (run.valid & (layout.as_value() == before)))
        if config.merges:
            m.d.comb += [
                Assert(~(run.valid & layout.partial) | (layout.write & (layout.count == 1))),
                Cover(leaves & layout.partial & mine),
            ]
        return m

    def _answers(self, m: Module, run: Any) -> None:
        """The controller moves what it was promised, in any cycle, and ends no more runs."""
        leaves, ports = run.valid & run.ready, self.config.ports
        for kind, write in (("read", 0), ("write", 1)):
            sent = leaves & (run.run.write == write)
            moves, ends = free(m, ports, f"{kind}_moves"), free(m, ports, f"{kind}_ends")
            atoms = Signal(bits_for(4 * self.depth), name=f"{kind}_atoms")
            runs = Signal(6, name=f"{kind}_runs")
            m.d.sync += [
                atoms.eq(atoms + Mux(sent, run.run.count, 0) - sum(moves)),
                runs.eq(runs + sent - sum(ends)),
            ]
            m.d.comb += [
                Assume(sum(moves) <= atoms),
                Assume((sum(ends) <= runs) & ((ends & ~moves) == 0)),
                # At most as many runs are left as atoms.
                Assume((atoms - sum(moves)) >= (runs - sum(ends))),
            ]
            if write:
                m.d.comb += [run.fetch.eq(moves), run.done.eq(ends)]
                continue
            for p in range(ports):
                back = getattr(run, f"response{p}")
                m.d.comb += [back.valid.eq(moves[p]), back.last.eq(ends[p])]


def runs_are_requests(
    config: ControllerConfig,
    *,
    depth: int = 8,
    count_bits: int = 3,
    mutants: Iterable[Mutant] = (),
) -> str:
    """Every atom of every request is in one run, in order, at its address; no run is of two.

    Parameters
    ----------
    config
        Of the controller.
    depth, count_bits
        Of the buffer.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Cuts(config, depth, count_bits))
