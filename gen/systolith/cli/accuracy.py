"""How far each accumulator is from the exact sum, against the length of the sum."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.golden.numerics import (
    BLACKWELL,
    HOPPER,
    HOPPER_PROMOTED,
    AccSpec,
    FusedSpec,
    Segment,
    dequantize,
    matmul,
    quantize,
)

__all__ = [
    "ACCUMULATORS",
    "DATA",
    "LENGTHS",
    "PICTURES",
    "Operands",
    "draw",
    "errors",
    "operands",
    "study",
]

ACCUMULATORS: dict[str, AccSpec | FusedSpec] = {
    "contract": AccSpec(),
    'AccSpec(23, "rz")': AccSpec(23, "rz"),
    "BLACKWELL": BLACKWELL,
    "AccSpec(frac=16)": AccSpec(frac=16),
    "HOPPER_PROMOTED": HOPPER_PROMOTED,
    "HOPPER": HOPPER,
    "AccSpec(frac=7)": AccSpec(frac=7),
    'AccSpec(7, "sr")': AccSpec(7, "sr"),
}
"""What is compared, by names of ``systolith.golden.numerics``; the contract is ``AccSpec()``."""

DATA = ("Gaussian", "outliers", "octaves", "one sign")
"""Kinds of operands, see :func:`operands`."""

LENGTHS = tuple(32 << n for n in range(8))
"""Lengths of the sums, K."""

PICTURES = {".png": {"Software": None}, ".svg": {"Date": None}}
"""Endings of pictures, and the metadata to leave out: same input, same bytes."""

_FORMAT, _BLOCK = "e4m3", 32
_SIDE = 32  # a result of 32 x 32: 1,024 sums


@dataclass(frozen=True, slots=True, eq=False)
class Operands:
    """E4M3 operands with scales, of the longest sum; a shorter one is its beginning.

    Parameters
    ----------
    x_codes, w_codes
        Codes [M, K] and [N, K].
    x_scales, w_scales
        E8M0 scales [M, blocks] and [N, blocks].
    exact : dict of int to float64 [M, N]
        Exact sums of the first so many products, for each of :data:`LENGTHS`, rounded once.
    """

    x_codes: NDArray[Any]
    x_scales: NDArray[Any]
    w_codes: NDArray[Any]
    w_scales: NDArray[Any]
    exact: dict[int, NDArray[np.float64]]

    def segment(self, k: int) -> Segment:
        """The first ``k`` products, a multiple of the block."""
        n = k // _BLOCK
        return Segment(
            self.x_codes[:, :k],
            self.x_scales[:, :n],
            self.w_codes[:, :k].T,
            self.w_scales[:, :n].T,
            _FORMAT,
            _FORMAT,
        )


def operands(kind: str) -> Operands:
    """Return seeded operands of a kind in :data:`DATA`.

    Gaussian; 0.5 % of the positions along K 50 times as large; Gaussian with the blocks of one
    operand spread over 12 octaves; magnitudes of a Gaussian.
    """
    if kind not in DATA:
        raise ValueError(f"kind must be one of {', '.join(DATA)}, not {kind!r}")
    rng = np.random.default_rng(1)
    length = LENGTHS[-1]
    x, w = (rng.normal(size=(_SIDE, length)).astype(np.float32) for _ in range(2))
    if kind == "outliers":
        x[:, rng.random(length) < 0.005] *= 50
    elif kind == "octaves":
        x *= np.exp2(rng.integers(-6, 7, length // _BLOCK)).astype(np.float32).repeat(_BLOCK)
    elif kind == "one sign":
        x, w = np.abs(x), np.abs(w)
    (x_codes, x_scales, x_blocks), (w_codes, w_scales, w_blocks) = map(_coded, (x, w))
    # 42 bits of one unit per block and element: exact in float64, in any order.
    sums = x_blocks @ w_blocks.transpose(0, 2, 1)
    exact = {k: np.apply_along_axis(math.fsum, 0, sums[: k // _BLOCK]) for k in LENGTHS}
    return Operands(x_codes, x_scales, w_codes, w_scales, exact)


def _coded(
    matrix: NDArray[np.float32],
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Codes, scales, and values [blocks, rows, elements of a block]."""
    codes, scales = quantize(matrix, _FORMAT)
    assert scales is not None
    blocks = dequantize(codes, scales, _FORMAT).reshape(_SIDE, -1, _BLOCK)
    return codes, scales, blocks.transpose(1, 0, 2)


def errors(data: Operands, k: int, acc: AccSpec | FusedSpec) -> tuple[float, float]:
    """Return the median of the relative errors' magnitudes, and the mean of the relative errors.

    For data of one sign the mean is the error over the sum of magnitudes: the bias.
    """
    s = data.segment(k)
    y = matmul(s.x_codes, s.x_scales, s.w_codes, s.w_scales, s.x_fmt, s.w_fmt, acc)
    relative = (y.astype(np.float64) - data.exact[k]) / data.exact[k]
    return float(np.median(np.abs(relative))), float(np.mean(relative))


def study(progress: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return one record per accumulator and length.

    ``median_relative_error`` is that of Gaussian data, ``bias`` the mean relative error of data of
    one sign; both with four significant digits. ``progress`` is told what is being computed.
    """
    signed, positive = operands("Gaussian"), operands("one sign")
    records = []
    for name, acc in ACCUMULATORS.items():
        progress(name)
        for k in LENGTHS:
            median, bias = errors(signed, k, acc)[0], errors(positive, k, acc)[1]
            records.append(
                {
                    "accumulator": name,
                    "k": k,
                    "median_relative_error": float(f"{median:.3e}"),
                    "bias": float(f"{bias:.3e}"),
                }
            )
    return records


def draw(records: list[dict[str, Any]], path: Path) -> None:
    """Draw what :func:`study` returned; the ending of ``path`` is one of :data:`PICTURES`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "systolith", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, key, title in zip(
            panels,
            ("median_relative_error", "bias"),
            ("median relative error, Gaussian data", "magnitude of the bias, data of one sign"),
            strict=True,
        ):
            for n, name in enumerate(ACCUMULATORS):
                some = [r for r in records if r["accumulator"] == name]
                axes.plot(
                    [r["k"] for r in some],
                    [abs(r[key]) or math.nan for r in some],
                    marker="osD^v<>P"[n],
                    markersize=4,
                    linewidth=2.5 if name == "contract" else 1.2,
                    label=name,
                )
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(LENGTHS, [str(k) for k in LENGTHS])
            axes.set(title=title, xlabel="K (no point: at least half of the sums are exact)")
            axes.grid(alpha=0.3)
        panels[1].set_xlabel("K")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        figure.savefig(path, dpi=120, metadata=PICTURES[path.suffix.lower()])
