"""The ``systolith`` command."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.output import emit_json, mistakes, table
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.config.files import load_config
from systolith.config.presets import PRESETS
from systolith.emit.files import generate as generate_files
from systolith.perf.closed import best_split, estimate

__all__ = ["app", "run"]

app = typer.Typer(
    help="Generate, simulate and fit splittable systolic arrays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[str, typer.Option("--config", "-c", help="Preset or TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@app.command()
def presets(json: Json = False) -> None:
    """List the named configurations."""
    rows = []
    for name, preset in PRESETS.items():
        a = preset.config.array
        rows.append(
            {
                "name": name,
                "rows": a.rows,
                "cols": a.cols,
                "bands": f"{a.row_bands}x{a.col_bands}",
                "tile": a.tile,
                "splits": [str(split) for split in legal_splits(a)],
                "pipeline_cycles": preset.config.pipeline_cycles,
                "purpose": preset.purpose,
            }
        )
    if json:
        emit_json({"presets": rows})
        return
    table(
        "Presets",
        ("name", "array", "bands", "T", "purpose"),
        [
            (r["name"], f"{r['rows']}x{r['cols']}", r["bands"], r["tile"], r["purpose"])
            for r in rows
        ],
    )


@app.command()
def generate(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    json: Json = False,
) -> None:
    """Write Verilog, JSON description, C header and FuseSoC core of a configuration."""
    with mistakes():
        done = generate_files(load_config(config), output)
    if json:
        emit_json(
            {
                "top": done.top,
                "files": list(done.files),
                "modules": done.modules,
                "lines": done.lines,
                "bytes": done.bytes,
                "seconds": round(done.seconds, 3),
            }
        )
        return
    table(
        f"{done.top} in {done.directory}",
        ("modules", "lines", "bytes", "seconds", "files"),
        [(done.modules, done.lines, done.bytes, done.seconds, " ".join(done.files))],
    )


@app.command()
def perf(
    config: Config,
    gemm: Annotated[str, typer.Option(help="M,N,K: rows of X, columns of W, contraction.")],
    split: Annotated[str, typer.Option(help="GxH groups, or auto.")] = "1x1",
    json: Json = False,
) -> None:
    """Predict the cycles of a GEMM: the model that the RTL equals in every cycle."""
    with mistakes():
        engine = load_config(config)
        shape = Gemm.parse(gemm)
        chosen = best_split(engine, shape) if split == "auto" else Split.parse(split, engine.array)
        result = estimate(engine, shape, chosen)
    if json:
        emit_json(
            {
                "cycles": result.cycles,
                "pipeline_cycles": result.pipeline_cycles,
                "utilization": result.utilization,
                "roof": result.roof,
                "bound_by": result.bound_by,
                "split_used": str(result.split),
            }
        )
        return
    table(
        f"{shape} on {engine.name}",
        ("split", "cycles", "of them pipeline", "utilisation", "roof", "bound by"),
        [
            (
                str(result.split),
                result.cycles,
                result.pipeline_cycles,
                result.utilization,
                result.roof,
                result.bound_by,
            )
        ],
    )


def run() -> None:
    """Entry point of the console script."""
    app()
