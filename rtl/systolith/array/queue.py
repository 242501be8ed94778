"""Queue of one group: commands that know the cycle in which they start."""

from amaranth.hdl import Module, Signal
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
    """A job and the clock value at which it is loaded."""
    return PackedStruct({"start": now_width(config), "job": job_layout(config)})


class StartQueue(Block):
    """Holds scheduled jobs in order and releases each in its cycle.

    Start times are computed beforehand and strictly increase, so the head is always the next one
    and nothing here waits for anything but the clock.

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
        depth = self.config.control.queue_depth
        store = RegisterFile(depth=depth, width=layout.size)
        m.submodules.store = place(store, platform)

        head, tail = Signal(range(depth)), Signal(range(depth))
        count = Signal(bits_for(depth))
        first = data.View(layout, store.r_data)
        m.d.comb += [
            self.space.eq(count != depth),
            store.w_en.eq(self.push),
            store.w_addr.eq(tail),
            store.w_data.eq(self.entry),
            store.r_addr.eq(head),
            self.load.eq((count != 0) & (first.start == self.now)),
            self.job.eq(first.job),
        ]
        m.d.sync += [
            head.eq(head + self.load),
            tail.eq(tail + self.push),
            count.eq(count + self.push - self.load),
        ]
        return m
