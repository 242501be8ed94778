"""Turns plans into requests to the memory, and into what the mover has to do, in order."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block, place
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import move_layout, plan_layout, token_layout
from systolith.memory.dma.pages import PageWalker
from systolith.memory.dma.requests import Kind, ask_layout
from systolith.memory.dma.rows import RowWalker
from systolith.memory.dma.runs import RunBuilder
from systolith.memory.dma.table import TableFetch

__all__ = ["Planner"]


class _State(IntEnum):
    IDLE = 0
    RUN = 1
    END = 2
    DRAIN = 3


class Planner(Block):
    """Carries out the memory's side of one plan after the other.

    For each run it commits a request and appends a token for the mover in the same clock; the
    last token of a descriptor ends it. So the order of requests, of tokens and of retirements is
    that of the descriptors.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    plan : In(stream of plan_layout)
        Checked descriptors.
    move_put, move : Out(1), Out(move_layout)
        Begin of a descriptor, for the mover.
    token_put, token, token_space : Out(1), Out(token_layout), In(1)
        What the mover has to do.
    ask : Out(stream of ask_layout)
        Requests to be committed.
    issued : In
        Count of committed writes.
    table_put, table_data, table_bad : In
        An atom of a page table.
    stopped, reason : In(1), In
        Give up what is under way, with this code; refuse what comes.
    retired : In(1)
        A descriptor was taken as retired.
    under_way : Out(1)
        Descriptors have begun and were not yet taken as retired.
    """

    plan: stream.Interface
    move_put: Signal
    move: data.View
    token_put: Signal
    token: data.View
    token_space: Signal
    ask: stream.Interface
    issued: Signal
    table_put: Signal
    table_data: Signal
    table_bad: Signal
    stopped: Signal
    reason: Signal
    retired: Signal
    under_way: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "plan": In(stream.Signature(plan_layout(config))),
                "move_put": Out(1),
                "move": Out(move_layout(config)),
                "token_put": Out(1),
                "token": Out(token_layout(config)),
                "token_space": In(1),
                "ask": Out(stream.Signature(ask_layout(config))),
                "issued": In(config.mark_bits),
                "table_put": In(1),
                "table_data": In(config.data_bits),
                "table_bad": In(1),
                "stopped": In(1),
                "reason": In(config.code_bits),
                "retired": In(1),
                "under_way": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_planner"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        rows, pages = RowWalker(config), PageWalker(config)
        runs, table = RunBuilder(config), TableFetch(config)
        parts = {"rows": rows, "pages": pages, "runs": runs, "table": table}
        for name, block in parts.items():
            m.submodules[name] = place(block, platform)
        now: Any = Signal(plan_layout(config), reset_less=True)
        state = Signal(_State)
        begin = Signal()  # first clock of RUN
        code = Signal(config.code_bits)
        paged, fill, out = Signal(), Signal(), Signal()
        m.d.comb += [
            paged.eq((now.op == DmaOp.GATHER) | (now.op == DmaOp.APPEND)),
            fill.eq(now.op == DmaOp.FILL),
            out.eq((now.op == DmaOp.STORE) | (now.op == DmaOp.APPEND)),
        ]

        # Begin of a descriptor, unless there are too many or a barrier forbids it.
        plan = self.plan
        number = Signal(bits_for(config.descriptors))  # under way
        after, blocked, accept, fence = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.under_way.eq(number != 0),
            fence.eq((plan.p.op == DmaOp.FENCE) & ~plan.p.move.listed),
            blocked.eq(self.under_way & (plan.p.before | fence | after)),
            plan.ready.eq((state == _State.IDLE) & (number != config.descriptors) & ~blocked),
            accept.eq(plan.valid & plan.ready),
            self.move_put.eq(accept),
            self.move.eq(plan.p.move),
        ]
        m.d.sync += number.eq(number + accept - self.retired)
        nothing = fence | (plan.p.code != 0) | plan.p.move.listed
        with m.If(accept):
            m.d.sync += [now.eq(plan.payload), after.eq(plan.p.after | fence)]
            m.d.sync += begin.eq(~nothing & ~self.stopped)
            m.d.sync += state.eq(Mux(nothing | self.stopped, _State.END, _State.RUN))
            m.d.sync += code.eq(plan.p.code)
            with m.If(self.stopped & (plan.p.code == 0) & ~plan.p.move.listed):
                m.d.sync += code.eq(DmaCode.STOPPED)
        with m.Else():
            m.d.sync += begin.eq(0)

        self._sources(m, now, begin, paged, rows, pages, runs, table)
        running, drained = Signal(), Signal()
        m.d.comb += [
            running.eq((state == _State.RUN) & ~self.stopped),
            drained.eq((state == _State.DRAIN) & (~table.pending | self.stopped)),
            *(block.stop.eq(drained) for block in parts.values()),
        ]
        self._requests(m, now, running, out, fill, runs, table)

        bad = Signal()
        m.d.comb += bad.eq(pages.bad_page | pages.bad_table)
        run, token = runs.run, self.token
        taken = Signal()  # a run
        m.d.comb += taken.eq(run.valid & run.ready)
        with m.If(taken):
            m.d.comb += [
                self.token_put.eq(1),
                token.kind.eq(Mux(fill, Kind.FILL, Mux(out, Kind.STORE, Kind.LOAD))),
                token.count.eq(run.p.count),
                token.last.eq(run.p.last & ~bad),
                token.mark.eq(self.issued + out),
            ]
        with m.Elif(running & table.ask & now.table_local):
            m.d.comb += [
                self.token_put.eq(self.token_space),
                token.kind.eq(Kind.TABLE),
                token.count.eq(table.count),
                token.address.eq(table.address),
            ]
        with m.Elif(state == _State.END):
            m.d.comb += [
                self.token_put.eq(self.token_space),
                token.last.eq(1),
                token.code.eq(code),
                token.mark.eq(self.issued),
            ]
        with m.Switch(state):
            with m.Case(_State.RUN):
                with m.If(self.stopped):
                    m.d.sync += [state.eq(_State.END), code.eq(self.reason)]
                with m.Elif(taken & run.p.last & ~bad):
                    m.d.sync += state.eq(_State.DRAIN)
                with m.Elif(bad & runs.empty):
                    m.d.sync += state.eq(_State.END)
                    m.d.sync += code.eq(Mux(pages.bad_table, DmaCode.BAD_TABLE, DmaCode.BAD_PAGE))
            with m.Case(_State.END), m.If(self.token_space):
                m.d.sync += state.eq(_State.DRAIN)
            with m.Case(_State.DRAIN), m.If(drained):
                m.d.sync += state.eq(_State.IDLE)
        return m

    def _sources(
        self,
        m: Module,
        now: Any,
        begin: Signal,
        paged: Signal,
        rows: RowWalker,
        pages: PageWalker,
        runs: RunBuilder,
        table: TableFetch,
    ) -> None:
        """Atoms come from rows or from pages."""
        m.d.comb += [
            rows.start.eq(begin & ~paged),
            *(getattr(rows, name).eq(now[name]) for name in ("memory", "row", "last", "stride")),
            pages.start.eq(begin & paged),
            pages.base.eq(now.memory),
            *(
                getattr(pages, name).eq(now[name])
                for name in ("size", "page_log2", "position", "total")
            ),
            table.start.eq(begin & paged),
            table.table.eq(now.table),
            table.atoms.eq(now.table_atoms),
            table.entry.eq(now.entry),
            table.put.eq(self.table_put),
            table.data.eq(self.table_data),
            table.bad.eq(self.table_bad),
            pages.entry_valid.eq(table.valid),
            pages.entry.eq(table.number),
            pages.entry_bad.eq(table.number_bad),
            table.take.eq(pages.entry_take),
            runs.valid.eq(Mux(paged, pages.valid, rows.valid)),
            runs.piece.eq(Mux(paged, pages.piece, rows.piece)),
            runs.more.eq(Mux(paged, pages.active, rows.valid)),
            rows.take.eq(Mux(paged, 0, runs.take)),
            pages.take.eq(Mux(paged, runs.take, 0)),
        ]

    def _requests(
        self,
        m: Module,
        now: Any,
        running: Signal,
        out: Signal,
        fill: Signal,
        runs: RunBuilder,
        table: TableFetch,
    ) -> None:
        """Tables go first: the runs behind them wait for their page numbers."""
        ask, run = self.ask, runs.run
        far, run_goes = Signal(), Signal()
        m.d.comb += [
            far.eq(running & table.ask & ~now.table_local),
            run_goes.eq(running & run.valid & ~table.ask & self.token_space),
            ask.valid.eq(far | (run_goes & ~fill)),
            ask.p.kind.eq(Mux(far, Kind.TABLE, Mux(out, Kind.STORE, Kind.LOAD))),
            ask.p.atom.eq(Mux(far, table.address, run.p.atom)),
            ask.p.count.eq(Mux(far, table.count, run.p.count)),
            run.ready.eq(run_goes & (fill | ask.ready)),
            table.taken.eq(running & table.ask & Mux(now.table_local, self.token_space, ask.ready)),
        ]
