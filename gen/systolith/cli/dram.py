"""``systolith dram``: the timing table of a memory, and requests, for people and simulators."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from systolith.cli.output import emit_json, mistakes, notes, table
from systolith.config.memory_part import load_part
from systolith.emit.dram_table import dram_table
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import Part
from systolith.perf.memory.patterns import PATTERNS
from systolith.perf.memory.trace import requests, write_addresses, write_vectors

__all__ = ["dram"]


class Form(StrEnum):
    """How requests are written."""

    VECTORS = "vectors"
    ADDRESSES = "addresses"


def dram(
    preset: Annotated[
        str, typer.Option(help="hbm3-6400, hbm2-2400, sdr-..., or a memory's TOML file.")
    ] = "hbm3-6400",
    pattern: Annotated[
        str | None, typer.Option(help=f"Write requests: {', '.join(PATTERNS)}.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Of the requests.")] = None,
    form: Annotated[
        Form, typer.Option(help="vectors (Ramulator 2.1) or addresses (DRAMsim3).")
    ] = Form.VECTORS,
    runs: Annotated[int, typer.Option(help="Runs of the pattern.", min=1)] = 1000,
    gap: Annotated[int, typer.Option(help="Clocks between requests, addresses.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of random addresses.", min=1)] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, in Ramulator's words.")
    ] = False,
) -> None:
    """Show every timing rule of a memory, or write the requests of a pattern for a simulator."""
    with mistakes():
        part = load_part(preset)
        if (pattern is None) != (output is None):
            raise ValueError("--pattern and --output go together")
        if pattern is not None and output is not None:
            _write(part, pattern, output, form, runs, gap, seed)
            return
    timing = part.timing
    if timing.faw is not None and timing["faw"] < 4 * timing["rrd_s"]:
        notes.print(f"warning: faw {timing.faw} is less than 4 * rrd_s: it never binds")
    if json:
        emit_json(dram_table(part))
        return
    rows = [
        (
            rule["name"] + (f" ({rule['window'] + 1})" if rule["window"] > 1 else ""),
            f"{'other ' if rule['sibling'] else ''}{rule['level'].replace('PseudoChannel', 'PC')}",
            " ".join(rule["preceding"]),
            " ".join(rule["following"]),
            rule["latency"],
            f"{rule['latency'] * timing.tck_ps / 1000:.1f}",
        )
        for rule in dram_table(part)["constraints"]
    ]
    table(
        f"{part.name}: {timing.name}, clock {timing.tck_ps} ps",
        ("rule", "within", "from", "to", "clocks", "ns"),
        rows,
    )
    notes.print(f"source: {timing.source}", markup=False, soft_wrap=True)


def _write(part: Part, name: str, output: Path, form: Form, runs: int, gap: int, seed: int) -> None:
    if name not in PATTERNS:
        raise ValueError(f"--pattern must be one of {', '.join(PATTERNS)}, not {name!r}")
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: its directory does not exist")
    config = ControllerConfig(organisation=part.organisation, timing=part.timing, streams=16)
    found = requests(config, PATTERNS[name](config), runs=runs, seed=seed, gap=gap)
    write = write_vectors if form is Form.VECTORS else write_addresses
    lines = list(write(found, config))
    output.write_text("\n".join(lines) + "\n")
    size = part.organisation.atom
    notes.print(
        f"wrote {output}: {len(lines)} requests of {size} bytes", markup=False, soft_wrap=True
    )
