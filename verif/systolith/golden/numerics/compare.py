"""The published accumulation rules of tensor cores, for comparison; see :class:`FusedSpec`."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.golden.numerics.accumulate import round_fraction, to_float32
from systolith.golden.numerics.arrays import Float32Array, Float64Array
from systolith.golden.numerics.blocks import Elements, flag_values
from systolith.golden.numerics.spec import FusedSpec

__all__ = ["Side", "fused"]

_NEVER = -(1 << 20)  # exponent of zero: below every other
_ROWS = 1 << 20  # products held at a time


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One operand with its scales spread over K, as :func:`fused` wants it.

    Parameters
    ----------
    elements
        Decoded elements, [M, K] or [K, N].
    lsb
        Exponent of their unit.
    emin
        Smallest exponent of a significand of an element; elements below keep it.
    scales
        Scale values of the same shape; NaN where the scale is NaN.
    scale_emin
        Smallest exponent of a significand of a scale.
    """

    elements: Elements
    lsb: int
    emin: int
    scales: Float64Array
    scale_emin: int


def fused(x: Side, w: Side, spec: FusedSpec) -> Float32Array:
    """Return ``x [M, K] @ w [K, N]`` by ``spec``, a group of products at a time along K."""
    rows, length = x.scales.shape
    columns = w.scales.shape[1]
    total = np.zeros((rows, columns), np.float32)
    chunk = max(1, _ROWS // (columns * spec.group))
    for top in range(0, rows, chunk):
        part = slice(top, top + chunk)
        outer = inner = np.zeros((len(range(*part.indices(rows))), columns), np.float32)
        for at in range(0, length, spec.group):
            if spec.promote and at % spec.promote == 0:
                with np.errstate(invalid="ignore", over="ignore"):
                    outer, inner = outer + inner, np.zeros_like(inner)
            along = slice(at, at + spec.group)
            inner = _step(_cut(x, np.s_[part, along]), _cut(w, np.s_[along, :]), inner, spec)
        with np.errstate(invalid="ignore", over="ignore"):
            total[part] = outer + inner if spec.promote else inner
    return total


def _cut(side: Side, key: tuple[slice, slice]) -> Side:
    return Side(side.elements[key], side.lsb, side.emin, side.scales[key], side.scale_emin)


def _split(values: Float64Array, emin: int) -> tuple[Float64Array, NDArray[np.int64]]:
    """Significands in [1, 2), smaller below ``emin``, and their exponents."""
    exponent = np.maximum(np.frexp(values)[1].astype(np.int64) - 1, emin)
    significand: Float64Array = np.ldexp(values, -exponent)
    return significand, np.where(values == 0, _NEVER, exponent)


def _step(x: Side, w: Side, old: Float32Array, spec: FusedSpec) -> Float32Array:
    """Return the accumulators after one group."""
    x_values = np.ldexp(x.elements.integers, x.lsb)
    w_values = np.ldexp(w.elements.integers, w.lsb)
    x_scale, x_power = _split(np.nan_to_num(x.scales), x.scale_emin)
    w_scale, w_power = _split(np.nan_to_num(w.scales), w.scale_emin)
    if spec.exact == 1:
        # The significand of an E8M0 scale is 1: only its exponent takes part.
        x_part, x_exponent = _split(x_values, x.emin)
        w_part, w_exponent = _split(w_values, w.emin)
        parts = (x_part * x_scale)[:, :, None] * (w_part * w_scale)[None, :, :]
        exponents = (x_exponent + x_power)[:, :, None] + (w_exponent + w_power)[None, :, :]
    else:
        sums, powers = [], []
        for at in range(0, x_values.shape[1], spec.exact):
            some = slice(at, at + spec.exact)
            scale = x_scale[:, at, None] * w_scale[None, at, :]
            sums.append(x_values[:, some] @ w_values[some] * scale)
            powers.append(x_power[:, at, None] + w_power[None, at, :])
        parts, exponents = np.stack(sums, axis=1), np.stack(powers, axis=1)

    base, base_exponent = _split(old.astype(np.float64), -126)
    parts = np.concatenate([parts, base[:, None, :]], axis=1)
    exponents = np.concatenate([exponents, base_exponent[:, None, :]], axis=1)
    top = exponents.max(axis=1)
    below = np.maximum(exponents - top[:, None, :], -200)
    with np.errstate(invalid="ignore"):
        aligned = np.trunc(np.ldexp(parts, spec.align + below)).sum(axis=1)
    top = np.where(top < _NEVER // 2, 0, top)
    result = round_fraction(np.ldexp(aligned, top - spec.align), spec.out, "rz")
    # The rule overflows to infinity, unlike a rounding toward zero.
    huge = np.abs(np.ldexp(aligned, top - spec.align)) >= 2.0**128
    result = np.where(huge, np.copysign(np.float32(np.inf), result), result)

    flags = flag_values(x.elements, w.elements)
    broken = np.isnan(x.scales).any(axis=1, keepdims=True)
    broken = broken | np.isnan(w.scales).any(axis=0, keepdims=True)
    special = ~np.isfinite(old) | broken
    if flags is not None:
        special = special | (flags != 0)
    if special.any():
        with np.errstate(invalid="ignore"):
            ieee = old + to_float32(np.zeros(old.shape) if flags is None else flags)
        ieee = np.where(broken, np.float32(np.nan), ieee)
        result = np.where(special, ieee, result)
    final: Float32Array = result.astype(np.float32)
    return final
