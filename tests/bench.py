"""Measure what docs/measurements.md states: ``python tests/bench.py -o build/bench.json``."""

import argparse
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_memory import memory
from numerics_cost import BOUNDS, FLOWS, tools

from systolith.array.accumulator import Accumulator
from systolith.array.array import Array
from systolith.array.config import EngineConfig, FormatsConfig
from systolith.array.drain import Drain
from systolith.array.engine import Engine
from systolith.array.pe import Pe
from systolith.array.stage_b import StageB
from systolith.benches.gemms import GemmProgram, timing_program
from systolith.benches.play import build_engine
from systolith.boards.table import find_board
from systolith.cli.fpga import fit, summary
from systolith.cli.simulate import operands
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.config.presets import PRESETS
from systolith.emit.files import generate
from systolith.emit.verilog import emit_design
from systolith.flow.run import synthesize
from systolith.flow.tools import Deadline, find_tool, run_tool
from systolith.hierarchy import Block
from systolith.perf.closed import estimate

__all__ = ["ecp5_cells", "edge", "main", "paces", "utilisation"]

_ECP5 = {"lut4": "LUT4", "ccu2c": "CCU2C", "ff": "TRELLIS_FF", "ram": "DP16KD"}
_EDGE_ROWS = (4, 2)  # row bands of the 16 x 16 array whose edge is measured


def cells(block: Block, name: str, work: Path) -> int:
    """Technology-independent gates and flip-flops; memories and register files left out."""
    design = emit_design(block, name)
    verilog = design.verilog()
    (work / f"{name}.v").write_text(verilog)
    memories = [leaf["module"] for leaf in design.leaves if leaf["kind"] == "sram"]
    memories += re.findall(r"^module (\w+_registers_\w+)\(", verilog, flags=re.MULTILINE)
    boxes = "; ".join(f"blackbox {module}" for module in memories)
    script = (
        f"read_verilog {name}.v; hierarchy -top {design.top}; {boxes}; proc; opt -full; alumacc; "
        "share; opt; memory_map; techmap; opt -full; abc -g simple; opt_clean; "
        f"tee -o {name}.stat stat"
    )
    run_tool(
        find_tool("yosys"),
        ["-q", "-p", script],
        work_dir=work,
        log=work / f"{name}.log",
        deadline=Deadline(1800),
    )
    counts = re.findall(r"(\d+)(?:\s+\S+)?\s+cells", (work / f"{name}.stat").read_text())
    return int(counts[-1])


def utilisation() -> list[dict[str, Any]]:
    """Measure M = 1 to 16 at K = N = 128 on the RTL: plain, fused, split."""
    rows = []
    for name, preset, split in (
        ("plain", "demo16-plain", Split()),
        ("fused", "demo16", Split()),
        ("split", "demo16", Split(row_groups=4, col_groups=2)),
    ):
        config = PRESETS[preset].config
        program = GemmProgram(config)
        for m in (1, 2, 4, 8, 16):
            gemm = Gemm(m=m, n=128, k=128)
            program.add(GemmPlan(config=config, gemm=gemm, split=split), *operands(gemm, m))
        engine = build_engine(config)
        for result in program.evaluate(engine.play(program.program).transfers):
            rows.append(
                {
                    "mode": name,
                    "m": result.plan.gemm.m,
                    "cycles": result.cycles,
                    "model": result.cycles_model,
                    "wrong": result.mismatches,
                    "utilization": round(result.utilization, 4),
                }
            )
    return rows


def ecp5_cells(block: Block, work: Path) -> dict[str, int]:
    """Cells of a block on ECP5, no multipliers; ``places``: a carry cell is as large as two LUT4.

    Memories are inferred. A block that needs any other kind of memory is refused, because its
    tables would not be counted.
    """
    design = emit_design(block, "edge")
    # As a flow sees it: without the initial values of Amaranth's RTLIL, which nothing relies on.
    (work / "edge.v").write_text(design.verilog())
    flow = f"{FLOWS['ecp5']} -no-rw-check -top {design.top}"
    script = f"read_verilog edge.v; {flow}; tee -o edge.stat stat"
    run_tool(
        find_tool("yosys"),
        ["-q", "-p", script],
        work_dir=work,
        log=work / "edge.log",
        deadline=Deadline(600),
    )
    text = (work / "edge.stat").read_text()
    if "TRELLIS_DPR16X4" in text or "PDPW16KD" in text:
        raise ValueError(f"{design.top} must have memories of DP16KD only, see edge.stat")
    count = {
        key: sum(int(n) for n in re.findall(rf"^\s*(\d+)\s+{name}$", text, flags=re.MULTILINE))
        for key, name in _ECP5.items()
    }
    return {**count, "places": count["lut4"] + 2 * count["ccu2c"]}


def fp4(row_bands: int, unit_lanes: int) -> EngineConfig:
    """``demo16`` for FP4 alone."""
    demo16 = PRESETS["demo16"].config
    formats = FormatsConfig(acts=("e2m1",), weights=("e2m1",), unit_lanes=unit_lanes)
    return replace(demo16, array=replace(demo16.array, row_bands=row_bands, formats=formats))


def edge(config: EngineConfig, work: Path) -> dict[str, Any]:
    """What blocks cost beside the cells, and the ratio that is bounded by one."""
    array = config.array
    blocks: dict[str, tuple[Block, int]] = {
        "Pe": (Pe(array), array.rows * array.cols),
        "StageB": (StageB(config), array.bands * array.band_cols // config.unit_lanes),
        "Accumulator": (Accumulator(config), array.row_bands * array.cols // array.tile),
        "Drain": (Drain(config), array.bands),
    }
    parts = {
        name: {"instances": count, **ecp5_cells(block, work)}
        for name, (block, count) in blocks.items()
    }

    def total(key: str, *names: str) -> int:
        return sum(parts[name]["instances"] * parts[name][key] for name in names)

    around = ("StageB", "Accumulator", "Drain")
    lut4, ccu2c = BOUNDS["e2m1"]  # the published cell, its carry cells estimated
    elements = parts["Pe"]["instances"]
    return {
        "row_bands": array.row_bands,
        "unit_lanes": config.unit_lanes,
        "blocks": parts,
        "cells": total("places", "Pe"),
        "edge": total("places", *around),
        "edge FF": total("ff", *around),
        "edge RAM blocks": total("ram", *around),
        "ratio": round(total("places", *around) / total("places", "Pe"), 2),
        "ratio to published": {
            "edge in places, cell in LUT4": round(total("places", *around) / (elements * lut4), 2),
            "LUT4 alone, both": round(total("lut4", *around) / (elements * lut4), 2),
            "places, both": round(total("places", *around) / (elements * (lut4 + 2 * ccu2c)), 2),
        },
    }


def paces() -> list[dict[str, Any]]:
    """Cycles of INT8 and of MXFP4 weights at K = N = 128, from the cycle model."""
    config = PRESETS["demo16-mx"].config
    rows = []
    for pair in config.array.pairs:
        for groups in ((4, 2), (1, 1)):
            split = Split(row_groups=groups[0], col_groups=groups[1])
            for m in (1, 2, 4, 8, 16):
                told = estimate(config, Gemm(m=m, n=128, k=128), split, pair)
                rows.append(
                    {
                        "pair": pair.name,
                        "split": str(split),
                        "m": m,
                        "cycles": told.cycles,
                        "utilization": round(told.utilization, 4),
                        "bound by": told.bound_by,
                    }
                )
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench.json"))
    output = parser.parse_args().output
    answer: dict[str, Any] = {
        "tools": tools(),
        "utilisation": utilisation(),
        "block formats cycles": paces(),
    }
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for preset in ("demo16", "asic128"):
            done = generate(PRESETS[preset].config, work / preset)
            answer[f"generate {preset}"] = {
                "seconds": round(done.seconds, 2),
                "bytes": done.bytes,
                "modules": done.modules,
            }
        demo16 = PRESETS["demo16"].config
        gemm = Gemm(m=4, n=128, k=128)
        timed = timing_program(GemmPlan(config=demo16, gemm=gemm, split=Split()), cycles=400_000)
        segment = build_engine(demo16).play(timed).segments[1]
        answer["demo16 cycles per second"] = round(segment.cycles_per_second)
        plain = PRESETS["demo16-plain"].config
        answer["cells"] = {
            "core plain": cells(Array(plain.array), "core_plain", work),
            "core split": cells(Array(demo16.array), "core_split", work),
            "engine plain": cells(Engine(plain), "engine_plain", work),
            "engine split": cells(Engine(demo16), "engine_split", work),
        }
        answer["block formats edge"] = [
            edge(fp4(bands, lanes), work) for bands in _EDGE_ROWS for lanes in (8, 4)
        ]
        core = emit_design(Array(PRESETS["demo8"].config.array), "demo8")
        source = work / "core8.v"
        source.write_text(core.verilog())
        report = synthesize(
            [source], core.leaves, core.top, find_board("ulx3s-85f"), work / "core8"
        )
        answer["ecp5 core 8x8"] = summary(report)
        for preset in ("demo8", "demo8-fp4"):
            report = fit(PRESETS[preset].config, "ulx3s-85f", work / preset)
            answer[f"ecp5 {preset}"] = summary(report)
        answer["ecp5 memory"] = memory(work / "memory")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
