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
from systolith.cli.fpga import fit, summary
from systolith.cli.operands import Operands, quantised
from systolith.cli.picture import picture
from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split
from systolith.config.presets import PRESETS
from systolith.emit.files import generate
from systolith.flow.errors import ToolFailedError
from systolith.models.charlm.checkpoint import load
from systolith.models.quantise import quantise
from systolith.models.workload import RealGemm, real_gemms
from systolith.numerics.pairs import Pair, pair

__all__ = ["BATCHES", "FITS", "MODES", "Mode", "main_job", "run_gemms", "simulation_report"]

BATCHES = (1, 4, 16)
FITS = (("demo8", "ulx3s-85f"), ("tiny", "icebreaker"))
_ROUTE_SECONDS = 200.0


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
    acts, weights
        Number formats.
    """

    name: str
    preset: str
    split: Split
    acts: str = "int8"
    weights: str = "int8"

    @property
    def config(self) -> EngineConfig:
        """The engine's configuration."""
        return PRESETS[self.preset].config

    @property
    def pair(self) -> Pair | None:
        """The formats; None for an engine of INT8 only."""
        return pair(self.acts, self.weights) if self.config.array.formats else None


_BANDS = Split(row_groups=4, col_groups=2)
MODES = (
    Mode(name="plain", preset="demo16-plain", split=Split()),
    Mode(name="fused", preset="demo16", split=Split()),
    Mode(name="split", preset="demo16", split=_BANDS),
    Mode(name="mxfp4", preset="demo16-mx", split=_BANDS, acts="e4m3", weights="e2m1"),
)

Workload = dict[str, dict[int, RealGemm]]


def workload() -> Workload:
    """Every weight GEMM of the model by name and batch, on activations from held-out text."""
    model = load()
    gemms: Workload = {}
    for batch in BATCHES:
        for item in real_gemms(model, batch):
            gemms.setdefault(item.name, {})[batch] = item
    return gemms


def rounded(item: RealGemm, formats: Pair | None) -> Operands:
    """Operands of a mode: symmetric INT8, or blocks with the formats' default scale rules."""
    if formats is None or not formats.block:
        return Operands(quantise(item.x).codes, quantise(item.w, axis=0).codes)
    return quantised(item.x, item.w, formats)


def run_gemms(
    mode: Mode, gemms: Workload, progress: Callable[[str], None]
) -> Iterator[tuple[str, int, GemmResult]]:
    """Simulate all GEMMs in one mode; yields name, batch and result.

    A layer's weights are loaded once and used for all batches.
    """
    progress(f"{mode.name}: building {mode.preset}")
    engine = build_engine(mode.config)
    program, labels = GemmProgram(mode.config), []
    for name, batches in gemms.items():
        for n, (batch, item) in enumerate(batches.items()):
            shape = Gemm(m=item.x.shape[0], n=item.w.shape[1], k=item.w.shape[0])
            plan = GemmPlan(config=mode.config, gemm=shape, split=mode.split, pair=mode.pair)
            program.add(plan, *rounded(item, mode.pair), keep_weights=n > 0)
            labels.append((name, batch))
    progress(f"{mode.name}: simulating {len(labels)} GEMMs")
    results = program.evaluate(engine.play(program.program).transfers)
    for (name, batch), result in zip(labels, results, strict=True):
        yield name, batch, result


def simulation_report(progress: Callable[[str], None]) -> dict[str, Any]:
    """Run all modes and describe every GEMM."""
    gemms = workload()
    runs = [(mode, list(run_gemms(mode, gemms, progress))) for mode in MODES]
    plain = {(name, batch): result.cycles for name, batch, result in runs[0][1]}
    records = [
        {
            "name": name,
            "batch": batch,
            "gemm": str(result.plan.gemm),
            "mode": mode.name,
            "split": str(mode.split),
            "acts": mode.acts,
            "weights": mode.weights,
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


def fit_report(
    preset: str, board: str, work: Path, deadline_s: float, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Fit a preset; when routing does not end in time, what synthesis says."""
    config = PRESETS[preset].config

    def tell(stage: str) -> None:
        progress(f"{preset} on {board}: {stage}")

    try:
        report = fit(config, board, work / board, deadline_s=deadline_s, progress=tell)
    except ToolFailedError as error:
        progress(f"{preset} on {board}: not routed ({error})")
        report = fit(config, board, work / board, route=False, progress=tell)
    return {"config": preset, **summary(report)}


def main_job(work: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Simulate the model's GEMMs and fit the boards, side by side; write report and picture."""
    begin = time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    generate(PRESETS["demo16"].config, work / "demo16")
    with ThreadPoolExecutor(max_workers=1 + len(FITS)) as pool:
        fits = {
            board: pool.submit(fit_report, preset, board, work, _ROUTE_SECONDS, progress)
            for preset, board in FITS
        }
        simulation = simulation_report(progress)
        synthesis = {board: future.result() for board, future in fits.items()}
    picture(simulation["gemms"], work / "utilization.png")
    report = {
        "simulation": simulation,
        "synthesis": synthesis,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    (work / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    return report
