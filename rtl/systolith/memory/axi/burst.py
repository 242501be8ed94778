"""Bursts: what is allowed, which atoms they need, and the addresses of their beats."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.axi.signature import DECERR, INCR, OKAY, PAGE_BITS, SLVERR, WRAP, AxiConfig

__all__ = ["Beats", "Planner", "piece_layout"]


def piece_layout(config: AxiConfig) -> data.StructLayout:
    """Consecutive atoms."""
    return PackedStruct({"atom": config.atom_bits, "count": config.count_bits})


class Planner(Block):
    """Checks bursts and tells which atoms they need, whole words only.

    DECERR: the address is beyond the memory. SLVERR: FIXED, reserved, crosses 4 KB, beats wider
    than the bus, WRAP of other than 2, 4, 8, 16 beats or not aligned. Neither needs any atoms. All
    else is one piece, or two if a WRAP does wrap and does not fit a word.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    address : In(stream)
        Bursts as they are asked for.
    burst : Out(stream)
        The same, checked, in order.
    piece : Out(stream)
        Atoms of the bursts that are allowed, in the order of their beats.
    """

    address: stream.Interface
    burst: stream.Interface
    piece: stream.Interface

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "address": In(stream.Signature(config.address)),
                "burst": Out(stream.Signature(config.burst)),
                "piece": Out(stream.Signature(piece_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_planner"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, page = self.config, 1 << PAGE_BITS
        comes, goes, free = Signal(), Signal(), Signal()
        taken, valid, leaves = Signal(config.address), Signal(), Signal()
        m.d.comb += [
            self.address.ready.eq(~comes | goes),
            goes.eq(comes & (~valid | leaves)),
            leaves.eq(valid & free & (~self.burst.valid | self.burst.ready)),
        ]
        with m.If(self.address.ready):
            m.d.sync += [comes.eq(self.address.valid), taken.eq(self.address.payload)]

        # How long it is, in bytes; one clock later where it begins and ends within its 4 KB.
        held: Any = Signal(config.address)
        size, total = Signal(config.bytes.bit_length()), Signal(16)
        with m.If(~valid | leaves):
            m.d.sync += [
                valid.eq(comes),
                held.eq(taken),
                size.eq(Const(1) << taken.size),
                total.eq((taken.len + 1) << taken.size),
            ]
        low, aligned = Signal(PAGE_BITS), Signal(PAGE_BITS)
        end = Signal(17)
        mask, base, top = (Signal(PAGE_BITS, name=n) for n in ("mask", "base", "top"))
        wraps, bad, beyond = Signal(), Signal(), Signal()
        missing: Value = Const(0)  # within the address bits, but not there
        if config.pages:
            missing = held.addr[PAGE_BITS : config.capacity_bits] >= config.pages
        lengths = Cat(held.len == n for n in (1, 3, 7, 15)).any()
        allowed = Mux(wraps, lengths & (aligned == low), (held.burst == INCR) & (end < page))
        m.d.comb += [
            low.eq(held.addr),
            aligned.eq(low & ~(size - 1)),
            end.eq(aligned + total - 1),
            wraps.eq(held.burst == WRAP),
            mask.eq(total - 1),
            base.eq(low & ~mask),
            top.eq(low | mask),
            beyond.eq(held.addr[config.capacity_bits :].any() | missing),
            bad.eq(~allowed | (held.size > (config.bytes - 1).bit_length())),
        ]
        burst = self.burst.payload
        two, good, resp = Signal(), Signal(), Signal(2)
        m.d.comb += [
            two.eq(wraps & (self._word(base) != self._word(top)) & (low != base)),
            good.eq(~beyond & ~bad),
            resp.eq(Mux(beyond, DECERR, Mux(bad, SLVERR, OKAY))),
        ]
        with m.If(~self.burst.valid | self.burst.ready):
            m.d.sync += [
                self.burst.valid.eq(leaves),
                burst.id.eq(held.id),
                burst.low.eq(low),
                burst.wrap.eq(Mux(wraps, mask, -1)),
                burst.len.eq(held.len),
                burst.size.eq(size),
                burst.resp.eq(resp),
                burst.two.eq(two),
            ]

        # Pieces: the second one waits behind the first.
        last = Signal(PAGE_BITS)
        m.d.comb += last.eq(Mux(wraps, top, end))
        pieces = (self._piece(m, held.addr, low, last), self._piece(m, held.addr, base, low - 1))
        second, waits = Signal.like(self.piece.payload), Signal()
        m.d.comb += free.eq(~self.piece.valid | (self.piece.ready & ~waits))
        with m.If(leaves):
            m.d.sync += [
                self.piece.valid.eq(good),
                self.piece.payload.eq(pieces[0]),
                waits.eq(good & two),
                second.eq(pieces[1]),
            ]
        with m.Elif(self.piece.ready):
            m.d.sync += [
                self.piece.valid.eq(waits),
                self.piece.payload.eq(second),
                waits.eq(0),
            ]
        return m

    def _word(self, low: Value) -> Value:
        """Number of a word within its 4 KB."""
        return low[(self.config.word - 1).bit_length() :]

    def _piece(self, m: Module, address: Value, first: Value, last: Value) -> Signal:
        config = self.config
        shift = (config.atoms - 1).bit_length()
        begin, end = Signal(PAGE_BITS), Signal(PAGE_BITS)
        piece = Signal(piece_layout(config))
        words = self._word(end) - self._word(begin) + 1
        m.d.comb += [
            begin.eq(first),
            end.eq(last),
            piece.atom.eq(
                Cat(Const(0, shift), self._word(begin), address[PAGE_BITS : config.capacity_bits])
            ),
            piece.count.eq(words << shift),
        ]
        return piece


class Beats(Block):
    """Addresses of the beats of one burst after the other.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    burst : In(stream)
        Bursts.
    valid, now : Out(1), Out(config.burst)
        There is a beat; its burst, where ``low`` is the address of the beat, and ``len`` the
        number of those that follow it.
    last, ends : Out(1)
        It is the last one; the last one of the burst or the next one is in another word.
    step : In(1)
        Go on to the next beat; only while ``valid``. It is there in the next cycle.
    """

    burst: stream.Interface
    valid: Signal
    now: data.View
    last: Signal
    ends: Signal
    step: Signal

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "burst": In(stream.Signature(config.burst)),
                "valid": Out(1),
                "now": Out(config.burst),
                "last": Out(1),
                "ends": Out(1),
                "step": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_beats"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        now, following = self.now, Signal(PAGE_BITS)
        ahead = (now.low & ~(now.size - 1)) + now.size
        word = (self.config.word - 1).bit_length()
        m.d.comb += [
            following.eq((now.low & ~now.wrap) | (ahead & now.wrap)),
            self.last.eq(now.len == 0),
            self.ends.eq(self.last | (following[word:] != now.low[word:])),
            self.burst.ready.eq(~self.valid | (self.step & self.last)),
        ]
        with m.If(self.burst.ready):
            m.d.sync += [self.valid.eq(self.burst.valid), now.eq(self.burst.payload)]
        with m.Elif(self.step):
            m.d.sync += [now.low.eq(following), now.len.eq(now.len - 1)]
        return m
