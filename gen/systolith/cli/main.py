"""The ``systolith`` command."""

from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.dram import dram
from systolith.cli.formats import choose
from systolith.cli.fpga import build_bitstream, fit, summary
from systolith.cli.job import main_job
from systolith.cli.memory import memory
from systolith.cli.numerics import numerics
from systolith.cli.output import FAILED, emit_json, mistakes, notes, table, working
from systolith.cli.picture import print_report
from systolith.cli.self_test import build_self_test
from systolith.cli.simulate import simulate as simulate_gemms
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.config.files import load_any, load_config
from systolith.config.memory_presets import MEMORY_PRESETS
from systolith.config.presets import PRESETS
from systolith.emit.files import generate as generate_files
from systolith.emit.memory_files import generate_memory
from systolith.memory.system.config import MemorySystemConfig
from systolith.perf.closed import best_split, estimate
from systolith.perf.memory.advice import look_ahead_advice

__all__ = ["app", "run"]

app = typer.Typer(
    help="Generate, simulate and fit splittable systolic arrays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[str, typer.Option("--config", "-c", help="Preset or TOML file.")]
Acts = Annotated[str | None, typer.Option(help="Format of X, of both operands without --weights.")]
Weights = Annotated[str | None, typer.Option(help="Format of W, of both without --acts.")]
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
    memories = [
        {
            "name": name,
            "memory": preset.config.controller.timing.name,
            "mib": preset.config.bytes >> 20,
            "slots": preset.config.controller.slots,
            "ecc": preset.config.controller.ecc,
            "native": preset.config.native,
            "purpose": preset.purpose,
        }
        for name, preset in MEMORY_PRESETS.items()
    ]
    if json:
        emit_json({"presets": rows, "memories": memories})
        return
    table(
        "Presets",
        ("name", "array", "bands", "T", "purpose"),
        [
            (r["name"], f"{r['rows']}x{r['cols']}", r["bands"], r["tile"], r["purpose"])
            for r in rows
        ],
    )
    table(
        "Memory controllers (generate)",
        ("name", "memory", "MiB", "slots", "purpose"),
        [(m["name"], m["memory"], m["mib"], m["slots"], m["purpose"]) for m in memories],
    )


@app.command()
def generate(
    config: Config,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.")],
    acts: Acts = None,
    weights: Weights = None,
    json: Json = False,
) -> None:
    """Write Verilog, JSON description, C header and FuseSoC core of a configuration."""
    with mistakes():
        known = load_any(config)
        note: dict[str, object] = {}
        if isinstance(known, MemorySystemConfig):
            if acts or weights:
                raise ValueError("--acts and --weights are of engines, not of memories")
            with working(known.name):
                done = generate_memory(known, output)
            if advice := look_ahead_advice(known.controller):
                notes.print(f"warning: {advice}")
        else:
            chosen = choose(known, acts, weights)
            done, note = generate_files(chosen.config, output), dict(chosen.note)
    if json:
        emit_json(
            {
                "top": done.top,
                "files": list(done.files),
                "modules": done.modules,
                "lines": done.lines,
                "bytes": done.bytes,
                "seconds": round(done.seconds, 3),
                **note,
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
    acts: Acts = None,
    weights: Weights = None,
    json: Json = False,
) -> None:
    """Predict the cycles of a GEMM: the model that the RTL equals in every cycle."""
    with mistakes():
        chosen = choose(load_config(config), acts, weights)
        engine, shape = chosen.config, Gemm.parse(gemm)
        if split == "auto":
            groups = best_split(engine, shape, chosen.pair)
        else:
            groups = Split.parse(split, engine.array)
        result = estimate(engine, shape, groups, chosen.pair)
    if json:
        emit_json(
            {
                "cycles": result.cycles,
                "pipeline_cycles": result.pipeline_cycles,
                "utilization": result.utilization,
                "roof": result.roof,
                "bound_by": result.bound_by,
                "split_used": str(result.split),
                **chosen.names,
                **chosen.note,
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


@app.command()
def simulate(
    config: Config,
    gemm: Annotated[list[str], typer.Option(help="M,N,K; may be given more than once.")],
    split: Annotated[str, typer.Option(help="GxH groups, or auto.")] = "1x1",
    simulator: Annotated[str, typer.Option(help="verilator or icarus.")] = "verilator",
    seed: Annotated[int, typer.Option(help="Of the random operands.", min=0)] = 0,
    acts: Acts = None,
    weights: Weights = None,
    x: Annotated[
        Path | None, typer.Option(help="X [M, K] as .npy: int8, float32 for block formats.")
    ] = None,
    w: Annotated[
        Path | None, typer.Option(help="W [K, N] as .npy: int8, float32 for block formats.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write Y as .npy: int32, float32 of block formats.")
    ] = None,
    waves: Annotated[Path | None, typer.Option(help="Write waveforms (VCD).")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write every transfer and its cycle.")] = None,
    json: Json = False,
) -> None:
    """Run GEMMs on the emitted Verilog under cocotb; compare with numpy and the cycle model.

    Float32 operands of block formats are rounded to blocks along K by the format's default rule. A
    configuration without the formats of --acts and --weights is rebuilt with them alone.
    """
    with mistakes():
        if simulator not in ("verilator", "icarus"):
            raise ValueError(f"simulator must be verilator or icarus, not {simulator!r}")
        chosen = choose(load_config(config), acts, weights)
        engine = chosen.config
        shapes = [Gemm.parse(text) for text in gemm]
        with working("building and running the simulation"):
            answer = simulate_gemms(
                engine,
                shapes,
                split=split,
                simulator=simulator,
                seed=seed,
                pair=chosen.pair,
                names=chosen.names,
                x=x,
                w=w,
                out=out,
                waves=waves,
                trace=trace,
            )
        answer |= chosen.note
    runs = answer["runs"]
    if json:
        emit_json(answer)
    else:
        table(
            f"{engine.name} on {simulator}: {answer['cycles_per_second']:,} cycles/s",
            ("gemm", "split", "wrong", "cycles", "model", "utilisation", "load", "read-out"),
            [
                (
                    r["gemm"],
                    r["split_used"],
                    r["mismatches"],
                    r["cycles"],
                    r["cycles_model"],
                    r["utilization"],
                    r["load_cycles"],
                    r["readout_cycles"],
                )
                for r in runs
            ],
        )
    if any(r["mismatches"] or r["cycles"] != r["cycles_model"] for r in runs):
        raise typer.Exit(FAILED)


@app.command()
def fpga(
    board: Annotated[str, typer.Option(help="ulx3s-85f or icebreaker.")],
    config: Annotated[
        str | None, typer.Option("--config", "-c", help="Preset or TOML file.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Instead: the board tests its SDR memory.")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="Work directory.")] = Path(
        "build/fpga"
    ),
    bitstream: Annotated[
        Path | None, typer.Option(help="Build for the board's pins and write this file.")
    ] = None,
    route: Annotated[bool, typer.Option(help="Place and route after synthesis.")] = True,
    seed: Annotated[int, typer.Option(help="Of placement.")] = 1,
    json: Json = False,
) -> None:
    """Measure a configuration on an FPGA board, or build its bitstream.

    Figures are of the engine alone; with --bitstream or --self-test, of all that is in the file.
    """
    with mistakes():
        if bitstream is not None and not route:
            raise ValueError("bitstream needs placement and routing: leave out --no-route")
        if self_test == (config is not None):
            raise ValueError("give either --config or --self-test")
        name = "self-test" if config is None else (engine := load_config(config)).name
        work = output / name / board
        with working(f"fitting {name} to {board}") as tell:
            if self_test:
                report = build_self_test(
                    board, work, bitstream, route=route, seed=seed, progress=tell
                )
            elif bitstream is None:
                report = fit(engine, board, work, route=route, seed=seed, progress=tell)
            else:
                work = work / "bitstream"
                report = build_bitstream(engine, board, work, bitstream, seed=seed, progress=tell)
    answer = summary(report)
    if json:
        emit_json(answer)
        return
    table(
        f"{name} on {board} ({report.device})",
        ("LUT4", "FF", "DSP", "RAM blocks", "Fmax MHz", "seconds"),
        [
            (
                report.lut,
                report.ff,
                report.dsp,
                report.ram,
                "unrouted" if report.fmax_mhz is None else f"{report.fmax_mhz:.1f}",
                round(report.seconds),
            )
        ],
    )
    if report.bitstream is not None:
        notes.print(f"wrote {report.bitstream}", markup=False, soft_wrap=True)


app.command()(numerics)
app.command()(memory)
app.command()(dram)


@app.command("run")
def job(
    output: Annotated[Path, typer.Option("--output", "-o", help="Work directory.")] = Path(
        "build/run"
    ),
    json: Json = False,
) -> None:
    """Run every weight GEMM of a real language model on the emitted Verilog; fit two boards."""
    with mistakes():
        report = main_job(output, notes.print)
    if json:
        emit_json(report)
    else:
        print_report(report, output)
    simulation = report["simulation"]
    if simulation["mismatches"] or simulation["cycle_differences"]:
        raise typer.Exit(FAILED)


def run() -> None:
    """Entry point of the console script."""
    app()
