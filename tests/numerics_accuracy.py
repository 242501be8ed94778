"""How accurate the accumulators are: ``python tests/numerics_accuracy.py [--out docs]``.

Writes ``numerics_accuracy.json`` and ``numerics_accuracy.svg`` and prints the rows of the table in
docs/numerics.md. Fails if the contract is ever beyond ``error_bound``. Same input, same bytes.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from systolith.cli.accuracy import ACCUMULATORS, DATA, LENGTHS, draw, errors, operands, study
from systolith.golden.numerics import error_bound, matmul

__all__ = ["bound_used", "main", "markdown", "measure"]

NAME = "numerics_accuracy"


def bound_used(kind: str) -> float:
    """Largest error of the contract over its bound, of any sum of any length.

    Raises
    ------
    ArithmeticError
        If a sum is beyond its bound.
    """
    data, worst = operands(kind), 0.0
    for k in LENGTHS:
        s = data.segment(k)
        y = matmul(s.x_codes, s.x_scales, s.w_codes, s.w_scales, s.x_fmt, s.w_fmt)
        share = float(np.max(np.abs(y - data.exact[k]) / error_bound(s)))
        if share > 1:
            raise ArithmeticError(f"{kind}, K = {k}: error of {share:.3g} times the bound")
        worst = max(worst, share)
    return worst


def measure() -> dict[str, Any]:
    """The table, the share of the bound that is used, and what the picture shows."""
    k, rows = LENGTHS[-1], {}
    data = {kind: operands(kind) for kind in DATA}
    for name, acc in ACCUMULATORS.items():
        found = {kind: errors(data[kind], k, acc) for kind in DATA}
        rows[name] = {kind: float(f"{median:.3e}") for kind, (median, _) in found.items()}
        rows[name]["bias, one sign"] = float(f"{found['one sign'][1]:.3e}")
    return {
        "k": k,
        "median_relative_error": rows,
        "error_over_bound": {kind: float(f"{bound_used(kind):.3e}") for kind in DATA},
        "error": study(lambda name: print(name, file=sys.stderr)),
    }


def markdown(result: dict[str, Any]) -> list[str]:
    """Rows of the table in docs/numerics.md."""

    def short(value: float) -> str:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"

    lines = []
    for name, row in result["median_relative_error"].items():
        label = f"**{name}**" if name == "contract" else f"`{name}`"
        lines.append(f"| {label} | {' | '.join(map(short, row.values()))} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    result = measure()
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1) + "\n"
    (arguments.out / f"{NAME}.json").write_text(text, encoding="utf-8")
    draw(result["error"], arguments.out / f"{NAME}.svg")
    print("\n".join(markdown(result)))


if __name__ == "__main__":
    main()
