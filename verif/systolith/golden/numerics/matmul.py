"""The contract as one function: codes and scales in, outputs out. The fast, vectorised form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.golden.numerics.accumulate import Accumulator, canonical, to_float32
from systolith.golden.numerics.arrays import Float32Array, Float64Array
from systolith.golden.numerics.blocks import Elements, block_sum, elements, flag_values
from systolith.golden.numerics.compare import Side, fused
from systolith.golden.numerics.quantiser import block_count, check_tensor_scale, scale_values
from systolith.golden.numerics.spec import AccSpec, FusedSpec
from systolith.numerics.formats import Format, lookup
from systolith.numerics.pairs import Pair, pair

__all__ = ["Segment", "block_terms", "matmul", "matmul_segments"]


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stretch of K with formats of its own; stretches are added in order.

    Parameters
    ----------
    x_codes, w_codes
        Codes [M, K] and [K, N].
    x_scales, w_scales
        Scale codes [M, ceil(K / L)] and [ceil(K / L), N], L the block length; None for plain
        integers.
    x_fmt, w_fmt
        Names of a legal pair of formats.

    Members
    -------
    pair : Pair
        The formats.
    shape : tuple of int
        M, K, N.
    """

    x_codes: ArrayLike
    x_scales: ArrayLike | None
    w_codes: ArrayLike
    w_scales: ArrayLike | None
    x_fmt: str
    w_fmt: str
    pair: Pair = field(init=False)
    shape: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        legal = pair(self.x_fmt, self.w_fmt)
        x, w = np.shape(self.x_codes), np.shape(self.w_codes)
        if len(x) != 2 or len(w) != 2 or x[1] != w[0] or 0 in (*x, *w):
            raise ValueError(f"matmul: codes must have shapes [M, K] and [K, N], not {x} and {w}")
        rows, length, columns = x[0], x[1], w[1]
        blocks = block_count(length, legal.x) if legal.block else 0
        for name, scales, shape in (
            ("x_scales", self.x_scales, (rows, blocks)),
            ("w_scales", self.w_scales, (blocks, columns)),
        ):
            if not legal.block:
                if scales is not None:
                    raise ValueError(f"matmul: {name} must be None for plain integers")
            elif scales is None or np.shape(scales) != shape:
                got = "None" if scales is None else np.shape(scales)
                raise ValueError(
                    f"matmul: {name} must have shape {shape} for blocks of {legal.block} along "
                    f"K = {length}, not {got}"
                )
        object.__setattr__(self, "pair", legal)
        object.__setattr__(self, "shape", (rows, length, columns))


def matmul(
    x_codes: ArrayLike,
    x_scales: ArrayLike | None,
    w_codes: ArrayLike,
    w_scales: ArrayLike | None,
    x_fmt: str,
    w_fmt: str,
    acc: AccSpec | FusedSpec | None = None,
    tensor_scale: float = 1.0,
) -> NDArray[Any]:
    """Return ``x @ w`` [M, N]: float32 by the contract, int32 for a pair of plain integers.

    Parameters
    ----------
    x_codes, x_scales, w_codes, w_scales, x_fmt, w_fmt
        Operands, as in :class:`Segment`.
    acc
        Accumulator, ``AccSpec()`` if None; or a published rule to compare with.
    tensor_scale
        NVFP4 only: product of both tensor scales, rounded to float32. One multiplication at the
        end.
    """
    segment = Segment(x_codes, x_scales, w_codes, w_scales, x_fmt, w_fmt)
    check_tensor_scale(tensor_scale, segment.pair.x, "matmul")
    if not segment.pair.block:
        return _integers(segment)
    if isinstance(acc, FusedSpec):
        total = _compared(segment, acc)
    else:
        total = _sum([segment], acc or AccSpec())
    if tensor_scale != 1.0:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            total = total * np.float32(tensor_scale)
    return canonical(total)


def matmul_segments(segments: Sequence[Segment], acc: AccSpec | None = None) -> Float32Array:
    """Return the sum over ``segments``, in order, in one accumulation: a format tag per K block.

    Every segment starts a new block and has E8M0 scales.
    """
    if not segments:
        raise ValueError("matmul_segments: segments must hold at least one segment")
    first = segments[0]
    for segment in segments:
        if segment.pair.x.scale != "e8m0":
            raise ValueError(
                "matmul_segments: formats must have E8M0 scales to be added to each other, "
                f"not {segment.pair.name}"
            )
        if (segment.shape[0], segment.shape[2]) != (first.shape[0], first.shape[2]):
            raise ValueError("matmul_segments: segments must agree in M and N")
    return canonical(_sum(segments, acc or AccSpec()))


def block_terms(segment: Segment) -> Iterator[Float32Array]:
    """Yield the binary32 terms [M, N] of the blocks in ascending K."""
    legal = segment.pair
    x = elements(segment.x_codes, legal.x)
    w = elements(segment.w_codes, legal.w)
    x_scales, w_scales = _scales(segment)
    for block in range(x_scales.shape[1]):
        along = slice(block * legal.block, (block + 1) * legal.block)
        x_block, w_block = x[:, along], w[along]
        exact = np.ldexp(block_sum(x_block, w_block, legal), legal.lsb)
        flags = flag_values(x_block, w_block)
        # Powers of two, or significands of 4 bits for sums of 12: the products are exact.
        scaled = exact * x_scales[:, block, None] * w_scales[None, block, :]
        scaled = scaled + 0.0  # a scale of zero must not turn a negative sum into -0
        if flags is not None:
            scale = x_scales[:, block, None] + w_scales[None, block, :]
            scaled = np.where(flags == 0, scaled, flags + 0.0 * scale)
        yield to_float32(scaled)


def _sum(segments: Sequence[Segment], acc: AccSpec) -> Float32Array:
    rows, _, columns = segments[0].shape
    accumulator = Accumulator((rows, columns), acc)
    for segment in segments:
        for term in block_terms(segment):
            accumulator.add(term)
    return accumulator.value


def _scales(segment: Segment) -> tuple[Float64Array, Float64Array]:
    x_scales, w_scales = segment.x_scales, segment.w_scales
    if x_scales is None or w_scales is None:  # excluded by Segment
        raise ValueError("matmul: x_scales and w_scales must not be None for block formats")
    return scale_values(x_scales, segment.pair.x), scale_values(w_scales, segment.pair.w)


def _integers(segment: Segment) -> NDArray[np.int32]:
    legal, length = segment.pair, segment.shape[1]
    if legal.max_k is not None and length > legal.max_k:
        raise ValueError(
            f"matmul: K must be at most {legal.max_k} for {legal.name}, not {length}: "
            "a longer sum can overflow int32"
        )
    x, w = elements(segment.x_codes, legal.x), elements(segment.w_codes, legal.w)
    return (x.integers @ w.integers).astype(np.int32)


def _compared(segment: Segment, spec: FusedSpec) -> Float32Array:
    legal, length = segment.pair, segment.shape[1]
    if spec.exact > 1 and legal.block % spec.exact:
        raise ValueError(
            f"matmul: FusedSpec.exact must divide the block of {legal.block}, not {spec.exact}"
        )
    x_scales, w_scales = _scales(segment)

    def side(decoded: Elements, form: Format, scales: Float64Array, axis: int) -> Side:
        spread = np.repeat(scales, form.block, axis=axis)
        spread = spread[:, :length] if axis else spread[:length]
        return Side(decoded, form.lsb, form.emin, spread, lookup(form.scale).emin)

    return fused(
        side(elements(segment.x_codes, legal.x), legal.x, x_scales, 1),
        side(elements(segment.w_codes, legal.w), legal.w, w_scales, 0),
        spec,
    )
