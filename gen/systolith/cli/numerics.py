"""``systolith numerics``: formats, legal pairs, measured cells, and the error of accumulators."""

import json as json_format
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from systolith.cli.accuracy import PICTURES, draw, study
from systolith.cli.output import emit_json, mistakes, notes, table, working
from systolith.flow.deliver import check_target, deliver
from systolith.flow.errors import FlowError
from systolith.numerics.formats import FORMATS, Format, Kind, Specials
from systolith.numerics.pairs import PAIRS, Pair

__all__ = ["measured", "numerics", "plot_error", "print_tables", "select", "summary"]

CELLS = "numerics_cells.json"


def numerics(
    acts: Annotated[
        list[str] | None, typer.Option(help="Only this activation format; may be repeated.")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Only this weight format; may be repeated.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw error against K into this .png or .svg.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """List number formats, legal pairs and measured cells; draw the error of accumulators."""
    with mistakes():
        answer = summary(select(acts or (), weights or ()))
        if plot is not None:
            with working("computing errors") as tell:
                answer["error"] = plot_error(plot, tell)
    if json:
        emit_json(answer)
        return
    print_tables(answer)
    if plot is not None:
        notes.print(f"wrote {plot}", markup=False, soft_wrap=True)


def select(acts: Iterable[str], weights: Iterable[str]) -> tuple[Pair, ...]:
    """Return the legal pairs of these activations and weights; none given stands for all.

    Raises
    ------
    ValueError
        For a name that is no operand format, or if no pair is legal.
    """
    chosen = {"acts": tuple(acts), "weights": tuple(weights)}
    known = [name for name, form in FORMATS.items() if form.operand]
    for field, names in chosen.items():
        for name in names:
            if name not in known:
                raise ValueError(f"{field} must be one of {', '.join(known)}, not {name!r}")
    pairs = tuple(
        p
        for p in PAIRS
        if (not chosen["acts"] or p.x.name in chosen["acts"])
        and (not chosen["weights"] or p.w.name in chosen["weights"])
    )
    if not pairs:
        partners = [p.w.name for p in PAIRS if p.x.name in chosen["acts"]]
        raise ValueError(
            f"weights must be one of {', '.join(dict.fromkeys(partners))} with acts "
            f"{', '.join(chosen['acts'])}, not {', '.join(chosen['weights'])}"
        )
    return pairs


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Describe ``pairs``, their formats, and the measured cells that serve one of them."""
    names = {form.name for p in pairs for form in (p.x, p.w)}
    names |= {FORMATS[name].scale for name in names}
    both = {(p.x.name, p.w.name) for p in pairs}
    return {
        "formats": [
            _format(form)
            for form in FORMATS.values()
            if form.name in names or tuple(pairs) == PAIRS
        ],
        "pairs": [_pair(p) for p in pairs],
        "cells": [
            cell
            for cell in measured()["cells"]
            if both & {(x, w) for x in cell["x_formats"] for w in cell["w_formats"]}
        ],
    }


def measured() -> dict[str, Any]:
    """What ``tests/numerics_cost.py`` measured: tool versions and one record per cell."""
    text = resources.files("systolith.cli").joinpath(CELLS).read_text(encoding="utf-8")
    result: dict[str, Any] = json_format.loads(text)
    return result


def plot_error(path: Path, progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Compute the errors, draw them into ``path`` in one step, and return them.

    Raises
    ------
    ValueError
        For an ending that is no picture's or a file that cannot be written, before the work.
    """
    if path.suffix.lower() not in PICTURES:
        raise ValueError(f"plot must end in {' or '.join(PICTURES)}, not {str(path)!r}")
    try:
        check_target(path)
        records = study(progress)
        with tempfile.TemporaryDirectory() as name:
            drawn = Path(name) / f"error{path.suffix}"
            draw(records, drawn)
            deliver(drawn, path)
    except FlowError as error:
        raise ValueError(f"plot: {error}") from None
    return records


def print_tables(answer: dict[str, Any]) -> None:
    """Print what :func:`summary` returned, in 80 columns."""
    table(
        "Formats; block and format of its scale",
        ("format", "bits", "s/e/m", "largest", "smallest", "NaN/inf", "scale", "rule"),
        [
            (
                f["name"],
                f["bits"],
                f"{int(f['signed'])}/{f['exponent_bits']}/{f['fraction_bits']}"
                if f["exponent_bits"]
                else "int",
                f"{f['largest']:.6g}" if f["largest"] < 1e6 else f"{f['largest']:.1e}",
                f"2^{f['lsb']}",
                "both" if f["infinity"] else "NaN" if f["nan"] else "",
                f"{f['block']} {f['scale']}" if f["block"] else "",
                f["rule"] or "",
            )
            for f in answer["formats"]
        ],
    )
    once: dict[frozenset[str], dict[str, Any]] = {}
    for p in answer["pairs"]:
        once.setdefault(frozenset((p["x"], p["w"])), p)
    table(
        "Pairs (no width depends on the order): exact sum of a block",
        ("acts", "weights", "block", "sum bits", "unit", "passes", "exact in fp32"),
        [
            (
                p["x"],
                p["w"],
                p["block"] or f"K to {p['max_k']}",
                p["sum_bits"],
                f"2^{p['lsb']}",
                p["passes"],
                ("yes" if p["exact_in_fp32"] else "no") if p["block"] else "int32",
            )
            for p in once.values()
        ],
    )
    table(
        "Cells: bits of decoded elements and of a column's sum; LUT4 and CCU2C on ECP5 without "
        "DSP, LUT4 on iCE40; alone: LUT4+CCU2C on ECP5 with both decoders and accumulator "
        f"({measured()['tools']['yosys']})",
        ("cell", "x", "w", "sum", "LUT4", "CCU2C", "iCE40", "alone"),
        [
            (
                c["name"],
                c["x_bits"],
                c["w_bits"],
                c["sum_bits"],
                c["ecp5"]["lut4"],
                c["ecp5"]["ccu2c"],
                c["ice40"]["lut4"],
                f"{c['alone']['lut4']}+{c['alone']['ccu2c']}",
            )
            for c in answer["cells"]
        ],
    )


def _format(form: Format) -> dict[str, Any]:
    return {
        "name": form.name,
        "kind": form.kind.value,
        "bits": form.width,
        "signed": form.kind is not Kind.POWER,
        "exponent_bits": form.exponent_bits,
        "fraction_bits": form.fraction_bits,
        "operand": form.operand,
        "block": form.block or None,
        "scale": form.scale or None,
        "largest": form.largest * 2.0**form.lsb,
        "smallest": 2.0**form.lsb,
        "lsb": form.lsb,
        "nan": form.specials is not Specials.NONE,
        "infinity": form.specials is Specials.IEEE,
        "overflow": form.overflow.value,
        "rule": form.rule or None,
    }


def _pair(p: Pair) -> dict[str, Any]:
    return {
        "x": p.x.name,
        "w": p.w.name,
        "block": p.block or None,
        "max_k": p.max_k,
        "product_bits": p.product_bits,
        "sum_bits": p.block_bits,
        "lsb": p.lsb,
        "passes": p.passes,
        "shifts": list(p.shifts),
        "exact_in_fp32": p.exact_in_fp32,
    }
