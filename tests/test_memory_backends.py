"""Memories in the blocks of ECP5 and iCE40."""

from pathlib import Path
from typing import Any

import pytest
from fpga_leaves import build, sram_leaf

from systolith.boards.table import BOARDS
from systolith.memory.sram_backends import plan_ecp5, sram_verilog

ULX3S = BOARDS["ulx3s-85f"]
ICEBREAKER = BOARDS["icebreaker"]


def test_memory_that_stays_portable() -> None:
    assert sram_verilog(sram_leaf(32, 8), "ecp5") is None
    assert sram_verilog(sram_leaf(4096, 64), "ice40") is None
    with pytest.raises(ValueError, match=r"sram: latency must be 1 or 2, not 3"):
        sram_verilog(sram_leaf(64, 8, latency=3), "ecp5")


@pytest.mark.parametrize(
    ("depth", "width", "lanes", "shape", "rows", "blocks"),
    [
        (512, 32, 1, 36, 1, 1),
        (512, 36, 4, 36, 1, 1),
        (513, 32, 1, 18, 1, 2),
        (1024, 128, 4, 18, 1, 8),
        (2048, 64, 1, 9, 1, 8),
        (4096, 32, 1, 4, 1, 8),
        (4096, 64, 2, 4, 1, 16),
        (20000, 8, 1, 4, 5, 10),
        (64, 40, 4, 36, 1, 2),  # lanes of 10 bits take two 9-bit groups each
    ],
)
def test_memory_plan(
    depth: int, width: int, lanes: int, shape: int, rows: int, blocks: int
) -> None:
    plan = plan_ecp5(depth, width, lanes)
    assert (plan.shape, plan.rows, plan.blocks) == (shape, rows, blocks)
    bits = [bit for groups in plan.columns for group in groups for bit in group]
    assert sorted(bits) == list(range(width))
    lane = width // lanes
    assert all(g.start // lane == g[-1] // lane for groups in plan.columns for g in groups)


@pytest.mark.synth
@pytest.mark.parametrize(
    ("leaf", "blocks"),
    [
        (sram_leaf(512, 32), 1),
        (sram_leaf(1024, 128, lanes=4), 8),
        (sram_leaf(4096, 32), 8),
        (sram_leaf(64, 16, latency=1), 1),
    ],
    ids=lambda value: f"{value['depth']}x{value['width']}" if isinstance(value, dict) else None,
)
def test_ecp5_memory_is_blocks_only(leaf: dict[str, Any], blocks: int, tmp_path: Path) -> None:
    assert build(leaf, ULX3S, tmp_path) == {"DP16KD": blocks}


@pytest.mark.synth
def test_ice40_memory_is_inferred_without_registers(tmp_path: Path) -> None:
    leaf = sram_leaf(256, 64, lanes=2, latency=1)
    assert build(leaf, ICEBREAKER, tmp_path) == {"SB_LUT4": 2, "SB_RAM40_4K": 4}
