"""Blocks on their way back: check bits are taken off, atoms corrected, and passed on."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ecc import AtomDecoder
from systolith.memory.sdr.block_code import BLOCK, InlineConfig

__all__ = ["BlockReader", "ask_layout", "event_layout", "merge_layout"]

_ASKED = 4  # requests under way
_CHECK = BLOCK  # in place of the index of an atom: the check bits come


def ask_layout(config: InlineConfig) -> data.StructLayout:
    """A request that has been sent to the memory.

    ``skip``: atoms of its first block that nobody wants; ``count``: atoms that somebody does;
    ``merge``: they are for a block that is to be written; ``scrub``: and nobody asked for that.
    """
    return PackedStruct(
        {
            "merge": 1,
            "scrub": 1,
            "skip": 3,
            "count": config.count_bits,
            "block": config.block_bits,
        }
    )


def merge_layout(config: InlineConfig) -> data.StructLayout:
    """An atom of a block that is to be written, as it was: ``bad`` if it cannot be known."""
    return PackedStruct({"valid": 1, "index": 3, "data": 8 * config.atom, "bad": 1})


def event_layout(config: InlineConfig) -> data.StructLayout:
    """What was found in an atom that was asked for; ``merge`` if its block is written anyway."""
    return PackedStruct(
        {"corrected": 1, "uncorrectable": 1, "merge": 1, "atom": config.block_bits + 3}
    )


class BlockReader(Block):
    """Answers requests from blocks: an atom a clock but for every ninth, two clocks later.

    Parameters
    ----------
    config : InlineConfig
        Sizes.

    Members
    -------
    ask, space : In(stream)
        Requests, in the order in which the memory has them; at most 4 under way.
    raw : In(stream)
        Atoms from the memory.
    read : Out(stream)
        Atoms for the user, with ``error`` if they are beyond correction or the memory lost them
        or their check bits.
    merge : Out(merge_layout)
        Atoms for the writer, which always takes them.
    event : Out(event_layout)
        Not for scrubs.
    idle : Out(1)
        Nothing is under way.
    """

    ask: Any
    raw: Any
    read: Any
    merge: data.View
    event: data.View
    idle: Signal

    def __init__(self, config: InlineConfig) -> None:
        self.config = config
        port = config.user
        super().__init__(
            {
                "ask": In(stream.Signature(ask_layout(config))),
                "raw": In(stream.Signature(port.read_layout)),
                "read": Out(stream.Signature(port.read_layout)),
                "merge": Out(merge_layout(config)),
                "event": Out(event_layout(config)),
                "idle": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"block_reader_{self.config.tag}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        queue = Fifo(depth=_ASKED, width=ask_layout(config).size)
        m.submodules.queue = place(queue, platform)
        asked: Any = data.View(ask_layout(config), queue.head)
        m.d.comb += [
            queue.entry.eq(self.ask.payload),
            self.ask.ready.eq(queue.space),
            queue.put.eq(self.ask.valid & queue.space),
        ]

        # What the next atom is.
        index, block = Signal(range(BLOCK + 1), init=_CHECK), Signal(config.block_bits)
        passed, first = Signal(config.count_bits), Signal(init=1)
        takes, wanted, final = Signal(), Signal(), Signal()
        free = Signal()  # the next stage can take an atom
        checks, checks_bad = Signal(8 * config.atom), Signal()
        m.d.comb += [
            self.raw.ready.eq(queue.valid & free),
            takes.eq(self.raw.valid & self.raw.ready),
            wanted.eq((index != _CHECK) & (~first | (index >= asked.skip))),
            final.eq(wanted & (passed + 1 == asked.count)),
            queue.take.eq(takes & final),
        ]
        with m.If(takes):
            m.d.sync += [
                index.eq(Mux(index == _CHECK, 0, index + 1)),
                passed.eq(passed + wanted),
                checks.eq(Mux(index == _CHECK, self.raw.p.data, checks >> config.ecc.check_bits)),
            ]
            with m.If(index == _CHECK):
                m.d.sync += checks_bad.eq(self.raw.p.error)
            with m.If(index == BLOCK - 1):
                m.d.sync += [first.eq(0), block.eq(block + 1)]
            with m.If(final):
                m.d.sync += [index.eq(_CHECK), first.eq(1), passed.eq(0), block.eq(0)]

        raw_valid = self._correct(
            m, platform, free, takes & wanted, asked, final, index, block, checks, checks_bad
        )
        m.d.comb += self.idle.eq(~queue.valid & ~raw_valid & ~self.read.valid)
        return m

    def _correct(
        self,
        m: Module,
        platform: object,
        free: Signal,
        puts: Value,
        asked: Any,
        final: Value,
        index: Signal,
        block: Signal,
        checks: Signal,
        checks_bad: Signal,
    ) -> Value:
        """Connect decoder and outputs; whether an atom is on its way to them."""
        config = self.config
        decoder = AtomDecoder(config.ecc)
        m.submodules.decoder = place(decoder, platform)
        # As it came, in one register; corrected, in the next.
        raw: Any = Signal(
            PackedStruct(
                {
                    "valid": 1,
                    "data": 8 * config.atom,
                    "check": config.ecc.check_bits,
                    "bad": 1,
                    "last": 1,
                    "merge": 1,
                    "scrub": 1,
                    "atom": config.block_bits + 3,
                }
            )
        )
        moves, held = Signal(), Signal()
        m.d.comb += [
            held.eq(self.read.valid & ~self.read.ready),
            free.eq(~raw.valid | ~held),
            moves.eq(raw.valid & ~held),
            decoder.stored.eq(raw.data),
            decoder.check.eq(raw.check),
        ]
        with m.If(free):
            m.d.sync += [
                raw.valid.eq(puts),
                raw.data.eq(self.raw.p.data),
                raw.check.eq(checks),
                raw.bad.eq(self.raw.p.error | checks_bad),
                raw.last.eq(final),
                raw.merge.eq(asked.merge),
                raw.scrub.eq(asked.scrub),
                raw.atom.eq(((asked.block + block) << 3) | index[:3]),
            ]
        bad, told = Signal(), Signal()
        m.d.comb += [
            bad.eq(raw.bad | decoder.uncorrectable),
            told.eq(moves & ~raw.scrub),
        ]
        m.d.sync += [
            self.event.corrected.eq(told & decoder.corrected & ~bad),
            self.event.uncorrectable.eq(told & bad),
            self.event.merge.eq(raw.merge),
            self.event.atom.eq(raw.atom),
            self.merge.valid.eq(moves & raw.merge),
            self.merge.index.eq(raw.atom[:3]),
            self.merge.data.eq(decoder.data),
            self.merge.bad.eq(bad),
        ]
        with m.If(~held):
            m.d.sync += [
                self.read.valid.eq(moves & ~raw.merge),
                self.read.p.data.eq(decoder.data),
                self.read.p.error.eq(bad),
                self.read.p.last.eq(raw.last),
            ]
        return raw.valid
