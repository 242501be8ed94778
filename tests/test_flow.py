"""From Verilog to figures and a bitstream: leaves, netlists, reports, wrapper, files."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fpga_leaves import mac_leaf, sram_leaf

from systolith.boards.board import Resources
from systolith.boards.table import BOARDS
from systolith.flow.errors import CapacityError, FlowError
from systolith.flow.report import (
    check_capacity,
    count_cells,
    fmax_mhz,
    logic_cells,
    resources,
    worst_path,
)
from systolith.flow.script import leaf_verilog, ports
from systolith.flow.wrapper import WRAPPER, wrapper_verilog
from systolith.memory.sram_backends import sram_verilog
from systolith.numerics.mac_backends import mac_verilog, multiplier_verilog

ULX3S = BOARDS["ulx3s-85f"]
ICEBREAKER = BOARDS["icebreaker"]


@pytest.mark.parametrize("build", [mac_verilog, multiplier_verilog, sram_verilog])
def test_unknown_target(build: Callable[..., str | None]) -> None:
    with pytest.raises(ValueError, match=r"target must be one of ecp5, ice40, not 'gowin'"):
        build({**mac_leaf(1), **sram_leaf(64, 8)}, "gowin")


def test_unknown_kind_of_leaf() -> None:
    with pytest.raises(
        FlowError, match=r"leaf x: kind must be one of mac, multiplier, sram, not 'fifo'"
    ):
        leaf_verilog([{"kind": "fifo", "module": "x"}], "ecp5")


def test_cells_are_counted_without_wrapper_and_library() -> None:
    def cells(**kinds: int) -> dict[str, Any]:
        return {f"{kind}_{i}": {"type": kind} for kind, n in kinds.items() for i in range(n)}

    netlist = {
        "modules": {
            "wrapper": {"cells": cells(core=1, TRELLIS_FF=100)},
            "core": {"cells": {**cells(LUT4=3, part=2), "info": {"type": "$scopeinfo"}}},
            "part": {"cells": cells(CCU2C=2, TRELLIS_FF=5, MULT18X18D=1, TRELLIS_DPR16X4=1)},
            "MULT18X18D": {"cells": {}, "attributes": {"blackbox": "1"}},
        }
    }
    counted = count_cells(netlist, "core")
    kinds = {"CCU2C": 4, "LUT4": 3, "MULT18X18D": 2, "TRELLIS_DPR16X4": 2, "TRELLIS_FF": 10}
    assert counted == kinds
    assert resources(counted) == Resources(lut=3 + 4 * 2 + 2 * 6, ff=10, dsp=2)
    with pytest.raises(FlowError, match=r"module other is not in the mapped netlist"):
        count_cells(netlist, "other")


def test_logic_cells_share_only_private_tables() -> None:
    def cell(kind: str, **connections: int) -> dict[str, Any]:
        return {
            "type": kind,
            "connections": {port: [bit] for port, bit in connections.items()},
            "port_directions": {p: "output" if p in "OQ" else "input" for p in connections},
        }

    cells = {
        "lut_a": cell("SB_LUT4", I0=2, O=3),
        "ff_a": cell("SB_DFF", D=3, Q=4),  # shares the cell of lut_a
        "lut_b": cell("SB_LUT4", I0=4, O=5),
        "ff_b": cell("SB_DFFSR", D=5, Q=6),  # lut_b also drives a port
        "ff_c": cell("SB_DFFE", D=6, Q=7),
    }
    netlist = {"modules": {"top": {"cells": cells, "ports": {"o": {"bits": [5]}}}}}
    assert logic_cells(netlist, "top") == 4


def test_capacity_is_refused_with_need_and_supply() -> None:
    check_capacity(Resources(lut=83_640, dsp=156), ULX3S)
    message = (
        "the design does not fit ulx3s-85f (LFE5U-85F-6BG381C): it needs 257 DSP blocks of 156, "
        "224 block RAMs of 208; choose a smaller configuration or a larger board"
    )
    with pytest.raises(CapacityError, match=re.escape(message)):
        check_capacity(Resources(lut=20_000, ff=30_000, dsp=257, ram=224), ULX3S)
    with pytest.raises(CapacityError, match=r'206 pins of 205; .* io="registered"'):
        check_capacity(Resources(pins=206), ULX3S)
    with pytest.raises(CapacityError, match=r"7000 logic cells of 5280"):
        check_capacity(Resources(lut=4000, ff=5000, lc=7000), ICEBREAKER)


def step(begin: str, end: str, delay: float) -> dict[str, Any]:
    def point(name: str) -> dict[str, str]:
        return dict(zip(("cell", "port"), name.split("."), strict=True))

    return {"from": point(begin), "to": point(end), "delay": delay}


def test_timing_report() -> None:
    report = {
        "fmax": {"$glbnet$clk": {"achieved": 183.987, "constraint": 200.0}, "b": {"achieved": 250}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge clk", "path": [step("pin.O", "x.DI", 9.0)]},
            {
                "from": "posedge clk",
                "to": "posedge clk",
                "path": [step("q.Q", "q.Q", 0.5), step("q.Q", "add.A", 4.9)],
            },
        ],
    }
    assert fmax_mhz(report) == 183.99
    assert worst_path(report) == "q.Q -> add.A"
    with pytest.raises(FlowError, match="no clock"):
        fmax_mhz({"fmax": {}, "critical_paths": []})


def test_ports_of_rtlil() -> None:
    text = (
        "module \\other\n  wire input 1 \\x\nend\n"
        "module \\top\n  wire width 8 $1\n  wire input 3 \\clk\n"
        "  wire width 7 signed output 1 \\s__payload\nend\n"
    )
    assert ports(text, "top") == {"clk": ("input", 1), "s__payload": ("output", 7)}
    with pytest.raises(FlowError, match=r"top must name a module with ports .* not 'to'"):
        ports(text, "to")


def test_wrapper_registers_every_port() -> None:
    sizes = {"clk": ("input", 1), "rst": ("input", 1), "a": ("input", 5), "o": ("output", 17)}
    text = wrapper_verilog("core", sizes)
    assert f"module {WRAPPER}(input clk, input reset, input si, input take, output so);" in text
    assert "reg [4:0] chain, hold;" in text
    assert ".\\a (hold[4:0])" in text and ".\\o (out[16:0])" in text and ".rst(rst)" in text
    assert [int(w) + 1 for w in re.findall(r"reg \[(\d+):0\] fold_", text)] == [17, 5, 2, 1]
    with pytest.raises(FlowError, match="must have an input clk of one bit"):
        wrapper_verilog("core", {"a": ("input", 1)})
