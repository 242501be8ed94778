"""Admission, in three steps: what is released to the sequencers keeps to the reservations.

The dispatcher forms only jobs that agree with themselves and hands their true length to the
schedule; the schedule appoints no start before its bands are free; the queues release at the
appointed cycles. Together: a job never meets a band in the middle of another one.
"""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from systolith.array import dispatcher as dispatcher_module
from systolith.array import queue as queue_module
from systolith.array import schedule as schedule_module
from systolith.array.config import ArrayConfig, ControlConfig, EngineConfig, MemoryConfig
from systolith.array.interface import layout
from systolith.array.queue import now_width
from systolith.array.schedule import Schedule
from systolith.proofs.fabric import late
from systolith.proofs.reservations import all_of, any_of, group_sizes, job_cycles, sound
from systolith.proofs.substitute import Mutant, free, installed, recorded, to_rtlil

__all__ = ["admission_config", "dispatch", "release", "scheduling"]


def admission_config(*, bands: int = 2) -> EngineConfig:
    """``bands`` x ``bands`` bands of 2 x 1 elements, up to two tiles of three rows."""
    return EngineConfig(
        name="admission",
        array=ArrayConfig(rows=2 * bands, cols=bands, row_bands=bands, col_bands=bands, tile=1),
        memory=MemoryConfig(x_depth=4, w_depth=4, y_depth=3, latency=1),
        control=ControlConfig(queue_depth=2, outstanding=4, tag_width=1),
    )


def _lag(config: EngineConfig, band: int) -> int:
    """Cycles by which ``band`` lags behind the first one when all are fused."""
    array = config.array
    i, j = divmod(band, array.col_bands)
    return i * array.band_rows + j * array.band_cols


class _Dispatched(Elaboratable):
    """The dispatcher under arbitrary commands."""

    def __init__(self, config: EngineConfig, schedules: list[Schedule]) -> None:
        self.config = config
        self.schedules = schedules

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.dispatcher = dut = dispatcher_module.Dispatcher(config)
        m.d.comb += [
            dut.command.valid.eq(free(m, 1, "valid")),
            dut.command.payload.eq(free(m, layout("command", config).size, "command")),
            dut.refusal.ready.eq(free(m, 1, "refusal_ready")),
            dut.slot_free.eq(free(m, 1, "slot_free")),
            dut.space.eq(free(m, config.array.bands, "space")),
        ]
        m.submodules.monitor = _DispatchMonitor(self, dut)
        return m


class _DispatchMonitor(Elaboratable):
    """Added last, when the dispatcher has made its schedule."""

    def __init__(self, design: _Dispatched, dut: dispatcher_module.Dispatcher) -> None:
        self.design = design
        self.dut = dut

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, dut = self.design.config, self.dut
        array = config.array
        (schedule,) = self.design.schedules
        job = dut.entry.job
        total = late(m, schedule.total, 1, "total")
        m.d.comb += Assert(schedule.commit == dut.push.any())
        for n in range(array.bands):
            i, j = divmod(n, array.col_bands)
            first = Signal(name=f"first_{n}")
            m.d.comb += first.eq(dut.push[n] & ~dut.fuse[i])
            groups = [
                self._group(dut, schedule, (i, j), (down, right))
                for down in group_sizes(i, array.row_bands)
                for right in group_sizes(j, array.col_bands)
            ]
            m.d.comb += [
                Assert(
                    ~first
                    | all_of(
                        [
                            any_of(groups),
                            sound(config, job),
                            total == job_cycles(job, array.band_rows),
                            schedule.skew == _lag(config, n),
                            schedule.column_skew == j * array.band_cols,
                        ]
                    )
                ),
                Cover(first & (job.inner_end != 0)),
            ]
        return m

    def _group(
        self,
        dut: dispatcher_module.Dispatcher,
        schedule: Schedule,
        first: tuple[int, int],
        size: tuple[int, int],
    ) -> Value:
        """The jobs are those of the group that begins at ``first`` and has ``size`` more bands."""
        array = self.design.config.array
        (i, j), (down, right) = first, size
        heads = [(i + d) * array.col_bands + j for d in range(down + 1)]
        conditions: list[Value] = [
            dut.push == sum(1 << head for head in heads),
            schedule.members == sum(1 << (head + q) for head in heads for q in range(right + 1)),
            dut.entry.job.reach == right,
            dut.entry.job.n_last <= (right + 1) * array.band_cols,
        ]
        for d in range(down + 1):
            rows, above = (dut.k_rows[i + n] for n in (d, max(d - 1, 0)))
            conditions += [
                dut.fuse[i + d] == (d > 0),
                dut.bottom[i + d] == (d == down),
                rows <= array.band_rows,
                # Rows are used from the top without a gap, and the first band's are never none.
                (rows == 0) | (above == array.band_rows) if d else (rows != 0),
            ]
        return all_of(conditions)


class _Scheduled(Elaboratable):
    """The schedule under arbitrary groups and lengths, as the dispatcher would drive it."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        m.submodules.dut = dut = schedule_module.Schedule(config)
        wait = config.dispatch_steps
        step = Signal(range(wait + 1))
        with m.If(dut.snapshot):
            m.d.sync += step.eq(1)
        with m.Elif(step == wait):
            m.d.sync += step.eq(0)
        with m.Elif(step != 0):
            m.d.sync += step.eq(step + 1)
        gap = Signal.like(dut.gap)
        m.d.sync += gap.eq(dut.gap)
        m.d.comb += [
            dut.snapshot.eq(free(m, 1, "snapshot") & (step == 0) & ~dut.full),
            dut.commit.eq(free(m, 1, "commit") & (step == wait)),
            dut.epoch.eq(free(m, len(dut.epoch), "epoch")),
            dut.total.eq(free(m, len(dut.total), "total")),
            dut.gap.eq(Mux(step == 0, Mux(free(m, 1, "gap"), config.accumulate_gap, 0), gap)),
            Assume(dut.epoch >= config.dispatch_lead),
            Assume(dut.total >= array.band_rows),
            Assume(dut.total <= config.longest_command),
        ]
        group = free(m, bits_for(len(self._groups()) - 1), "group")
        kept = Signal.like(group)
        now = Signal.like(group)
        m.d.comb += [now.eq(Mux(step == 0, group, kept)), Assume(group < len(self._groups()))]
        m.d.sync += kept.eq(now)
        clock = Signal(now_width(config))  # of the first band
        with m.Switch(now):
            for n, (first, members) in enumerate(self._groups()):
                with m.Case(n):
                    m.d.comb += [
                        dut.members.eq(sum(1 << band for band in members)),
                        dut.skew.eq(_lag(config, first)),
                        dut.column_skew.eq(first % array.col_bands * array.band_cols),
                        clock.eq(dut.clocks[first // array.col_bands]),
                    ]
        self._check(m, dut, clock)
        return m

    def _groups(self) -> list[tuple[int, list[int]]]:
        """First band and members of every legal group."""
        array = self.config.array
        return [
            (
                i * array.col_bands + j,
                [
                    (i + d) * array.col_bands + j + r
                    for d in range(below + 1)
                    for r in range(reach + 1)
                ],
            )
            for i in range(array.row_bands)
            for j in range(array.col_bands)
            for below in group_sizes(i, array.row_bands)
            for reach in group_sizes(j, array.col_bands)
        ]

    def _check(self, m: Module, dut: Schedule, clock: Signal) -> None:
        config = self.config
        ahead = Signal(len(clock))
        # The schedule names the cycle before the one in which the job is loaded.
        m.d.comb += [
            ahead.eq(dut.start + 1 - clock),
            Assert(~dut.commit | (ahead >= 3)),  # two cycles pass in the queue
        ]
        total = late(m, dut.total, 1, "total")
        overlap: Value = Const(0)
        joined = Signal()
        with m.If(dut.commit):
            m.d.sync += joined.eq(dut.members.all())
        for n in range(config.array.bands):
            left = Signal(len(clock), name=f"left_{n}")  # cycles until the band is free
            local, joins = Signal(len(clock), name=f"local_{n}"), dut.commit & dut.members[n]
            m.d.comb += [
                local.eq(ahead + _lag(config, n) - dut.skew),
                Assert(~joins | (local >= left)),
            ]
            with m.If(joins):
                m.d.sync += left.eq(local + total - 1)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            overlap = overlap | (joins & (left != 0) & (local == left))
        m.d.comb += [
            Cover(overlap & dut.members.all()),  # all bands, right behind a part of them
            Cover(overlap & ~dut.members.all() & joined),  # and the other way round
        ]


class _Released(Elaboratable):
    """One queue whose appointments lie 2 cycles apart or more."""

    horizon = 8  # cycles ahead of the latest appointment

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = queue_module.StartQueue(self.config)
        ahead = Signal(len(dut.now))
        latest = Signal(range(self.horizon + 1))
        mark = dut.entry.job.accumulate
        m.d.sync += dut.now.eq(dut.now + 1)
        m.d.comb += [
            dut.push.eq(free(m, 1, "push") & dut.space),
            # One field stands for the job: the others go the same way.
            dut.entry.start.eq(free(m, len(dut.entry.start), "start")),
            mark.eq(free(m, 1, "mark")),
            ahead.eq(dut.entry.start + 1 - dut.now),
            Assume(~dut.push | ((ahead >= 3) & (ahead < self.horizon) & (ahead >= latest + 2))),
        ]
        with m.If(dut.push):
            m.d.sync += latest.eq(ahead - 1)
        with m.Elif(latest != 0):
            m.d.sync += latest.eq(latest - 1)
        due, marks = Signal(self.horizon), Signal(self.horizon)
        at = Mux(dut.push, (Const(1) << ahead)[: self.horizon], 0)
        m.d.sync += [
            due.eq((due | at) >> 1),
            marks.eq((marks | Mux(mark, at, 0)) >> 1),
        ]
        m.d.comb += [
            Assert(dut.load == due[0]),
            Assert(~dut.load | (dut.job.accumulate == marks[0])),
            Cover(due[0] & due[2] & (Cat(marks[0], marks[2]) == 1)),
        ]
        return m


def dispatch(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Jobs agree with themselves; the schedule learns their true group and length."""
    schedules: list[Schedule] = []
    with installed(mutants), recorded("systolith.array.dispatcher", "Schedule", schedules):
        return to_rtlil(_Dispatched(config, schedules))


def scheduling(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """No member of a group is appointed before the end of its work."""
    with installed(mutants):
        return to_rtlil(_Scheduled(config))


def release(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """A queue releases each job in its appointed cycle, in order, and no other job."""
    with installed(mutants):
        return to_rtlil(_Released(config))
