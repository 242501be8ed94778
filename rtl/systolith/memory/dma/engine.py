"""The DMA engine."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.dma.answers import Answers
from systolith.memory.dma.checker import Checker
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import (
    RECORD,
    list_layout,
    move_layout,
    region_layout,
    retired_layout,
    token_layout,
)
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.lists import Lists
from systolith.memory.dma.mover import Mover, local_port
from systolith.memory.dma.planner import Planner
from systolith.memory.dma.read_buffer import ReadBuffer
from systolith.memory.dma.requests import Kind, Requests, memory_port
from systolith.memory.dma.retire import Retire
from systolith.memory.dma.returns import Returns
from systolith.memory.dma.stop import WATCHDOG_BITS, Stop
from systolith.memory.dma.writes import Writes

__all__ = ["DmaEngine"]


class DmaEngine(Block):
    """Moves atoms between large memory and a scratchpad, as descriptors say.

    The result is as if descriptors were carried out one after the other, each with all of its
    accesses in order; in fact the requests to the memory run ahead, of several descriptors, as far
    as there is room for what they bring. Requests are as long as possible. Every descriptor and
    every list retires exactly once, in order, with a code; nothing outside of its regions is
    touched. ``memory.read`` never waits.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    descriptors, lists : In(stream of RECORD), In(stream of list_layout)
        What to do; a list that is offered goes first, and is carried out to its end.
    retired : Out(stream of retired_layout)
        What was done.
    memory, local : Out(MemoryPort), Out(LocalPort)
        The scratchpad answers one clock after a request or later.
    regions : In(array of region_layout)
        Looked up when a descriptor is checked, and for each descriptor of a list.
    list_region, most : In
        Number of the region that lists are in; most descriptors of a list.
    watchdog : In
        Clocks without any answer while one is waited for, after which the engine stops; 0: never.
        When stopped, all descriptors retire, and the memory gets the atoms it waits for, masked.
    restart : In(1)
        Go on once all has retired, and forget what was asked for: by then ``unanswered`` is 0 or
        memory and scratchpad have forgotten it, too.
    stopped, unanswered : Out(1)
        The engine is stopped; something that was asked for has not been answered.
    stray : Out(1)
        An atom came that nothing waited for; it was dropped.
    overflow : Out(1)
        Never: read data came for which there was no room.
    """

    descriptors: stream.Interface
    lists: stream.Interface
    retired: stream.Interface
    memory: Any
    local: Any
    regions: data.View
    list_region: Signal
    most: Signal
    watchdog: Signal
    restart: Signal
    stopped: Signal
    unanswered: Signal
    stray: Signal
    overflow: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "descriptors": In(stream.Signature(RECORD)),
                "lists": In(stream.Signature(list_layout())),
                "retired": Out(stream.Signature(retired_layout(config))),
                "memory": Out(memory_port(config)),
                "local": Out(local_port(config)),
                "regions": In(PackedArray(region_layout(config), config.regions)),
                "list_region": In(config.index_bits),
                "most": In(config.count_bits),
                "watchdog": In(WATCHDOG_BITS),
                "restart": In(1),
                "stopped": Out(1),
                "unanswered": Out(1),
                "stray": Out(1),
                "overflow": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_engine"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lists, checker, planner = Lists(config), Checker(config), Planner(config)
        requests, returns, reads = Requests(config), Returns(config), ReadBuffer(config)
        mover, answers, writes = Mover(config), Answers(config), Writes(config)
        retire, stop = Retire(config), Stop(config)
        tokens = Fifo(
            depth=min(64, 2 * max(config.reads, config.writes)), width=token_layout(config).size
        )
        moves = Fifo(depth=config.descriptors, width=move_layout(config).size)
        for name, block in (
            ("lists", lists),
            ("checker", checker),
            ("planner", planner),
            ("requests", requests),
            ("returns", returns),
            ("reads", reads),
            ("mover", mover),
            ("answers", answers),
            ("writes", writes),
            ("retire", retire),
            ("stop", stop),
            ("tokens", tokens),
            ("moves", moves),
        ):
            m.submodules[name] = place(block, platform)

        m.d.comb += [
            *(connected(lists.descriptors, self.descriptors)),
            *(connected(lists.lists, self.lists)),
            *(connected(checker.item, lists.item)),
            *(connected(planner.plan, checker.plan)),
            *(connected(self.retired, retire.retired)),
            *(connected(self.memory.request, requests.request)),
            *(connected(self.memory.write, writes.write)),
            *(connected(self.local.request, mover.request)),
            lists.regions.eq(self.regions),
            lists.region.eq(self.list_region),
            lists.most.eq(self.most),
            checker.regions.eq(self.regions),
        ]
        self._queues(m, planner, tokens, moves, mover)
        self._memory(m, lists, planner, requests, returns, reads, mover, answers, writes)
        m.d.comb += [
            answers.asked_put.eq(mover.asked_put),
            answers.asked.eq(mover.asked),
            mover.asked_space.eq(answers.asked_space),
            mover.asked_none.eq(answers.asked_none),
            answers.close_put.eq(mover.close_put),
            answers.close.eq(mover.close),
            answers.end_now.eq(mover.end_now),
            answers.response.eq(self.local.response),
            mover.left.eq(writes.left),
            retire.finish_put.eq(answers.finish_put),
            retire.finish.eq(answers.finish),
            retire.finished.eq(requests.finished),
            planner.retired.eq(self.retired.valid & self.retired.ready),
        ]
        self._stop(m, stop, planner, requests, returns, answers)
        for block in (lists, planner, mover, answers, writes, retire):
            m.d.comb += block.stopped.eq(stop.stopped)
        for block in (planner, answers, retire):
            m.d.comb += block.reason.eq(stop.reason)
        for block in (requests, returns, mover, answers, writes):
            m.d.comb += block.clear.eq(stop.clear)
        m.d.comb += [
            reads.clear.eq(stop.stopped),
            self.stopped.eq(stop.stopped),
            self.stray.eq(returns.stray),
            self.overflow.eq(reads.overflow),
        ]
        return m

    def _queues(self, m: Module, planner: Planner, tokens: Fifo, moves: Fifo, mover: Mover) -> None:
        """From the planner to the mover."""
        m.d.comb += [
            tokens.put.eq(planner.token_put),
            tokens.entry.eq(planner.token),
            planner.token_space.eq(tokens.space),
            tokens.take.eq(mover.token_take),
            mover.token_valid.eq(tokens.valid),
            mover.token.eq(tokens.head),
            moves.put.eq(planner.move_put),
            moves.entry.eq(planner.move),
            moves.take.eq(mover.move_take),
            mover.move_valid.eq(moves.valid),
            mover.move.eq(moves.head),
        ]

    def _memory(
        self,
        m: Module,
        lists: Lists,
        planner: Planner,
        requests: Requests,
        returns: Returns,
        reads: ReadBuffer,
        mover: Mover,
        answers: Answers,
        writes: Writes,
    ) -> None:
        """Requests of lists go before those of the planner; answers go to who asked."""
        config, read = self.config, self.memory.read
        bad = Signal()
        m.d.comb += [
            requests.ask.valid.eq(lists.ask | planner.ask.valid),
            requests.ask.payload.eq(planner.ask.payload),
            planner.ask.ready.eq(requests.ask.ready & ~lists.ask),
            lists.taken.eq(lists.ask & requests.ask.ready),
            planner.issued.eq(requests.issued),
            returns.expected.eq(requests.expected),
            returns.expected_valid.eq(requests.expected_valid),
            requests.expected_space.eq(returns.expected_space),
            requests.done.eq(self.memory.done),
            requests.wrote.eq(writes.wrote),
            requests.freed.eq(mover.read_take),
            writes.owed.eq(requests.owed),
            read.ready.eq(1),
            returns.valid.eq(read.valid),
            returns.read.eq(read.payload),
            bad.eq(read.p.error | returns.disorder),
            reads.put.eq(returns.load),
            reads.data.eq(read.p.data),
            reads.error.eq(bad),
            mover.read_valid.eq(reads.valid),
            mover.read.eq(reads.head),
            mover.read_error.eq(reads.head_error),
            reads.take.eq(mover.read_take),
            lists.put.eq(returns.fetch),
            lists.word.eq(read.p.data),
            lists.bad.eq(bad),
            planner.table_put.eq((returns.table & ~self.stopped) | answers.table),
            planner.table_data.eq(Mux(answers.table, answers.word, read.p.data)),
            planner.table_bad.eq(Mux(answers.table, answers.poison | ~answers.keep, bad)),
            writes.put.eq(answers.store),
            writes.word.eq(answers.word),
            writes.poison.eq(answers.poison),
            writes.keep.eq(answers.keep),
        ]
        with m.If(lists.ask):
            m.d.comb += [
                requests.ask.p.kind.eq(Kind.FETCH),
                requests.ask.p.atom.eq(lists.atom),
                requests.ask.p.count.eq(config.record_atoms),
            ]

    def _stop(
        self,
        m: Module,
        stop: Stop,
        planner: Planner,
        requests: Requests,
        returns: Returns,
        answers: Answers,
    ) -> None:
        """What the watchdog looks at."""
        memory, local = self.memory, self.local
        m.d.comb += [
            self.unanswered.eq(
                returns.waiting
                | requests.undone
                | memory.request.valid
                | memory.write.valid
                | local.request.valid
                | ~answers.asked_none
            ),
            stop.waiting.eq(self.unanswered),
            stop.moved.eq(
                (memory.request.valid & memory.request.ready)
                | (memory.write.valid & memory.write.ready)
                | (local.request.valid & local.request.ready)
                | memory.read.valid
                | memory.done
                | local.response.valid
            ),
            stop.limit.eq(self.watchdog),
            stop.disorder.eq(returns.disorder),
            stop.restart.eq(self.restart),
            stop.idle.eq(~planner.under_way),
        ]


def connected(sink: Any, source: Any) -> list[Any]:
    """A stream, through."""
    return [
        sink.payload.eq(source.payload),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
