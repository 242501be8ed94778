"""Walks through a scratchpad to repair words, and plants faults where it is told to."""

from enum import Enum

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.scratchpad_codec import WordEncoder
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig

__all__ = ["Scrubber", "access_layout", "found_layout", "inject_layout"]


def access_layout(config: ScratchpadConfig) -> data.StructLayout:
    """What is wanted: the word at ``place``, or these code words of it written.

    ``quiet``: what a read finds is not to be counted.
    """
    return PackedStruct({"write": 1, "quiet": 1, "place": config.place, "lanes": config.lanes})


def found_layout(config: ScratchpadConfig) -> data.StructLayout:
    """A word that was read: as stored, its data and which code words of it were corrected."""
    return PackedStruct(
        {
            "valid": 1,
            "raw": config.stored_bits,
            "data": 8 * config.bytes,
            "corrected": config.lanes,
        }
    )


def inject_layout(config: ScratchpadConfig) -> data.StructLayout:
    """Bits of the stored word at ``place`` that are to be flipped."""
    return PackedStruct({"place": config.place, "flip": config.stored_bits})


class _Step(Enum):
    IDLE = 0
    READ = 1
    READING = 2
    WAIT = 3
    WRITE = 4
    WRITING = 5


class Scrubber(Block):
    """Reads a word, and writes it back if there is a reason, in cycles that nobody else wants.

    Scrubbing goes through all words, one each ``interval`` cycles; from the last one on to the
    first. Code words that could be corrected are written back, others never. A word that is
    written while it is on its way is left as it was written. An injection comes before the next
    word and is never lost: of a word that is written meanwhile, the bits are flipped afterwards.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    interval, pause : In
        Cycles from word to word, 0: no scrubbing; start with no word.
    inject : In(stream)
        Place and bits. Accepted one at a time.
    injected, inject_refused : Out(1)
        For a cycle: the bits are flipped; there was no such place.
    want, access : Out(1), Out(access_layout)
        Until ``granted``, unless the word was written meanwhile.
    word : Out(stored_bits)
        What is to be written; stays until ``done``.
    granted : In(1)
        The access is tried in the next cycle, with ``done`` or ``denied``.
    done, denied : In(1)
        It was made; it was not, try again.
    found : In(found_layout)
        What was read.
    written : In
        ``valid, place``: somebody writes this word now.
    looked, repaired, overtaken : Out(counter_bits)
        Words that were read, written back, and not written back because somebody else did.
    clear : In(1)
        Zero these counters, which stop at their highest value.
    """

    interval: Signal
    pause: Signal
    inject: stream.Interface
    injected: Signal
    inject_refused: Signal
    want: Signal
    access: data.View
    word: Signal
    granted: Signal
    done: Signal
    denied: Signal
    found: data.View
    written: data.View
    looked: Signal
    repaired: Signal
    overtaken: Signal
    clear: Signal

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        super().__init__(
            {
                "interval": In(config.interval_bits),
                "pause": In(1),
                "inject": In(stream.Signature(inject_layout(config))),
                "injected": Out(1),
                "inject_refused": Out(1),
                "want": Out(1),
                "access": Out(access_layout(config)),
                "word": Out(config.stored_bits),
                "granted": In(1),
                "done": In(1),
                "denied": In(1),
                "found": In(found_layout(config)),
                "written": In(PackedStruct({"valid": 1, "place": config.place})),
                "looked": Out(config.counter_bits),
                "repaired": Out(config.counter_bits),
                "overtaken": Out(config.counter_bits),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"scrubber_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        encoder = WordEncoder(config)
        m.submodules.encoder = place(encoder, platform)
        step = Signal(_Step)
        planting, stale = Signal(), Signal()
        here, walk = Signal(config.place), Signal(config.place)
        flip = Signal(config.stored_bits, reset_less=True)
        word = Signal(config.stored_bits, reset_less=True)
        lanes = Signal(config.lanes, reset_less=True)
        hit, overtaken = Signal(), Signal()
        due = self._timer(m, step, planting)

        m.d.comb += [
            encoder.data.eq(self.found.data),
            hit.eq(self.written.valid & (self.written.place == here)),
            self.access.place.eq(here),
            self.access.write.eq(step == _Step.WRITE),
            self.access.quiet.eq(planting),
            self.access.lanes.eq(lanes),
            self.word.eq(word),
        ]
        asked = self.inject.payload
        m.d.sync += self.inject_refused.eq(0)
        with m.Switch(step):
            with m.Case(_Step.IDLE):
                m.d.comb += self.inject.ready.eq(1)
                with m.If(self.inject.valid):
                    inside = (asked.place.offset < config.depth) & (asked.place.bank < config.banks)
                    m.d.sync += [planting.eq(1), here.eq(asked.place), flip.eq(asked.flip)]
                    m.d.sync += [lanes.eq(-1), self.inject_refused.eq(~inside)]
                    with m.If(inside):
                        m.d.sync += step.eq(_Step.READ)
                with m.Elif(due):
                    m.d.sync += [planting.eq(0), here.eq(walk), step.eq(_Step.READ)]
            with m.Case(_Step.READ):
                m.d.comb += self.want.eq(1)
                with m.If(self.granted):
                    m.d.sync += [step.eq(_Step.READING), stale.eq(0)]
            with m.Case(_Step.READING):
                m.d.sync += step.eq(Mux(self.denied, _Step.READ, _Step.WAIT))
            with m.Case(_Step.WAIT):
                m.d.sync += stale.eq(stale | hit)
                with m.If(self.found.valid):
                    m.d.sync += word.eq(Mux(planting, self.found.raw ^ flip, encoder.stored))
                    with m.If(~planting):
                        m.d.sync += lanes.eq(self.found.corrected)
                    m.d.sync += step.eq(_Step.WRITE)
                    with m.If(~planting & ~self.found.corrected.any()):
                        m.d.sync += step.eq(_Step.IDLE)
                    with m.Elif(stale | hit):
                        m.d.comb += overtaken.eq(~planting)
                        m.d.sync += step.eq(Mux(planting, _Step.READ, _Step.IDLE))
            with m.Case(_Step.WRITE):
                m.d.comb += self.want.eq(~hit)
                with m.If(hit):
                    m.d.comb += overtaken.eq(~planting)
                    m.d.sync += step.eq(Mux(planting, _Step.READ, _Step.IDLE))
                with m.Elif(self.granted):
                    m.d.sync += step.eq(_Step.WRITING)
            with m.Case(_Step.WRITING):
                m.d.sync += step.eq(Mux(self.denied, _Step.WRITE, _Step.IDLE))
        ended = Signal()
        read = Signal()
        m.d.comb += [
            ended.eq(self.done & (step == _Step.WRITING)),
            read.eq((step == _Step.WAIT) & self.found.valid & ~planting),
        ]
        m.d.sync += self.injected.eq(ended & planting)
        with m.If(read):
            self._advance(m, walk)
        for counter, event in (
            (self.looked, read),
            (self.repaired, ended & ~planting),
            (self.overtaken, overtaken),
        ):
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
            with m.Elif(event & ~counter.all()):
                m.d.sync += counter.eq(counter + 1)
        return m

    def _timer(self, m: Module, step: Signal, planting: Signal) -> Signal:
        """A word is due; time runs on while it waits, up to the interval."""
        passed = Signal(self.config.interval_bits)
        due = Signal()
        over = Signal()
        m.d.comb += [
            over.eq(passed >= self.interval),
            due.eq(over & (self.interval != 0) & ~self.pause),
        ]
        started = Signal()
        m.d.comb += started.eq((step == _Step.IDLE) & due & ~self.inject.valid)
        with m.If(started):
            m.d.sync += passed.eq(1)
        with m.Elif(~over):
            m.d.sync += passed.eq(passed + 1)
        return due

    def _advance(self, m: Module, walk: data.View) -> None:
        config = self.config
        with m.If(walk.offset != config.depth - 1):
            m.d.sync += walk.offset.eq(walk.offset + 1)
        with m.Else():
            m.d.sync += [walk.offset.eq(0), walk.half.eq(~walk.half)]
            with m.If(walk.half == HALVES - 1):
                m.d.sync += walk.bank.eq(Mux(walk.bank == config.banks - 1, 0, walk.bank + 1))
