"""Whose turn it is: the channels of the atoms of all pieces, in order."""

from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.interleave_map import InterleaveConfig

__all__ = ["InterleaveTurns", "turn_layout"]


def turn_layout(config: InterleaveConfig) -> data.StructLayout:
    """First ``atom`` of a piece (unhashed, its near bits), near bits of ``end``, ``final``."""
    near = config.near_bits
    bits = config.address_bits if config.hashed else near
    return PackedStruct({"atom": bits, "end": near, "final": 1})


class InterleaveTurns(Block):
    """Keeps the pieces under way and goes through their atoms, one per clock.

    A piece has its first turn two clocks after it was put; the next one follows the last atom of
    the one before without a clock between.

    Parameters
    ----------
    config : InterleaveConfig
        Sizes; ``config.outstanding`` pieces and one more are kept.

    Members
    -------
    put, entry, space : In(1), In(turn_layout), Out(1)
        Append a piece, only while there is space.
    valid, turn : Out(1), Out(channels)
        There is an atom; one bit: its channel.
    last : Out(1)
        It is the last one of a request.
    step : In(1)
        To the next atom, only while ``valid`` is set.
    """

    put: Signal
    entry: data.View
    space: Signal
    valid: Signal
    turn: Signal
    last: Signal
    step: Signal

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        super().__init__(
            {
                "put": In(1),
                "entry": In(turn_layout(config)),
                "space": Out(1),
                "valid": Out(1),
                "turn": Out(config.channels),
                "last": Out(1),
                "step": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"interleave_turns_{self.config.key}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        layout = turn_layout(config)
        queue = Fifo(depth=config.outstanding, width=layout.size)
        m.submodules.queue = place(queue, platform)
        piece: Any = Signal(layout)
        ends, free, channel = Signal(), Signal(), Signal(config.channel_bits)
        m.d.comb += [
            queue.put.eq(self.put),
            queue.entry.eq(self.entry),
            self.space.eq(queue.space),
            ends.eq(piece.atom[: config.near_bits] == piece.end),
            free.eq(~self.valid | (self.step & ends)),
            queue.take.eq(free & queue.valid),
            channel.eq(config.channel_of(piece.atom[config.granule_bits :])),
            self.turn.eq(Cat(channel == n for n in range(config.channels))),
            self.last.eq(ends & piece.final),
        ]
        with m.If(free):
            m.d.sync += [self.valid.eq(queue.valid), piece.eq(queue.head)]
        with m.Elif(self.step):
            m.d.sync += piece.atom.eq(piece.atom + 1)
        return m
