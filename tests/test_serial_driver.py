"""The host's end of the serial line."""

from collections import deque
from typing import Any

import pytest
from serial_line import PROTOCOL, Line, idle, simulate, take

from systolith.host.driver import EngineLink, LinkError
from systolith.host.protocol import ACCEPTED, WINDOW


class Board:
    """The far end of the line: accepts frames, echoes ``write`` to ``answer``; at most WINDOW."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.pending = bytearray()
        self.back = bytearray()
        self.frames: list[tuple[str, int]] = []
        self.most = 0

    def write(self, data: bytes, /) -> int:
        self.pending += data
        self.most = max(self.most, len(self.pending))
        return len(data)

    def read(self, size: int, /) -> bytes:
        if not self.silent and self.pending:
            name = PROTOCOL.name(self.pending[0])
            assert name is not None
            end = 1 + PROTOCOL.size(name)
            value = int.from_bytes(self.pending[1:end], "little")
            del self.pending[:end]
            self.frames.append((name, value))
            self.back.append(ACCEPTED)
            self.back += PROTOCOL.frame("answer", value)
        data = bytes(self.back[:size])
        del self.back[:size]
        return data

    def send_break(self) -> None:
        self.pending.clear()
        self.back.clear()


def test_driver_sends_and_receives() -> None:
    board = Board()
    link = EngineLink(board, PROTOCOL)
    values = [(37 * i) % (1 << 19) for i in range(400)]
    for value in values:
        link.send("write", value)
    assert [link.receive("answer") for _ in values] == values
    link.flush()
    assert board.frames == [("write", value) for value in values]
    assert 1 < board.most <= WINDOW


def test_driver_reports_a_silent_board() -> None:
    link = EngineLink(Board(silent=True), PROTOCOL, timeout_s=0.05)
    link.send("ask", 1)
    with pytest.raises(LinkError, match=r"did not accept frames within 0\.05 s; check port"):
        link.flush()
    with pytest.raises(LinkError, match=r"did not send answer within"):
        link.receive("answer")
    link.reset()
    link.flush()


def test_driver_rejects() -> None:
    board = Board()
    link = EngineLink(board, PROTOCOL)
    with pytest.raises(ValueError, match="input must be one of write, ask, not 'done'"):
        link.send("done", 0)
    with pytest.raises(ValueError, match="output must be one of done, answer, not 'ask'"):
        link.receive("ask")
    board.back.append(ACCEPTED)
    with pytest.raises(LinkError, match="accepted a frame that was not sent"):
        link.receive("done")


def test_driver_speaks_to_the_bridge() -> None:
    """Driver and hardware, joined byte by byte: what one sends, the other understands."""
    sent: deque[int] = deque()

    class Recorder(Board):
        def write(self, data: bytes, /) -> int:
            sent.extend(data)
            return len(data)

    recorder = Recorder(silent=True)
    link = EngineLink(recorder, PROTOCOL)
    link.send("ask", 6)
    link.send("write", 0x4_0001)
    taken: list[int] = []

    async def bench(ctx: Any, dut: Any, line: Line) -> None:
        await line.send(ctx, bytes(sent))
        await idle(ctx, 1500)

    async def engine(ctx: Any, dut: Any) -> None:
        taken.append(await take(ctx, dut.ask))
        await ctx.tick()
        ctx.set(dut.answer.payload, 0x1F_0006)
        ctx.set(dut.answer.valid, 1)
        await ctx.tick()
        ctx.set(dut.answer.valid, 0)
        taken.append(await take(ctx, dut.write))

    recorder.back += simulate(bench, engine)
    assert link.receive("answer") == 0x1F_0006
    link.flush()
    assert taken == [6, 0x4_0001]
