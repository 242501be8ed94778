"""Stage B: block sums, scaled and added in binary32, one of the unit's lanes in a cycle."""

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.chain import from_chain, to_chain
from systolith.array.config import EngineConfig
from systolith.array.delay import taps
from systolith.array.draws import Draws
from systolith.array.layouts import block_row, total_layout, y_word
from systolith.array.march import marched_row
from systolith.array.packed import PackedArray
from systolith.array.results import Results, chosen, tile_of
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.fp32_term import EXPONENT_BITS
from systolith.numerics.lfsr import STATE_BITS
from systolith.numerics.scale_add import ScaleAdd
from systolith.numerics.scale_code import decode_scales

__all__ = ["StageB"]


class StageB(Block):
    """Serves the ``U`` lanes of some column tiles in turn with one :class:`ScaleAdd`.

    ::

        blocks --> sums waiting --> lane --> [significands] --> scale, round, add --> results
                                              scales of W ^                 ^             |
                                                                            +-------------+

    Lane ``j`` of a row has its turn ``j`` cycles after lane 0. Its result is in the memory
    ``drain_write + j`` cycles after the row's command, and the next block of the same output may
    follow :attr:`EngineConfig.loop_cycles` cycles behind this one.

    Parameters
    ----------
    config : EngineConfig
        Sizes; ``scaled``.

    Members
    -------
    row : In(block_row)
        A row of complete block sums, rows ``U`` cycles or more apart.
    onward : Out(block_row)
        For the next unit, ``U`` cycles later, with the columns of this one taken off.
    block_en, block_addr, blocks : In
        Complete sums of all lanes, see :class:`Accumulator`.
    w_en, w_addr, w_data : In
        Writes the scales of a weight tile's columns, 8 bits each, for each column tile.
    r_addr, r_tile, busy, r_data
        Read-out, as that of :class:`Accumulator`, of one of the unit's column tiles, if it has
        several.
    start_en, start_addr, start_data : In
        With stochastic rounding: writes of :class:`systolith.array.draws.Draws`.
    to_chain, from_chain : Out(to_chain), In(from_chain)
        Where groups can be taller than a block, see :class:`systolith.array.chain.Chain`.
    """

    row: data.View
    onward: data.View
    block_en: Signal
    block_addr: data.View
    blocks: data.View
    w_en: Signal
    w_addr: Signal
    w_data: Signal
    r_addr: Signal
    r_tile: Signal
    busy: Signal
    r_data: data.View
    to_chain: data.View
    from_chain: data.View
    start_en: Signal
    start_addr: Signal
    start_data: Signal

    def __init__(self, config: EngineConfig) -> None:
        if config.array.formats is None:
            raise ValueError("array.formats must be given: there is no stage B without them")
        self.config = config
        self.formats = config.array.formats
        size, tiles = config.unit_lanes, config.unit_lanes // config.array.tile
        super().__init__(
            {
                "row": In(block_row(config)),
                "onward": Out(block_row(config)),
                "block_en": In(size),
                "block_addr": In(PackedArray(config.y_width, size)),
                "blocks": In(PackedArray(total_layout(config), size)),
                "w_en": In(tiles),
                "w_addr": In(config.scale_width),
                "w_data": In(8 * config.array.tile),
                "r_addr": In(config.y_width),
                **({"r_tile": In(ceil_log2(tiles))} if tiles > 1 else {}),
                "busy": Out(1),
                "r_data": Out(y_word(config)),
                **(_chain_ports(config) if config.chained else {}),
                **(_start_ports(config) if config.stochastic else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, latency = config.unit_lanes, config.memory.latency

        # The addresses go to many memories, from a register of their own.
        row = marched_row(m, self.row, 1, spacing=lanes)
        passed = marched_row(m, row, lanes - 1, spacing=lanes)
        m.d.comb += [
            self.onward.eq(passed),
            self.onward.cols.eq(Mux(passed.cols > lanes, passed.cols - lanes, 0)),
        ]
        turns = taps(m, row.valid, latency + lanes - 1, "turn")
        total: data.View = Signal(total_layout(config), name="block", reset_less=True)
        code = Signal(8, name="scale", reset_less=True)
        m.d.sync += [
            total.eq(self._waiting(m, row, turns, platform)),
            code.eq(self._scale_of(m, row, turns, platform)),
        ]
        read = marched_row(m, row, latency, spacing=lanes)

        unit = ScaleAdd(
            width=config.term_width, frac=self.formats.frac, rounding=self.formats.rounding
        )
        m.submodules.unit = place(unit, platform)
        if config.stochastic:
            draws = Draws(config)
            m.submodules.draws = place(draws, platform)
            m.d.comb += [
                draws.row.eq(row),
                draws.w_en.eq(self.start_en),
                draws.w_addr.eq(self.start_addr),
                draws.w_data.eq(self.start_data),
                unit.random.eq(draws.random),
            ]
        self._scale(m, unit, total, marched_row(m, read, 1, spacing=lanes), code)
        self._results(m, row, unit, platform)
        return m

    def _scale_of(
        self, m: Module, row: data.View, turns: Sequence[Value], platform: object
    ) -> Value:
        """Scale of the lane's column, ``memory.latency`` cycles after its turn."""
        config = self.config
        size, lanes, latency = config.array.tile, config.unit_lanes, config.memory.latency
        tiles = lanes // size
        scales = Sram(depth=tiles * config.max_tiles, width=8 * size, latency=latency)
        m.submodules.scales = place(scales, platform)
        m.d.comb += [
            scales.r_addr.eq(Cat(tile_of(turns[:lanes], size), row.w_tile)),
            scales.w_en.eq(self.w_en.any()),
            scales.w_addr.eq(Cat(tile_of(self.w_en, 1), self.w_addr)),
            scales.w_data.eq(self.w_data),
        ]
        late = turns[latency:]
        lane = [Cat(late[k::size]).any() for k in range(size)]
        return chosen(lane, [scales.r_data.word_select(k, 8) for k in range(size)])

    def _results(self, m: Module, row: data.View, unit: ScaleAdd, platform: object) -> None:
        """The loop: sums that this row adds to, from its own memory or another stage's."""
        config = self.config
        lanes, latency = config.unit_lanes, config.memory.latency
        results = Results(config)
        m.submodules.results = place(results, platform)
        begin = marched_row(m, row, config.drain_read - 1, spacing=lanes)
        adds = begin.valid & ~begin.fresh
        stored = Signal(32, reset_less=True)
        m.d.comb += [
            results.row.eq(begin),
            results.result.eq(unit.result),
            results.r_addr.eq(self.r_addr),
            self.busy.eq(results.busy),
            self.r_data.eq(results.r_data),
            unit.stored.eq(stored),
        ]
        if lanes > config.array.tile:
            m.d.comb += results.r_tile.eq(self.r_tile)
        if not config.chained:
            m.d.comb += [results.asked.valid.eq(adds), results.asked.addr.eq(begin.addr)]
            m.d.sync += stored.eq(results.word)
            return
        late = marched_row(m, begin, latency + 1, spacing=lanes)
        turns = taps(m, adds, latency + lanes, "adds")[latency + 1 :]
        m.d.comb += [
            self.to_chain.valid.eq(adds),
            self.to_chain.addr.eq(begin.addr),
            self.to_chain.source.eq(begin.source),
            self.to_chain.take.eq(late.source),
            self.to_chain.word.eq(results.word),
            results.asked.valid.eq(self.from_chain.valid),
            results.asked.addr.eq(self.from_chain.addr),
        ]
        m.d.sync += stored.eq(self.from_chain.word & Cat(turns).any().replicate(32))

    def _waiting(
        self, m: Module, row: data.View, turns: Sequence[Value], platform: object
    ) -> Value:
        """Complete sum of the lane, ``memory.latency`` cycles after its turn.

        Where the memories' output registers can be cleared, those of the other lanes are.
        """
        config = self.config
        latency = config.memory.latency
        words: list[Value] = []
        for j in range(config.unit_lanes):
            memory = Sram(
                depth=config.memory.y_depth,
                width=total_layout(config).size,
                latency=latency,
                clears=latency > 1,
            )
            m.submodules[f"sums_{j}"] = place(memory, platform)
            m.d.comb += [
                memory.r_addr.eq(row.addr),
                memory.w_en.eq(self.block_en[j]),
                memory.w_addr.eq(self.block_addr[j]),
                memory.w_data.eq(self.blocks[j]),
            ]
            if memory.clears:
                m.d.comb += memory.r_clear.eq(~turns[j])
            words.append(memory.r_data)
        if latency > 1:
            return reduce(or_, words)
        return chosen(turns[latency:], words)

    def _scale(
        self, m: Module, unit: ScaleAdd, total: data.View, read: data.View, code: Value
    ) -> None:
        """Join the scales to the sum: exponents here, significands where there are any."""
        config = self.config
        small = read.small if config.small_scales else Const(0, 1)
        scale = decode_scales(config.scale_formats, code, small)
        nan, plus, minus = (
            total[name] if len(total[name]) else Const(0, 1) for name in ("nan", "plus", "minus")
        )
        sums: Value = total.sum
        exponent: Value = (read.exponent + scale.exponent)[:EXPONENT_BITS]
        flags: Value = Cat(nan | read.nan | scale.nan, plus, minus)
        empty: Value = read.empty if config.chained else Const(0, 1)
        if config.small_scales:
            sums = self._multiplied(m, sums, read, scale.significand)
            exponent = taps(m, exponent, 2, "exponent", reset_less=True)[-1]
            flags = taps(m, flags, 2, "flags", reset_less=True)[-1]
            empty = taps(m, empty, 2, "empty", reset_less=True)[-1]
        if config.chained:
            # Nothing of this block is there, not even its scales. Only -0 leaves every sum as it
            # is: less than any number, rounded.
            sums |= empty.replicate(len(sums))
            exponent = Mux(empty, -1 << EXPONENT_BITS - 1, exponent.as_signed())
            flags = Mux(empty, 0, flags)
        m.d.comb += [
            unit.total.eq(sums),
            unit.exponent.eq(exponent),
            unit.flags.eq(flags),
        ]

    def _multiplied(self, m: Module, sums: Value, read: data.View, significand: Value) -> Value:
        """The sum times both significands, two cycles later; others pass by."""
        config = self.config
        wide = signed(config.term_width)
        factor = Signal(8, name="factor", reset_less=True)
        first = Signal(wide, name="sum_1", reset_less=True)
        second = Signal(wide, name="sum_2", reset_less=True)
        small = Signal(name="small_1", reset_less=True)
        m.d.sync += [
            factor.eq(read.significand * significand),
            first.eq(sums),
            small.eq(read.small),
            second.eq(Mux(small, first[: config.small_bits].as_signed() * factor, first)),
        ]
        return second


def _chain_ports(config: EngineConfig) -> dict[str, Any]:
    return {"to_chain": Out(to_chain(config)), "from_chain": In(from_chain(config))}


def _start_ports(config: EngineConfig) -> dict[str, Any]:
    return {
        "start_en": In(1),
        "start_addr": In(config.scale_width),
        "start_data": In(STATE_BITS),
    }
