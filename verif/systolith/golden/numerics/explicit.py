"""The contract written out for one output element, on Python integers: slow, and easy to read."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from systolith.golden.numerics.arrays import Float32Array
from systolith.golden.numerics.lfsr import element_index, random_bits
from systolith.golden.numerics.matmul import Segment
from systolith.golden.numerics.quantiser import block_count
from systolith.golden.numerics.spec import AccSpec
from systolith.golden.numerics.words import INFINITY, NAN, add, pack
from systolith.numerics.formats import Format, Kind, Specials, lookup

__all__ = ["Flags", "block", "element", "matmul_explicit", "scale_parts", "term"]

Flags = frozenset[str]
"""Any of "nan", "+inf" and "-inf": what products of special values have left behind."""


def element(code: int, form: Format) -> int | str:
    """Return the signed integer of a code in units of ``2^lsb``, or its special value."""
    sign = code >> form.width - 1
    if form.kind is Kind.INTEGER:
        return code - (sign << form.width)
    magnitude = code & (1 << form.width - 1) - 1
    if magnitude > form.max_code:
        infinite = form.specials is Specials.IEEE and magnitude == form.infinity_code
        return ("-inf" if sign else "+inf") if infinite else "nan"
    field = magnitude >> form.fraction_bits
    significand = magnitude & (1 << form.fraction_bits) - 1
    if field:
        significand |= 1 << form.fraction_bits
    value = significand << max(field, 1) - 1
    return -value if sign else value


def product(a: int | str, b: int | str) -> int | str:
    """Return the product of two elements."""
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if "nan" in (a, b) or 0 in (a, b):
        return "nan"
    negative = [v < 0 if isinstance(v, int) else v == "-inf" for v in (a, b)]
    return "-inf" if negative[0] != negative[1] else "+inf"


def block(products: Iterable[int | str]) -> tuple[int, Flags]:
    """Stage A: return the exact sum of one block's products and its flags."""
    total, flags = 0, set()
    for value in products:
        if isinstance(value, int):
            total += value
        else:
            flags.add(value)
    return total, frozenset(flags)


def scale_parts(code: int, form: Format) -> tuple[int, int] | None:
    """Return significand and exponent of a scale code of ``form``'s blocks; None for NaN."""
    scale = lookup(form.scale)
    if scale.kind is Kind.POWER:
        return None if code > scale.max_code else (1, code - scale.bias)
    value = element(code & 0x7F, scale)
    return (value, scale.lsb) if isinstance(value, int) else None


def term(
    total: int, flags: Flags, lsb: int, x: tuple[int, int] | None, w: tuple[int, int] | None
) -> int:
    """Stage B, first half: return a block's sum times both scales as a binary32 word."""
    if x is None or w is None or "nan" in flags or len(flags) > 1:
        return NAN
    if flags:
        return INFINITY | ("-inf" in flags) << 31
    size = abs(total) * x[0] * w[0]
    return pack(int(total < 0 < size), size, lsb + x[1] + w[1])


def matmul_explicit(segments: Sequence[Segment], acc: AccSpec | None = None) -> Float32Array:
    """Return what :func:`systolith.golden.numerics.matmul_segments` returns, element by element.

    The segments may also be one of NVFP4, without its tensor scale.
    """
    spec = acc or AccSpec()
    rows, _, columns = segments[0].shape
    out = np.zeros((rows, columns), np.uint32)
    for m in range(rows):
        for n in range(columns):
            out[m, n] = _output(segments, m, n, spec)
    return out.view(np.float32)


def _output(segments: Sequence[Segment], m: int, n: int, spec: AccSpec) -> int:
    accumulator, count = 0, 0
    for segment in segments:
        legal, length = segment.pair, segment.shape[1]
        x_codes = _integers(segment.x_codes)[m]
        w_codes = _integers(segment.w_codes)[:, n]
        x_scales, w_scales = _integers(segment.x_scales)[m], _integers(segment.w_scales)[:, n]
        for at in range(block_count(length, legal.x)):
            along = range(at * legal.block, min((at + 1) * legal.block, length))
            total, flags = block(
                product(element(int(x_codes[k]), legal.x), element(int(w_codes[k]), legal.w))
                for k in along
            )
            t = term(
                total,
                flags,
                legal.lsb,
                scale_parts(int(x_scales[at]), legal.x),
                scale_parts(int(w_scales[at]), legal.w),
            )
            random = 0
            if spec.rounding == "sr":
                random = int(random_bits(spec.seed + count, element_index(m, n)))
            accumulator = add(accumulator, t, spec.frac, spec.rounding, random)
            count += 1
    return accumulator


def _integers(array: object) -> NDArray[np.int64]:
    return np.asarray(array).astype(np.int64)
