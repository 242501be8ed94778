"""``systolith fpga``: synthesis, placement and routing of an engine for a board."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from systolith.array.config import EngineConfig
from systolith.array.engine import Engine
from systolith.boards.board import Board
from systolith.boards.table import find_board
from systolith.emit.verilog import emit_design
from systolith.flow.errors import CapacityError
from systolith.flow.report import Report
from systolith.flow.run import synthesize

__all__ = ["fit", "refuse_early", "summary"]


_BLOCK_BITS = {"ecp5": 18 * 1024, "ice40": 4 * 1024}
_PRODUCTS_PER_DSP = {"ecp5": 1, "ice40": 2}


def refuse_early(config: EngineConfig, board: Board) -> None:
    """Refuse an engine whose multipliers or memories alone exceed the device.

    Raises
    ------
    CapacityError
        Naming the resource, the need and the supply, before any synthesis.
    """
    array, memory = config.array, config.memory
    words = array.bands * (
        array.row_tiles * memory.x_depth * array.act_width
        + array.col_tiles * memory.w_depth * array.weight_width
        + array.col_tiles * memory.y_depth * config.acc_width
    )
    needs = {
        "dsp": ("DSP", -(-array.rows * array.cols // _PRODUCTS_PER_DSP[board.family])),
        "ram": ("RAM blocks", -(-words * array.tile // _BLOCK_BITS[board.family])),
    }
    for resource, (name, need) in needs.items():
        supply = getattr(board.resources, resource)
        if need > supply:
            raise CapacityError(
                f"config {config.name} does not fit {board.name} ({board.device}): it needs at "
                f"least {need} {name}, the device has {supply}; choose a smaller configuration "
                "or a larger board"
            )


def fit(
    config: EngineConfig,
    board: str,
    work: Path,
    *,
    route: bool = True,
    seed: int = 1,
    deadline_s: float = 1800,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Fit the engine, sequencers and memories included, behind registered pins.

    Raises
    ------
    ValueError
        For an unknown board, a missing tool, or an engine that does not fit the device.
    """
    target = find_board(board)
    refuse_early(config, target)
    design = emit_design(Engine(config), config.name)
    work.mkdir(parents=True, exist_ok=True)
    source = work / f"{config.name}.v"
    source.write_text(design.verilog())
    return synthesize(
        [source],
        design.leaves,
        design.top,
        target,
        work,
        route=route,
        seed=seed,
        deadline_s=deadline_s,
        progress=progress,
    )


def summary(report: Report) -> dict[str, Any]:
    """Describe a report as ``--json`` prints it."""
    return {
        "device": report.device,
        "lut": report.lut,
        "ff": report.ff,
        "dsp": report.dsp,
        "ram": report.ram,
        "fmax_mhz": report.fmax_mhz,
        "tool_versions": report.tool_versions,
    }
