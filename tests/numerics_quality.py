"""What each number format costs the character model: bits per character on the held-out text.

    python tests/numerics_quality.py [--out docs] [--characters N]

Rounds weights, activations and the key/value cache to one format, each alone and all together, and
writes ``model_formats.json`` and ``model_formats.svg``. Same input, same bytes.
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from systolith.golden.numerics import dequantize, matmul, quantize, tensor_scale
from systolith.models.cache import RoundedCache, step_loss
from systolith.models.charlm import checkpoint
from systolith.models.llama import Model
from systolith.models.ops import FloatArray
from systolith.models.ops import matmul as float_matmul
from systolith.models.quantise import quantise

# Weights, activations, cache; the last row is what `make run` multiplies.
FORMATS = {
    "int8": ("int8", "int8", "int8"),
    "mxint8": ("mxint8", "mxint8", "mxint8"),
    "e4m3": ("e4m3", "e4m3", "e4m3"),
    "e2m3": ("e2m3", "e2m3", "e2m3"),
    "nvfp4": ("nvfp4", "nvfp4", "nvfp4"),
    "e2m1": ("e2m1", "e2m1", "e2m1"),
    "e2m1 x e4m3": ("e2m1", "e4m3", "e4m3"),
}
PARTS = ("weights", "activations", "cache", "all")
BLOCK = 32  # of plain INT8 in the cache, which has no blocks of its own


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A matrix [K, N] by columns: codes and scales [N, ...], tensor scale, and its values."""

    codes: Any
    scales: Any
    tensor: float
    values: FloatArray


def load_weights(matrix: FloatArray, fmt: str) -> Weights:
    columns = np.ascontiguousarray(matrix.T)
    if fmt == "int8":
        eight = quantise(columns, axis=1)
        values = eight.codes * eight.scale
        return Weights(eight.codes, eight.scale, 1.0, np.ascontiguousarray(values.T))
    tensor = float(tensor_scale(columns)) if fmt == "nvfp4" else 1.0
    codes, scales = quantize(columns, fmt, tensor_scale=tensor)
    values = dequantize(codes, scales, fmt, tensor_scale=tensor).T.astype(np.float32)
    return Weights(codes, scales, tensor, values)


def rounded(x: FloatArray, fmt: str) -> FloatArray:
    """Round [..., K] along the last axis; INT8 with one float32 scale per vector."""
    if fmt == "int8":
        eight = quantise(x, axis=-1)
        return eight.codes * eight.scale
    return dequantize(*quantize(x, fmt), fmt).astype(np.float32)


class FormatGemms:
    """Weight GEMMs with either operand rounded, or both in the array's own arithmetic."""

    def __init__(
        self, matrices: Mapping[str, FloatArray], weights: str | None, acts: str | None
    ) -> None:
        self.matrices = matrices
        self.weights, self.acts = weights, acts
        if weights:
            self.loaded = {name: load_weights(m, weights) for name, m in matrices.items()}

    def linear(self, name: str, x: FloatArray) -> FloatArray:
        if not self.weights:
            x = rounded(x, self.acts) if self.acts else x
            return float_matmul(x, self.matrices[name])
        w = self.loaded[name]
        if not self.acts:
            return float_matmul(x, w.values)
        if self.acts == "int8":
            eight = quantise(x, axis=1)
            sums = matmul(eight.codes, None, w.codes.T, None, "int8", "int8")
            return sums.astype(np.float32) * (eight.scale * w.scales.T)
        codes, scales = quantize(x, self.acts)
        result: FloatArray = matmul(
            codes, scales, w.codes.T, w.scales.T, self.acts, self.weights, tensor_scale=w.tensor
        )
        return result


def measure(
    model: Model, ids: Any, weights: str | None, acts: str | None, cache: str | None
) -> float:
    """Bits per character with the given parts rounded; None leaves a part in float32."""
    session = RoundedCache(
        model,
        FormatGemms(model.matrices, weights, acts),
        rounding=lambda x: rounded(x, cache) if cache else x,
        block=BLOCK,
    )
    return step_loss(session, ids) / math.log(2)


def study(model: Model, ids: Any) -> dict[str, Any]:
    """Measure every format and part."""
    context = model.config.context
    rows = {}
    for name, (weights, acts, cache) in FORMATS.items():
        choices = [(weights, None, None), (None, acts, None), (None, None, cache)]
        choices.append((weights, acts, cache))
        rows[name] = {}
        for part, choice in zip(PARTS, choices, strict=True):
            rows[name][part] = round(measure(model, ids, *choice), 4)
            print(f"{name:12} {part:12} {rows[name][part]:.4f}", file=sys.stderr)
    return {
        "characters": (ids.size - 1) // context * context,
        "unit": "bits per character",
        "float32": round(measure(model, ids, None, None, None), 4),
        "formats": rows,
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Bars of what each format adds to float32."""
    mpl.use("agg")
    mpl.rcParams.update({"svg.hashsalt": "systolith", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    names = list(result["formats"])
    for i, part in enumerate(PARTS):
        extra = [result["formats"][n][part] - result["float32"] for n in names]
        at = np.arange(len(names)) + (i - 1.5) * 0.2
        axes.bar(at, extra, 0.18, label=part)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("bits per character more than float32")
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--characters", type=int, default=None, help="use a shorter text")
    arguments = parser.parse_args()
    ids = checkpoint.load_heldout()[: arguments.characters]
    result = study(checkpoint.load(), ids)
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2) + "\n"
    (arguments.out / "model_formats.json").write_text(text)
    draw(result, arguments.out / "model_formats.svg")
    print(text, end="")


if __name__ == "__main__":
    main()
