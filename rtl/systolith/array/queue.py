"""Queue of one band: commands that know the cycle in which they start."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.config import EngineConfig
from systolith.array.packed import PackedStruct
from systolith.array.sequencer import job_layout
from systolith.hierarchy import Block, place
from systolith.memory.sram import RegisterFile

__all__ = ["StartQueue", "entry_layout", "now_width"]


def now_width(config: EngineConfig) -> int:
    """Bits of a row band's clock, enough to tell every queued start from the past."""
    return config.time_width + 1


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """A job and the clock value in the cycle before it is loaded."""
    return PackedStruct({"start": now_width(config), "job": job_layout(config)})


class StartQueue(Block):
    """Holds scheduled jobs in order and releases each in its cycle.

    Start times are computed beforehand and increase by 2 or more, so nothing here waits for
    anything but the clock. The next start stands in a register two cycles after it was pushed;
    the job itself is read from the queue's memory when it is released.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    push, entry : In(1), In(entry_layout)
        Append a job; only while ``space`` is set.
    space : Out(1)
        Another entry fits.
    now : In
        The clock of the row band.
    load, job : Out(1), Out(job_layout)
        The head, in the cycle of its start.
    """

    push: Signal
    entry: data.View
    space: Signal
    now: Signal
    load: Signal
    job: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "push": In(1),
                "entry": In(entry_layout(config)),
                "space": Out(1),
                "now": In(now_width(config)),
                "load": Out(1),
                "job": Out(job_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        waiting = Signal()  # `start` is that of a job in the queue
        start = Signal(now_width(self.config), reset_less=True)
        m.d.sync += self.load.eq(waiting & ~self.load & (start == self.now))
        if self.config.control.queue_depth == 1:
            self._single(m, waiting, start)
        else:
            self._several(m, waiting, start, platform)
        return m

    def _single(self, m: Module, waiting: Signal, start: Signal) -> None:
        job = Signal(job_layout(self.config), reset_less=True)
        m.d.comb += [self.space.eq(~waiting), self.job.eq(job)]
        with m.If(self.push):
            m.d.sync += [start.eq(self.entry.start), job.eq(self.entry.job), waiting.eq(1)]
        with m.Elif(self.load):
            m.d.sync += waiting.eq(0)

    def _several(self, m: Module, waiting: Signal, start: Signal, platform: object) -> None:
        depth = self.config.control.queue_depth  # a power of two: the pointers wrap
        starts = RegisterFile(depth=depth, width=now_width(self.config))
        jobs = RegisterFile(depth=depth, width=job_layout(self.config).size)
        m.submodules.starts = place(starts, platform)
        m.submodules.jobs = place(jobs, platform)
        head, tail = Signal(range(depth)), Signal(range(depth))
        count = Signal(bits_for(depth))
        take = Signal()  # a start that is not yet in the register moves there
        for store, value in ((starts, self.entry.start), (jobs, self.entry.job)):
            m.d.comb += [store.w_en.eq(self.push), store.w_addr.eq(tail), store.w_data.eq(value)]
        m.d.comb += [
            self.space.eq(count != depth),
            starts.r_addr.eq(head + waiting),
            jobs.r_addr.eq(head),
            self.job.eq(jobs.r_data),
            take.eq(Mux(waiting, self.load & (count > 1), count != 0)),
        ]
        with m.If(take):
            m.d.sync += start.eq(starts.r_data)
        m.d.sync += [
            waiting.eq(take | (waiting & ~self.load)),
            count.eq(count + self.push - self.load),
            head.eq(head + self.load),
            tail.eq(tail + self.push),
        ]
