"""The whole controller of a pseudo-channel: every atom moves once, to its place, in order.

The memory behind the boundary is as simple as can be: it keeps which row of each bank is open, and
a read gives the address of what was read. One atom of one run, which the solver chooses, is
followed from the run's acceptance on by the number that it has among those of its stream.
"""

from collections.abc import Iterable
from unittest.mock import patch

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import data

from systolith.memory.hbm import config as config_module
from systolith.memory.hbm import controller as controller_module
from systolith.memory.hbm import maintenance as maintenance_module
from systolith.memory.hbm import returns as returns_module
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.refresh import RefreshMode
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["atoms_in_order"]

_COUNT = 4  # bits of a number of atoms or runs, for as long as a bounded proof looks


class _Whole(Elaboratable):
    def __init__(self, config: ControllerConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.controller = controller = controller_module.Controller(config)
        every = (1 << config.slots) - 1
        m.d.comb += [
            controller.row_offer.eq(every),
            controller.long_offer.eq(every),
            controller.column_offer.eq(every),
            controller.mode.eq(RefreshMode.OFF),
            controller.debt_bound.eq(15),
            controller.latency.eq(1),
        ]
        valid = free(m, config.streams, "run_valid")
        m.d.comb += controller.run_valid.eq(valid)
        runs = []
        for n in range(config.streams):
            run = data.View(config.run, free(m, config.run.size, f"run_{n}"))
            m.d.comb += [controller.run[n].eq(run), Assume((run.count != 0) & (run.count <= 2))]
            runs.append(run)
        self._chosen(m, controller, runs)
        return m

    def _chosen(self, m: Module, controller: Controller, runs: list[data.View]) -> None:
        config = self.config
        stream = free(m, config.stream_bits, "stream", constant=True)
        offset = free(m, config.run_bits, "offset", constant=True)
        run = Signal(config.run)
        taken = Signal()
        m.d.comb += [
            run.eq(Array(runs)[stream]),
            taken.eq((controller.run_valid & controller.run_ready).bit_select(stream, 1)),
        ]
        asked = {kind: Signal(_COUNT, name=f"asked_{kind}") for kind in ("read", "write", "runs")}
        m.d.sync += [
            asked["read"].eq(asked["read"] + Mux(taken & ~run.write, run.count, 0)),
            asked["write"].eq(asked["write"] + Mux(taken & run.write, run.count, 0)),
            asked["runs"].eq(asked["runs"] + (taken & run.write)),
        ]
        chosen, writes, last = Signal(), Signal(), Signal()
        number, order, stop = (Signal(_COUNT, name=n) for n in ("number", "order", "stop"))
        atom = Signal(config.atom_bits)
        with m.If(taken & ~chosen & free(m, 1, "choose")):
            before = Mux(run.write, asked["write"], asked["read"])
            m.d.comb += Assume(offset < run.count)
            m.d.sync += [
                chosen.eq(1),
                writes.eq(run.write),
                last.eq(offset == run.count - 1),
                number.eq(before + offset),
                stop.eq(before + run.count),
                order.eq(asked["runs"]),
                atom.eq(run.atom + offset),
            ]
        self._reads(m, controller, stream, asked["read"], chosen & ~writes, number, atom, last)
        fetched = self._writes(m, controller, stream, asked, chosen & writes, number, atom)
        dones: Value = Signal(_COUNT, name="dones")
        counted = dones
        for p in range(config.ports):
            done = getattr(controller, f"done{p}")
            hit = done.valid & (done.stream == stream)
            # In the cycle of the last fetch: every atom of the run is on its way.
            m.d.comb += Assert(~(hit & chosen & writes & (counted == order)) | (fetched == stop))
            m.d.comb += Assert(~hit | (counted < asked["runs"]))
            m.d.comb += Cover(hit & chosen & writes & (counted == order) & (order == 1))
            counted = (counted + hit)[:_COUNT]
        m.d.sync += dones.eq(counted)

    def _reads(
        self,
        m: Module,
        controller: Controller,
        stream: Value,
        asked: Value,
        mine: Value,
        number: Value,
        atom: Value,
        last: Value,
    ) -> None:
        """Responses: the chosen one has its own data."""
        seen = Signal(_COUNT)
        counted: Value = seen
        for p in range(self.config.ports):
            response = getattr(controller, f"response{p}")
            hit = response.valid & (response.stream == stream)
            here = hit & mine & (counted == number)
            m.d.comb += [
                Assert(~here | (response.data == atom)),
                Assert(~here | (response.last == last)),
                Assert(~response.valid | ~response.lost),
                Assert(~hit | (counted < asked)),
                Cover(here & (number == 1)),
            ]
            counted = (counted + hit)[:_COUNT]
        m.d.sync += seen.eq(counted)
        m.d.comb += Assert(~controller.extra)

    def _writes(
        self,
        m: Module,
        controller: Controller,
        stream: Value,
        asked: dict[str, Signal],
        mine: Value,
        number: Value,
        atom: Value,
    ) -> Value:
        """Marks the data of the chosen atom; whether they are written where they should be."""
        config = self.config
        fetched = Signal(_COUNT)
        counted: Value = fetched
        for p in range(config.ports):
            fetch = getattr(controller, f"fetch{p}")
            hit = fetch.valid & (fetch.stream == stream)
            mark = Signal(name=f"mark_{p}")
            m.d.sync += mark.eq(hit & mine & (counted == number))
            m.d.comb += [
                getattr(controller, f"write{p}").data.eq(mark),
                Assert(~hit | (counted < asked["write"])),
            ]
            counted = (counted + hit)[:_COUNT]
        m.d.sync += fetched.eq(counted)
        at = self._memory(m, controller)
        for s, (write, address) in enumerate(at):
            written = getattr(controller, f"data{s * config.ports // config.slots}")
            m.d.comb += [
                Assert(~write | ~written.data[0] | (address == atom)),
                Cover(write & written.data[0] & (number == 1)),
            ]
        return counted

    def _memory(self, m: Module, controller: Controller) -> list[tuple[Value, Value]]:
        """Rows that are open; each slot's write and address. Reads answer a clock later."""
        config = self.config
        rows = [Signal(config.row_bits, name=f"row_of_{b}") for b in range(config.banks)]
        for s in range(config.slots):
            command = controller.row[s]
            bank = Cat(command.bank, command.group, command.sid)
            for b, row in enumerate(rows):
                with m.If(command.valid & (command.op == Op.ACT) & (bank == b)):
                    m.d.sync += row.eq(command.row)
        amap = config.maps[0]  # without exclusive or
        found, share = [], config.slots // config.ports
        for p in range(config.ports):
            valid: Value = Const(0)
            answer: Value = Const(0, config.atom_bits)
            for s in range(p * share, (p + 1) * share):
                command = controller.column[s]
                bank = Cat(command.bank, command.group, command.sid)
                fields: dict[str, Value] = {"row": Array(rows)[bank]}
                fields |= {f: command[f] for f in ("sid", "group", "bank", "column")}
                address = Signal(config.atom_bits, name=f"address_{s}")
                m.d.comb += address.eq(Cat(fields[field][bit] for field, bit in amap.bits))
                read = command.valid & ((command.op == Op.RD) | (command.op == Op.RDA))
                found.append((command.valid & ~read, address))
                valid |= read
                answer |= Mux(read, address, 0)
            back = getattr(controller, f"back{p}")
            m.d.sync += [back.valid.eq(valid), back.data.eq(answer)]
        return found


def atoms_in_order(config: ControllerConfig, mutants: Iterable[Mutant] = ()) -> str:
    """One response for each atom that is read and one ``done`` for each run of writes, in order.

    A response has the data of its address, and marks the last one of its run; data that are
    fetched are written at their address, and a run is done with the fetch of its last atom.

    Parameters
    ----------
    config
        Memory, slots and streams; as small and fast as possible.
    mutants
        Planted faults.
    """
    # Power-up in one command, runs of few atoms, and a ring of few entries for reads on their way.
    short = 7
    with (
        patch.object(maintenance_module, "start_sequence", lambda _: [(Op.PREA, 0)]),
        patch.object(ControllerConfig, "due_bits", 5),
        patch.object(config_module, "_TURN", 4 * config.organisation.atom),
        patch.object(returns_module, "MOST_LATENCY", short),
        patch.object(controller_module, "MOST_LATENCY", short),
        installed(mutants),
    ):
        return to_rtlil(_Whole(config))
