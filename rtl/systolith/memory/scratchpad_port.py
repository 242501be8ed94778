"""The side of a scratchpad where words are read and written one by one."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.delay import delayed
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.ports import LocalPort
from systolith.memory.scratchpad_access import ScratchAccess, now_layout, refusal_layout
from systolith.memory.scratchpad_codec import WordDecoder
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scrubber import access_layout, found_layout

__all__ = ["ScratchPort", "port_seen_layout"]


def port_seen_layout(config: ScratchpadConfig) -> data.StructLayout:
    """Whether code words of the word at ``place`` were ``corrected`` or ``lost``."""
    return PackedStruct({"corrected": 1, "lost": 1, "place": config.place})


class ScratchPort(Block):
    """One access a cycle.

    It is that of the first who wants one: the fill, a write that had to read, a request, the
    scrubber.

    After reset every word of every bank is filled with zeros, a place of all halves per cycle. A
    request is decided on in the cycle after it was accepted: a token in the cycle of acceptance
    comes before it. A write of a part of a code word reads, merges and writes back; until then
    the port accepts nothing. A code word that is merged with one that has an error stays an error.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    port : In(LocalPort)
        Requests, each answered ``response_cycles`` after its acceptance.
    filled : Out(1)
        All words have been written.
    still : Out(1)
        No write is between its read and its end: halves may change hands.
    owned : In(groups per half)
        Halves that are the array's.
    busy, busy_offset, op_read, op_write, op_lanes, op_offset, op_stored, refusal
        See :class:`~systolith.memory.scratchpad_access.ScratchAccess`.
    raw : In
        Of the banks.
    seen : Out(port_seen_layout)
        What a read found, or the scrubber.
    want, access, word, granted, done, denied, found, written
        See :class:`~systolith.memory.scrubber.Scrubber`.
    """

    port: Any
    filled: Signal
    still: Signal
    owned: data.View
    busy: data.View
    busy_offset: data.View
    op_read: data.View
    op_write: data.View
    op_lanes: Signal
    op_offset: Signal
    op_stored: Signal
    raw: data.View
    seen: data.View
    refusal: data.View
    want: Signal
    access: data.View
    word: Signal
    granted: Signal
    done: Signal
    denied: Signal
    found: data.View
    written: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        halves = PackedArray(HALVES, config.banks)
        super().__init__(
            {
                "port": In(LocalPort(bytes=config.bytes, address_bits=config.address_bits)),
                "filled": Out(1),
                "still": Out(1),
                "owned": In(PackedArray(config.groups, HALVES)),
                "busy": In(halves),
                "busy_offset": In(PackedArray(config.offset_bits, config.banks)),
                "op_read": Out(halves),
                "op_write": Out(halves),
                "op_lanes": Out(config.lanes),
                "op_offset": Out(config.offset_bits),
                "op_stored": Out(config.stored_bits),
                "raw": In(PackedArray(PackedArray(config.stored_bits, HALVES), config.banks)),
                "seen": Out(port_seen_layout(config)),
                "refusal": Out(refusal_layout(config)),
                "want": In(1),
                "access": In(access_layout(config)),
                "word": In(config.stored_bits),
                "granted": Out(1),
                "done": Out(1),
                "denied": Out(1),
                "found": Out(found_layout(config)),
                "written": Out(PackedStruct({"valid": 1, "place": config.place})),
            }
        )

    @property
    def module_name(self) -> str:
        return f"port_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        access, decoder = ScratchAccess(config), WordDecoder(config)
        m.submodules.access = place(access, platform)
        m.submodules.decoder = place(decoder, platform)
        now: Any = Signal(now_layout(config))
        merging = Signal()
        m.d.comb += [
            access.now.eq(now),
            access.word.eq(self.word),
            access.owned.eq(self.owned),
            access.busy.eq(self.busy),
            access.busy_offset.eq(self.busy_offset),
            *(
                getattr(self, name).eq(getattr(access, name))
                for name in (
                    *("op_read", "op_write", "op_lanes", "op_offset", "op_stored"),
                    *("done", "denied", "written", "refusal"),
                )
            ),
        ]
        with m.If(access.refusal.valid):
            m.d.sync += merging.eq(0)
        came: Any = delayed(m, access.tag, config.latency, "tag")

        # What was read, a cycle later; and its response, another one later.
        at: Any = Signal(came.shape(), name="at")
        raw = Signal(config.stored_bits, reset_less=True)
        m.d.sync += [at.eq(came), raw.eq(self._chosen(m, came.place))]
        looked = Signal()
        response = self.port.response
        partial = self._partial(m, now.mask)
        failed = Signal()
        m.d.comb += [
            decoder.stored.eq(raw),
            looked.eq(at.read),
            self.seen.corrected.eq(looked & ~at.quiet & decoder.corrected.any()),
            self.seen.lost.eq(looked & ~at.quiet & decoder.lost.any()),
            self.seen.place.eq(at.place),
            self.found.valid.eq(at.scrub),
            self.found.raw.eq(raw),
            self.found.data.eq(decoder.data),
            self.found.corrected.eq(decoder.corrected),
            # The mask of a write that merges is still there; nothing else came since.
            failed.eq(Mux(at.merge, decoder.error & partial, decoder.error).any()),
        ]
        answer: Any = Signal(response.shape(), reset_less=False)
        m.d.sync += [
            answer.valid.eq(at.valid),
            answer.refused.eq(at.refused),
            answer.error.eq(looked & failed),
            answer.data.eq(decoder.data),
        ]
        m.d.comb += response.eq(answer)

        self._next(m, now, merging, at, decoder, partial)
        return m

    def _partial(self, m: Module, mask: Value) -> Signal:
        """Code words of which some bytes are written, not all."""
        size = self.config.lane_bytes
        parts = [mask[size * lane :][:size] for lane in range(self.config.lanes)]
        partial = Signal(self.config.lanes)
        m.d.comb += partial.eq(Cat(part.any() & ~part.all() for part in parts))
        return partial

    def _chosen(self, m: Module, where: data.View) -> Value:
        """What the half of this bank read."""
        config = self.config
        words = []
        for bank in range(config.banks):
            for half in range(HALVES):
                hit = (where.bank == bank) & (where.half == half)
                words.append(Mux(hit, self.raw[bank][half], 0))
        chosen = Signal(config.stored_bits)
        m.d.comb += chosen.eq(_any(words))
        return chosen

    def _next(
        self,
        m: Module,
        now: Any,
        merging: Signal,
        at: Any,
        decoder: WordDecoder,
        partial: Signal,
    ) -> None:
        """What is done in the next cycle."""
        config = self.config
        size = config.lane_bytes
        request: Any = self.port.request
        asked = request.payload
        filling = Signal(init=1)
        offset = Signal(config.offset_bits)
        target = Signal(config.place)
        outside, part = Signal(), Signal()
        m.d.comb += [
            self.filled.eq(~filling),
            self.still.eq(~filling & ~merging),
            request.ready.eq(self.still),
            target.eq(asked.address),
            outside.eq((target.offset >= config.depth) | (target.bank >= config.banks)),
            part.eq(asked.write & self._partial(m, asked.mask).any()),
        ]
        m.d.sync += [now[name].eq(0) for name in ("valid", "fill", "back", "scrub")]
        with m.If(filling):
            m.d.sync += [
                now.fill.eq(1),
                now.place.offset.eq(offset),
                now.mask.eq(-1),
                now.data.eq(0),
                now.poison.eq(0),
                offset.eq(offset + 1),
            ]
            with m.If(offset == config.depth - 1):
                m.d.sync += filling.eq(0)
        with m.Elif(at.merge):
            m.d.sync += [
                now.back.eq(1),
                now.merge.eq(0),
                now.poison.eq(now.poison | (decoder.error & partial)),
                merging.eq(0),
            ]
            for byte in range(config.bytes):
                with m.If(~now.mask[byte]):
                    m.d.sync += now.data[8 * byte :][:8].eq(decoder.data[8 * byte :][:8])
        with m.Elif(request.valid & self.still):
            merges = part & ~outside if config.partial == "rmw" else 0
            m.d.sync += [
                now.valid.eq(1),
                now.write.eq(asked.write),
                now.merge.eq(merges),
                now.outside.eq(outside),
                now.mask_bad.eq(part if config.partial == "refuse" else 0),
                now.quiet.eq(0),
                now.place.eq(target),
                now.mask.eq(asked.mask),
                now.data.eq(asked.data),
                now.poison.eq(asked.poison.replicate(config.lanes)),
                merging.eq(merges),
            ]
        with m.Elif(self.want & ~merging):
            m.d.comb += self.granted.eq(1)
            lanes = self.access.lanes
            m.d.sync += [
                now.scrub.eq(1),
                now.write.eq(self.access.write),
                now.merge.eq(0),
                now.quiet.eq(self.access.quiet),
                now.place.eq(self.access.place),
                now.mask.eq(Cat(lanes[lane].replicate(size) for lane in range(config.lanes))),
            ]


def _any(words: list[Value]) -> Value:
    """All of them or-ed, as a tree."""
    while len(words) > 1:
        words = [
            words[i] | words[i + 1] if i + 1 < len(words) else words[i]
            for i in range(0, len(words), 2)
        ]
    return words[0]
