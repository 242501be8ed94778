"""Cost and speed of the memory parts on ECP5: ``python tests/bench_memory.py``.

Every port is in a register of a wrapper with five pins, ``io="registered"`` of the flow, which is
not counted. So the atoms and the read data, more bits than the package has pins, need no pins.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from systolith.boards.table import find_board
from systolith.config.memory_presets import memory_ulx3s
from systolith.emit.verilog import emit_design
from systolith.flow.errors import FlowError
from systolith.flow.report import Report
from systolith.flow.run import synthesize
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.parts import PARTS
from systolith.memory.system.system import MemorySystem

__all__ = ["MEMORY", "main", "measure", "memory"]

_BOARD = "ulx3s-85f"
_DEADLINE = 3600.0  # of one build, in seconds


def controller(part: str, **sizes: Any) -> Controller:
    """The controller of a part alone, without ECC."""
    at = PARTS[part]
    return Controller(ControllerConfig(organisation=at.organisation, timing=at.timing, **sizes))


MEMORY: dict[str, tuple[Callable[[], Block], tuple[int, ...]]] = {
    "sdr controller": (
        lambda: controller("sdr-mt48lc16m16", slots=1, streams=4, runs=2, visits=2),
        (1, 2, 3),
    ),
    "memory-ulx3s": (lambda: MemorySystem(memory_ulx3s), (1, 2, 3)),
    "hbm3 controller, 1 slot": (
        lambda: controller("hbm3-6400", slots=1, streams=8, runs=4, visits=4),
        (1,),
    ),
    "hbm3 controller, 4 slots": (
        lambda: controller("hbm3-6400", slots=4, streams=8, runs=4, visits=4),
        (1,),
    ),
}
"""What is measured, and the seeds of its placements."""


def cost(report: Report) -> dict[str, Any]:
    """Cells of a build.

    ``lut4`` is what :class:`~systolith.flow.report.Report` counts: a CCU2C is two, a distributed
    RAM of 16 x 4 is six.
    """
    return {
        "lut4": report.lut,
        "lut4 cells": report.cells.get("LUT4", 0),
        "ccu2c": report.cells.get("CCU2C", 0),
        "ff": report.ff,
        "dsp": report.dsp,
        "block rams": report.ram,
        "distributed rams": report.cells.get("TRELLIS_DPR16X4", 0),
    }


def measure(name: str, work: Path, *, deadline_s: float = _DEADLINE) -> dict[str, Any]:
    """Map one entry of :data:`MEMORY`; place and route it with each of its seeds.

    A placement that fails, or takes longer than ``deadline_s``, is a result.
    """
    build, seeds = MEMORY[name]
    design = emit_design(build(), "dut")
    work.mkdir(parents=True, exist_ok=True)
    source = work / "dut.v"
    source.write_text(design.verilog())

    def run(seed: int, *, route: bool) -> Report:
        return synthesize(
            [source],
            design.leaves,
            design.top,
            find_board(_BOARD),
            work / (f"seed_{seed}" if route else "map"),
            route=route,
            seed=seed,
            deadline_s=deadline_s,
            progress=lambda stage: print(f"{name}, seed {seed}: {stage}", file=sys.stderr),
        )

    answer: dict[str, Any] = {}
    routed = []
    for seed in seeds:
        try:
            report = run(seed, route=True)
        except FlowError as error:
            routed.append({"seed": seed, "failed": str(error)})
            continue
        answer |= cost(report)
        answer["tools"] = report.tool_versions
        routed.append(
            {
                "seed": seed,
                "fmax_mhz": report.fmax_mhz,
                "path": report.worst_path,
                "seconds": report.seconds,
            }
        )
    if not answer:
        report = run(seeds[0], route=False)
        answer = {**cost(report), "tools": report.tool_versions}
    return {**answer, "routed": routed}


def memory(work: Path) -> dict[str, Any]:
    """Every entry of :data:`MEMORY`, measured."""
    return {name: measure(name, work / str(at)) for at, name in enumerate(MEMORY)}


def main() -> None:
    """Measure and write; the logs of the tools stay in a folder beside the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench_memory.json"))
    parser.add_argument("--only", choices=MEMORY, help="one of them")
    parser.add_argument("--deadline", type=float, default=_DEADLINE, help="seconds of one build")
    arguments = parser.parse_args()
    output = arguments.output
    names = [arguments.only] if arguments.only else list(MEMORY)
    work = output.with_suffix("")
    answer = {
        name: measure(name, work / name.replace(" ", "_"), deadline_s=arguments.deadline)
        for name in names
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
