"""Top level of a board that tests its SDR memory: clock, reset, pads, lamps and a line of text."""

from typing import Any

from amaranth.back import verilog
from amaranth.hdl import (
    Cat,
    ClockDomain,
    ClockSignal,
    Instance,
    IOPort,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.boards.board import Board, Sdram
from systolith.boards.pll import Pll
from systolith.boards.table import BOARDS
from systolith.host.pads import READ_DELAY, clock_pad, data_pads, output_pads, pll_instance
from systolith.host.result_line import ResultLine
from systolith.host.shell import BAUD
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import sdr_parts
from systolith.memory.sdr.self_test import SelfTest
from systolith.memory.sdr.self_test_plan import SelfTestConfig

__all__ = ["SELF_TEST", "SelfTestShell", "memory_pll", "self_test_config", "self_test_verilog"]

SELF_TEST = "systolith_self_test"
"""Name of the top module."""

_POWER_ON = 10
_BLINK = 26  # bits of the counter behind the lamp
_LINES_PER_S = 4


def _sdram(board: Board) -> Sdram:
    if board.sdram is None:
        able = [name for name, known in BOARDS.items() if known.sdram is not None]
        raise ValueError(
            f"board must be one with SDR SDRAM to test it ({', '.join(able)}), not {board.name!r}"
        )
    return board.sdram


def memory_pll(board: Board) -> Pll:
    """The clock of the memory and of its controller: as fast as the part allows."""
    return Pll.fastest(board.clock_hz, _sdram(board).tck_ps)


def self_test_config(board: Board) -> SelfTestConfig:
    """Self-test of the memory of ``board``. Raises ``ValueError`` if it has none."""
    part = sdr_parts(float(memory_pll(board).output_hz) / 1e6)[_sdram(board).part]
    controller = ControllerConfig(
        organisation=part.organisation, timing=part.timing, streams=4, runs=2, visits=2
    )
    return SelfTestConfig(controller=controller, outside=READ_DELAY)


class SelfTestShell(wiring.Component):
    """Everything between the pins of an ECP5 board and its memory's self-test.

    The test starts with the device and runs once. All of it has the memory's clock, from a PLL;
    the memory gets the complement of it.

    Parameters
    ----------
    board : Board
        With SDR memory.
    test, module : SelfTest, str
        The self-test, and its emitted module.

    Members
    -------
    clk : In(1)
        Pin.
    tx : Out(1)
        Pin: see :class:`~systolith.host.result_line.ResultLine`.
    led : Out
        Lamps: 0 blinks, 1 running, 2 passed, 3 failed, 4 up: number of the pass.
    <held high>, sdram_clk, sdram_cke, ... : Out
        Pins. ``sdram_dq`` is beside them: :attr:`dq`.
    """

    clk: Signal
    tx: Signal
    led: Signal
    sdram_clk: Signal

    def __init__(self, board: Board, test: SelfTest, module: str) -> None:
        self.board, self.test, self.module = board, test, module
        self.pll = memory_pll(board)
        known = test.signature.members
        self.outputs = {
            name: known[name] for name in test.pin_names if name not in ("dq_o", "dq_oe", "dq_i")
        }
        self.dq = IOPort(len(test.dq_i), name="sdram_dq")
        super().__init__(
            {
                "clk": In(1),
                "tx": Out(1),
                "led": Out(len(board.leds)),
                "sdram_clk": Out(1),
                **{pin.name: Out(1) for pin in board.held_high},
                **{f"sdram_{name}": Out(known[name].shape) for name in self.outputs},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        test: Any = self.test
        m.domains += [ClockDomain("power", reset_less=True), ClockDomain("sync")]
        fast, locked = Signal(), Signal()
        m.submodules.pll = pll_instance(self.pll, self.clk, fast, locked)
        m.d.comb += [ClockSignal("power").eq(fast), ClockSignal("sync").eq(fast)]
        seen, started, reset = Signal(2), Signal(_POWER_ON + 1), Signal(init=1)
        m.d.power += [seen.eq(Cat(locked, seen)), reset.eq(~started[-1])]
        with m.If(~seen[1]):
            m.d.power += started.eq(0)
        with m.Elif(~started[-1]):
            m.d.power += started.eq(started + 1)
        m.d.comb += ResetSignal("sync").eq(reset)

        ports: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for name, member in test.signature.members.items():
            ports[f"{'i' if member.flow == In else 'o'}_{name}"] = getattr(test, name)
        m.submodules.test = Instance(self.module, **ports)
        clock_pad(m, self.sdram_clk)
        for name, member in self.outputs.items():
            pins = getattr(self, f"sdram_{name}")
            output_pads(m, name, getattr(test, name), pins, high=bool(member.init))
        data_pads(m, test.dq_o, test.dq_oe, test.dq_i, self.dq)

        hz = round(self.pll.output_hz)
        numbers = ("errors", "first", "bits")
        fields = {name: len(getattr(test, name)) for name in numbers}
        line: Any = ResultLine(round(hz / BAUD), fields, pause=hz // _LINES_PER_S)
        m.submodules.line = line
        blink = Signal(_BLINK)
        m.d.sync += blink.eq(blink + 1)
        m.d.comb += [
            *(getattr(line, name).eq(getattr(test, name)) for name in (*numbers, "failed")),
            line.passed.eq(test.passed),
            self.tx.eq(line.tx),
            self.led.eq(Cat(blink[-1], test.running, test.passed, test.failed, test.number)),
            *(getattr(self, pin.name).eq(1) for pin in self.board.held_high),
        ]
        return m


def self_test_verilog(board: Board, test: SelfTest, module: str) -> str:
    """Verilog of the top level, called :data:`SELF_TEST`; ``module`` itself is not in it."""
    top = SelfTestShell(board, test, module)
    ports = [*(getattr(top, name) for name in top.signature.members), top.dq]
    text: str = verilog.convert(
        top, name=SELF_TEST, ports=ports, emit_src=False, strip_internal_attrs=True
    )
    return text
