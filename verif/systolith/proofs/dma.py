"""The DMA engine's checker: what is accepted is inside, with everything around it free."""

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import data

from systolith.memory.dma import checker, pages
from systolith.memory.dma.checker import CHECK_CYCLES
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import item_layout, region_layout
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["boxes_inside", "pages_inside", "tables_inside", "view"]


def view(m: Module, layout: data.StructLayout, name: str, *, constant: bool = False) -> Any:
    """Fields that the solver chooses."""
    return data.View(layout, free(m, layout.size, name, constant=constant))


class _Checked(Elaboratable):
    """One descriptor from reset: the checker keeps nothing of those before it."""

    def __init__(self, config: DmaConfig, tables: bool) -> None:
        self.config, self.tables = config, tables

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.dut = dut = checker.Checker(config)
        item = view(m, item_layout(config), "item", constant=True)
        record = item.record
        regions = [
            view(m, region_layout(config), f"region_{n}", constant=True)
            for n in range(config.regions)
        ]
        dut_regions: Any = dut.regions
        m.d.comb += [
            dut.item.valid.eq(1),
            dut.item.payload.eq(item),
            dut.plan.ready.eq(0),
            *(dut_regions[n].eq(region) for n, region in enumerate(regions)),
            Assume(~item.listed & (item.code == 0)),
        ]
        plan: Any = dut.plan.payload
        accepted = Signal()
        clocks = Signal(6)
        m.d.sync += clocks.eq(clocks + 1)
        m.d.comb += [
            accepted.eq(dut.plan.valid & (plan.code == DmaCode.OK) & (plan.op != DmaOp.FENCE)),
            Assert(dut.plan.valid | (clocks < CHECK_CYCLES)),
            Cover(accepted & (clocks < CHECK_CYCLES + 2)),
        ]
        paged = (plan.op == DmaOp.GATHER) | (plan.op == DmaOp.APPEND)
        out = (plan.op == DmaOp.STORE) | (plan.op == DmaOp.APPEND)
        places = [free(m, config.count_bits, f"place_{n}", constant=True) for n in range(3)]
        in_box = Cat(places[n] < record.count[n] for n in range(3)).all()
        if self.tables:
            part = free(m, len(plan.table_atoms), "part", constant=True)
            at = Signal(config.space_bits + 8)
            m.d.comb += [
                at.eq(plan.table + part),
                Assert(
                    ~(accepted & paged & (part < plan.table_atoms))
                    | _inside(regions, record.table_region, at, None, 0)
                ),
            ]
            return m
        for local, used in ((0, (plan.op != DmaOp.FILL) & ~paged), (1, 1)):
            strides = record.local_stride if local else record.memory_stride
            start = plan.move.local if local else plan.memory
            bits = config.local_bits if local else config.atom_bits
            steps = [Signal(range(-(1 << 12), 1 << 12), name=f"step_{local}{n}") for n in range(3)]
            at = Signal(range(-(1 << 14), 1 << 14), name=f"at_{local}")
            for n in range(3):
                kept = strides[n][: bits + 1].as_signed()
                m.d.comb += steps[n].eq(places[n] * kept)
            number = record.local_region if local else record.memory_region
            writes = ~out if local else out
            m.d.comb += [
                at.eq(start + steps[0] + steps[1] + steps[2]),
                Assert(~(accepted & used & in_box) | _inside(regions, number, at, local, writes)),
            ]
        return m


def _inside(
    regions: list[Any], number: Value, at: Value, local: int | None, writes: Value | int
) -> Value:
    """``at`` is in the region of this number, which is of this space and has the right."""
    good = []
    for n, region in enumerate(regions):
        space = 1 if local is None else region.local == local
        right = Mux(writes, region.write, region.read)
        good.append((number == n) & space & right & (at >= region.base) & (at < region.limit))
    return Cat(good).any()


def boxes_inside(config: DmaConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Every atom and every word of an accepted box is in its region, with the right to it.

    For all records and regions. Complete at a depth of ``CHECK_CYCLES + 2``.
    """
    with installed(mutants):
        return to_rtlil(_Checked(config, tables=False))


def tables_inside(config: DmaConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Every atom of a page table that will be read is in its region."""
    with installed(mutants):
        return to_rtlil(_Checked(config, tables=True))


class _Pages(Elaboratable):
    def __init__(self, config: DmaConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.dut = dut = pages.PageWalker(config)
        piece: Any = dut.piece
        constant = {n: free(m, len(getattr(dut, n)), n, constant=True) for n in ("base", "size")}
        for name in ("page_log2", "position", "total"):
            constant[name] = free(m, len(getattr(dut, name)), name, constant=True)
        for name in ("start", "stop", "entry_valid", "entry_bad"):
            m.d.comb += getattr(dut, name).eq(free(m, 1, name))
        m.d.comb += [
            *(getattr(dut, name).eq(value) for name, value in constant.items()),
            dut.entry.eq(free(m, 32, "entry")),
            dut.take.eq(free(m, len(dut.take), "take")),
            Assume(dut.take <= Mux(dut.valid, piece.left, 0)),
            Assume(constant["page_log2"] <= config.page_bits),
            Assume(constant["base"] + constant["size"] <= 1 << config.atom_bits),
            Assert(~dut.valid | (piece.left != 0)),
            Assert(~dut.valid | (piece.atom >= constant["base"])),
            Assert(~dut.valid | (piece.atom + piece.left <= constant["base"] + constant["size"])),
            Cover(dut.valid & (dut.take == 1)),
            Cover(dut.bad_page),
        ]
        return m


def pages_inside(config: DmaConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Whatever stands in a page table, no atom outside of the region is ever offered."""
    with installed(mutants):
        return to_rtlil(_Pages(config))
