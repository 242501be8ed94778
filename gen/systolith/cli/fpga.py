"""``systolith fpga``: an engine on a board, measured on its own or as a bitstream."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from systolith.array.config import EngineConfig
from systolith.array.engine import Engine
from systolith.boards.board import Board
from systolith.boards.table import find_board
from systolith.emit.verilog import emit_design
from systolith.flow.deliver import check_target, deliver
from systolith.flow.errors import CapacityError, FlowError
from systolith.flow.report import Report
from systolith.flow.run import synthesize
from systolith.host.engine import engine_shell
from systolith.host.shell import SHELL, shell_verilog

__all__ = ["build_bitstream", "fit", "refuse_early", "summary", "write_sources"]

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
        array.row_tiles * memory.x_depth * array.x_bits
        + array.col_tiles * memory.w_depth * array.w_bits
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
        For an unknown board, a missing tool, an engine that does not fit the device, or a ``work``
        that cannot be written.
    """
    target = find_board(board)
    refuse_early(config, target)
    design = emit_design(Engine(config), config.name)
    sources = write_sources(work, {f"{config.name}.v": design.verilog()})
    return synthesize(
        sources,
        design.leaves,
        design.top,
        target,
        work,
        route=route,
        seed=seed,
        deadline_s=deadline_s,
        progress=progress,
    )


def build_bitstream(
    config: EngineConfig,
    board: str,
    work: Path,
    file: Path,
    *,
    seed: int = 1,
    deadline_s: float = 1800,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Build the engine into the board's serial shell and write the bitstream to ``file``.

    The report describes everything in the bitstream. ``file`` is written last and in one step.

    Raises
    ------
    ValueError
        As :func:`fit`, and for a ``file`` that cannot be written or a design that is too slow for
        the board's clock.
    """
    target = find_board(board)
    refuse_early(config, target)
    check_target(file)
    design = emit_design(Engine(config), config.name)
    shell = shell_verilog(engine_shell(config, design.top, target))
    sources = write_sources(work, {f"{config.name}.v": design.verilog(), "shell.v": shell})
    report = synthesize(
        sources,
        design.leaves,
        SHELL,
        target,
        work,
        io="board",
        seed=seed,
        deadline_s=deadline_s,
        progress=progress,
    )
    assert report.bitstream is not None
    deliver(report.bitstream, file)
    return replace(report, bitstream=file)


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
        "bitstream": None if report.bitstream is None else str(report.bitstream),
    }


def write_sources(work: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files to ``work``, which is made if missing, and return their paths.

    Raises
    ------
    FlowError
        Naming the folder and the reason.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (work / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FlowError(
            f"output directory {work}: {error.strerror}; choose one that can be written"
        ) from None
    return [work / name for name in texts]
