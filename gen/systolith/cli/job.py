"""``systolith run``: the main job, on the weights of a real language model."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systolith.array.config import EngineConfig
from systolith.benches.gemms import GemmProgram, GemmResult
from systolith.benches.play import build_engine
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.config.presets import PRESETS
from systolith.emit.files import generate
from systolith.models.charlm.checkpoint import load
from systolith.models.workload import WeightGemm, weight_gemms

__all__ = ["BATCHES", "MODES", "Mode", "run_gemms", "simulation_report"]

BATCHES = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Mode:
    """A way to run the model's GEMMs.

    Parameters
    ----------
    name
        As printed.
    preset
        The engine.
    split
        How its bands are grouped.
    """

    name: str
    preset: str
    split: Split

    @property
    def config(self) -> EngineConfig:
        """The engine's configuration."""
        return PRESETS[self.preset].config


MODES = (
    Mode(name="plain", preset="demo16-plain", split=Split()),
    Mode(name="fused", preset="demo16", split=Split()),
    Mode(name="split", preset="demo16", split=Split(row_groups=4, col_groups=2)),
)


def workload() -> dict[str, dict[int, WeightGemm]]:
    """Every weight GEMM of the model by name and batch, on activations from held-out text."""
    model = load()
    gemms: dict[str, dict[int, WeightGemm]] = {}
    for batch in BATCHES:
        for item in weight_gemms(model, batch):
            gemms.setdefault(item.name, {})[batch] = item
    return gemms


def run_gemms(
    mode: Mode, gemms: dict[str, dict[int, WeightGemm]], progress: Callable[[str], None]
) -> Iterator[tuple[str, int, GemmResult]]:
    """Simulate all GEMMs in one mode; yields name, batch and result.

    A layer's weights are loaded once and used for all batches.
    """
    progress(f"{mode.name}: building {mode.preset}")
    engine = build_engine(mode.config)
    program, labels = GemmProgram(mode.config), []
    for name, batches in gemms.items():
        for n, (batch, item) in enumerate(batches.items()):
            shape = Gemm(m=item.m, n=item.n, k=item.k)
            plan = GemmPlan(config=mode.config, gemm=shape, split=mode.split)
            program.add(plan, item.x, item.w, keep_weights=n > 0)
            labels.append((name, batch))
    progress(f"{mode.name}: simulating {len(labels)} GEMMs")
    results = program.evaluate(engine.play(program.program).transfers)
    for (name, batch), result in zip(labels, results, strict=True):
        yield name, batch, result


def simulation_report(progress: Callable[[str], None]) -> dict[str, Any]:
    """Run all modes, two at a time, and describe every GEMM."""
    gemms = workload()
    with ThreadPoolExecutor(max_workers=1) as pool:
        runs = list(pool.map(lambda mode: (mode, list(run_gemms(mode, gemms, progress))), MODES))
    plain = {(name, batch): result.cycles for name, batch, result in runs[0][1]}
    records = [
        {
            "name": name,
            "batch": batch,
            "gemm": str(result.plan.gemm),
            "mode": mode.name,
            "split": str(mode.split),
            "mismatches": result.mismatches,
            "cycles": result.cycles,
            "cycles_model": result.cycles_model,
            "utilization": result.utilization,
            "gain": plain[name, batch] / result.cycles,
            "load_cycles": result.load_cycles,
            "readout_cycles": result.readout_cycles,
            "output_sha256": result.digest,
        }
        for mode, done in runs
        for name, batch, result in done
    ]
    return {
        "mismatches": sum(record["mismatches"] for record in records),
        "cycle_differences": sum(r["cycles"] != r["cycles_model"] for r in records),
        "gemms": records,
    }
