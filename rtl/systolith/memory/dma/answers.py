"""Answers of the scratchpad: where they go, and how a descriptor has fared."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.codes import DmaCode
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import retired_layout
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.mover import asked_layout, close_layout, local_port
from systolith.memory.dma.requests import Kind

__all__ = ["Answers", "finish_layout"]


def finish_layout(config: DmaConfig) -> data.StructLayout:
    """A descriptor that has only its writes to wait for, those up to ``mark``."""
    return PackedStruct({**dict(retired_layout(config).members), "mark": config.mark_bits})


class Answers(Block):
    """Takes one answer a clock, in the order of the accesses.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    asked_put, asked, asked_space, asked_none : In(1), In(asked_layout), Out(1), Out(1)
        Accesses that will be answered.
    close_put, close, end_now : In(1), In(close_layout), In(1)
        Ends of descriptors, see :class:`~systolith.memory.dma.mover.Mover`.
    response : In
        Of the scratchpad.
    word, poison, keep : Out(data bits), Out(1), Out(1)
        What was read; it is known to be bad; it is there at all.
    store, table : Out(1)
        It is for the memory; it is part of a page table.
    finish_put, finish : Out(1), Out(finish_layout)
        A descriptor of which all accesses were answered.
    stopped, reason : In(1), In
        Wait for no answer; this is the code of what was under way.
    clear : In(1)
        Forget all accesses.
    """

    asked_put: Signal
    asked: data.View
    asked_space: Signal
    asked_none: Signal
    close_put: Signal
    close: data.View
    end_now: Signal
    response: data.View
    word: Signal
    poison: Signal
    keep: Signal
    store: Signal
    table: Signal
    finish_put: Signal
    finish: data.View
    stopped: Signal
    reason: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "asked_put": In(1),
                "asked": In(asked_layout()),
                "asked_space": Out(1),
                "asked_none": Out(1),
                "close_put": In(1),
                "close": In(close_layout(config)),
                "end_now": In(1),
                "response": In(local_port(config).response_layout),
                "word": Out(config.data_bits),
                "poison": Out(1),
                "keep": Out(1),
                "store": Out(1),
                "table": Out(1),
                "finish_put": Out(1),
                "finish": Out(finish_layout(config)),
                "stopped": In(1),
                "reason": In(config.code_bits),
                "clear": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_answers"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, response, finish = self.config, self.response, self.finish
        asked = Fifo(depth=config.answers, width=asked_layout().size)
        closes = Fifo(depth=config.descriptors, width=close_layout(config).size)
        m.submodules.asked = place(asked, platform)
        m.submodules.closes = place(closes, platform)
        head = data.View(asked_layout(), asked.head)
        take, answered, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            asked.put.eq(self.asked_put),
            asked.entry.eq(self.asked),
            self.asked_space.eq(asked.space),
            self.asked_none.eq(~asked.valid),
            closes.put.eq(self.close_put),
            closes.entry.eq(self.close),
            take.eq(asked.valid & (response.valid | self.stopped)),
            answered.eq(take & ~self.stopped),
            moves.eq(answered & (head.kind != Kind.TABLE) & ~response.refused),
            asked.take.eq(take),
            closes.take.eq(take & head.end),
            *(queue.clear.eq(self.clear) for queue in (asked, closes)),
            self.word.eq(response.data),
            self.poison.eq(response.error),
            self.keep.eq(~response.refused),
            self.store.eq(answered & (head.kind == Kind.STORE)),
            self.table.eq(answered & (head.kind == Kind.TABLE)),
        ]

        # Of the descriptor whose accesses are being answered, with this answer.
        refused, poisoned = Signal(), Signal()
        was_refused, was_poisoned = Signal(), Signal()
        atoms, total = Signal(config.total_bits), Signal(config.total_bits)
        m.d.comb += [
            refused.eq(was_refused | (answered & response.refused & (head.kind != Kind.TABLE))),
            poisoned.eq(
                was_poisoned | (moves & Mux(head.kind == Kind.STORE, response.error, head.poison))
            ),
            total.eq(atoms + moves),
            self.finish_put.eq(closes.take | self.end_now),
        ]
        m.d.sync += [was_refused.eq(refused), was_poisoned.eq(poisoned), atoms.eq(total)]
        with m.If(self.finish_put):
            m.d.sync += [was_refused.eq(0), was_poisoned.eq(0), atoms.eq(0)]

        close = data.View(close_layout(config), Signal(close_layout(config).size))
        m.d.comb += close.eq(Mux(self.end_now, self.close, closes.head))
        m.d.comb += [
            finish.tag.eq(close.tag),
            finish.listed.eq(close.listed),
            finish.mark.eq(close.mark),
            finish.atoms.eq(Mux(close.listed, close.number, total)),
        ]
        with m.If((close.code != 0) | close.listed):
            m.d.comb += finish.code.eq(close.code)
        with m.Elif(self.stopped):
            m.d.comb += finish.code.eq(self.reason)
        with m.Elif(refused):
            m.d.comb += finish.code.eq(DmaCode.REFUSED)
        with m.Elif(poisoned):
            m.d.comb += finish.code.eq(DmaCode.POISONED)
        return m
