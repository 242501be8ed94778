"""Queue of one group: commands that know the cycle in which they start."""

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
    """Bits of the engine's clock, enough to tell every queued start from the past."""
    return config.time_width + 1


def entry_layout(config: EngineConfig) -> data.StructLayout:
    """A job and the clock value in the cycle before it is loaded."""
    return PackedStruct({"start": now_width(config), "job": job_layout(config)})


class StartQueue(Block):
    """Holds scheduled jobs in order and releases each in its cycle.

    Start times are computed beforehand and increase by 2 or more, so nothing here waits for
    anything but the clock. The next job stands in registers two cycles after it was pushed;
    ``queue_depth - 1`` more wait in a memory.

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
        The engine's clock.
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
        layout = entry_layout(self.config)
        following = Signal(layout, reset_less=True)
        waiting = Signal()  # `following` holds a job
        m.d.comb += self.job.eq(following.job)
        m.d.sync += self.load.eq(waiting & ~self.load & (following.start == self.now))

        depth = self.config.control.queue_depth - 1
        if not depth:
            m.d.comb += self.space.eq(~waiting)
            with m.If(self.push):
                m.d.sync += [following.eq(self.entry), waiting.eq(1)]
            with m.Elif(self.load):
                m.d.sync += waiting.eq(0)
            return m

        store = RegisterFile(depth=depth, width=layout.size)
        m.submodules.store = place(store, platform)
        head, tail = Signal(range(depth)), Signal(range(depth))
        count = Signal(bits_for(depth))
        take = Signal()
        m.d.comb += [
            self.space.eq(count != depth),
            store.w_en.eq(self.push),
            store.w_addr.eq(tail),
            store.w_data.eq(self.entry),
            store.r_addr.eq(head),
            take.eq((count != 0) & (~waiting | self.load)),
        ]
        with m.If(take):
            m.d.sync += following.eq(data.View(layout, store.r_data))
        m.d.sync += [
            waiting.eq(take | (waiting & ~self.load)),
            count.eq(count + self.push - take),
        ]
        for pointer, moves in ((head, take), (tail, self.push)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == depth - 1, 0, pointer + 1))
        return m
