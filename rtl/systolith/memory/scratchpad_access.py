"""What may touch the banks of a scratchpad in a cycle: the one place where owners are checked."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.scratchpad_codec import WordEncoder
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig

__all__ = ["ScratchAccess", "now_layout", "refusal_layout", "tag_layout"]


def now_layout(config: ScratchpadConfig) -> data.StructLayout:
    """What is wanted of the banks.

    ``valid``: by a request; ``fill``, ``back``, ``scrub``: by the fill, by a write that has read,
    by the scrubber. ``merge``: this write has to read first; ``outside``, ``mask_bad``: it cannot
    be done; ``quiet``: what it finds is not counted; ``poison``: code words that are bad data.
    """
    return PackedStruct(
        {
            "valid": 1,
            "write": 1,
            "merge": 1,
            "outside": 1,
            "mask_bad": 1,
            "fill": 1,
            "back": 1,
            "scrub": 1,
            "quiet": 1,
            "place": config.place,
            "mask": config.bytes,
            "poison": config.lanes,
            "data": 8 * config.bytes,
        }
    )


def tag_layout(config: ScratchpadConfig) -> data.StructLayout:
    """What was done: goes along with the word that is read."""
    return PackedStruct(
        {
            "valid": 1,
            "refused": 1,
            "read": 1,
            "merge": 1,
            "scrub": 1,
            "quiet": 1,
            "place": config.place,
        }
    )


def refusal_layout(config: ScratchpadConfig) -> data.StructLayout:
    """A request that is refused, and one reason."""
    return PackedStruct({"valid": 1, "range": 1, "owner": 1, "mask": 1, "place": config.place})


class ScratchAccess(Block):
    """Carries out what may be carried out, in the same cycle; no state.

    A request never touches a half of the array's. The scrubber may, but not in a cycle in which
    the array reads it; with ``"1R1W"`` it may write another word then.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    now : In(now_layout)
        What is wanted; one of ``valid``, ``fill``, ``back``, ``scrub``, or nothing.
    word : In(stored_bits)
        What the scrubber writes.
    owned : In(groups per half)
        Halves that are the array's.
    busy, busy_offset : In(2 per bank), In(per bank)
        Halves that the array reads in this cycle, and where.
    op_read, op_write, op_lanes, op_offset, op_stored : Out
        Of the banks.
    done, denied : Out(1)
        To the scrubber.
    written : Out
        ``valid, place``: somebody else writes this word.
    refusal : Out(refusal_layout)
        Of a request.
    tag : Out(tag_layout)
        What was done.
    """

    now: data.View
    word: Signal
    owned: data.View
    busy: data.View
    busy_offset: data.View
    op_read: data.View
    op_write: data.View
    op_lanes: Signal
    op_offset: Signal
    op_stored: Signal
    done: Signal
    denied: Signal
    written: data.View
    refusal: data.View
    tag: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        halves = PackedArray(HALVES, config.banks)
        super().__init__(
            {
                "now": In(now_layout(config)),
                "word": In(config.stored_bits),
                "owned": In(PackedArray(config.groups, HALVES)),
                "busy": In(halves),
                "busy_offset": In(PackedArray(config.offset_bits, config.banks)),
                "op_read": Out(halves),
                "op_write": Out(halves),
                "op_lanes": Out(config.lanes),
                "op_offset": Out(config.offset_bits),
                "op_stored": Out(config.stored_bits),
                "done": Out(1),
                "denied": Out(1),
                "written": Out(PackedStruct({"valid": 1, "place": config.place})),
                "refusal": Out(refusal_layout(config)),
                "tag": Out(tag_layout(config)),
            }
        )

    @property
    def clocked(self) -> bool:
        return False

    @property
    def module_name(self) -> str:
        return f"access_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        encoder = WordEncoder(self.config)
        m.submodules.encoder = place(encoder, platform)
        now: Any = self.now
        config = self.config
        size = config.lane_bytes
        here = Signal(PackedArray(HALVES, config.banks))
        theirs, denied = Signal(), Signal()
        busy, owned = [], []
        for bank in range(config.banks):
            for half in range(HALVES):
                m.d.comb += here[bank][half].eq((now.place.bank == bank) & (now.place.half == half))
                owned.append(here[bank][half] & self.owned[half][bank // config.segment])
                reads = here[bank][half] & self.busy[bank][half]
                if config.ports == "1R1W":
                    # A word can be written beside a read of another one.
                    other = self.busy_offset[bank] != now.place.offset
                    reads &= ~(now.write & other)
                busy.append(reads)
        refused, allowed = Signal(), Signal()
        m.d.comb += [
            theirs.eq(Cat(owned).any()),
            denied.eq(Cat(busy).any()),
            refused.eq(now.outside | now.mask_bad | theirs),
            allowed.eq(Mux(now.scrub, ~denied, now.back | (now.valid & ~refused))),
        ]
        read, write = Signal(), Signal()
        m.d.comb += [
            read.eq(allowed & (~now.write | now.merge)),
            write.eq(allowed & now.write & ~now.merge),
            self.op_read.eq(Mux(read, here, 0)),
            self.op_write.eq(Mux(now.fill, ~0, Mux(write, here, 0))),
            self.op_offset.eq(now.place.offset),
            self.op_lanes.eq(
                Cat(now.mask[size * lane :][:size].any() for lane in range(config.lanes))
            ),
            encoder.data.eq(now.data),
            encoder.poison.eq(now.poison),
            self.op_stored.eq(Mux(now.scrub, self.word, encoder.stored)),
            self.done.eq(now.scrub & ~denied),
            self.denied.eq(now.scrub & denied),
            self.written.valid.eq(write & ~now.scrub),
            self.written.place.eq(now.place),
            self.refusal.valid.eq(now.valid & refused),
            self.refusal.range.eq(now.outside),
            self.refusal.mask.eq(now.mask_bad & ~now.outside),
            self.refusal.owner.eq(theirs & ~now.mask_bad & ~now.outside),
            self.refusal.place.eq(now.place),
        ]
        tag: Any = self.tag
        m.d.comb += [
            tag.valid.eq(now.valid),
            tag.refused.eq(refused),
            tag.read.eq(read),
            tag.merge.eq(now.merge & read),
            tag.scrub.eq(now.scrub & read),
            tag.quiet.eq(now.quiet),
            tag.place.eq(now.place),
        ]
        return m
