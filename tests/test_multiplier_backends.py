"""Multipliers in the blocks of ECP5 and iCE40."""

import re
from pathlib import Path
from typing import Any

import pytest
from fpga_leaves import build, mac_leaf, multiplier_leaf, portable

from systolith.boards.table import BOARDS
from systolith.flow.pairing import pair_multipliers
from systolith.flow.run import synthesize
from systolith.flow.tools import Deadline, find_tool, run_tool
from systolith.flow.wrapper import WRAPPER
from systolith.numerics.mac_backends import HALF_USED, mac_verilog, multiplier_verilog

ULX3S = BOARDS["ulx3s-85f"]
ICEBREAKER = BOARDS["icebreaker"]


def test_multiplier_beyond_the_block_stays_portable() -> None:
    assert mac_verilog(mac_leaf(1, a=19), "ecp5") is None
    assert mac_verilog(mac_leaf(1, a=9), "ice40") is None
    assert mac_verilog(mac_leaf(9), "ecp5") is None
    assert multiplier_verilog(multiplier_leaf(19, 4), "ecp5") is None


def test_control_leaves_the_blocks_of_ice40_to_the_array() -> None:
    assert multiplier_verilog(multiplier_leaf(4, 4), "ice40") is None


def half(clock: int, first: int, product: int) -> dict[str, Any]:
    """A marked SB_MAC16 with operands from bits ``first``, product from bit ``product``."""
    zeros = ["0"] * 8
    return {
        "type": "SB_MAC16",
        "attributes": {HALF_USED: "1"},
        "parameters": {"MODE_8x8": "1"},
        "connections": {
            "CLK": [clock],
            "A": zeros + list(range(first, first + 8)),
            "B": zeros + list(range(first + 8, first + 16)),
            "O": list(range(product, product + 32)),
        },
    }


def test_halves_are_paired_in_natural_order() -> None:
    cells = {f"pe_{i}": half(2, 1000 * i, 1000 * i + 100) for i in (10, 9, 2, 11, 1)}
    netlist = {"modules": {"top": {"cells": cells}}}
    assert pair_multipliers(netlist) == 2
    assert sorted(cells) == ["pe_1", "pe_11", "pe_9"]
    merged = cells["pe_9"]["connections"]
    assert merged["A"] == [*range(10000, 10008), *range(9000, 9008)]
    assert merged["O"] == [*range(10116, 10132), *range(9116, 9132)]
    assert pair_multipliers(netlist) == 0


def test_halves_of_two_clocks_stay_apart() -> None:
    netlist = {"modules": {"top": {"cells": {"a": half(2, 100, 200), "b": half(3, 300, 400)}}}}
    assert pair_multipliers(netlist) == 0


@pytest.mark.synth
@pytest.mark.parametrize("latency", [1, 2])
def test_ecp5_multiplier_is_one_block(latency: int, tmp_path: Path) -> None:
    assert build(mac_leaf(latency), ULX3S, tmp_path) == {"MULT18X18D": 1}


@pytest.mark.synth
def test_ecp5_multiplier_of_the_control_is_one_block(tmp_path: Path) -> None:
    assert build(multiplier_leaf(11, 12), ULX3S, tmp_path) == {"MULT18X18D": 1}


def run_yosys(script: str, folder: Path) -> str:
    (folder / "test.ys").write_text(script)
    log = folder / "test.log"
    run_tool(
        find_tool("yosys"), ["-s", "test.ys"], work_dir=folder, log=log, deadline=Deadline(120)
    )
    return log.read_text()


TWO = """
module top(input clk, input rst, input [7:0] a0, b0, a1, b1, output [15:0] p0, p1);
    mac mac_0(.clk(clk), .rst(rst), .a(a0), .b(b0), .p(p0));
    mac mac_1(.clk(clk), .rst(rst), .a(a1), .b(b1), .p(p1));
endmodule
"""


CORNERS = [-128, -127, -86, -1, 0, 1, 85, 127]


@pytest.mark.synth
@pytest.mark.parametrize("latency", [0, 1, 2])
def test_ice40_pair_multiplies(latency: int, tmp_path: Path) -> None:
    """Two leaves become one SB_MAC16, and its vendor model gives both products."""
    source = tmp_path / "top.v"
    source.write_text(portable(mac_leaf(latency)) + TWO)
    leaves, work = [mac_leaf(latency)], tmp_path / "work"
    report = synthesize([source], leaves, "top", ICEBREAKER, work, route=False)
    assert report.cells == {"SB_MAC16": 1}

    pairs = [(a, b) for a in CORNERS for b in CORNERS]
    other = list(reversed(pairs))
    inputs = [
        f"-set-at {time} {name} 8'd{value & 255}"
        for time, ((a0, b0), (a1, b1)) in enumerate(zip(pairs, other, strict=True), 1)
        for name, value in (("a0", a0), ("b0", b0), ("a1", a1), ("b1", b1))
    ]
    log = run_yosys(
        f"read_json netlist.json\ndelete SB_MAC16 {WRAPPER}\nwrite_verilog -noattr paired.v\n"
        # Deferred: only the model of this cell is elaborated out of a large library.
        "design -reset\nread_verilog -defer +/ice40/cells_sim.v\nread_verilog paired.v\n"
        "hierarchy -top top\nproc\nflatten\nasync2sync\nopt\n"
        f"sat -seq {len(pairs)} {' '.join(inputs)} -show p0,p1 top\n",
        work,
    )
    values = {
        (int(time), name): int(value)
        for time, name, value in re.findall(r"^\s+(\d+) \\(p[01])\s+(-?\d+)", log, re.MULTILINE)
    }
    for name, operands in (("p0", pairs), ("p1", other)):
        for time, (a, b) in enumerate(operands[: len(operands) - latency], 1 + latency):
            assert values[time, name] & 0xFFFF == a * b & 0xFFFF, (time, name, a, b)
