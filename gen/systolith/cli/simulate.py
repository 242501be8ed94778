"""``systolith simulate``: GEMMs on the emitted Verilog, against the golden and the cycle model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from systolith.array.config import EngineConfig
from systolith.benches.gemms import GemmProgram, GemmResult, timing_program
from systolith.benches.play import build_engine
from systolith.cli.operands import OperandError, operands
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.numerics.pairs import Pair
from systolith.perf.closed import best_split

__all__ = ["OperandError", "operands", "simulate"]

_TIMED_CYCLES = 400_000  # half a second at 800,000 cycles/s, more than any build reaches


def _run(result: GemmResult) -> dict[str, Any]:
    return {
        "gemm": str(result.plan.gemm),
        "split_used": str(result.plan.split),
        "mismatches": result.mismatches,
        "cycles": result.cycles,
        "cycles_model": result.cycles_model,
        "utilization": result.utilization,
        "load_cycles": result.load_cycles,
        "readout_cycles": result.readout_cycles,
        "output_sha256": result.digest,
    }


def simulate(
    config: EngineConfig,
    gemms: list[Gemm],
    *,
    split: str,
    simulator: str,
    seed: int,
    pair: Pair | None = None,
    names: Mapping[str, str] | None = None,
    x: Path | None = None,
    w: Path | None = None,
    out: Path | None = None,
    waves: Path | None = None,
    trace: Path | None = None,
) -> dict[str, Any]:
    """Run ``gemms`` one after the other and describe what happened, as ``--json`` prints it.

    ``pair`` is that of :class:`GemmPlan`, ``names`` what every run says of its formats.

    Raises
    ------
    ValueError
        For a split, size or operand that cannot be used, or a missing tool.
    """
    if len(gemms) > 1 and (x or w or out):
        raise OperandError("--x, --w and --out take exactly one --gemm")
    if out and not out.parent.is_dir():
        raise OperandError(f"--out {out}: its directory does not exist")
    program = GemmProgram(config, initialise=simulator == "icarus")
    for n, gemm in enumerate(gemms):
        if split == "auto":
            chosen = best_split(config, gemm, pair)
        else:
            chosen = Split.parse(split, config.array)
        plan = GemmPlan(config=config, gemm=gemm, split=chosen, pair=pair)
        program.add(plan, *operands(gemm, seed + n, x, w, pair))
    engine = build_engine(config, simulator=simulator, waves=waves is not None)
    played = engine.play(program.program, waves=waves)
    results = program.evaluate(played.transfers)
    if trace:
        moves = sorted(
            (move.cycle, stream, move.payload)
            for stream, moved in played.transfers.items()
            for move in moved
        )
        trace.write_text("".join(f"{cycle} {name} {bits:x}\n" for cycle, name, bits in moves))
    if out:
        with out.open("wb") as file:
            np.save(file, results[0].y)

    cycles = _TIMED_CYCLES if simulator == "verilator" else 2_000
    timed = engine.play(timing_program(results[-1].plan, cycles=cycles)).segments[1]
    answer: dict[str, Any] = {
        "runs": [{**_run(result), **(names or {})} for result in results],
        "cycles_per_second": round(timed.cycles_per_second),
        "build_seconds": round(engine.simulation.compiled.seconds, 3),
    }
    if len(results) == 1:
        answer = {**answer["runs"][0], **answer}
    return answer
