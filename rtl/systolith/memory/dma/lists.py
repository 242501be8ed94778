"""Where descriptors come from: the host, or lists in large memory."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.dma.codes import DmaCode
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import RECORD, item_layout, list_layout, region_layout

__all__ = ["Lists"]


class _State(IntEnum):
    IDLE = 0
    LOOK = 1
    CHECK = 2
    ASK = 3
    COLLECT = 4
    PASS = 5
    END = 6


class Lists(Block):
    """Passes descriptors on, one after the other; lists go first, each to its end.

    A descriptor of a list is asked for as soon as the one before it was passed on. After the last
    one, or what ends the list early, comes an end of the list with its code and the number of its
    descriptors.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    descriptors : In(stream of RECORD)
        Of the host.
    lists : In(stream of list_layout)
        Lists to be carried out.
    regions, region, most : In(array of region_layout), In, In
        Table of regions; number of the one that lists are in; most descriptors of a list, 0: none.
    item : Out(stream of item_layout)
        Descriptors and ends of lists.
    ask, atom, taken : Out(1), Out, In(1)
        A descriptor is to be read from there; held until ``taken`` unless stopped.
    put, word, bad : In
        An atom of it; ``bad``: it could not be read.
    stopped : In(1)
        End lists.
    """

    descriptors: stream.Interface
    lists: stream.Interface
    regions: data.View
    region: Signal
    most: Signal
    item: stream.Interface
    ask: Signal
    atom: Signal
    taken: Signal
    put: Signal
    word: Signal
    bad: Signal
    stopped: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptors": In(stream.Signature(RECORD)),
                "lists": In(stream.Signature(list_layout())),
                "regions": In(PackedArray(region_layout(config), config.regions)),
                "region": In(config.index_bits),
                "most": In(config.count_bits),
                "item": Out(stream.Signature(item_layout(config))),
                "ask": Out(1),
                "atom": Out(config.atom_bits),
                "taken": In(1),
                "put": In(1),
                "word": In(config.data_bits),
                "bad": In(1),
                "stopped": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_lists"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, item = self.config, self.item
        state = Signal(_State)
        idle = Signal()
        tag, offset = Signal(16), Signal(32)
        number, code = Signal(config.count_bits), Signal(config.code_bits)
        record: Any = Signal(RECORD, reset_less=True)
        parts = config.record_atoms
        part, spoilt = Signal(bits_for(parts)), Signal()
        m.d.comb += [
            idle.eq(state == _State.IDLE),
            self.lists.ready.eq(idle),
            self.descriptors.ready.eq(idle & ~self.lists.valid & item.ready),
            item.valid.eq(
                Mux(
                    idle,
                    self.descriptors.valid & ~self.lists.valid,
                    (state == _State.PASS) | (state == _State.END),
                )
            ),
            item.p.listed.eq(state == _State.END),
            item.p.code.eq(Mux(state == _State.END, code, 0)),
            item.p.number.eq(number),
            item.p.record.eq(Mux(idle, self.descriptors.payload, record)),
        ]
        failure = self._where(m, offset, number)
        m.d.comb += self.ask.eq((state == _State.ASK) & ~self.stopped)
        with m.If(state == _State.END):
            m.d.comb += item.p.record.tag.eq(tag)
        with m.Switch(state):
            with m.Case(_State.IDLE):
                m.d.sync += [tag.eq(self.lists.p.tag), offset.eq(self.lists.p.offset)]
                m.d.sync += number.eq(0)
                with m.If(self.lists.valid):
                    m.d.sync += state.eq(_State.LOOK)
            with m.Case(_State.LOOK):
                m.d.sync += state.eq(_State.CHECK)
            with m.Case(_State.CHECK):
                m.d.sync += [part.eq(0), spoilt.eq(0), code.eq(failure)]
                m.d.sync += state.eq(Mux(failure == 0, _State.ASK, _State.END))
            with m.Case(_State.ASK):
                with m.If(self.stopped):
                    m.d.sync += [state.eq(_State.END), code.eq(DmaCode.STOPPED)]
                with m.Elif(self.taken):
                    m.d.sync += state.eq(_State.COLLECT)
            with m.Case(_State.COLLECT):
                last = part == parts - 1
                with m.If(self.stopped):
                    m.d.sync += [state.eq(_State.END), code.eq(DmaCode.STOPPED)]
                with m.Elif(self.put):
                    m.d.sync += [part.eq(part + 1), spoilt.eq(spoilt | self.bad)]
                    width = min(config.data_bits, RECORD.size)
                    m.d.sync += record.as_value().eq(
                        Cat(record.as_value()[width:], self.word[:width])
                    )
                    with m.If(last):
                        m.d.sync += code.eq(DmaCode.BAD_FETCH)
                        m.d.sync += state.eq(Mux(spoilt | self.bad, _State.END, _State.PASS))
            with m.Case(_State.PASS), m.If(item.ready):
                m.d.sync += [number.eq(number + 1), offset.eq(record.next), code.eq(0)]
                m.d.sync += state.eq(Mux(record.end, _State.END, _State.LOOK))
            with m.Case(_State.END), m.If(item.ready):
                m.d.sync += state.eq(_State.IDLE)
        return m

    def _where(self, m: Module, offset: Signal, number: Signal) -> Signal:
        """Address of the descriptor, two clocks after its offset, and what is wrong with it."""
        config = self.config
        region: Any = Signal(region_layout(config))
        m.d.sync += region.eq(Array(self.regions[n] for n in range(config.regions))[self.region])
        end, failure = Signal(34), Signal(config.code_bits)
        parts = config.record_atoms
        outside = Signal()
        m.d.comb += [
            end.eq(region.base + offset + parts),
            outside.eq((end > region.limit) | (end > 1 << config.atom_bits)),
        ]
        m.d.sync += self.atom.eq(region.base + offset)
        with m.If(self.stopped):
            m.d.comb += failure.eq(DmaCode.STOPPED)
        with m.Elif(number == self.most):
            m.d.comb += failure.eq(DmaCode.TOO_LONG)
        with m.Elif(offset[: ceil_log2(parts)].any() if parts > 1 else 0):
            m.d.comb += failure.eq(DmaCode.MISALIGNED)
        with m.Elif(outside | region.local | ~region.read | (self.region >= config.regions)):
            m.d.comb += failure.eq(DmaCode.BAD_NEXT)
        return failure
