"""Plays a program to the engine in the Amaranth simulator, as the Verilog player does."""

from typing import Any

from amaranth.sim import Simulator

from systolith.array.engine import Engine
from systolith.array.interface import ports
from systolith.benches.program import Program
from systolith.devices.player import Op
from systolith.harness.result import Transfer
from systolith.harness.script import Step

__all__ = ["interpret"]


def interpret(program: Program, *, deadline: int = 20_000) -> dict[str, list[Transfer]]:
    """Transfers of ``program`` by stream; at most ``deadline`` cycles without one.

    Raises
    ------
    TimeoutError
        If nothing moves any more; names the action it waits in.
    """
    engine: Any = Engine(program.config)
    enabled = ports(program.config)
    inputs = [port.name for port in enabled if port.to_engine]
    outputs = [*(port.name for port in enabled if not port.to_engine), "event"]
    transfers: dict[str, list[Transfer]] = {name: [] for name in (*inputs, *outputs)}
    watched = []
    for name in [*inputs, *outputs]:
        port = getattr(engine, name)
        ready = getattr(port, "ready", None)
        watched += [port.valid, port.payload.as_value(), port.valid if ready is None else ready]

    async def bench(ctx: Any) -> None:
        counts = dict.fromkeys(outputs, 0)
        ctx.set(engine.completion.ready, 1)
        cycle = quiet = 0

        async def tick() -> set[str]:
            nonlocal cycle, quiet
            _, _, *values = await ctx.tick().sample(*watched)
            moved = set()
            for name, (valid, payload, ready) in zip(
                [*inputs, *outputs], zip(*[iter(values)] * 3, strict=True), strict=True
            ):
                if valid and ready:
                    moved.add(name)
                    transfers[name].append(Transfer(cycle, payload))
                    if name in counts:
                        counts[name] += 1
            cycle += 1
            quiet = 0 if moved else quiet + 1
            if quiet > deadline:
                raise TimeoutError(f"nothing moved for {deadline} cycles in: {step}")
            return moved

        step = Step(Op.IDLE)
        for step in (step for segment in program.segments for step in segment.steps):
            match step.op:
                case Op.SEND:
                    port = getattr(engine, step.stream)
                    ctx.set(port.payload.as_value(), step.value)
                    ctx.set(port.valid, 1)
                    while step.stream not in await tick():
                        pass
                    ctx.set(port.valid, 0)
                case Op.WAIT:
                    while counts[step.stream] < step.value:
                        await tick()
                case Op.IDLE:
                    for _ in range(step.value):
                        await tick()
                case _:
                    raise ValueError(f"the simulator does not play {step}")

    simulator = Simulator(engine)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return transfers
