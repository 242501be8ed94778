"""Checks a descriptor completely, before its first access."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.box import Box
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.decode import Decode
from systolith.memory.dma.descriptor import RECORD, item_layout, plan_layout, region_layout

__all__ = ["CHECK_CYCLES", "Checker"]

_END = 10
CHECK_CYCLES = _END + 2
"""Clocks from a descriptor to its plan, if it has to be looked at in full."""


class Checker(Block):
    """Turns descriptors into plans with absolute addresses, or with the code of their refusal.

    All arithmetic is exact: nothing wraps. A descriptor is checked while the one before it is
    being carried out; it takes :data:`CHECK_CYCLES`, or two if its own fields refuse it.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    item : In(stream of item_layout)
        Descriptors, and ends of lists, which are passed on.
    regions : In(array of region_layout)
        Table of regions; looked up while a descriptor is checked.
    plan : Out(stream of plan_layout)
        In the order of the items.
    """

    item: stream.Interface
    regions: data.View
    plan: stream.Interface

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "item": In(stream.Signature(item_layout(config))),
                "regions": In(PackedArray(region_layout(config), config.regions)),
                "plan": Out(stream.Signature(plan_layout(config))),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_checker"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        decode, box = Decode(config), Box(config)
        m.submodules.decode = place(decode, platform)
        m.submodules.box = place(box, platform)
        record = Signal(RECORD, reset_less=True)
        plan: Any = Signal(plan_layout(config), reset_less=True)
        listed = Signal()
        busy, step = Signal(), Signal(4)
        code = Signal(config.code_bits)
        m.d.comb += [
            self.item.ready.eq(~busy),
            self.plan.payload.eq(plan),
            self.plan.p.code.eq(code),
            decode.record.eq(record),
            box.step.eq(step),
            box.paged.eq(decode.paged),
            box.count.eq(record.count[0]),
            box.tokens.eq(record.count[1]),
            box.first.eq(record.first),
        ]
        for n in range(3):
            m.d.comb += [
                box.last[n].eq(record.count[n] - 1),
                box.memory_stride[n].eq(record.memory_stride[n]),
                box.local_stride[n].eq(record.local_stride[n]),
            ]
        with m.If(~busy):
            m.d.sync += [record.eq(self.item.p.record), busy.eq(self.item.valid), step.eq(0)]
            m.d.sync += [listed.eq(self.item.p.listed), code.eq(self.item.p.code)]
            m.d.sync += plan.move.number.eq(self.item.p.number)
        with m.Else():
            skip = listed | (decode.code != 0) | ~decode.local
            m.d.sync += step.eq(Mux((step == 0) & skip, _END, step + 1))
        with m.If(busy & (step == 0) & ~listed):
            m.d.sync += code.eq(decode.code)
        with m.If(busy & (step > _END)):
            m.d.comb += self.plan.valid.eq(1)
            m.d.sync += step.eq(step)
            with m.If(self.plan.ready):
                m.d.sync += busy.eq(0)
        self._fields(m, record, plan, decode, listed)
        failed = self._ranges(m, record, plan, decode, box, step)
        with m.If(busy & (step == _END) & ~listed & decode.local & (code == 0)):
            m.d.sync += code.eq(failed)
        return m

    def _fields(self, m: Module, record: Any, plan: Any, decode: Decode, listed: Signal) -> None:
        """What the plan takes from the descriptor as it is."""
        whole = (record.memory_stride[0] == 1) | (record.op == DmaOp.FILL)
        m.d.sync += [
            plan.op.eq(record.op),
            plan.before.eq(~listed & record.before),
            plan.after.eq(~listed & record.after),
            plan.row.eq(Mux(whole, record.count[0], 1)),
            plan.page_log2.eq(record.page_log2),
            plan.move.tag.eq(record.tag),
            plan.move.listed.eq(listed),
            plan.move.word.eq(record.first),
        ]
        for n in range(3):
            last = record.count[n] - 1
            m.d.sync += [
                plan.last[n].eq(last if n else Mux(whole, 0, last)),
                plan.stride[n].eq(record.memory_stride[n]),
                plan.move.last[n].eq(last),
                plan.move.stride[n].eq(record.local_stride[n]),
            ]

    def _ranges(
        self, m: Module, record: Any, plan: Any, decode: Decode, box: Box, step: Signal
    ) -> Signal:
        """Steps of the checks against regions; the code they end with."""
        config = self.config
        bits = config.space_bits
        chosen: Any = Signal(region_layout(config))
        which = Signal(config.index_bits)
        m.d.comb += which.eq(
            Mux(
                step == 0,
                record.memory_region,
                Mux(step == 1, record.local_region, record.table_region),
            )
        )
        m.d.comb += chosen.eq(Array(self.regions[n] for n in range(config.regions))[which])
        cap, limit = Signal(bits + 1), Signal(bits + 1)
        m.d.comb += [
            cap.eq(Mux(chosen.local, 1 << config.local_bits, 1 << config.atom_bits)),
            limit.eq(Mux(chosen.limit > cap, cap, chosen.limit)),
        ]
        kept = [
            Signal(PackedStruct({"base": bits, "limit": bits + 1}), name=name)
            for name in ("in_memory", "in_local", "in_table")
        ]
        used = (decode.memory, decode.local, decode.paged)
        for_space = (chosen.local, ~chosen.local, 0)
        reads = (~decode.out, decode.out, 1)
        no_region, no_right = Signal(), Signal()
        with m.If(step == 0):
            m.d.sync += [no_region.eq(0), no_right.eq(0)]
        for n, region in enumerate(kept):
            with m.If(step == n):
                m.d.sync += [region.base.eq(chosen.base), region.limit.eq(limit)]
                with m.If(used[n]):
                    with m.If(for_space[n]):
                        m.d.sync += no_region.eq(1)
                    with m.If(~Mux(reads[n], chosen.read, chosen.write)):
                        m.d.sync += no_right.eq(1)
        m.d.sync += plan.table_local.eq(Mux(step == 2, chosen.local, plan.table_local))

        # Corners of the memory in step 5, of the scratchpad in step 8.
        local = Signal()
        offset, base, end = Signal(bits), Signal(bits), Signal(bits + 1)
        wide = box.sum_bits(config) + 2
        lowest, highest, start = Signal(signed(wide)), Signal(wide), Signal(bits)
        m.d.comb += [
            local.eq(step > 6),
            offset.eq(Mux(local, record.local_offset, record.memory_offset)),
            base.eq(Mux(local, kept[1].base, kept[0].base)),
            end.eq(Mux(local, kept[1].limit, kept[0].limit)),
        ]
        m.d.sync += [
            lowest.eq(offset - box.low),
            highest.eq(base + offset + box.high),
            start.eq(base + offset),
        ]
        outside = (lowest < 0) | (highest >= end)
        memory_range, local_range = Signal(), Signal()
        with m.If(step == 6):
            m.d.sync += [
                memory_range.eq(decode.memory & ~decode.paged & outside),
                plan.memory.eq(Mux(decode.paged, kept[0].base, start)),
            ]
        with m.If(step == 9):
            m.d.sync += [local_range.eq(outside), plan.move.local.eq(start)]
        table_range = self._table(m, record, plan, decode, box, step, kept)
        failed = Signal(config.code_bits)
        for code, bad in (
            (DmaCode.TABLE_RANGE, table_range),
            (DmaCode.LOCAL_RANGE, local_range),
            (DmaCode.MEMORY_RANGE, memory_range),
            (DmaCode.NO_RIGHT, no_right),
            (DmaCode.BAD_REGION, no_region),
        ):
            with m.If(bad):
                m.d.comb += failed.eq(code)
        return failed

    def _table(
        self,
        m: Module,
        record: Any,
        plan: Any,
        decode: Decode,
        box: Box,
        step: Signal,
        kept: list[Any],
    ) -> Signal:
        """Where the page numbers are, from the first to the last that is needed."""
        config = self.config
        position = len(box.position)
        page, first_page = Signal(position + 1), Signal(position)
        final = Signal(position + 1)  # position of the last atom, as its page, as its table atom
        first = Signal(position)
        m.d.sync += [
            final.eq(box.position + box.total - 1),
            plan.position.eq(box.position),
            plan.total.eq(box.total),
            plan.entry.eq(first_page[: config.entries_log2] if config.entries_log2 else 0),
        ]
        shift = record.page_log2[:4]
        m.d.sync += [page.eq(final >> shift), first_page.eq(box.position >> shift)]
        m.d.comb += first.eq(first_page >> config.entries_log2)
        atoms = Signal(position + 1)
        m.d.comb += atoms.eq(page >> config.entries_log2)
        base = Signal(config.space_bits + 1)
        end = Signal(max(position, config.space_bits) + 3)
        m.d.sync += base.eq(kept[2].base + record.table_offset)
        m.d.sync += [
            end.eq(base + atoms),
            plan.table.eq(base + first),
            plan.table_atoms.eq(atoms - first + 1),
        ]
        bad = Signal()
        with m.If(step == 9):
            m.d.sync += bad.eq(decode.paged & (end >= kept[2].limit))
        here: Any = kept[0]
        m.d.sync += plan.size.eq(Mux(here.base < here.limit, here.limit - here.base, 0))
        return bad
