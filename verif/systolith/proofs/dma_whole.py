"""The whole DMA engine: what begins ends, once and in order, inside of its regions.

The checker is replaced by what is proved of it; memory and scratchpad answer what was asked, when
they like.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import (
    Assert,
    Assume,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
    signed,
)
from amaranth.lib import data

from systolith.hierarchy import Block
from systolith.memory.dma import checker, engine
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import plan_layout, region_layout
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.requests import memory_port
from systolith.proofs.dma import view
from systolith.proofs.dma_room import GUARDED
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["whole"]


_Checker = checker.Checker


class _Plans(Block):
    """In the place of the checker: any plans that it may make of the regions, as fast as can be.

    What is assumed here of an accepted plan is what :func:`~systolith.proofs.dma.boxes_inside`
    and :func:`~systolith.proofs.dma.tables_inside` say; and that the counts of
    both sides are those of one descriptor.
    """

    item: Any
    regions: Any
    plan: Any

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        original: Any = _Checker(config)
        original._MustUse__silence = True
        super().__init__(dict(original.signature.members))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        record, item, plan = self.item.p.record, self.item, self.plan
        p = view(m, plan_layout(config), "plan")
        move = p.move
        m.d.comb += [
            plan.valid.eq(item.valid),
            plan.payload.eq(p),
            item.ready.eq(plan.ready),
            Assume(move.tag == record.tag),
            Assume(~move.listed & (p.op == record.op)),
            Assume(p.code <= DmaCode.TABLE_RANGE),
            Assume(~record.end | ((move.last[1] == 0) & (move.last[2] == 0))),  # a small one
        ]
        memory, local = self.regions[0], self.regions[1]
        good, paged, fill = Signal(), Signal(), Signal()
        m.d.comb += [
            good.eq((p.code == DmaCode.OK) & (p.op != DmaOp.FENCE)),
            paged.eq((p.op == DmaOp.GATHER) | (p.op == DmaOp.APPEND)),
            fill.eq(p.op == DmaOp.FILL),
            # Region 0 is of the memory, region 1 of the scratchpad.
            Assume(~memory.local & memory.read & memory.write & (memory.base < memory.limit)),
            Assume(local.local & local.read & local.write & (local.base < local.limit)),
            Assume(memory.limit <= 1 << config.atom_bits),
            Assume(local.limit <= 1 << config.local_bits),
        ]
        counts = [Signal(config.count_bits + 1, name=f"plan_count_{n}") for n in range(3)]
        m.d.comb += [counts[n].eq(move.last[n] + 1) for n in range(3)]
        # Either the atoms of a row follow on each other, or the row is one of them.
        m.d.comb += [
            Assume((p.row == counts[0]) & (p.last[0] == 0) | (p.row == 1)),
            Assume((p.row == counts[0]) | (p.last[0] == move.last[0])),
            Assume(p.row != 0),
            *(Assume(p.last[n] == move.last[n]) for n in (1, 2)),
        ]
        inner = Mux(p.last[0] == 0, p.row - 1, 0)
        low, high = _corners(m, "far", p.memory, p.last, p.stride, config.atom_bits)
        near = _corners(m, "near", move.local, move.last, move.stride, config.local_bits)
        m.d.comb += [
            Assume(~good | paged | fill | (low >= memory.base)),
            Assume(~good | paged | fill | (high + inner < memory.limit)),
            Assume(~good | (near[0] >= local.base)),
            Assume(~good | (near[1] < local.limit)),
        ]
        size, ahead = Signal(config.page_bits), Signal(8)
        pages_used = Signal(8)
        table: Any = Mux(p.table_local, local.as_value(), memory.as_value())
        where = data.View(memory.shape(), Signal(memory.shape().size, name="table_region"))
        m.d.comb += [
            where.as_value().eq(table),
            size.eq((1 << p.page_log2) - 1),
            ahead.eq((p.position & size) + p.total - 1),
            pages_used.eq((ahead >> p.page_log2) + 1),
            Assume(p.page_log2 <= config.page_bits),
            Assume(
                ~(good & paged)
                | (
                    (p.memory == memory.base)
                    & (p.size == memory.limit - memory.base)
                    & (counts[2] == 1)
                    & (p.total == counts[0] * counts[1])
                    & (p.table >= where.base)
                    & (p.table + p.table_atoms <= where.limit)
                    & (p.table_atoms == ((p.entry + pages_used - 1) >> config.entries_log2) + 1)
                )
            ),
        ]
        return m


def _corners(
    m: Module, name: str, start: Value, last: Any, stride: Any, bits: int
) -> tuple[Signal, Signal]:
    """Lowest and highest address of a box."""
    low, high = (Signal(signed(bits + 8), name=f"{name}_{end}") for end in ("low", "high"))
    ways = [Signal(signed(bits + 6), name=f"{name}_way_{n}") for n in range(3)]
    m.d.comb += [ways[n].eq(last[n] * stride[n].as_signed()) for n in range(3)]
    m.d.comb += [
        low.eq(start + sum(Mux(way < 0, way, 0) for way in ways)),
        high.eq(start + sum(Mux(way < 0, 0, way) for way in ways)),
    ]
    return low, high


_PLANS: Any = SimpleNamespace(target=checker.Checker, replacement=_Plans)


class _Whole(Elaboratable):
    def __init__(self, config: DmaConfig, alone: bool, within: int | None) -> None:
        self.config, self.alone, self.within = config, alone, within

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        dut: Any = engine.DmaEngine(config)
        m.submodules.dut = dut
        memory, local = dut.memory, dut.local
        regions = [
            view(m, region_layout(config), f"region_{n}", constant=True)
            for n in range(config.regions)
        ]
        coin = {
            n: 1 if self.within is not None else free(m, 1, n)
            for n in ("request", "write", "read", "done", "local", "answer", "taken")
        }
        record = data.View(dut.descriptors.payload.shape(), Signal(512, name="record"))
        op = free(m, 3, "op")
        offered = free(m, 1, "offered")
        m.d.comb += [
            *(dut.regions[n].eq(region) for n, region in enumerate(regions)),
            dut.descriptors.valid.eq(offered),
            dut.descriptors.payload.eq(record),
            dut.retired.ready.eq(coin["taken"]),
            memory.request.ready.eq(coin["request"]),
            memory.write.ready.eq(coin["write"]),
            local.request.ready.eq(coin["local"]),
        ]
        self._memory(m, dut, coin)
        # Tags count.
        given, told = Signal(4), Signal(4)
        m.d.sync += [
            given.eq(given + (offered & dut.descriptors.ready)),
            told.eq(told + (dut.retired.valid & dut.retired.ready)),
        ]
        asks, wants, ends = memory.request, local.request, dut.retired
        moved = ends.valid & (ends.p.atoms == 3) & (ends.p.code == DmaCode.OK)
        wrote = Signal()
        m.d.sync += wrote.eq(wrote | memory.write.valid)
        m.d.comb += [
            record.tag.eq(given),
            record.end.eq(self.alone),
            record.op.eq(op),
            Assume((op != 0) & (op <= max(DmaOp))),
            Assert(~ends.valid | (ends.p.tag == told)),
            Assert(~ends.valid | (told != given)),
            Assert(~dut.overflow & ~dut.stopped & ~dut.stray),
            Assert(~asks.valid | (asks.p.count != 0)),
            Assert(~asks.valid | _covered(regions[0], asks.p.atom, asks.p.count)),
            Assert(~wants.valid | _covered(regions[1], wants.p.address, 1)),
        ]
        if not self.alone:
            m.d.comb += Cover(ends.valid & (told == 1) & (ends.p.atoms != 0))
            return m
        m.d.comb += [Assume(~offered | (given == 0)), Cover(moved & wrote), Cover(moved & ~wrote)]
        if self.within is not None:
            age = Signal(8)
            m.d.sync += age.eq(Mux(given == told, 0, age + 1))
            m.d.comb += Assert((given == told) | (age < self.within))
            m.d.comb += Assume((op != DmaOp.GATHER) & (op != DmaOp.APPEND))
        return m

    def _memory(self, m: Module, dut: Any, coin: dict[str, Any]) -> None:
        """Answers in order, what was asked and no more; their data is free."""
        config, memory, local = self.config, dut.memory, dut.local
        layout = memory_port(config).request_layout
        queue = Fifo(depth=8, width=layout.size)
        m.submodules.asked = queue
        head: Any = data.View(layout, queue.head)
        before, step, last = Signal(len(head.count)), Signal(), Signal()
        wrote, moves = Signal(), Signal()
        supplied = Signal(6)  # atoms of writes that came, less those of writes that are done with
        m.d.comb += [
            queue.put.eq(memory.request.valid & memory.request.ready),
            queue.entry.eq(memory.request.payload),
            wrote.eq(memory.write.valid & memory.write.ready),
            last.eq(before + 1 == head.count),
            moves.eq(Mux(head.write, coin["done"] & (supplied != 0), coin["read"])),
            step.eq(queue.valid & moves),
            queue.take.eq(step & last),
            memory.read.valid.eq(step & ~head.write),
            memory.read.p.last.eq(last),
            memory.read.p.error.eq(free(m, 1, "error")),
            memory.read.p.data.eq(free(m, config.data_bits, "data")),
            memory.done.eq(step & head.write & last),
            Assert(~queue.put | queue.space),
        ]
        m.d.sync += supplied.eq(supplied + wrote - (step & head.write))
        with m.If(step):
            m.d.sync += before.eq(Mux(last, 0, before + 1))
        waiting = Signal(6)
        answer = Signal()
        m.d.comb += [
            answer.eq((waiting != 0) & coin["answer"]),
            local.response.valid.eq(answer),
            local.response.error.eq(free(m, 1, "local_error")),
            local.response.refused.eq(free(m, 1, "refused")),
            local.response.data.eq(free(m, config.data_bits, "word")),
        ]
        m.d.sync += waiting.eq(waiting + (local.request.valid & local.request.ready) - answer)


def _covered(region: Any, first: Value, count: Value | int) -> Value:
    """All of it is in the region."""
    return (first >= region.base) & (first + count <= region.limit)


def whole(
    config: DmaConfig,
    *,
    alone: bool = False,
    within: int | None = None,
    mutants: Iterable[Mutant] = (),
) -> str:
    """The engine: each descriptor retires once, in order; no access is outside of the regions.

    Plans are those that the checker may make; lists and the watchdog are off.

    Parameters
    ----------
    config
        Sizes.
    alone
        There is one descriptor, of up to 3 atoms.
    within
        It retires within so many clocks, if memory, scratchpad and host answer at once and it needs
        no page table.
    mutants
        Planted faults.
    """
    with installed([*mutants, GUARDED, _PLANS]):
        return to_rtlil(_Whole(config, alone or within is not None, within))
