"""Runs of one stream: waiting, being walked, being moved."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.sram import RegisterFile

__all__ = ["RunQueue", "head_layout"]


def head_layout(config: ControllerConfig) -> data.StructLayout:
    """What a stream is doing: its run from the next atom on, and the number of its turn."""
    return PackedStruct({**dict(config.run.members), "turn": config.turn_bits})


class RunQueue(Block):
    """Holds the runs of a stream in order.

    Every run is looked at twice: the walker takes it to announce the rows it will visit, and
    gives it the number of its turn; later the column sequencer moves its atoms.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    valid, ready, run : In(1), Out(1), In(config.run)
        A run is taken when both are set.
    waiting, next : Out(1), Out(config.run)
        The first run that has not been walked.
    fresh : Out(1)
        There is one, and none that has been walked.
    walk, turn : In(1), In
        The walker takes it, and gives it this number.
    head_valid, head : Out(1), Out(head_layout)
        The run whose atoms move; it is always one that has been walked.
    moved : In
        Atoms of the head that have been issued, never more than are left.
    ended : Out(1)
        The last one of it was among them.
    """

    valid: Signal
    ready: Signal
    run: data.View
    waiting: Signal
    next: data.View
    fresh: Signal
    walk: Signal
    turn: Signal
    head_valid: Signal
    head: data.View
    moved: Signal
    ended: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "ready": Out(1),
                "run": In(config.run),
                "waiting": Out(1),
                "next": Out(config.run),
                "fresh": Out(1),
                "walk": In(1),
                "turn": In(config.turn_bits),
                "head_valid": Out(1),
                "head": Out(head_layout(config)),
                "moved": In(range(config.ports + 1)),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        runs = RegisterFile(depth=config.runs, width=config.run.size)
        again = RegisterFile(depth=config.runs, width=config.run.size)
        turns = RegisterFile(depth=config.runs, width=config.turn_bits)
        for name, store in (("runs", runs), ("again", again), ("turns", turns)):
            m.submodules[name] = place(store, platform)
        bits = ceil_log2(config.runs)
        tail, walked, head = (Signal(bits + 1, name=n) for n in ("tail", "walked", "next_head"))
        full = (tail ^ head) == config.runs
        put = self.valid & ~full
        for store in (runs, again):
            m.d.comb += [store.w_en.eq(put), store.w_addr.eq(tail), store.w_data.eq(self.run)]
        m.d.comb += [
            self.ready.eq(~full),
            self.waiting.eq(walked != tail),
            self.fresh.eq(self.waiting & ~self.head_valid & (head == walked)),
            runs.r_addr.eq(walked),
            self.next.eq(runs.r_data),
            turns.w_en.eq(self.walk),
            turns.w_addr.eq(walked),
            turns.w_data.eq(self.turn),
            again.r_addr.eq(head),
            turns.r_addr.eq(head),
        ]
        m.d.sync += [tail.eq(tail + put), walked.eq(walked + self.walk)]

        coming = data.View(config.run, again.r_data)
        m.d.comb += self.ended.eq(self.head_valid & (self.head.count == self.moved))
        # The next run takes the place of one that has ended: at once only if there is no time.
        free = ~self.head_valid if config.foresight > 1 else self.ended | ~self.head_valid
        with m.If(free & (head != walked)):
            m.d.sync += [
                self.head_valid.eq(1),
                *(self.head[n].eq(coming[n]) for n in dict(config.run.members)),
                self.head.turn.eq(turns.r_data),
                head.eq(head + 1),
            ]
        with m.Else():
            m.d.sync += [
                self.head_valid.eq(self.head_valid & ~self.ended),
                self.head.atom.eq(self.head.atom + self.moved),
                self.head.count.eq(self.head.count - self.moved),
            ]
        return m
