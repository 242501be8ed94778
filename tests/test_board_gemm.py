"""A GEMM through the whole board in the simulator: shell, bridge and engine, and the driver."""

import re
import sys
from collections import deque
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter
from amaranth.sim import Simulator
from serial_line import DIVISOR, Line

from systolith.array.codes import Code
from systolith.array.config import EngineConfig, FormatsConfig
from systolith.array.engine import Engine
from systolith.array.interface import encode, ports
from systolith.boards.table import BOARDS
from systolith.cli.operands import operands
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.config.presets import demo8, demo8_fp4, tiny
from systolith.golden.gemm import gemm, product
from systolith.host import shell
from systolith.host.driver import EngineLink, LinkError
from systolith.host.engine import engine_protocol, engine_shell
from systolith.host.gemm import run_gemm
from systolith.host.shell import BAUD, Shell

GUIDE = Path(__file__).parents[1] / "docs" / "boards.md"
CYCLE = 1e-6
MX_TINY = replace(
    tiny,
    name="mx_tiny",
    array=replace(tiny.array, formats=FormatsConfig(acts=("e4m3",), weights=("e2m1",))),
)
BOARD = replace(BOARDS["ulx3s-85f"], clock_hz=DIVISOR * BAUD)


def engine_instance(config: EngineConfig, name: str, **ports: Any) -> Module:
    """The engine where the shell has an instance of its Verilog, on ports of the same names."""
    m = Module()
    engine = Engine(config)
    del ports["i_clk"]
    m.submodules.engine = ResetInserter(ports.pop("i_rst"))(engine)
    for port, signal in ports.items():
        direction, stream, member = re.fullmatch(r"([io])_(\w+)__(\w+)", port).groups()  # type: ignore[union-attr]
        inner = getattr(getattr(engine, stream), member)
        m.d.comb += inner.eq(signal) if direction == "i" else signal.eq(inner)
    return m


class SimulatedPort:
    """A ``serial.Serial`` with the board at the other end. Reading lets the board run."""

    def __init__(self, config: EngineConfig = tiny) -> None:
        self.dut = Shell(engine_shell(config, "engine", BOARD))
        self.line = Line(self.dut)
        self.levels: deque[tuple[int, int]] = deque()  # towards the board: level, bits
        self.cycles = 0
        self.sim = Simulator(self.dut)
        for bench in (self.clock, self.talk, self.line.listen):
            self.sim.add_testbench(bench, background=True)

    async def clock(self, ctx: Any) -> None:
        while True:
            for level in (1, 0):
                ctx.set(self.dut.clk, level)
                await ctx.delay(CYCLE / 2)

    async def talk(self, ctx: Any) -> None:
        while True:
            level, bits = self.levels.popleft() if self.levels else (1, 1)
            await self.line.hold(ctx, level, bits)

    def run(self, cycles: int) -> None:
        self.cycles += cycles
        self.sim.run_until(self.cycles * CYCLE)

    def write(self, data: bytes, /) -> int:
        for byte in data:
            self.levels += [(bit, 1) for bit in (0, *(byte >> i & 1 for i in range(8)), 1)]
        return len(data)

    def read(self, size: int, /) -> bytes:
        for _ in range(100):
            if self.line.received:
                break
            self.run(10 * DIVISOR)
        data = bytes(self.line.received[:size])
        del self.line.received[:size]
        return data

    def send_break(self) -> None:
        self.levels.append((0, 15))
        self.run(4000)

    def reset_input_buffer(self) -> None:
        self.line.received.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def test_the_program_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is printed, but on the small engine: operands go in, the product comes back."""
    monkeypatch.setattr(shell, "Instance", partial(engine_instance, tiny))
    port, opened = SimulatedPort(), []

    def connect(*arguments: object, **options: object) -> SimulatedPort:
        opened.append((arguments, options))
        port.run(2000)
        port.write(bytes([0, 0x55]))  # somebody else's unfinished frame
        return port

    monkeypatch.setitem(sys.modules, "serial", SimpleNamespace(Serial=connect))
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    for printed, smaller in (
        ('"demo8"', '"tiny"'),
        ("Gemm(m=8, n=40, k=72)", "Gemm(m=3, n=5, k=7)"),
    ):
        assert program.count(printed) == 1
        program = program.replace(printed, smaller)
    names: dict[str, Any] = {}
    exec(compile(program, str(GUIDE), "exec"), names)
    assert opened == [(("/dev/ttyUSB0", BAUD), {"timeout": 0.1})]
    assert names["y"].shape == (3, 5) and (names["y"] == gemm(names["x"], names["w"])).all()
    assert port.sim and port.dut and (names["y"] != 0).any()


@pytest.mark.slow
def test_block_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codes and scales go in, binary32 comes back, the second block of K a short one."""
    monkeypatch.setattr(shell, "Instance", partial(engine_instance, MX_TINY))
    port = SimulatedPort(MX_TINY)
    port.run(2000)
    (pair,), shape = MX_TINY.array.pairs, Gemm(m=1, n=2, k=34)
    plan = GemmPlan(config=MX_TINY, gemm=shape, split=Split(), pair=pair)
    x, w, x_scales, w_scales, _ = operands(shape, 7, pair=pair)
    y = run_gemm(EngineLink(port, engine_protocol(MX_TINY)), plan, x, w, x_scales, w_scales)
    wanted = product(pair, x, w, x_scales, w_scales)
    assert y.dtype == np.float32 and y.shape == (1, 2) and plan.blocks == 2
    assert (y.view(np.uint32) == wanted.view(np.uint32)).all() and (y != 0).all()


def test_wrong_operands_send_nothing() -> None:
    class Link:
        def send(self, name: str, payload: int) -> None:
            raise AssertionError(f"{name} was sent")

    link: Any = Link()
    (pair,), shape = MX_TINY.array.pairs, Gemm(m=1, n=2, k=33)
    plan = GemmPlan(config=MX_TINY, gemm=shape, split=Split(), pair=pair)
    x, w, x_scales, w_scales, _ = operands(shape, 7, pair=pair)
    assert x_scales is not None
    with pytest.raises(ValueError, match="w_scales must be the scale codes of 2 blocks"):
        run_gemm(link, plan, x, w, x_scales)
    with pytest.raises(ValueError, match="x_scales must be the scale codes of 2 blocks"):
        run_gemm(link, plan, x, w, w_scales=w_scales)
    with pytest.raises(ValueError, match=r"x_scales must be uint8 of shape \(1, 2\)"):
        run_gemm(link, plan, x, w, x_scales[:, :1], w_scales)
    with pytest.raises(ValueError, match=r"w must be uint8 of shape \(33, 2\)"):
        run_gemm(link, plan, x, w[1:], x_scales, w_scales)
    plain = GemmPlan(config=tiny, gemm=Gemm(m=1, n=2, k=2), split=Split())
    ones = np.ones((2, 2), np.int8)
    with pytest.raises(ValueError, match="w_scales must not be given for plain integers"):
        run_gemm(link, plain, ones[:1], ones, w_scales=w_scales)
    with pytest.raises(ValueError, match=r"w must be int8 of shape \(2, 2\)"):
        run_gemm(link, plain, ones[:1], ones[:1])


def test_protocol_is_the_table_of_ports() -> None:
    protocol = engine_protocol(demo8)
    assert list(protocol.inputs) == ["x_write", "w_write", "command", "y_request"]
    assert list(protocol.outputs) == ["completion", "y_data"]
    scaled = engine_protocol(demo8_fp4)
    assert set(scaled.inputs) - set(protocol.inputs) == {"x_scale", "w_scale"}
    for config, streams in ((demo8, protocol), (demo8_fp4, scaled)):
        for port in ports(config):
            widths = streams.inputs if port.to_engine else streams.outputs
            assert widths[port.name] == sum(field.width(config) for field in port.has(config))
        assert engine_shell(config, "engine", BOARD).no_ready == {"y_data"}


def test_refused_command() -> None:
    class Link:
        sent: ClassVar[list[str]] = []

        def send(self, name: str, payload: int) -> None:
            self.sent.append(name)

        def receive(self, name: str) -> int:
            assert (name, self.sent[-1]) == ("completion", "command")
            return encode("completion", tiny, {"tag": 0, "code": Code.W_RANGE})

    plan = GemmPlan(config=tiny, gemm=Gemm(m=1, n=2, k=2), split=Split())
    ones = np.ones((2, 2), np.int8)
    message = "refused command 0 with W_RANGE: .* exceeds the weight banks; .* built for tiny"
    with pytest.raises(LinkError, match=message):
        run_gemm(Link(), plan, ones[:1], ones)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"x must be int8 of shape \(1, 2\)"):
        run_gemm(Link(), plan, ones, ones)  # type: ignore[arg-type]
