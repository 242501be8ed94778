"""Runs programs on the emitted Verilog of an engine."""

from dataclasses import dataclass
from pathlib import Path

from systolith.array.config import EngineConfig
from systolith.array.engine import Engine
from systolith.array.interface import event_layout, layout, ports
from systolith.benches.program import Program
from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.harness.cosim import Simulation, build
from systolith.harness.result import RunResult

__all__ = ["CACHE", "EngineSimulation", "build_engine", "engine_streams"]

CACHE = Path("build") / "sim"


def engine_streams(config: EngineConfig) -> tuple[list[StreamPort], list[StreamPort]]:
    """Inputs and outputs of the engine, the observation port included."""
    enabled = ports(config)
    streams = [
        StreamPort(port.name, layout(port.name, config).size, port.waits) for port in enabled
    ]
    into = {port.name for port in enabled if port.to_engine}
    event = StreamPort("event", event_layout(config).size, has_ready=False)
    return (
        [stream for stream in streams if stream.name in into],
        [*(stream for stream in streams if stream.name not in into), event],
    )


@dataclass(frozen=True, kw_only=True)
class EngineSimulation:
    """A compiled engine.

    Parameters
    ----------
    config
        The engine.
    simulation
        Its model.
    """

    config: EngineConfig
    simulation: Simulation

    def play(
        self, program: Program, *, deadline: int = 20_000, waves: Path | None = None
    ) -> RunResult:
        """Run ``program``; raises as :meth:`Simulation.run` does."""
        return self.simulation.run(program.segments, deadline=deadline, waves=waves)


def build_engine(
    config: EngineConfig,
    *,
    simulator: str = "verilator",
    waves: bool = False,
    cache: Path = CACHE,
    verilog: str | None = None,
) -> EngineSimulation:
    """Emit and compile the engine of ``config``, or ``verilog`` in its place."""
    if verilog is None:
        verilog = emit_design(Engine(config), config.name).verilog()
    inputs, outputs = engine_streams(config)
    top = f"{config.name}_engine"
    simulation = build(verilog, top, inputs, outputs, cache, simulator=simulator, waves=waves)
    return EngineSimulation(config=config, simulation=simulation)
