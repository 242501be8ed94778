"""Several channels that look like one memory."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.interleave_closing import InterleaveClosing
from systolith.memory.interleave_map import InterleaveConfig
from systolith.memory.interleave_parts import InterleaveParts
from systolith.memory.interleave_pieces import InterleavePieces
from systolith.memory.interleave_turns import InterleaveTurns

__all__ = ["Interleave"]


class Interleave(Block):
    """One port for the memory of several channels, a granule from each in turn.

    A request becomes one request to every channel that has a part of it, since each part is
    consecutive there, hashed or not: see
    :class:`~systolith.memory.interleave_map.InterleaveConfig`. One of more than ``config.longest``
    atoms is cut at multiples of that, so that no part is longer than a channel can be asked for.
    Requests go out ahead of the data, one per clock in the order of the granules: the latencies
    of the channels overlap, and a channel that is late holds up no request of the others before
    ``config.ahead`` requests wait for it or ``config.outstanding`` of the user are under way.

    Read atoms come one per clock in the order of the requests, straight from the channel whose
    turn it is; write atoms go straight to theirs. Nothing is kept here but the order: what comes
    early waits in the buffer of its channel. A user that needs more than an atom per clock takes
    several ports, each with an ``Interleave`` of its own.

    The first request to a channel is offered three clocks after the user's, four if it may have to
    be cut; reads and writes of any length then keep up with one atom per clock. ``done`` is two
    clocks behind the last channel's.

    Order is kept: all requests for one atom go to one channel, in the order of the user, and that
    channel's port carries them out in order; ``done`` waits for every channel of the write, so
    that what any port asks for afterwards sees it wherever it lies.

    Nothing can lock up. The oldest piece that is not finished is the oldest in each of its
    channels, and its data are next in the user's stream and in the order kept here; so it waits
    for nothing but its channels and the user: for a user that lets reads or writes wait, all
    that is younger waits in the end, too, and goes on when it does.

    Parameters
    ----------
    config : InterleaveConfig
        Sizes and map.

    Members
    -------
    user : In(MemoryPort)
        Who asks; see ``config.user``.
    channel0, ... : Out(MemoryPort)
        The channels; see ``config.channel``.
    """

    user: Any

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        ports = {f"channel{n}": Out(config.channel) for n in range(config.channels)}
        super().__init__({"user": In(config.user), **ports})

    @property
    def module_name(self) -> str:
        return f"interleave_{self.config.key}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, user = self.config, self.user
        channels: list[Any] = [getattr(self, f"channel{n}") for n in range(config.channels)]
        pieces, parts = InterleavePieces(config), InterleaveParts(config)
        reads, writes = InterleaveTurns(config), InterleaveTurns(config)
        closing = InterleaveClosing(config)
        asked = channels[0].request.payload.shape()
        queues = [Fifo(depth=config.ahead, width=asked.size) for _ in channels]
        for name, block in (
            ("pieces", pieces),
            ("parts", parts),
            ("reads", reads),
            ("writes", writes),
            ("closing", closing),
            *((f"queue_{n}", b) for n, b in enumerate(queues)),
        ):
            m.submodules[name] = place(block, platform)

        # Requests: a piece is noted in the order of its kind, then goes to its channels.
        piece, known = pieces.piece, Signal()
        m.d.comb += [
            pieces.request.valid.eq(user.request.valid),
            pieces.request.payload.eq(user.request.payload),
            user.request.ready.eq(pieces.request.ready),
            known.eq(Mux(piece.p.write, writes.space, reads.space)),
            parts.piece.valid.eq(piece.valid & known),
            parts.piece.payload.eq(piece.payload),
            piece.ready.eq(parts.piece.ready & known),
            closing.closing.valid.eq(parts.closing.valid),
            closing.closing.payload.eq(parts.closing.payload),
            parts.closing.ready.eq(closing.closing.ready),
            closing.told.eq(Cat(c.done for c in channels)),
            user.done.eq(closing.done),
        ]
        for turns, mine in ((reads, ~piece.p.write), (writes, piece.p.write)):
            m.d.comb += [
                turns.put.eq(piece.valid & piece.ready & mine),
                turns.entry.atom.eq(piece.p.atom),
                turns.entry.end.eq(piece.p.end),
                turns.entry.final.eq(piece.p.final),
            ]
        for n, (queue, c) in enumerate(zip(queues, channels, strict=True)):
            m.d.comb += [
                queue.put.eq(parts.put[n]),
                queue.entry.eq(parts.request),
                parts.space[n].eq(queue.space),
                c.request.valid.eq(queue.valid),
                c.request.payload.eq(queue.head),
                queue.take.eq(c.request.ready & queue.valid),
            ]

        # Data.
        come: Any = Signal(channels[0].read.payload.shape())
        chosen = 0
        for n, c in enumerate(channels):
            word = c.read.payload.as_value()
            chosen |= word & reads.turn[n].replicate(len(word))
            m.d.comb += [
                c.read.ready.eq(reads.valid & reads.turn[n] & user.read.ready),
                c.write.valid.eq(writes.valid & writes.turn[n] & user.write.valid),
                c.write.payload.eq(user.write.payload),
            ]
        ready = Cat(c.write.ready for c in channels)
        valid = Cat(c.read.valid for c in channels)
        m.d.comb += [
            come.eq(chosen),
            user.read.valid.eq(reads.valid & (reads.turn & valid).any()),
            user.read.p.data.eq(come.data),
            user.read.p.error.eq(come.error),
            user.read.p.last.eq(reads.last),
            reads.step.eq(user.read.valid & user.read.ready),
            user.write.ready.eq(writes.valid & (writes.turn & ready).any()),
            writes.step.eq(user.write.valid & user.write.ready),
        ]
        return m
