"""Operands of ``systolith simulate``: random, or from files."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.split import Gemm
from systolith.golden.numerics import quantize, tensor_scale
from systolith.numerics.formats import Format, lookup
from systolith.numerics.pairs import Pair

__all__ = ["OperandError", "Operands", "operands", "quantised"]


class OperandError(ValueError):
    """An operand or result file that cannot be used."""


class Operands(NamedTuple):
    """Operands as :meth:`systolith.benches.gemms.GemmProgram.add` takes them.

    Parameters
    ----------
    x, w
        Plain integers or codes [M, K] and [K, N].
    x_scales, w_scales
        Scale codes [M, blocks] and [blocks, N] of block formats.
    tensor_scale
        Product of the tensor scales of NVFP4.
    """

    x: NDArray[Any]
    w: NDArray[Any]
    x_scales: NDArray[Any] | None = None
    w_scales: NDArray[Any] | None = None
    tensor_scale: float = 1.0


def _read(name: str, path: Path, shape: tuple[int, int], kind: type) -> NDArray[Any]:
    wanted = np.dtype(kind)
    try:
        value = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise OperandError(f"--{name} {path}: not a readable .npy file ({error})") from None
    if not isinstance(value, np.ndarray) or value.dtype != wanted or value.shape != shape:
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "an archive"
        raise OperandError(f"--{name} {path}: must be {wanted} of shape {shape}, not {found}")
    return value


def operands(
    gemm: Gemm,
    seed: int,
    x: Path | None = None,
    w: Path | None = None,
    pair: Pair | None = None,
) -> Operands:
    """X[M, K] and W[K, N] of run ``seed``: from files where given, else random.

    Random operands come from ``numpy.random.default_rng(seed)``, X first: integers over all of the
    range of a plain format; for block formats ``standard_normal`` of float32. Files hold int8 or,
    for block formats, float32. Blocks are quantised along K by the format's default rule.
    """
    rng = np.random.default_rng(seed)
    forms = (pair.x, pair.w) if pair else (lookup("int8"), lookup("int8"))
    shapes = ((gemm.m, gemm.k), (gemm.k, gemm.n))
    kind = np.float32 if forms[0].block else np.int8
    values = []
    for name, path, form, shape in zip("xw", (x, w), forms, shapes, strict=True):
        random = _random(rng, form, shape)
        values.append(_read(name, path, shape, kind) if path else random)
    if not forms[0].block:
        return Operands(values[0], values[1])
    return quantised(values[0], values[1], Pair(*forms))


def quantised(x: NDArray[Any], w: NDArray[Any], pair: Pair) -> Operands:
    """Round float32 X[M, K] and W[K, N] to the block formats of ``pair``, along K."""
    x_codes, x_scales, x_tensor = _quantised(x, pair.x)
    w_codes, w_scales, w_tensor = _quantised(w.T, pair.w)
    # Two float32 have an exact product in float64: this rounds once.
    both = float(np.float32(x_tensor * w_tensor))
    return Operands(x_codes, w_codes.T, x_scales, w_scales.T, both)


def _random(rng: np.random.Generator, form: Format, shape: tuple[int, int]) -> NDArray[Any]:
    if form.block:
        return rng.standard_normal(shape, dtype=np.float32)
    top = 1 << form.width - 1
    return rng.integers(-top, top, dtype=np.int8, size=shape)


def _quantised(values: NDArray[Any], form: Format) -> tuple[NDArray[Any], NDArray[Any], float]:
    """Codes, scales and tensor scale of blocks along the last axis."""
    tensor = 1.0
    if lookup(form.scale).fraction_bits:
        tensor = float(tensor_scale(values, form.name))
    codes, scales = quantize(values, form.name, tensor_scale=tensor)
    if scales is None:
        raise OperandError(f"{form.name} has no blocks to quantise")
    return codes, scales, tensor
