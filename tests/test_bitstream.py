"""From a shell to a bitstream file: the flow on a small core, the file, the command."""

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from serial_line import PROTOCOL

from systolith.boards.table import BOARDS
from systolith.flow.deliver import check_target, deliver
from systolith.flow.errors import FlowError, TimingError
from systolith.flow.report import Report
from systolith.flow.run import synthesize
from systolith.host.shell import SHELL, ShellConfig, shell_verilog

COMMAND = Path(sys.executable).with_name("systolith")

# Answers with what was written last.
CORE = """
module core(input clk, input rst,
    input [18:0] write__payload, input write__valid, output write__ready,
    input [2:0] ask__payload, input ask__valid, output ask__ready,
    output [4:0] done__payload, output done__valid, input done__ready,
    output reg [20:0] answer__payload, output reg answer__valid);
    reg [18:0] word;
    assign write__ready = 1, ask__ready = 1, done__payload = 0, done__valid = 0;
    always @(posedge clk) begin
        if (write__valid) word <= write__payload;
        answer__payload <= {word[17:0], ask__payload};
        answer__valid <= ask__valid & !rst;
    end
endmodule
"""


def build(board: str, folder: Path, *, clock_hz: int = 0, route: bool = True) -> Report:
    """Bitstream of the small core; ``clock_hz`` as if the board's clock were faster."""
    target = BOARDS[board]
    config = ShellConfig(board=target, engine="core", protocol=PROTOCOL, no_ready={"answer"})
    sources = [folder / "core.v", folder / "shell.v"]
    for path, text in zip(sources, (CORE, shell_verilog(config)), strict=True):
        path.write_text(text)
    fast = replace(target, clock_hz=clock_hz or target.clock_hz)
    return synthesize(sources, [], SHELL, fast, folder / "work", io="board", route=route)


@pytest.mark.synth
@pytest.mark.parametrize(("board", "file"), [("ulx3s-85f", ".bit"), ("icebreaker", ".bin")])
def test_a_shell_becomes_a_bitstream(board: str, file: str, tmp_path: Path) -> None:
    report = build(board, tmp_path)
    assert report.bitstream == tmp_path / "work" / f"{SHELL}{file}"
    assert report.fmax_mhz is not None and report.fmax_mhz >= BOARDS[board].clock_hz / 1e6
    assert report.bitstream.stat().st_size > 50_000
    pins = len(BOARDS[board].pins) + len(BOARDS[board].held_high)
    netlist = json.loads((tmp_path / "work" / "netlist.json").read_text())
    assert len(netlist["modules"][SHELL]["ports"]) == pins
    first = report.bitstream.read_bytes()
    again = build(board, tmp_path)
    assert again.bitstream is not None and again.bitstream.read_bytes() == first


@pytest.mark.synth
def test_a_design_slower_than_the_clock_gets_no_bitstream(tmp_path: Path) -> None:
    message = r"reaches [\d.]+ MHz and the clock of icebreaker has 480 MHz; raise the latencies"
    with pytest.raises(TimingError, match=message):
        build("icebreaker", tmp_path, clock_hz=480_000_000)
    assert not list((tmp_path / "work").glob("*.bin"))


def test_unknown_kind_of_pins(tmp_path: Path) -> None:
    message = "io must be one of registered, none, board, not 'shell'"
    with pytest.raises(FlowError, match=message):
        synthesize([], [], "core", BOARDS["icebreaker"], tmp_path, io="shell")  # type: ignore[arg-type]


# The file ----------------------------------------------------------------------------------------


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    source, target = tmp_path / "made", tmp_path / "deep" / "engine.bit"
    check_target(target)
    assert list(target.parent.iterdir()) == []
    target.write_bytes(b"old")
    check_target(target)
    with pytest.raises(FlowError, match="No such file or directory"):
        deliver(source, target)
    assert target.read_bytes() == b"old"
    source.write_bytes(b"new")
    deliver(source, target)
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("path", ["/proc/none/engine.bit", "/dev/null/a", "/dev/null", "."])
def test_a_file_that_cannot_be_written(path: str) -> None:
    message = rf"output file {re.escape(path)}: .*; choose one that can be written"
    with pytest.raises(FlowError, match=message):
        check_target(Path(path))


# The command -------------------------------------------------------------------------------------


def call(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), "fpga", *map(str, arguments), "--json"]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, check=False, cwd=cwd
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("-c", "tiny", "--bitstream", "/proc/none/a.bit"),
            "output file /proc/none/a.bit: No such",
        ),
        (("-c", "tiny", "--bitstream", "."), "output file .: not a regular file; choose one"),
        (("-c", "tiny", "--bitstream", "a.bit", "--no-route"), "bitstream needs placement and"),
        (("-c", "demo16", "--bitstream", "a.bit"), "256 DSP, the device has 156"),
        (("--self-test", "-c", "tiny"), "give either --config or --self-test"),
        ((), "give either --config or --self-test"),
        (
            ("--self-test", "--board", "icebreaker"),
            "board must be one with SDR SDRAM to test it (ulx3s-85f), not 'icebreaker'",
        ),
        (("--self-test", "--bitstream", "/proc/none/a.bit"), "output file /proc/none/a.bit: No"),
        (("-c", "tiny", "-o", "/proc/none"), "output directory /proc/none/tiny/ulx3s-85f: No such"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    board = () if "--board" in arguments else ("--board", "ulx3s-85f")
    done = call(*board, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("*.bit")) and not list(tmp_path.rglob("*.ys"))


@pytest.mark.synth
@pytest.mark.slow
def test_the_command_writes_a_bitstream(tmp_path: Path) -> None:
    arguments = ("-c", "tiny", "--board", "ulx3s-85f", "-o", "work", "--bitstream", "out/tiny.bit")
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    keys = {"device", "lut", "ff", "dsp", "ram", "fmax_mhz", "tool_versions", "bitstream"}
    assert set(answer) == keys
    assert (answer["bitstream"], answer["dsp"] >= 16) == ("out/tiny.bit", True)
    (file,) = (tmp_path / "out").iterdir()
    assert file.read_bytes() == next((tmp_path / "work").rglob("*.bit")).read_bytes()
    assert b"LFE5U-85F" in file.read_bytes()[:64]


@pytest.mark.synth
@pytest.mark.slow
def test_the_self_test_of_a_memory_runs_at_its_clock(tmp_path: Path) -> None:
    """133 MHz from the board's 25, registers in the pads, the clock through a register as well."""
    done = call("--self-test", "--board", "ulx3s-85f", "-o", "work", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    print({name: answer[name] for name in ("lut", "ff", "ram", "fmax_mhz")})
    assert answer["fmax_mhz"] >= 400 / 3
    assert answer["lut"] < 7_000 and answer["ff"] < 5_000 and answer["ram"] == 0
    work = tmp_path / "work" / "self-test" / "ulx3s-85f"
    assert Path(tmp_path / answer["bitstream"]).stat().st_size > 100_000
    netlist = json.loads((work / "netlist.json").read_text())["modules"]["systolith_self_test"]
    kinds = Counter(cell["type"] for cell in netlist["cells"].values())
    assert (kinds["EHXPLLL"], kinds["ODDRX1F"]) == (1, 1)
    in_pads = [c for c in netlist["cells"].values() if "syn_useioff" in c.get("attributes", {})]
    assert len(in_pads) == 5 + 2 + 13 + 2 + 3 * 16  # commands, bank, address, masks, data
    timing = json.loads((work / "timing.json").read_text())["fmax"]
    assert {round(clock["constraint"], 1) for clock in timing.values()} == {133.3}
