"""Top level of a board: clock, reset, serial bridge and the engine."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.board import Board
from systolith.host.bridge import UartBridge
from systolith.host.protocol import Protocol
from systolith.host.uart import SHORTEST_BIT

__all__ = ["BAUD", "SHELL", "Shell", "ShellConfig", "shell_verilog"]

SHELL = "systolith_shell"
"""Name of the top module."""

BAUD = 1_000_000
"""Default rate in bits per second; the USB chips of the supported boards make it exactly."""

_ERROR = 0.02
"""Largest error of the rate: a character is ten bits, sampled in their middles."""

_POWER_ON = 10


@dataclass(frozen=True, kw_only=True)
class ShellConfig:
    """What a shell is built around.

    Parameters
    ----------
    board
        Gives the clock frequency.
    engine
        Module of the engine, with ``clk``, ``rst`` and, for a stream ``s``, the ports
        ``s__payload``, ``s__valid``, ``s__ready``.
    protocol
        The engine's streams.
    no_ready
        Streams that have no ``__ready`` port.
    baud
        Bits per second on the serial line.
    """

    board: Board
    engine: str
    protocol: Protocol
    no_ready: Set[str] = frozenset()
    baud: int = BAUD

    def __post_init__(self) -> None:
        clock = self.board.clock_hz
        if self.divisor < SHORTEST_BIT or abs(clock / self.divisor / self.baud - 1) > _ERROR:
            raise ValueError(
                f"ShellConfig.baud must be at most 1/{SHORTEST_BIT} of the {clock} Hz of "
                f"{self.board.name} and within {_ERROR:.0%} of a divisor, not {self.baud}"
            )
        ports = [*self.protocol.inputs, *self.protocol.outputs]
        if unknown := sorted(set(self.no_ready) - set(ports)):
            raise ValueError(
                f"ShellConfig.no_ready must name some of {', '.join(ports)}, "
                f"not {', '.join(unknown)}"
            )

    @property
    def divisor(self) -> int:
        """Clock cycles per bit."""
        return max(1, round(self.board.clock_hz / self.baud))


class Shell(wiring.Component):
    """Everything between a board's pins and the engine.

    The engine runs from the board's clock. Reset lasts ``2**10`` cycles after configuration, and
    as long for the engine after a break on the serial line.

    Parameters
    ----------
    config : ShellConfig
        Board, engine and streams.

    Members
    -------
    clk, rx : In(1)
        Pins.
    tx : Out(1)
        Pin.
    <held high> : Out(1)
        One for each of the board's ``held_high``: constant 1.
    """

    clk: Signal
    rx: Signal
    tx: Signal

    def __init__(self, config: ShellConfig) -> None:
        self.config = config
        high = {pin.name: Out(1) for pin in config.board.held_high}
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1), **high})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, protocol = self.config, self.config.protocol
        bridge = UartBridge(protocol.inputs, protocol.outputs, config.divisor, protocol.replies)
        m.domains += [ClockDomain("power", reset_less=True), ClockDomain("sync")]
        m.d.comb += [ClockSignal("power").eq(self.clk), ClockSignal("sync").eq(self.clk)]

        # Counts from the value in the bitstream. A break restarts the count for the engine only,
        # since the bridge has to see the line go high again.
        started, engine_started = Signal(_POWER_ON + 1), Signal(_POWER_ON + 1)
        reset, engine_reset = Signal(init=1), Signal(init=1)
        with m.If(~started[-1]):
            m.d.power += started.eq(started + 1)
        with m.If(bridge.reset):
            m.d.power += engine_started.eq(0)
        with m.Elif(~engine_started[-1]):
            m.d.power += engine_started.eq(engine_started + 1)
        m.d.power += [reset.eq(~started[-1]), engine_reset.eq(~engine_started[-1])]
        m.d.comb += ResetSignal("sync").eq(reset)

        m.submodules.bridge = bridge
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        m.d.comb += [getattr(self, pin.name).eq(1) for pin in config.board.held_high]
        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": engine_reset}
        for names, towards, back in (
            (protocol.inputs, "i", "o"),
            (protocol.outputs, "o", "i"),
        ):
            for name in names:
                stream = getattr(bridge, name)
                ports[f"{towards}_{name}__payload"] = stream.payload
                ports[f"{towards}_{name}__valid"] = stream.valid
                if name not in config.no_ready:
                    ports[f"{back}_{name}__ready"] = stream.ready
                elif towards == "i":
                    m.d.comb += stream.ready.eq(1)
        m.submodules.engine = Instance(config.engine, **ports)
        return m


def shell_verilog(config: ShellConfig) -> str:
    """Verilog of a shell, whose top module is called :data:`SHELL`; the engine is not in it."""
    return verilog.convert(Shell(config), name=SHELL, emit_src=False, strip_internal_attrs=True)
