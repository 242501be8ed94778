"""From Verilog to cells, frequency and bitstream: the whole flow as one function."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from systolith.boards.board import Board
from systolith.flow.errors import FlowError, TimingError
from systolith.flow.pairing import pair_multipliers
from systolith.flow.place import constraints, pack_arguments, place_arguments
from systolith.flow.report import (
    Report,
    check_capacity,
    count_cells,
    fmax_mhz,
    logic_cells,
    resources,
    worst_path,
)
from systolith.flow.script import elaborate_script, leaf_verilog, map_script, ports
from systolith.flow.tools import Deadline, find_tool, run_tool
from systolith.flow.wrapper import WRAPPER, wrapper_verilog

__all__ = ["synthesize"]

Io = Literal["registered", "none", "board"]


def synthesize(
    verilog_files: Sequence[Path],
    leaves: Iterable[Mapping[str, Any]],
    top: str,
    board: Board,
    work_dir: Path,
    *,
    io: Io = "registered",
    clock_hz: int | None = None,
    route: bool = True,
    seed: int = 1,
    deadline_s: float = 1800,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Map ``top`` to the device of ``board``; place, route and, for its pins, pack it.

    Parameters
    ----------
    verilog_files
        Sources, Verilog-2005.
    leaves
        Leaf modules in them that get a technology module of the same name.
    top
        Module to build.
    board
        Device, pins and capacity.
    work_dir
        Gets scripts, logs, netlist and bitstream under fixed names. Made if missing.
    io
        ``registered`` measures ``top`` inside a wrapper with few pins, which is not counted.
        ``none`` measures it with every port on a pin, if there are enough. ``board`` builds a
        bitstream: ``top`` is a board shell, its ports are the board's pins and its clock is the
        board's.
    clock_hz
        Frequency that a bitstream needs, where a PLL in ``top`` makes another one than the
        board's; the tools derive their constraint from the PLL.
    route
        False stops after mapping and the capacity check: no frequency, no bitstream.
    seed
        Of placement; the same seed gives the same result.
    deadline_s
        Wall-clock seconds for all stages together.
    progress
        Called with the name of each stage as it begins.

    Raises
    ------
    FlowError
        A tool is missing or fails, the design does not fit, the deadline passes, or a bitstream
        would be too slow for the board's clock.
    """
    if io not in get_args(Io):
        raise FlowError(f"io must be one of {', '.join(get_args(Io))}, not {io!r}")
    started, deadline, stages = time.monotonic(), Deadline(deadline_s), dict[str, float]()
    versions: dict[str, str] = {}
    work_dir.mkdir(parents=True, exist_ok=True)

    def stage(name: str, tool_name: str, arguments: list[str]) -> None:
        if progress is not None:
            progress(name)
        tool = find_tool(tool_name)
        versions[tool.name] = tool.version
        log = work_dir / f"{name.replace(' ', '_')}.log"
        stages[name] = run_tool(tool, arguments, work_dir=work_dir, log=log, deadline=deadline)

    # Names of files stay the same whatever the sources are called: reproducible, and no quoting.
    source = "\n".join(path.read_text(encoding="utf-8") for path in verilog_files)
    replacements = leaf_verilog(leaves, board.family)
    _write(work_dir / "design.v", source)
    _write(work_dir / "leaves.v", replacements)
    _write(work_dir / "elaborate.ys", elaborate_script(top, replace=bool(replacements)))
    stage("elaborate", "yosys", ["-s", "elaborate.ys"])

    found = ports((work_dir / "design.il").read_text(encoding="utf-8"), top)
    wrapped = io == "registered"
    outer = WRAPPER if wrapped else top
    if wrapped:
        _write(work_dir / "wrapper.v", wrapper_verilog(top, found))
    script = map_script(outer, board.family, core=top if wrapped else None)
    _write(work_dir / "map.ys", script)
    stage("map", "yosys", ["-s", "map.ys"])

    netlist_file = work_dir / "netlist.json"
    netlist = json.loads(netlist_file.read_text(encoding="utf-8"))
    if board.family == "ice40" and pair_multipliers(netlist):
        _write(netlist_file, json.dumps(netlist))
    cells = count_cells(netlist, top)
    pins = 0 if wrapped else sum(width for _, width in found.values())
    cramped = board.resources.lc > 0
    need = resources(cells, pins=pins, lc=logic_cells(netlist, top) if cramped else 0)
    check_capacity(need, board)

    frequency, path, bitstream = None, "", None
    if route:
        _write(work_dir / f"pins.{'lpf' if board.family == 'ecp5' else 'pcf'}", constraints(board))
        place = place_arguments(board, shell=io == "board", seed=seed)
        stage("place and route", f"nextpnr-{board.family}", place)
        timing = json.loads((work_dir / "timing.json").read_text(encoding="utf-8"))
        frequency, path = fmax_mhz(timing), worst_path(timing)
        if io == "board":
            _check_speed(frequency, board, clock_hz or board.clock_hz)
            packer, arguments, file = pack_arguments(board, top)
            stage("pack", packer, arguments)
            bitstream = work_dir / file
    return Report(
        device=board.device,
        lut=need.lut,
        ff=need.ff,
        dsp=need.dsp,
        ram=need.ram,
        fmax_mhz=frequency,
        worst_path=path,
        cells=cells,
        tool_versions=versions,
        seconds=round(time.monotonic() - started, 1),
        stages={name: round(seconds, 1) for name, seconds in stages.items()},
        seed=seed,
        bitstream=bitstream,
    )


def _check_speed(mhz: float, board: Board, clock_hz: int) -> None:
    needed = clock_hz / 1e6
    if mhz < needed:
        raise TimingError(
            f"the design reaches {mhz:g} MHz and the clock of {board.name} has {needed:g} MHz; "
            "raise the latencies of the configuration or try another seed"
        )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
