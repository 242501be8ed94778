"""Completions: which commands are outstanding, and which have to be reported."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import layout
from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.sram import RegisterFile

__all__ = ["Reporter"]


class Reporter(Block):
    """Keeps one slot for each outstanding command and reports every command exactly once.

    Bands report slots, in any order and at the same time; the host takes completions when it
    likes. Nothing overflows: a command is only accepted with a free slot.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    slot_free, slot : Out(1), Out
        A free slot.
    taken, tag : In(1), In
        Occupy ``slot`` for the command with ``tag``.
    done, done_slot : In(bands), In
        A band finished the command in its slot.
    refusal : In(stream of the completion layout)
        Reported as it comes.
    completion : Out(stream of the completion layout)
        To the host.
    """

    slot_free: Signal
    slot: Signal
    taken: Signal
    tag: Signal
    done: Signal
    done_slot: data.View
    refusal: stream.Interface
    completion: stream.Interface

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        slot = bits_for(config.control.outstanding - 1)
        bands = config.array.bands
        completion = stream.Signature(layout("completion", config))
        super().__init__(
            {
                "slot_free": Out(1),
                "slot": Out(slot),
                "taken": In(1),
                "tag": In(config.control.tag_width),
                "done": In(bands),
                "done_slot": In(PackedArray(slot, bands)),
                "refusal": In(completion),
                "completion": Out(completion),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slots = self.config.control.outstanding
        used, finished = Signal(slots), Signal(slots)
        tags = RegisterFile(depth=slots, width=self.config.control.tag_width)
        m.submodules.tags = place(tags, platform)

        m.d.comb += self.slot_free.eq(~used.all())
        report = Signal.like(self.slot)
        for n in reversed(range(slots)):
            with m.If(~used[n]):
                m.d.comb += self.slot.eq(n)
            with m.If(finished[n]):
                m.d.comb += report.eq(n)

        reached = Cat(
            Cat(
                self.done[band] & (self.done_slot[band] == n)
                for band in range(self.config.array.bands)
            ).any()
            for n in range(slots)
        )
        room = Signal()
        take = Signal()
        chosen = Signal(slots)
        m.d.comb += [
            room.eq(~self.completion.valid | self.completion.ready),
            self.refusal.ready.eq(room),
            take.eq(room & ~self.refusal.valid & finished.any()),
            chosen.eq(Mux(take, 1 << report, 0)),
        ]
        m.d.sync += [
            finished.eq((finished | reached) & ~chosen),
            used.eq((used | Mux(self.taken, 1 << self.slot, 0)) & ~chosen),
        ]
        m.d.comb += [
            tags.w_en.eq(self.taken),
            tags.w_addr.eq(self.slot),
            tags.w_data.eq(self.tag),
            tags.r_addr.eq(report),
        ]
        with m.If(room):
            m.d.sync += self.completion.valid.eq(self.refusal.valid | take)
            m.d.sync += self.completion.payload.eq(self.refusal.payload)
            with m.If(~self.refusal.valid):
                m.d.sync += [
                    self.completion.p.tag.eq(tags.r_data),
                    self.completion.p.code.eq(Code.OK),
                ]
        return m
