"""Binary32 sums of a unit's columns: one lane is read and one is written in a cycle."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.delay import taps
from systolith.array.layouts import block_row, y_word
from systolith.array.march import marched_row
from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.fp32 import FRACTION_BITS

__all__ = ["Results", "chosen", "tile_of"]


class Results(Block):
    """Memories of the results of one stage B, and the loop from reading to writing.

    Lane ``k`` of every column tile is in memory ``k``: the ``U`` lanes have their turns one by one,
    so that each memory is used once in ``T`` cycles. The asked word has a register of its own
    behind ``word``, which would make the loop a cycle longer: a row that comes again
    ``loop_cycles`` after its last block takes the result before it is stored.

    Parameters
    ----------
    config : EngineConfig
        Sizes; ``scaled``.

    Members
    -------
    row : In(block_row)
        Whose results are written, ``drain_write - drain_read`` cycles later.
    asked : In(struct of valid and addr)
        Sums that a row of this unit or of another one adds to; ``U`` cycles or more apart.
    word : Out(32)
        Lane ``j`` of what was asked for, ``memory.latency + 1 + j`` cycles later, otherwise zero.
    result : In(32)
        Lane ``j``, ``j`` cycles after lane 0, which is written ``drain_write - drain_read`` cycles
        after its row.
    r_addr, r_tile, busy, r_data
        Read-out, as that of :class:`Accumulator`, of one of the unit's column tiles, if it has
        several.
    """

    row: data.View
    asked: data.View
    word: Signal
    result: Signal
    r_addr: Signal
    r_tile: Signal
    busy: Signal
    r_data: data.View

    def __init__(self, config: EngineConfig) -> None:
        if config.array.formats is None:
            raise ValueError("array.formats must be given: there are no results without them")
        self.config = config
        self.frac = config.array.formats.frac
        tiles = config.unit_lanes // config.array.tile
        super().__init__(
            {
                "row": In(block_row(config)),
                "asked": In(PackedStruct({"valid": 1, "addr": config.y_width})),
                "word": Out(32),
                "result": In(32),
                "r_addr": In(config.y_width),
                **({"r_tile": In(ceil_log2(tiles))} if tiles > 1 else {}),
                "busy": Out(1),
                "r_data": Out(y_word(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, row, asked = self.config, self.row, self.asked
        size, lanes, latency = config.array.tile, config.unit_lanes, config.memory.latency
        before = marched_row(m, row, config.loop_cycles, spacing=lanes)
        end = marched_row(m, row, config.drain_write - config.drain_read, spacing=lanes)
        returns = before.valid & (before.addr == asked.addr)
        stored, again = (
            taps(m, asked.valid & kind, latency + lanes, name)[latency + 1 :]
            for name, kind in (("stored", ~returns), ("again", returns))
        )
        reads = taps(m, asked.valid, lanes - size, "read")[::size]  # of each tile's first lane
        writes = taps(m, end.valid, lanes - 1, "write")
        enables = [turn & (end.cols > j) for j, turn in enumerate(writes)]
        asked_addr: Value = asked.addr
        if config.chained and lanes > size:  # others ask for one cycle only
            held = Signal.like(asked.addr, name="asked_addr", reset_less=True)
            with m.If(asked.valid):
                m.d.sync += held.eq(asked.addr)
            asked_addr = Mux(asked.valid, asked.addr, held)
        address = Signal(ceil_log2(lanes // size) + config.y_width)
        m.d.comb += [
            self.busy.eq(Cat(reads).any()),
            address.eq(
                Mux(
                    self.busy,
                    Cat(tile_of(reads, 1), asked_addr),
                    Cat(self.r_tile, self.r_addr) if lanes > size else self.r_addr,
                )
            ),
        ]
        addresses = taps(m, address, size, "addr", reset_less=True)
        recent = taps(m, self.result, latency, "recent", reset_less=True)[-1]
        words: list[Value] = []
        spare = Const(0, FRACTION_BITS - self.frac)  # places that are always zero
        depth = config.memory.y_depth * (lanes // size)
        for k in range(size):
            memory = Sram(depth=depth, width=32 - len(spare), latency=latency)
            m.submodules[f"lane_{k}"] = place(memory, platform)
            words.append(Cat(spare, memory.r_data))
            m.d.comb += [
                memory.r_addr.eq(addresses[k + 1]),
                memory.w_en.eq(Cat(enables[k::size]).any()),
                memory.w_addr.eq(Cat(tile_of(writes, size), end.addr)),
                memory.w_data.eq(self.result[len(spare) :]),
                self.r_data[k].eq(words[k]),
            ]
        turns = [Cat(stored[k::size]).any() for k in range(size)]
        m.d.comb += self.word.eq(chosen([*turns, Cat(again).any()], [*words, recent]))
        return m


def tile_of(turns: Sequence[Value] | Value, size: int) -> Value:
    """Column tile of the lane whose turn it is, tiles being ``size`` of ``turns`` wide."""
    bits = range(ceil_log2(len(turns) // size))
    return Cat(Cat(t for j, t in enumerate(turns) if j // size >> b & 1).any() for b in bits)


def chosen(turns: Sequence[Value], words: Sequence[Value]) -> Value:
    """The word whose turn it is; zero if there is none."""
    return reduce(or_, (w & t.replicate(len(w)) for t, w in zip(turns, words, strict=True)))
