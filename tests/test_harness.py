"""The verification harness: script, player, co-simulation, simulator helpers and proofs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.devices.player import Op, player_verilog
from systolith.devices.streams import StreamPort
from systolith.harness import sim, toolchain
from systolith.harness.cosim import Deadline, Simulation, SimulationFailed, build
from systolith.harness.script import Script, Step, encode
from systolith.harness.toolchain import ToolMissing

WIDE = 600  # bits; more than any simulator's machine word
INPUTS = [StreamPort("a", WIDE), StreamPort("b", 8)]
OUTPUTS = [StreamPort("o", WIDE), StreamPort("t", 8, has_ready=False)]

# `a` passes through one register to `o`, inverted; `b` returns on `t` plus one. `b` never accepts
# ff and ends the simulation at ee.
TOY = f"""
module toy(input clk, input rst,
  input [{WIDE - 1}:0] a__payload, input a__valid, output a__ready,
  input [7:0] b__payload, input b__valid, output b__ready,
  output reg [{WIDE - 1}:0] o__payload, output reg o__valid, input o__ready,
  output reg [7:0] t__payload, output reg t__valid);
  assign a__ready = !o__valid | o__ready;
  assign b__ready = b__payload != 8'hff;
  always @(posedge clk) begin
    if (o__ready) o__valid <= 1'b0;
    if (a__valid & a__ready) begin
      o__payload <= ~a__payload;
      o__valid <= 1'b1;
    end
    t__payload <= b__payload + 8'd1;
    t__valid <= b__valid & b__ready;
    if (b__valid & b__payload == 8'hee) $finish;
    if (rst) begin
      o__valid <= 1'b0;
      t__valid <= 1'b0;
    end
  end
endmodule
"""
ONES = (1 << WIDE) - 1
SIMULATORS = ["verilator", "icarus"]


# Script


def test_encode() -> None:
    first = Script().send("b", 0xA5).ready("o", 0xF0).idle(3)
    second = Script().wait("t", 2).reset(4)
    text, steps = encode([first, second], INPUTS, OUTPUTS)
    assert text == "1 1 a5\n5 0 f0\n3 0 3\n6 0 0\n2 1 2\n4 0 4\n0 0 0\n"
    assert len(steps) == len(text.splitlines())
    assert steps[3] == Step(Op.MARK)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (Script().idle(1).send("b", 256), r"step 1 .*payload must fit 8 unsigned bits, not 256"),
        (Script().send("b", -1), r"step 0 .*payload must fit 8 unsigned bits, not -1"),
        (Script().send("o", 1), r"stream must be an input \(a, b\), not 'o'"),
        (Script().wait("a", 1), r"stream must be an output \(o, t\), not 'a'"),
        (Script().ready("t", 0), r"stream 't' has no ready"),
        (Script().idle(1 << 32), r"cycles must fit 32 unsigned bits"),
    ],
)
def test_encode_rejects(script: Script, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode([script], INPUTS, OUTPUTS)


def test_encode_rejects_nothing() -> None:
    with pytest.raises(ValueError, match="at least one script"):
        encode([], INPUTS, OUTPUTS)


def test_step_reads_well() -> None:
    assert str(Step(Op.WAIT, "o", 3)) == "wait for 3 transfers in all on 'o'"
    assert str(Step(Op.SEND, "a", 16)) == "send 0x10 to 'a'"
    assert str(Step(Op.IDLE, value=7)) == "idle for 7 cycles"


# Player


def test_player_is_reproducible_and_complete() -> None:
    text = player_verilog("toy", INPUTS, OUTPUTS)
    assert text == player_verilog("toy", INPUTS, OUTPUTS)
    assert "@{" not in text
    assert ".t__ready" not in text and ".o__ready(o__ready)" in text


def test_player_rejects() -> None:
    with pytest.raises(ValueError, match=r"StreamPort\.width must be at least 1, not 0"):
        StreamPort("a", 0)
    with pytest.raises(ValueError, match=r"StreamPort\.name must be a Verilog identifier"):
        StreamPort("a b", 1)
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        player_verilog("toy", INPUTS, [StreamPort("a", 3)])
    with pytest.raises(ValueError, match="at least one stream"):
        player_verilog("toy", [], OUTPUTS)


# Toolchain


def test_missing_tool_names_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match=r"g\+\+ was not found: install a C\+\+ compiler"):
        toolchain.verilator()
    with pytest.raises(ToolMissing, match=r"vvp was not found: install Icarus"):
        toolchain.icarus()
    assert toolchain.versions()["verilator"] == "missing"


def test_old_verilator_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "verilator"
    for version, chosen in (("5.006", False), ("5.036", True)):
        fake.write_text(f"#!/bin/sh\necho 'Verilator {version} 2024-01-01 rev v{version}'\n")
        fake.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        assert (toolchain.verilator().path == str(fake)) is chosen


def test_flags_of_a_calling_make_do_not_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "n --trace")
    monkeypatch.setenv("MAKELEVEL", "1")
    env = toolchain.verilator().env
    assert "--trace" not in env.get("MAKEFLAGS", "") and "MAKELEVEL" not in env


# Co-simulation


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # Workers of pytest-xdist have folders of their own inside that of the run; they share this.
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "compiled"


def toy(cache: Path, simulator: str, **options: Any) -> Simulation:
    if simulator == "icarus" and shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    return build(TOY, "toy", INPUTS, OUTPUTS, cache, simulator=simulator, **options)


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_sends_are_back_to_back(cache: Path, simulator: str) -> None:
    script = (
        Script().send("a", 3).send("b", 5).send("a", 1 << 599).send("a", ONES).send("b", 255 - 1)
    )
    result = toy(cache, simulator).run([script.wait("o", 3).wait("t", 2).idle(2)])
    assert result.transfers == {
        "a": [(0, 3), (2, 1 << 599), (3, ONES)],
        "b": [(1, 5), (4, 254)],
        "o": [(1, ONES ^ 3), (3, ONES ^ (1 << 599)), (4, 0)],
        "t": [(2, 6), (5, 255)],
    }
    # The last transfer is in cycle 5, the end comes after two more cycles.
    assert [segment.cycles for segment in result.segments] == [8]


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_backpressure(cache: Path, simulator: str) -> None:
    script = Script().ready("o", 1 << 20 | 1 << 22).send("a", 1).send("a", 2).send("a", 3)
    script.wait("o", 2).ready("o").wait("o", 3)
    result = toy(cache, simulator).run([script])
    assert result.transfers["a"] == [(0, 1), (20, 2), (22, 3)]
    assert [cycle for cycle, _ in result.transfers["o"]] == [20, 22, 23]


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_reset_keeps_the_cycle_counter(cache: Path, simulator: str) -> None:
    script = Script().ready("o", 0).send("a", 1).idle(2).reset(3).ready("o").idle(4)
    result = toy(cache, simulator).run([script.send("a", 2).wait("o", 1)])
    assert result.transfers["a"] == [(0, 1), (10, 2)]
    assert result.transfers["o"] == [(11, ONES ^ 2)]  # the first one was reset away


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_segments(cache: Path, simulator: str) -> None:
    parts = [Script().idle(10), Script().send("b", 1).wait("t", 1), Script().idle(0).mark().idle(5)]
    result = toy(cache, simulator).run(parts)
    assert [segment.cycles for segment in result.segments] == [10, 2, 0, 5]
    assert result.transfers["b"] == [(11, 1)]  # the mark between takes cycle 10
    assert all(0 < segment.seconds < result.seconds for segment in result.segments)


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_watchdog(cache: Path, simulator: str) -> None:
    simulation = toy(cache, simulator)
    with pytest.raises(Deadline, match=r"no transfer for 50 cycles at step 1 .*send 0xff to 'b'"):
        simulation.run([Script().send("b", 1).send("b", 0xFF)], deadline=50)
    with pytest.raises(Deadline, match=r"wait for 2 transfers in all on 'o'\), in cycle 52"):
        simulation.run([Script().send("a", 1).wait("o", 2)], deadline=50)
    # Cycles that the script itself spends are no hang, and they do not add up.
    simulation.run([Script().idle(60).reset(60).idle(60)], deadline=50)


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_dead_simulation(cache: Path, simulator: str) -> None:
    with pytest.raises(SimulationFailed, match="its last lines were"):
        toy(cache, simulator).run([Script().send("b", 0xEE).idle(3)])


@pytest.mark.cosim
def test_simulators_agree(cache: Path, tmp_path: Path) -> None:
    script = Script().ready("o", 0x5A5A_1234)
    for number in range(60):
        script.send("a", number**200 & ONES).send("b", number)
        if number % 7 == 0:
            script.idle(number % 5).reset(number % 3)
    logs = []
    for simulator in SIMULATORS:
        toy(cache, simulator).run([script.idle(40)], tmp_path / simulator)
        logs.append((tmp_path / simulator / "log.txt").read_text())
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) > 200


@pytest.mark.cosim
def test_undefined_payload(cache: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    broken = TOY.replace("t__payload <= b__payload + 8'd1", "t__payload <= 8'hxx")
    simulation = build(broken, "toy", INPUTS, OUTPUTS, cache, simulator="icarus")
    with pytest.raises(SimulationFailed, match=r"'t' carried the undefined payload xx in cycle 1"):
        simulation.run([Script().send("b", 0).wait("t", 1)])


@pytest.mark.cosim
def test_build_is_cached(cache: Path) -> None:
    toy(cache, "verilator")
    again = toy(cache, "verilator")
    assert again.compiled.cached and again.compiled.seconds < 1
    # Other sources are another model, but the simulator's library is not compiled again.
    other = build(TOY.replace("8'd1", "8'd2"), "toy", INPUTS, OUTPUTS, cache)
    assert not other.compiled.cached
    assert "verilated_vpi.cpp" not in (other.compiled.folder / "build.log").read_text()
    result = other.run([Script().send("b", 1).wait("t", 1)])
    assert result.transfers["t"] == [(1, 3)]


@pytest.mark.cosim
def test_waves(cache: Path, tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    simulation = toy(cache, "icarus", waves=True)
    with pytest.raises(Deadline):  # a failed run leaves its waveforms as well
        simulation.run([Script().wait("o", 1)], deadline=20, waves=tmp_path / "w.fst")
    assert (tmp_path / "w.fst").stat().st_size > 100
    with pytest.raises(ValueError, match=r"waves must end in \.fst with icarus, not 'w\.vcd'"):
        simulation.run([Script()], waves=tmp_path / "w.vcd")
    with pytest.raises(ValueError, match="built with waves=True"):
        toy(cache, "icarus").run([Script()], waves=tmp_path / "w.fst")


@pytest.mark.cosim
def test_waves_of_verilator(cache: Path, tmp_path: Path) -> None:
    simulation = toy(cache, "verilator", waves=True)
    simulation.run([Script().send("b", 1).wait("t", 1)], waves=tmp_path / "w.vcd")
    assert "t__payload" in (tmp_path / "w.vcd").read_text()


@pytest.mark.cosim
def test_build_failures(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(SimulationFailed, match="could not compile"):
        build("module toy(; endmodule", "toy", INPUTS, OUTPUTS, cache)
    # A stream that the design does not have must not pass for an unconnected one.
    with pytest.raises(SimulationFailed, match="more__payload"):
        build(TOY, "toy", [*INPUTS, StreamPort("more", 1)], OUTPUTS, cache)
    with pytest.raises(ValueError, match="simulator must be 'verilator' or 'icarus', not 'vcs'"):
        build(TOY, "toy", INPUTS, OUTPUTS, cache, simulator="vcs")
    with pytest.raises(ValueError, match="path with spaces"):
        build(TOY, "toy", INPUTS, OUTPUTS, tmp_path / "a b")


@pytest.mark.cosim
def test_processes_share_a_cache(tmp_path: Path) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    (tmp_path / "toy.v").write_text(TOY)
    program = (
        "from pathlib import Path\n"
        "from systolith.devices.streams import StreamPort as S\n"
        "from systolith.harness.cosim import build\n"
        f"s = build([Path('toy.v')], 'toy', [S('a', {WIDE}), S('b', 8)],"
        f" [S('o', {WIDE}), S('t', 8, False)], Path('cache'), simulator='icarus')\n"
        "print(s.compiled.cached)\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert sorted(process.communicate()[0].strip() for process in both) == ["False", "True"]


# Amaranth simulator


class Doubler(wiring.Component):
    """A register that doubles what passes."""

    i: stream.Interface
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(8)), "o": Out(stream.Signature(9))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.ready):
            m.d.sync += [self.o.payload.eq(self.i.payload << 1), self.o.valid.eq(self.i.valid)]
        return m


def test_simulate() -> None:
    dut = Doubler()
    got = []

    async def feed(ctx: Any) -> None:
        for number in range(10):
            await sim.put(ctx, dut.i, number, pause=number % 3)

    async def drain(ctx: Any) -> None:
        for number in range(10):
            got.append(await sim.get(ctx, dut.o, pause=(number + 1) % 4))

    sim.simulate(dut, feed, drain, deadline_cycles=200)
    assert got == [2 * number for number in range(10)]


def test_simulate_without_clock() -> None:
    m, a, b = Module(), Signal(4), Signal(4)
    m.d.comb += b.eq(a + 1)

    async def bench(ctx: Any) -> None:
        ctx.set(a, 4)
        assert ctx.get(b) == 5

    sim.simulate(m, bench)


def test_simulate_ends_a_hang() -> None:
    dut = Doubler()

    async def wait_for_nothing(ctx: Any) -> None:
        await sim.get(ctx, dut.o)

    with pytest.raises(TimeoutError, match=r"after 50 cycles .*: wait_for_nothing"):
        sim.simulate(dut, wait_for_nothing, deadline_cycles=50)
