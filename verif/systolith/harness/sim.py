"""Helpers for unit tests in the Amaranth simulator."""

from collections.abc import Callable, Coroutine
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

__all__ = ["Bench", "get", "put", "simulate"]

Bench = Callable[[Any], Coroutine[Any, Any, None]]
"""A testbench: a coroutine function of a simulator context."""

_PERIOD = 1e-8  # seconds; any would do


def simulate(dut: Elaboratable, *benches: Bench, deadline_cycles: int = 10_000) -> None:
    """Run all ``benches`` to completion.

    Parameters
    ----------
    dut
        Design under test, clocked by ``sync`` if by anything.
    benches
        Testbenches that run at the same time.
    deadline_cycles
        Clock cycles within which all of them must finish.

    Raises
    ------
    TimeoutError
        If one has not finished by then.
    """
    simulator = Simulator(dut)
    simulator.add_clock(_PERIOD, if_exists=True)
    waiting = list(range(len(benches)))
    expired: list[bool] = []

    def track(index: int, bench: Bench) -> Bench:
        async def run(ctx: Any) -> None:
            await bench(ctx)
            waiting.remove(index)

        return run

    async def watchdog(ctx: Any) -> None:
        await ctx.delay(deadline_cycles * _PERIOD)
        expired.append(True)

    for index, bench in enumerate(benches):
        simulator.add_testbench(track(index, bench))
    # Not run(), which never ends while a testbench waits for what does not come; nor run_until(),
    # which goes on when all have finished, and for ever in a design without a clock.
    simulator.add_testbench(watchdog, background=True)
    while waiting and not expired:
        simulator.advance()
    if waiting:
        names = ", ".join(getattr(benches[index], "__name__", str(index)) for index in waiting)
        raise TimeoutError(f"after {deadline_cycles} cycles these had not finished: {names}")


async def put(ctx: Any, port: Any, payload: object, *, pause: int = 0) -> None:
    """Offer ``payload`` on a stream after ``pause`` idle cycles; return once it is accepted."""
    for _ in range(pause):
        await ctx.tick()
    ctx.set(port.payload, payload)
    ctx.set(port.valid, 1)
    while not (await ctx.tick().sample(port.ready))[-1]:
        pass
    ctx.set(port.valid, 0)


async def get(ctx: Any, port: Any, *, pause: int = 0) -> Any:
    """Take one payload from a stream after ``pause`` cycles of backpressure.

    A stream without ``ready`` is only listened to.
    """
    for _ in range(pause):
        await ctx.tick()
    waits = hasattr(port, "ready")
    if waits:
        ctx.set(port.ready, 1)
    while True:
        *_, payload, valid = await ctx.tick().sample(port.payload, port.valid)
        if valid:
            break
    if waits:
        ctx.set(port.ready, 0)
    return payload
