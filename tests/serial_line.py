"""A small protocol, and the serial line at the level of bits in the simulator."""

from collections.abc import Callable
from typing import Any

from amaranth.sim import Simulator

from systolith.host.bridge import UartBridge
from systolith.host.protocol import Protocol

__all__ = [
    "DIVISOR", "INPUTS", "OUTPUTS", "PROTOCOL", "REPLIES", "Line", "idle", "simulate", "take",
]  # fmt: skip

DIVISOR = 4
INPUTS = {"write": 19, "ask": 3}
OUTPUTS = {"done": 5, "answer": 21}
REPLIES = {"ask": "answer"}
PROTOCOL = Protocol(inputs=INPUTS, outputs=OUTPUTS, replies=REPLIES)


class Line:
    """Bit-level ends of the serial line in the simulator."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.received = bytearray()

    async def hold(self, ctx: Any, level: int, bits: int) -> None:
        ctx.set(self.dut.rx, level)
        for _ in range(bits * DIVISOR):
            await ctx.tick()

    async def send(self, ctx: Any, data: bytes) -> None:
        for byte in data:
            for bit in [0, *(byte >> i & 1 for i in range(8)), 1]:
                await self.hold(ctx, bit, 1)

    async def listen(self, ctx: Any) -> None:
        while True:
            await ctx.tick()
            if ctx.get(self.dut.tx):
                continue
            for _ in range(DIVISOR // 2):
                await ctx.tick()
            bits = []
            for _ in range(9):
                for _ in range(DIVISOR):
                    await ctx.tick()
                bits.append(ctx.get(self.dut.tx))
            assert bits[8] == 1, "no stop bit"
            self.received.append(sum(bit << i for i, bit in enumerate(bits[:8])))


def simulate(
    bench: Callable[[Any, Any, Line], Any],
    engine: Callable[[Any, Any], Any] | None = None,
    *,
    cycles: int = 20_000,
) -> bytes:
    """Run ``bench`` beside the listener and ``engine``; return what came over the line."""
    dut = UartBridge(INPUTS, OUTPUTS, DIVISOR, REPLIES)
    line = Line(dut)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    finished = []

    async def run(ctx: Any) -> None:
        ctx.set(dut.rx, 1)
        for _ in range(2 * DIVISOR):
            await ctx.tick()
        await bench(ctx, dut, line)
        finished.append(True)

    async def run_engine(ctx: Any) -> None:
        if engine is not None:
            await engine(ctx, dut)

    sim.add_testbench(run)
    sim.add_testbench(line.listen, background=True)
    sim.add_testbench(run_engine, background=True)
    sim.run_until(cycles * 1e-6)
    assert finished, "the bench did not finish in time"
    return bytes(line.received)


async def take(ctx: Any, port: Any, *, pause: int = 0) -> int:
    for _ in range(pause):
        await ctx.tick()
    ctx.set(port.ready, 1)
    while True:
        *_, payload, valid = await ctx.tick().sample(port.payload, port.valid)
        if valid:
            ctx.set(port.ready, 0)
            return int(payload)


async def idle(ctx: Any, cycles: int) -> None:
    for _ in range(cycles):
        await ctx.tick()
