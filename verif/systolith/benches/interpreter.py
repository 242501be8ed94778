"""Plays a program to the engine in the Amaranth simulator, as the Verilog player does."""

import warnings
from typing import Any

from amaranth.sim import Simulator

from systolith.array.engine import Engine
from systolith.array.interface import PORTS
from systolith.benches.program import Action, Program

__all__ = ["interpret"]

_INPUTS = [port.name for port in PORTS if port.to_engine]
_OUTPUTS = [*(port.name for port in PORTS if not port.to_engine), "event"]


def interpret(program: Program, *, deadline: int = 20_000) -> list[tuple[int, str, int]]:
    """Transfers (cycle, stream, payload) of ``program``; at most ``deadline`` cycles without one.

    Raises
    ------
    TimeoutError
        If nothing moves any more; names the action it waits in.
    """
    engine = Engine(program.config)
    transfers: list[tuple[int, str, int]] = []
    watched = []
    for name in [*_INPUTS, *_OUTPUTS]:
        port = getattr(engine, name)
        ready = getattr(port, "ready", None)
        watched += [port.valid, port.payload.as_value(), port.valid if ready is None else ready]

    async def bench(ctx: Any) -> None:
        counts = dict.fromkeys(_OUTPUTS, 0)
        ctx.set(engine.completion.ready, 1)
        cycle = quiet = 0

        async def tick() -> set[str]:
            nonlocal cycle, quiet
            _, _, *values = await ctx.tick().sample(*watched)
            moved = set()
            for name, (valid, payload, ready) in zip(
                [*_INPUTS, *_OUTPUTS], zip(*[iter(values)] * 3, strict=True), strict=True
            ):
                if valid and ready:
                    moved.add(name)
                    transfers.append((cycle, name, payload))
                    if name in counts:
                        counts[name] += 1
            cycle += 1
            quiet = 0 if moved else quiet + 1
            if quiet > deadline:
                raise TimeoutError(f"nothing moved for {deadline} cycles in {action}")
            return moved

        action = Action("idle")
        for action in program.actions:
            match action.kind:
                case "send":
                    port = getattr(engine, action.stream)
                    ctx.set(port.payload.as_value(), action.value)
                    ctx.set(port.valid, 1)
                    while action.stream not in await tick():
                        pass
                    ctx.set(port.valid, 0)
                case "wait":
                    while counts[action.stream] < action.value:
                        await tick()
                case "idle":
                    for _ in range(action.value):
                        await tick()

    simulator = Simulator(engine)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    with warnings.catch_warnings():
        simulator.run()
    return transfers
