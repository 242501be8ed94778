"""Frames, and the bridge between the serial line and the engine's streams."""

from typing import Any

import pytest
from serial_line import INPUTS, OUTPUTS, PROTOCOL, Line, idle, simulate, take

from systolith.host.protocol import ACCEPTED, Protocol


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {}}, r"Protocol\.inputs must have 1 to 64 ports, not 0"),
        ({"outputs": {"done": 0}}, r"Protocol\.outputs: width of done must be at least 1 bit"),
        ({"outputs": {"ask": 4}}, r"Protocol: ask cannot be input and output"),
        ({"replies": {"ask": "nothing"}}, r"not from 'ask' to 'nothing'"),
    ],
)
def test_protocol_rejects(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(**{"inputs": INPUTS, "outputs": OUTPUTS, **change})


def test_frames() -> None:
    assert PROTOCOL.frame("write", 0x7_1234) == bytes([0, 0x34, 0x12, 7])
    assert PROTOCOL.frame("answer", 1) == bytes([0x81, 1, 0, 0])
    assert [PROTOCOL.name(n) for n in (0, 1, 2, 0x80, 0x81, 0x82)] == [
        "write", "ask", None, "done", "answer", None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"payload of ask must be in 0\.\.2\*\*3 - 1, not 8"):
        PROTOCOL.frame("ask", 8)
    with pytest.raises(ValueError, match="port must be one of write, ask, done, answer, not 'x'"):
        PROTOCOL.frame("x", 0)


def test_bridge_inputs_wait_for_their_stream() -> None:
    taken: list[int] = []
    values = [0x7_FFFF, 0, 0x2_4680, 0x5_A5A5]

    async def bench(ctx: Any, dut: Any, line: Line) -> None:
        await line.send(ctx, bytes([0x55]))  # begins no frame: ignored
        await line.send(ctx, b"".join(PROTOCOL.frame("write", v) for v in values))
        await idle(ctx, 2000)

    async def engine(ctx: Any, dut: Any) -> None:
        for pause in (0, 300, 0, 700):
            taken.append(await take(ctx, dut.write, pause=pause))

    received = simulate(bench, engine)
    assert taken == values
    assert received == bytes([ACCEPTED] * len(values))


def test_bridge_outputs_come_back_as_frames() -> None:
    async def bench(ctx: Any, dut: Any, line: Line) -> None:
        for name, payload in (("done", 0x15), ("answer", 0x12_3456), ("done", 0x0A)):
            port = getattr(dut, name)
            ctx.set(port.payload, payload)
            ctx.set(port.valid, 1)
            while not (await ctx.tick().sample(port.ready))[-1]:
                pass
            ctx.set(port.valid, 0)
        await idle(ctx, 1000)

    received = simulate(bench)
    order = [("done", 0x15), ("answer", 0x12_3456), ("done", 0x0A)]
    expected = sorted(PROTOCOL.frame(name, payload) for name, payload in order)
    split = [received[0:2], received[2:6], received[6:8]]
    if received[2] == PROTOCOL.number("done"):
        split = [received[0:2], received[2:4], received[4:8]]
    assert sorted(split) == expected and len(received) == 8


def test_bridge_loses_no_answer_of_a_source_without_ready() -> None:
    """Questions arrive faster than answers leave; each answer is offered for one cycle only."""
    questions = [1, 5, 7, 2, 0, 3]

    async def bench(ctx: Any, dut: Any, line: Line) -> None:
        await line.send(ctx, b"".join(PROTOCOL.frame("ask", q) for q in questions))
        await idle(ctx, 3000)

    async def engine(ctx: Any, dut: Any) -> None:
        while True:
            question = await take(ctx, dut.ask)
            await idle(ctx, 2)
            ctx.set(dut.answer.payload, 0x10_0000 + question)
            ctx.set(dut.answer.valid, 1)
            await ctx.tick()
            ctx.set(dut.answer.valid, 0)

    received = simulate(bench, engine)
    answers = received.replace(bytes([ACCEPTED]), b"")
    assert answers == b"".join(PROTOCOL.frame("answer", 0x10_0000 + q) for q in questions)
    assert received.count(ACCEPTED) == len(questions)


def test_bridge_break_resets() -> None:
    resets: list[int] = []

    async def bench(ctx: Any, dut: Any, line: Line) -> None:
        await line.send(ctx, PROTOCOL.frame("write", 0x7_FFFF)[:2])  # cut off
        await line.hold(ctx, 0, 15)
        await line.hold(ctx, 1, 2)
        await line.send(ctx, PROTOCOL.frame("write", 0x1_2345))
        assert await take(ctx, dut.write) == 0x1_2345
        await idle(ctx, 100)

    async def engine(ctx: Any, dut: Any) -> None:
        while True:
            await ctx.tick()
            resets.append(ctx.get(dut.reset))

    assert simulate(bench, engine) == bytes([ACCEPTED])
    assert sum(resets) == 1
