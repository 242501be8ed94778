"""Tables and the picture of the main job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from systolith.cli.output import table

__all__ = ["picture", "print_report"]


_LABELS = {"mxfp4": "split, MXFP4 weights x MXFP8 activations"}


def _shapes(gemms: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Records by shape and mode; equal shapes take equal cycles and are shown once."""
    shapes: dict[str, dict[str, dict[str, Any]]] = {}
    for record in gemms:
        shapes.setdefault(record["gemm"], {}).setdefault(record["mode"], record)
    return dict(sorted(shapes.items(), key=lambda item: next(iter(item[1].values()))["batch"]))


def picture(gemms: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the utilisation of every shape, plain against fused against split."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shapes = _shapes(gemms)
    modes = list(next(iter(shapes.values())))
    figure, axes = pyplot.subplots(figsize=(11, 4.5), layout="constrained")
    width = 0.8 / len(modes)
    for n, (mode, color) in enumerate(
        zip(modes, ("#9aa5b1", "#3d7ea6", "#e07a3f", "#5b8c5a"), strict=False)
    ):
        heights = [100 * records[mode]["utilization"] for records in shapes.values()]
        places = [at + (n - (len(modes) - 1) / 2) * width for at in range(len(shapes))]
        label = _LABELS.get(mode, mode)
        axes.bar(places, heights, width, label=label, color=color)
    axes.set_xticks(range(len(shapes)), [shape.replace(",", "x") for shape in shapes], rotation=45)
    axes.set(ylabel="utilisation, % of peak", xlabel="GEMM (M x N x K)", ylim=(0, 105))
    axes.set_title("Weight GEMMs of a character-level Llama on a 16x16 array")
    axes.legend(ncols=len(modes), loc="upper left")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def print_report(report: dict[str, Any], work: Path) -> None:
    """Print what the main job found."""
    simulation = report["simulation"]
    shapes = _shapes(simulation["gemms"])
    modes = list(next(iter(shapes.values())))
    rows = []
    for shape, by_mode in shapes.items():
        cells: list[object] = [shape]
        for mode in modes:
            record = by_mode[mode]
            cells.append(f"{record['cycles']} {100 * record['utilization']:2.0f}")
        best = by_mode["split"]
        cells += [f"{best['gain']:.2f}", best["load_cycles"], best["readout_cycles"]]
        rows.append(cells)
    table(
        f"{len(simulation['gemms'])} GEMMs: {simulation['mismatches']} wrong results, "
        f"{simulation['cycle_differences']} cycle differences to the model",
        ("M,N,K", *(f"{mode} %" for mode in modes), "gain", "load", "read"),
        rows,
    )
    table(
        "FPGA fit",
        ("preset", "board", "LUT4", "FF", "DSP", "RAM", "Fmax MHz"),
        [
            (
                fit["config"],
                board,
                fit["lut"],
                fit["ff"],
                fit["dsp"],
                fit["ram"],
                "unrouted" if fit["fmax_mhz"] is None else f"{fit['fmax_mhz']:.1f}",
            )
            for board, fit in report["synthesis"].items()
        ],
    )
    print(f"{report['seconds']} s; {work / 'report.json'}, {work / 'utilization.png'}")
