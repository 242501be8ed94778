"""The DMA engine: whatever is asked for, of the memory or of the scratchpad, has room."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Signal, Value
from amaranth.lib import data

from systolith.memory.dma import answers, mover, read_buffer, requests, returns, writes
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.fifo import Fifo
from systolith.memory.dma.requests import Kind, ask_layout
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["GUARDED", "room_for_answers", "room_for_words"]


class _Guarded(Fifo):
    """A queue that is never overfilled, and never asked for what it has not."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        m.d.comb += [Assert(~self.put | self.space), Assert(~self.take | self.valid)]
        return m


GUARDED: Any = SimpleNamespace(target=Fifo, replacement=_Guarded)
"""Takes the place of every queue, as a mutant does."""


class _Answers(Elaboratable):
    def __init__(self, config: DmaConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        asked, back = requests.Requests(config), returns.Returns(config)
        buffer = read_buffer.ReadBuffer(config)
        m.submodules.asked, m.submodules.back, m.submodules.buffer = asked, back, buffer
        ask: Any = data.View(ask_layout(config), free(m, ask_layout(config).size, "ask"))
        take, valid = free(m, 1, "take"), free(m, 1, "valid")
        m.d.comb += [
            asked.ask.valid.eq(free(m, 1, "ask_valid")),
            asked.ask.payload.eq(ask),
            Assume((ask.count != 0) & (ask.count <= config.longest)),
            asked.request.ready.eq(free(m, 1, "ready")),
            asked.expected_space.eq(back.expected_space),
            back.expected.eq(asked.expected),
            back.expected_valid.eq(asked.expected_valid),
            back.valid.eq(valid),  # more atoms than were asked for, too
            buffer.put.eq(back.load),
            buffer.take.eq(take),
            asked.freed.eq(take),
            Assume(~take | buffer.valid),
            Assert(~buffer.overflow),
            Cover(buffer.put & (ask.kind == Kind.TABLE)),
        ]
        return m


class _Words(Elaboratable):
    def __init__(self, config: DmaConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        asks, back, out = mover.Mover(config), answers.Answers(config), writes.Writes(config)
        m.submodules.mover, m.submodules.answers, m.submodules.writes = asks, back, out
        clear, stopped = free(m, 1, "clear"), free(m, 1, "stopped")
        for name in ("move", "token", "move_valid", "token_valid", "read_valid", "read_error"):
            port = Value.cast(getattr(asks, name))
            m.d.comb += port.eq(free(m, len(port), name))
        response = back.response.as_value()
        m.d.comb += response.eq(free(m, len(response), "response"))
        held = Signal(range(config.write_room + 2))  # words that the memory has not taken yet
        m.d.sync += held.eq(held + out.put - out.left)
        with m.If(clear):
            m.d.sync += held.eq(0)
        m.d.comb += [
            asks.request.ready.eq(free(m, 1, "ready")),
            back.asked_put.eq(asks.asked_put),
            back.asked.eq(asks.asked),
            asks.asked_space.eq(back.asked_space),
            asks.asked_none.eq(back.asked_none),
            back.close_put.eq(asks.close_put),
            back.close.eq(asks.close),
            back.end_now.eq(asks.end_now),
            out.put.eq(back.store),
            out.keep.eq(back.keep),
            out.write.ready.eq(free(m, 1, "write")),
            out.owed.eq(free(m, 1, "owed")),
            asks.left.eq(out.left),
            *(block.clear.eq(clear) for block in (asks, back, out)),
            *(block.stopped.eq(stopped) for block in (asks, back, out)),
            Cover(held == config.write_room),
        ]
        return m


def room_for_answers(config: DmaConfig, mutants: Iterable[Mutant] = ()) -> str:
    """What was asked for has room when it comes, for all requests and all answers."""
    with installed([*mutants, GUARDED]):
        return to_rtlil(_Answers(config))


def room_for_words(config: DmaConfig, mutants: Iterable[Mutant] = ()) -> str:
    """A word of the scratchpad has room on its way to the memory, however slow that is."""
    with installed([*mutants, GUARDED]):
        return to_rtlil(_Words(config))
