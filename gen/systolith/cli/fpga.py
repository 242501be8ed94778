"""``systolith fpga``: synthesis, placement and routing of an engine for a board."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from systolith.array.config import EngineConfig
from systolith.array.engine import Engine
from systolith.boards.table import find_board
from systolith.emit.verilog import emit_design
from systolith.flow.report import Report
from systolith.flow.run import synthesize

__all__ = ["fit", "summary"]


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
