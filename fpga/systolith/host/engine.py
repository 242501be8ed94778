"""The engine's host interface on the serial line."""

from systolith.array.config import EngineConfig
from systolith.array.interface import layout, ports
from systolith.boards.board import Board
from systolith.host.protocol import Protocol
from systolith.host.shell import BAUD, ShellConfig

__all__ = ["engine_protocol", "engine_shell"]

_REPLIES = {"y_request": "y_data"}


def engine_protocol(config: EngineConfig) -> Protocol:
    """Streams of the engine as bridge and driver see them: the table of its ports, in its order."""
    inputs = {p.name: layout(p.name, config).size for p in ports(config) if p.to_engine}
    outputs = {p.name: layout(p.name, config).size for p in ports(config) if not p.to_engine}
    return Protocol(inputs=inputs, outputs=outputs, replies=_REPLIES)


def engine_shell(
    config: EngineConfig, module: str, board: Board, *, baud: int = BAUD
) -> ShellConfig:
    """Shell of ``board`` around the engine's emitted ``module``; ``event`` stays unconnected."""
    return ShellConfig(
        board=board,
        engine=module,
        protocol=engine_protocol(config),
        no_ready=frozenset(port.name for port in ports(config) if not port.waits),
        baud=baud,
    )
