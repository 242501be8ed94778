"""Admission: dispatcher, schedule and queues release only what the other proofs assume."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Const, Cover, Elaboratable, Module, Mux, Signal

from systolith.array import dispatcher as dispatcher_module
from systolith.array import queue as queue_module
from systolith.array.config import ArrayConfig, ControlConfig, EngineConfig, MemoryConfig
from systolith.array.interface import layout
from systolith.proofs.reservations import Reservations
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["admission", "admission_config"]

_HORIZON = 64  # cycles ahead that the proof's own appointments reach; more than any bound used


def admission_config(*, queue_depth: int = 2) -> EngineConfig:
    """2 x 2 bands of 2 x 1 elements, two tiles of two rows at the most."""
    return EngineConfig(
        name="admission",
        array=ArrayConfig(rows=4, cols=2, row_bands=2, col_bands=2, tile=1),
        memory=MemoryConfig(x_depth=2, w_depth=4, y_depth=2, latency=1),
        control=ControlConfig(queue_depth=queue_depth, outstanding=2, tag_width=1),
    )


class _Admitted(Elaboratable):
    """The dispatcher and the queues of all bands under arbitrary commands."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bands = config.array.bands
        m.submodules.dispatcher = dut = dispatcher_module.Dispatcher(config)
        m.d.comb += [
            dut.command.valid.eq(free(m, 1, "valid")),
            dut.command.payload.eq(free(m, layout("command", config).size, "command")),
            dut.refusal.ready.eq(free(m, 1, "refusal_ready")),
            dut.slot_free.eq(free(m, 1, "slot_free")),
        ]
        queues = [queue_module.StartQueue(config) for _ in range(bands)]
        for n, queue in enumerate(queues):
            m.submodules[f"queue_{n}"] = queue
            m.d.comb += [
                queue.push.eq(dut.push[n]),
                queue.entry.eq(dut.entry),
                queue.now.eq(dut.now),
                dut.space[n].eq(queue.space),
            ]
            self._on_time(m, dut, queue, n)
        calendar = Reservations(m, config, [q.load for q in queues], [q.job for q in queues])
        m.d.comb += Assert(calendar.legal)
        self._covers(m, queues, calendar)
        return m

    def _on_time(
        self,
        m: Module,
        dut: dispatcher_module.Dispatcher,
        queue: queue_module.StartQueue,
        n: int,
    ) -> None:
        """Each queue releases at the appointed cycles, all of them and no others."""
        due = Signal(_HORIZON, name=f"due_{n}")
        ahead = Signal(len(dut.now), name=f"ahead_{n}")
        # The entry names the cycle before the one in which the job is loaded.
        m.d.comb += ahead.eq(dut.entry.start + 1 - dut.now)
        made = Mux(queue.push, (Const(1) << ahead)[:_HORIZON], 0)
        m.d.sync += due.eq((due | made) >> 1)
        m.d.comb += [
            Assert(queue.load == due[0]),
            Assert(~queue.push | ((ahead != 0) & queue.space)),
        ]

    def _covers(
        self, m: Module, queues: list[queue_module.StartQueue], calendar: Reservations
    ) -> None:
        """A join of all bands while another command still runs, and a split after that."""
        whole = Signal()
        first = queues[0]
        m.d.comb += whole.eq(first.load & (first.job.below == 1) & (first.job.reach == 1))
        joined = Signal()
        with m.If(whole & ~calendar.idle):
            m.d.sync += joined.eq(1)
        m.d.comb += Cover(joined & ~calendar.idle & queues[-1].load)


def admission(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """No job is loaded where a band's cycles are taken, whatever commands the host sends."""
    with installed(mutants):
        return to_rtlil(_Admitted(config))
