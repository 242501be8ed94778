"""Beats of a dynamic memory on their way out: latency, faults, and noise between them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block

__all__ = ["Beats", "beat_layout", "flip_layout"]

NOISE_BITS = 64
_SEED, _SPREAD = 0x243F6A8885A308D3, 0x9E3779B97F4A7C15  # digits of pi, of the golden ratio


def flip_layout(width: int) -> data.StructLayout:
    """Bits to flip, of data and behind them check bits; with ``persist`` also in the memory."""
    return PackedStruct({"valid": 1, "persist": 1, "mask": width})


def beat_layout(width: int) -> data.StructLayout:
    """One beat: data and behind them check bits."""
    return PackedStruct({"valid": 1, "payload": width})


class Beats(Block):
    """Delays what was read, drops, adds and upsets beats, and shows noise when there is none.

    A read that is ``issued`` in a cycle leaves ``latency + delay`` cycles later, on its port.
    Faults wait for a beat to act on: a lost beat takes no flip with it, and a flip takes the first
    beat that is not lost and was not added.

    Parameters
    ----------
    width : int
        Bits of a beat.
    place : StructLayout
        See :func:`~systolith.devices.dram_rows.place_layout`.
    ports : int
        Beats in a cycle, in order.
    latency : int
        Cycles, at least 2.
    delay_bits : int
        Of the delay.

    Members
    -------
    issued : In(1) per port
        A read.
    at : In(place) per port
        What it reads.
    stored : In(width) per port
        What the reads of the cycle before found.
    delay, flip, lose, extra
        As in :class:`~systolith.devices.dram.DramDevice`.
    beat : Out(beat_layout) per port
        Beats, in the order of ports.
    upset : Out(flip_layout)
        Flip in the memory, of the beat that takes it; it is of the atom ``upset_at``.
    """

    issued: Signal
    at: data.View
    stored: data.View
    delay: Signal
    flip: data.View
    lose: Signal
    extra: Signal
    beat: data.View
    upset: data.View
    upset_at: data.View

    def __init__(
        self,
        width: int,
        place: data.StructLayout,
        *,
        ports: int = 1,
        latency: int = 2,
        delay_bits: int = 4,
    ) -> None:
        self.width, self.ports, self.latency, self.delay_bits = width, ports, latency, delay_bits
        super().__init__(
            {
                "issued": In(ports),
                "at": In(PackedArray(place, ports)),
                "stored": In(PackedArray(width, ports)),
                "delay": In(delay_bits),
                "flip": In(flip_layout(width)),
                "lose": In(1),
                "extra": In(1),
                "beat": Out(PackedArray(beat_layout(width), ports)),
                "upset": Out(flip_layout(width)),
                "upset_at": Out(place),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        leaves, contents, places = self._flight(m)
        noise = self._noise(m)

        flip, lose, extra = Signal.like(self.flip), Signal(), Signal()
        flip_waits, lose_waits, extra_waits = Signal.like(self.flip), Signal(), Signal()
        m.d.comb += [
            flip.eq(Mux(self.flip.valid, self.flip, flip_waits)),
            lose.eq(self.lose | lose_waits),
            extra.eq(self.extra | extra_waits),
        ]
        # What earlier ports have left over.
        to_flip: Value = flip.valid
        to_lose: Value = lose
        to_add: Value = extra
        m.d.comb += self.upset.mask.eq(flip.mask)
        for p, beat in enumerate(self.beat):
            lost, added = leaves[p] & to_lose, ~leaves[p] & to_add
            hit = Signal(name=f"hit_{p}")
            m.d.comb += [
                hit.eq(leaves[p] & ~lost & to_flip),
                beat.valid.eq((leaves[p] & ~lost) | added),
                beat.payload.eq(noise[p]),
            ]
            with m.If(leaves[p] & ~lost & places[p].usable):
                m.d.comb += beat.payload.eq(contents[p] ^ Mux(hit, flip.mask, 0))
            with m.If(hit):
                m.d.comb += [
                    self.upset.valid.eq(flip.persist & places[p].usable),
                    self.upset_at.eq(places[p]),
                ]
            to_flip, to_lose, to_add = to_flip & ~hit, to_lose & ~lost, to_add & ~added
        m.d.sync += [
            flip_waits.eq(flip),
            flip_waits.valid.eq(to_flip),
            lose_waits.eq(to_lose),
            extra_waits.eq(to_add),
        ]
        return m

    def _flight(self, m: Module) -> tuple[Value, list[Value], list[data.View]]:
        """Which ports have a beat now, what is in it, and where that came from."""
        ports, longest = self.ports, self.latency + (1 << self.delay_bits) - 1
        flying = Signal(ports * longest)
        m.d.sync += flying.eq(Cat(self.issued, flying))
        leaves = Signal(ports)
        m.d.comb += leaves.eq(flying.word_select(self.latency - 1 + self.delay, ports))

        # What was read is there a cycle after its command.
        behind = Signal.like(self.at)
        m.d.sync += behind.eq(self.at)
        entry = PackedStruct({"stored": self.stored.shape(), "at": self.at.shape()})
        depth = 1 << ceil_log2(longest)
        ring: Any = Memory(shape=entry, depth=depth, init=[])
        m.submodules.ring = ring
        store, take = ring.write_port(), ring.read_port(domain="comb")
        head = Signal(ceil_log2(depth))
        m.d.sync += head.eq(head + 1)
        m.d.comb += [
            store.addr.eq(head),
            store.en.eq(1),
            store.data.stored.eq(self.stored),
            store.data.at.eq(behind),
            take.addr.eq(head - (self.latency - 1) - self.delay),
        ]
        return leaves, list(take.data.stored), list(take.data.at)

    def _noise(self, m: Module) -> list[Value]:
        """For each port, what it shows without data: never zero, another in every cycle."""
        state = Signal(NOISE_BITS, init=_SEED)
        first, second = Signal(NOISE_BITS), Signal(NOISE_BITS)
        m.d.comb += [
            first.eq(state ^ (state << 13)),
            second.eq(first ^ (first >> 7)),
        ]
        m.d.sync += state.eq(second ^ (second << 17))
        words = -(-self.width // NOISE_BITS)
        noise = []
        for p in range(self.ports):
            parts = []
            for w in range(words):
                spread = (w * _SPREAD) % (1 << NOISE_BITS)
                parts.append(state.rotate_left(23 * p + 7 * w) ^ Const(spread, NOISE_BITS))
            noise.append(Cat(parts)[: self.width])
        return noise
