"""Tensors to blocks of codes with scales, and back."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.arrays import Float64Array, as_codes, as_float32, widen
from systolith.golden.numerics.decode import decode
from systolith.golden.numerics.encode import encode_exact
from systolith.golden.numerics.rounding import as_random, check_rounding
from systolith.golden.numerics.scales import check_rule, power_scale, two_level_scale
from systolith.numerics.formats import Format, lookup

__all__ = ["block_count", "check_tensor_scale", "dequantize", "quantize", "scale_values"]


def block_count(length: int, form: Format) -> int:
    """Blocks along an axis of ``length`` elements; the last one may be short."""
    return -(-length // form.block)


def quantize(
    x: ArrayLike,
    fmt: str,
    rule: str | None = None,
    *,
    rounding: str = "rne",
    random: ArrayLike | None = None,
    tensor_scale: float = 1.0,
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Return codes [..., K] and scales [..., ceil(K / block)] of blocks along the last axis.

    Elements are divided by their scale exactly and rounded once, saturating. A block of zeros has
    scale code 0. A block with NaN or infinity has a NaN scale and elements +0. Plain integers have
    no scales (None) and are only rounded.

    Parameters
    ----------
    x
        float32 values [..., K].
    fmt
        Name of an operand format.
    rule
        Scale rule "floor", "even", "ceil" or "rceil", or None for the format's own. Only E8M0
        scales are a matter of choice; NVFP4 and plain integers ignore it.
    rounding, random
        Rounding of the elements, as in :func:`systolith.golden.numerics.encode`.
    tensor_scale
        NVFP4 only: what all block scales are multiplied by; positive, rounded to float32.
    """
    form = _operand(fmt, "quantize")
    check_rule(rule)
    check_rounding(rounding, "quantize")
    check_tensor_scale(tensor_scale, form, "quantize")
    values = as_float32(x, "quantize")
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"quantize: x must have shape [..., K] with K >= 1, not {values.shape}")
    bits = as_random(random, values.shape, rounding, "quantize")
    if not form.block:
        return encode_exact(widen(values), form, rounding, True, bits), None

    starts = np.arange(0, values.shape[-1], form.block)
    peak = np.maximum.reduceat(np.abs(values), starts, axis=-1)
    if lookup(form.scale).fraction_bits:
        scales = two_level_scale(peak, form, float(np.float32(tensor_scale)))
    else:
        scales = power_scale(peak, form, rule)
    divisor = _spread(scale_values(scales, form), form, values.shape[-1])
    divisor = divisor * float(np.float32(tensor_scale))
    usable = np.isfinite(divisor) & (divisor > 0)
    scaled = widen(values) / np.where(usable, divisor, 1.0)
    scaled = np.where(usable, scaled, np.where(np.isnan(divisor), 0.0, np.copysign(0.0, values)))
    return encode_exact(scaled, form, rounding, True, bits), scales


def dequantize(
    codes: ArrayLike, scales: ArrayLike | None, fmt: str, *, tensor_scale: float = 1.0
) -> Float64Array:
    """Return the exact values [..., K] of blocks along the last axis; a NaN scale makes NaN.

    Parameters
    ----------
    codes, scales
        As :func:`quantize` returns them; ``scales`` is None for plain integers.
    fmt
        Name of an operand format.
    tensor_scale
        NVFP4 only.
    """
    form = _operand(fmt, "dequantize")
    check_tensor_scale(tensor_scale, form, "dequantize")
    values = decode(codes, fmt)
    if not form.block:
        if scales is not None:
            raise ValueError(f"dequantize: scales must be None for {fmt}, which has no blocks")
        return values
    if scales is None:
        raise ValueError(f"dequantize: scales must hold one {form.scale} code per block of {fmt}")
    factors = scale_values(scales, form)
    wanted = (*values.shape[:-1], block_count(values.shape[-1], form)) if values.ndim else ()
    if not wanted or factors.shape != wanted:
        raise ValueError(f"dequantize: scales must have shape {wanted}, not {factors.shape}")
    spread = _spread(factors, form, values.shape[-1])
    result: Float64Array = values * spread * float(np.float32(tensor_scale))
    return result


def scale_values(scales: ArrayLike, form: Format) -> Float64Array:
    """Return the values of scale codes; the sign bit of an E4M3 scale is not used."""
    scale = lookup(form.scale)
    codes = as_codes(scales, scale, "scales")
    return decode(codes & 0x7F, scale.name) if scale.fraction_bits else decode(codes, scale.name)


def check_tensor_scale(value: float, form: Format, where: str) -> None:
    """Raise ValueError unless ``value`` is positive and finite, and 1 without two scales."""
    two_level = bool(form.scale) and lookup(form.scale).fraction_bits > 0
    if not two_level and value != 1.0:
        raise ValueError(
            f"{where}: tensor_scale must be 1 for {form.name}, which has no tensor scale, "
            f"not {value!r}"
        )
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not (np.isfinite(single) and single > 0):
        raise ValueError(f"{where}: tensor_scale must be positive and finite, not {value!r}")


def _operand(fmt: str, where: str) -> Format:
    form = lookup(fmt)
    if not form.operand:
        raise ValueError(
            f"{where}: fmt must be an operand format, not {fmt!r}, which is for {form.family}"
        )
    return form


def _spread(per_block: Float64Array, form: Format, length: int) -> Float64Array:
    """Repeat each block's value for its elements; the last block may be short."""
    result: Float64Array = np.repeat(per_block, form.block, axis=-1)[..., :length]
    return result
