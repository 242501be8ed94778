"""The real units and array under free jobs: queues and memories are the proof's."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Assume, Const, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.utils import bits_for

from systolith.array import accumulator, feeder, unit, weights
from systolith.array.accumulator import Accumulator
from systolith.array.array import Array
from systolith.array.config import EngineConfig
from systolith.array.pe import Pe
from systolith.array.queue import StartQueue
from systolith.array.sequencer import Sequencer, job_layout
from systolith.array.unit import BandUnit
from systolith.array.unit_row import UnitRow
from systolith.memory.sram import Sram
from systolith.numerics.mac import MacCell
from systolith.proofs.reservations import Lead, Reservations
from systolith.proofs.substitute import Mutant, free, installed, recorded, to_rtlil

__all__ = ["Fabric", "Parts", "late"]


class _OpenQueue(StartQueue):
    """Queue whose releases the proof drives."""

    def elaborate(self, platform: object) -> Module:
        return Module()


class _OpenMemory(Sram):
    """Memory whose read port the proof drives."""

    def elaborate(self, platform: object) -> Module:
        return Module()


@dataclass
class Parts:
    """Components of the fabric in the order of their creation: row by row, left to right.

    Processing elements and multipliers: band by band, in each tile by tile, row by row.
    """

    config: EngineConfig
    queues: list[StartQueue] = field(default_factory=list)
    sequencers: list[Sequencer] = field(default_factory=list)
    units: list[BandUnit] = field(default_factory=list)
    x_banks: list[Sram] = field(default_factory=list)
    w_banks: list[Sram] = field(default_factory=list)
    y_banks: list[Sram] = field(default_factory=list)
    sums: list[Accumulator] = field(default_factory=list)
    pes: list[Pe] = field(default_factory=list)
    macs: list[MacCell] = field(default_factory=list)

    def drive_x(self, m: Module, words: Sequence[Value], lanes: bool = False) -> None:
        """Give the activation banks of each band the word that belongs to its row command.

        Parameters
        ----------
        m : Module
            Where the delays go.
        words : Sequence[Value]
            For each band, together with its sequencer's row command: the value of all lanes, or
            with ``lanes`` one bit for each row.
        lanes : bool
            See ``words``.
        """
        array, latency = self.config.array, self.config.memory.latency
        size = array.tile
        for n, word in enumerate(words):
            for u in range(array.row_tiles):
                bank = self.x_banks[n * array.row_tiles + u]
                delayed = late(m, word, latency + u * size, f"x_word_{n}_{u}")
                view = data.View(data.ArrayLayout(array.act_width, size), bank.r_data)
                for k in range(size):
                    value = delayed[u * size + k] if lanes else delayed
                    m.d.comb += view[k].eq(value)

    def drive_w(self, m: Module, words: Sequence[Value]) -> None:
        """Give all lanes of the weight banks the value that belongs to their command.

        ``words``: for each band, together with its sequencer's weight command.
        """
        array, latency = self.config.array, self.config.memory.latency
        size = array.tile
        valid = [u.left_weights.valid for u in self.units]
        for n, word in enumerate(self.marched(m, words, valid, "w_command")):
            for t in range(array.col_tiles):
                bank = self.w_banks[n * array.col_tiles + t]
                delayed = late(m, word, latency + t * size, f"w_word_{n}_{t}")
                view = data.View(data.ArrayLayout(array.weight_width, size), bank.r_data)
                m.d.comb += [view[k].eq(delayed) for k in range(size)]

    def marched(
        self, m: Module, words: Sequence[Value], from_left: Sequence[Value], name: str
    ) -> list[Value]:
        """Each band's own word, or its left neighbour's of ``c`` cycles ago, like its commands."""
        array = self.config.array
        chosen: list[Value] = []
        for n, own in enumerate(words):
            value = own
            if n % array.col_bands:
                left = late(m, chosen[n - 1], array.band_cols, f"{name}_{n}_left")
                value = Mux(from_left[n], left, own)
            chosen.append(value)
        return chosen


def late(m: Module, value: Value, cycles: int, name: str) -> Value:
    """``value`` as it was ``cycles`` cycles ago; zero before the first one."""
    for stage in range(cycles):
        register = Signal(len(value), name=f"{name}_{stage}")
        m.d.sync += register.eq(value)
        value = register
    return value


def _kept(m: Module, take: Value, value: Value, name: str) -> Value:
    """``value`` as of the last cycle before this one with ``take``."""
    register = Signal(len(value), name=name)
    with m.If(take):
        m.d.sync += register.eq(value)
    return register


class _Monitor(Elaboratable):
    """Added last: all components exist when its statements are made."""

    def __init__(self, parts: Parts, states: Callable[[Module, Parts], None]) -> None:
        self.parts = parts
        self.states = states

    def elaborate(self, platform: object) -> Module:
        m = Module()
        calendar = Reservations(m, self.parts.config, self._released(m))
        m.d.comb += Assume(calendar.legal)
        self.states(m, self.parts)
        return m

    def _released(self, m: Module) -> list[Lead]:
        """Drive the queues; return the free jobs of each band as the first of a group.

        The row bands below take the job one after the other, ``r`` cycles apart. A band takes
        one job in ``r`` cycles at most, so one register bridges them.
        """
        config, array = self.parts.config, self.parts.config.array
        leads: list[Lead] = []
        taken: list[Lead] = []
        for n, queue in enumerate(self.parts.queues):
            job = Signal(job_layout(config), name=f"job_{n}")
            below = Signal(bits_for(array.row_bands - 1), name=f"below_{n}")
            rows = Signal(bits_for(array.rows), name=f"rows_{n}")
            lead = Lead(
                free(m, 1, f"load_{n}"),
                data.View(job_layout(config), free(m, len(job.as_value()), f"free_job_{n}")),
                free(m, len(below), f"free_below_{n}"),
                free(m, len(rows), f"free_rows_{n}"),
            )
            leads.append(lead)
            values = (lead.job.as_value(), lead.below, lead.rows)
            handed: Value = Const(0)
            if n >= array.col_bands:
                above = taken[n - array.col_bands]
                handed = late(m, above.load & (above.below != 0), array.band_rows, f"handed_{n}")
                kept = [
                    _kept(m, above.load, value, f"{name}_above_{n}")
                    for value, name in (
                        (above.job.as_value(), "job"),
                        (above.below - 1, "below"),
                        (
                            Mux(above.rows > array.band_rows, above.rows - array.band_rows, 0),
                            "rows",
                        ),
                    )
                ]
                values = tuple(Mux(handed, k, v) for k, v in zip(kept, values, strict=True))
            m.d.comb += [
                job.as_value().eq(values[0]),
                below.eq(values[1]),
                rows.eq(values[2]),
                queue.load.eq(lead.load | handed),
                queue.job.eq(job),
                queue.job.fuse.eq(handed),
                queue.job.bottom.eq(below == 0),
                queue.job.k_rows.eq(Mux(rows > array.band_rows, array.band_rows, rows)),
            ]
            taken.append(Lead(queue.load, job, below, rows))
        return leads


class Fabric(Elaboratable):
    """Array, band units and a monitor.

    Sequencers, feeders, weight banks' control, accumulators, units and array are the real ones
    and wired as in the engine. Each unit's queue releases arbitrary jobs, of which only the
    :class:`Reservations` are assumed, and those of the groups that began in a row band above.

    Parameters
    ----------
    config : EngineConfig
        Sizes.
    states : callable
        Adds what is stated to a module, given the parts. It drives the memories' read ports.
    """

    def __init__(self, config: EngineConfig, states: Callable[[Module, Parts], None]) -> None:
        self.parts = Parts(config)
        self.states = states

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.parts.config
        m.submodules.core = core = Array(config.array)
        rows = [UnitRow(config) for _ in range(config.array.row_bands)]
        for i, row in enumerate(rows):
            m.submodules[f"row_{i}"] = row
            for j in range(config.array.col_bands):
                wiring.connect(m, row.edge[j], core.edge[i][j])
        m.submodules.monitor = _Monitor(self.parts, self.states)
        return m

    def rtlil(self, mutants: Iterable[Mutant] = ()) -> str:
        """The design for SymbiYosys, its top module called ``top``, with faults if given."""
        parts = self.parts
        recordings: list[tuple[str, str, list[Any]]] = [
            ("systolith.array.unit", "StartQueue", parts.queues),
            ("systolith.array.unit", "Sequencer", parts.sequencers),
            ("systolith.array.unit", "Accumulator", parts.sums),
            ("systolith.array.unit_row", "BandUnit", parts.units),
            ("systolith.array.feeder", "Sram", parts.x_banks),
            ("systolith.array.weights", "Sram", parts.w_banks),
            ("systolith.array.accumulator", "Sram", parts.y_banks),
            ("systolith.array.tile", "Pe", parts.pes),
            ("systolith.array.pe", "MacCell", parts.macs),
        ]
        with ExitStack() as stack:
            stack.enter_context(installed(mutants))
            stack.enter_context(patch.object(unit, "StartQueue", _OpenQueue))
            for module in (accumulator, feeder, weights):
                stack.enter_context(patch.object(module, "Sram", _OpenMemory))
            for recording in recordings:
                stack.enter_context(recorded(*recording))
            return to_rtlil(self)
