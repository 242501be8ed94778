"""Stage B: block sums, scaled and added in binary32, one of the unit's lanes in a cycle."""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.delay import taps
from systolith.array.layouts import block_row, total_layout, y_word
from systolith.array.march import marched
from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.fp32 import FRACTION_BITS
from systolith.numerics.fp32_term import EXPONENT_BITS
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
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size, latency = config.unit_lanes, config.memory.latency

        # The addresses go to many memories, from a register of their own.
        row = self._later(m, self.row, 1)
        passed = self._later(m, row, size - 1)
        m.d.comb += [
            self.onward.eq(passed),
            self.onward.cols.eq(Mux(passed.cols > size, passed.cols - size, 0)),
        ]
        turns = taps(m, row.valid, latency + size - 1, "turn")
        total: data.View = Signal(total_layout(config), name="block", reset_less=True)
        code = Signal(8, name="scale", reset_less=True)
        m.d.sync += [
            total.eq(self._waiting(m, row, turns, platform)),
            code.eq(self._scale_of(m, row, turns, platform)),
        ]
        read = self._later(m, row, latency)

        unit = ScaleAdd(
            width=config.term_width, frac=self.formats.frac, rounding=self.formats.rounding
        )
        m.submodules.unit = place(unit, platform)
        self._scale(m, unit, total, self._later(m, read, 1), code)
        self._results(m, row, unit, platform)
        return m

    def _later(self, m: Module, row: data.View, cycles: int) -> data.View:
        if not cycles:
            return row
        late: data.View = marched(
            m,
            row,
            cycles,
            spacing=self.config.unit_lanes,
            tokens=("valid", "last"),
            start="valid",
        )
        return late

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
            scales.r_addr.eq(Cat(self._tile(turns[:lanes]), row.w_tile)),
            scales.w_en.eq(self.w_en.any()),
            scales.w_addr.eq(Cat(self._tile(self.w_en, 1), self.w_addr)),
            scales.w_data.eq(self.w_data),
        ]
        late = turns[latency:]
        lane = [Cat(late[k::size]).any() for k in range(size)]
        return _chosen(lane, [scales.r_data.word_select(k, 8) for k in range(size)])

    def _results(self, m: Module, row: data.View, unit: ScaleAdd, platform: object) -> None:
        """Memories of the results, and the loop from reading to writing.

        Lane ``k`` of every column tile is in memory ``k``: lanes have their turns one by one, so
        that each memory is used once in ``T`` cycles. The chosen word has a register of its own,
        which would make the loop a cycle longer: a row that comes again ``loop_cycles`` after its
        last block takes the result before it is stored.
        """
        config = self.config
        size, lanes, latency = config.array.tile, config.unit_lanes, config.memory.latency
        begin = self._later(m, row, config.drain_read - 1)
        before = self._later(m, begin, config.loop_cycles)
        end = self._later(m, begin, config.drain_write - config.drain_read)
        kinds = {
            "stored": ~begin.fresh & ~(before.valid & (before.addr == begin.addr)),
            "again": ~begin.fresh & before.valid & (before.addr == begin.addr),
        }
        stored, again = (
            taps(m, begin.valid & kind, latency + lanes, name)[latency + 1 :]
            for name, kind in kinds.items()
        )
        reads = taps(m, begin.valid, lanes - size, "read")[::size]  # of each tile's first lane
        writes = taps(m, end.valid, lanes - 1, "write")
        enables = [turn & (end.cols > j) for j, turn in enumerate(writes)]
        address = Signal(ceil_log2(lanes // size) + config.y_width)
        m.d.comb += [
            self.busy.eq(Cat(reads).any()),
            address.eq(
                Mux(
                    self.busy,
                    Cat(self._tile(reads, 1), begin.addr),
                    Cat(self.r_tile, self.r_addr) if lanes > size else self.r_addr,
                )
            ),
        ]
        addresses = taps(m, address, size, "addr", reset_less=True)
        recent = taps(m, unit.result.as_value(), latency, "recent", reset_less=True)[-1]
        words: list[Value] = []
        spare = Const(0, FRACTION_BITS - self.formats.frac)  # places that are always zero
        depth = config.memory.y_depth * (lanes // size)
        for k in range(size):
            memory = Sram(depth=depth, width=32 - len(spare), latency=latency)
            m.submodules[f"results_{k}"] = place(memory, platform)
            words.append(Cat(spare, memory.r_data))
            m.d.comb += [
                memory.r_addr.eq(addresses[k + 1]),
                memory.w_en.eq(Cat(enables[k::size]).any()),
                memory.w_addr.eq(Cat(self._tile(writes), end.addr)),
                memory.w_data.eq(unit.result.as_value()[len(spare) :]),
                self.r_data[k].eq(words[k]),
            ]
        turns = [Cat(stored[k::size]).any() for k in range(size)]
        chosen = Signal(32, name="chosen", reset_less=True)
        m.d.sync += chosen.eq(_chosen([*turns, Cat(again).any()], [*words, recent]))
        m.d.comb += unit.stored.eq(chosen)

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
        return _chosen(turns[latency:], words)

    def _tile(self, turns: Sequence[Value] | Value, lanes: int | None = None) -> Value:
        """Column tile of the lane whose turn it is; of one of ``turns`` for each tile if 1."""
        size = self.config.array.tile if lanes is None else lanes
        bits = range(ceil_log2(self.config.unit_lanes // self.config.array.tile))
        return Cat(Cat(t for j, t in enumerate(turns) if j // size >> b & 1).any() for b in bits)

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
        if config.small_scales:
            sums = self._multiplied(m, sums, read, scale.significand)
            exponent = taps(m, exponent, 2, "exponent", reset_less=True)[-1]
            flags = taps(m, flags, 2, "flags", reset_less=True)[-1]
        m.d.comb += [
            unit.total.eq(sums),
            unit.exponent.eq(exponent.as_signed()),
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


def _chosen(turns: Sequence[Value], words: Sequence[Value]) -> Value:
    """The word whose turn it is; zero if there is none."""
    return reduce(or_, (w & t.replicate(len(w)) for t, w in zip(turns, words, strict=True)))
