"""What each channel has of a piece, found granule by granule."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.interleave_map import InterleaveConfig
from systolith.memory.interleave_pieces import piece_layout

__all__ = ["InterleaveParts", "closing_layout"]


def closing_layout(config: InterleaveConfig) -> data.StructLayout:
    """``channels`` that have a part of a write, ``final`` if the request ends with it."""
    return PackedStruct({"channels": config.channels, "final": 1})


class InterleaveParts(Block):
    """Walks the granules of a piece, one per clock, until every channel has been asked.

    The first granule of a channel is where its part begins; the part's length follows from the
    last round of the piece. A granule whose channel has been asked before takes a clock, too,
    which happens if the map is hashed; still a piece never takes more clocks than it has atoms.
    The next piece starts without a clock between.

    Waits only while the queue of the channel that is to be asked is full, and at the end of a
    write while ``closing`` is.

    Parameters
    ----------
    config : InterleaveConfig
        Sizes.

    Members
    -------
    piece : In(stream of piece_layout)
        Pieces.
    put, space : Out(channels), In(channels)
        A request for this channel; there is room for another one.
    request : Out(payload of a channel's request)
        That request.
    closing : Out(stream of closing_layout)
        Every piece of a write, with the last of its requests; ``valid`` waits for ``ready``.
    """

    piece: Any
    put: Signal
    space: Signal
    request: data.View
    closing: Any

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        request: Any = config.channel.members["request"].signature
        super().__init__(
            {
                "piece": In(stream.Signature(piece_layout(config))),
                "put": Out(config.channels),
                "space": In(config.channels),
                "request": Out(request.members["payload"].shape),
                "closing": Out(stream.Signature(closing_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        return f"interleave_parts_{self.config.key}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, piece = self.config, self.piece
        low, width, near = config.granule_bits, config.channel_bits, config.near_bits
        busy, write, final = Signal(), Signal(), Signal()
        at = Signal(config.round_bits + width)
        end = Signal(config.address_bits)
        asked = Signal(config.channels)
        offset: Value = Const(0)

        # The granule, its channel, and that channel's place in the last round.
        channel, one, met = Signal(width), Signal(config.channels), Signal()
        m.d.comb += [
            channel.eq(config.channel_of(at)),
            one.eq(1 << channel),
            met.eq((asked & one).any()),
        ]
        ending = config.channel_of(end[low:])
        mine, final_place = Signal(width), end[low : low + width]
        if config.hashed:
            m.d.comb += mine.eq(channel ^ ending ^ final_place)
        else:
            m.d.comb += mine.eq(channel)
        tail = Signal(low + 1)
        with m.If(mine < final_place):
            m.d.comb += tail.eq(config.granule)
        with m.Elif(mine == final_place):
            m.d.comb += tail.eq(end[:low] + 1)
        if low:
            offset = Signal(low, name="offset")
        rounds = Signal(config.channel_count_bits)
        m.d.comb += rounds.eq(end[low + width :] - at[width:])
        payload: Any = self.request
        m.d.comb += [
            payload.write.eq(write),
            payload.atom.eq(Cat(offset[:low], at[width:])),
            payload.count.eq((rounds << low) + tail - offset),
        ]

        # The end: the last granule, or nobody left to ask. Only near bits differ within a piece.
        last, go, closes = Signal(), Signal(), Signal()
        m.d.comb += [
            last.eq((at[: near - low] == end[low:near]) | (asked | one).all()),
            closes.eq(busy & last & write),
            go.eq(busy & (met | (self.space & one).any()) & (~closes | self.closing.ready)),
            self.put.eq(Mux(go & ~met, one, 0)),
            self.closing.valid.eq(go & closes),
            self.closing.p.channels.eq(asked | one),
            self.closing.p.final.eq(final),
            piece.ready.eq(~busy | (go & last)),
        ]
        with m.If(piece.ready):
            m.d.sync += [
                busy.eq(piece.valid),
                write.eq(piece.p.write),
                final.eq(piece.p.final),
                at.eq(piece.p.atom[low:]),
                end.eq(piece.p.end),
                asked.eq(0),
            ]
            if isinstance(offset, Signal):
                m.d.sync += offset.eq(piece.p.atom[:low])
        with m.Elif(go):
            m.d.sync += [at.eq(at + 1), asked.eq(asked | one)]
            if isinstance(offset, Signal):
                m.d.sync += offset.eq(0)
        return m
