"""Measure what docs/measurements.md states: ``python tests/bench.py -o build/bench.json``."""

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from systolith.array.array import Array
from systolith.array.engine import Engine
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

__all__ = ["main"]


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


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench.json"))
    output = parser.parse_args().output
    answer: dict[str, Any] = {"utilisation": utilisation()}
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
        core = emit_design(Array(PRESETS["demo8"].config.array), "demo8")
        source = work / "core8.v"
        source.write_text(core.verilog())
        report = synthesize(
            [source], core.leaves, core.top, find_board("ulx3s-85f"), work / "core8"
        )
        answer["ecp5 core 8x8"] = summary(report)
        answer["ecp5 demo8"] = summary(fit(PRESETS["demo8"].config, "ulx3s-85f", work / "demo8"))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
