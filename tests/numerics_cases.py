"""Inputs and outside references shared by the tests of the number formats."""

import gfloat.formats
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from systolith.numerics.formats import Format

ML_DTYPES = {
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "nvfp4": ml_dtypes.float4_e2m1fn,
    "bf16": ml_dtypes.bfloat16,
}
GFLOAT = {
    "e4m3": gfloat.formats.format_info_ocp_e4m3,
    "e5m2": gfloat.formats.format_info_ocp_e5m2,
    "e3m2": gfloat.formats.format_info_ocp_e3m2,
    "e2m3": gfloat.formats.format_info_ocp_e2m3,
    "e2m1": gfloat.formats.format_info_ocp_e2m1,
    "nvfp4": gfloat.formats.format_info_ocp_e2m1,
    "bf16": gfloat.formats.format_info_bfloat16,
}

MILLION = 1_000_000


def bf16_inputs() -> NDArray[np.float32]:
    """Every bf16 value, as float32."""
    return (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)


def float32_inputs(count: int, seed: int) -> NDArray[np.float32]:
    """Random words; half of them with exponents near those of the narrow formats."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    near = rng.integers(127 - 20, 127 + 20, count // 2, dtype=np.uint32)
    words[: count // 2] = words[: count // 2] & 0x807FFFFF | near << 23
    # A quarter of all on or beside a tie of some format: few significand bits, plus or minus one.
    tied = slice(0, count // 2, 2)
    kept = rng.integers(16, 24, words[tied].size, dtype=np.uint32)
    words[tied] = words[tied] >> kept << kept
    words[tied] += rng.integers(0, 3, words[tied].size, dtype=np.uint32) - np.uint32(1)
    return words.view(np.float32)


def biased_words(count: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """Binary32 words that meet the corners: extreme significands, all exponents, few specials.

    Significands are 0, all ones, one bit, a run of ones from either end, or random, plus or minus
    one unit.
    """
    bit = rng.integers(0, 23, count, dtype=np.uint32)
    one = np.uint32(1)
    shapes = np.stack(
        [
            np.zeros(count, np.uint32),
            np.full(count, 0x7FFFFF, np.uint32),
            one << bit,
            (one << bit) - one,
            0x7FFFFF & ~((one << bit) - one),
            rng.integers(0, 1 << 23, count, dtype=np.uint32),
        ]
    )
    fraction = shapes[rng.integers(0, len(shapes), count), np.arange(count)]
    fraction = fraction + rng.integers(0, 3, count, dtype=np.uint32) - one & 0x7FFFFF
    field = rng.integers(0, 255, count, dtype=np.uint32)
    field = np.where(rng.random(count) < 0.1, rng.integers(0, 3, count, dtype=np.uint32), field)
    field = np.where(rng.random(count) < 0.02, np.uint32(255), field)
    sign = rng.integers(0, 2, count, dtype=np.uint32)
    return sign << 31 | field << 23 | fraction


def random_codes(
    rng: np.random.Generator, fmt: Format, shape: tuple[int, ...], *, finite: bool = True
) -> NDArray[np.uint16]:
    """Any codes of ``fmt``; without NaN and infinities if ``finite``."""
    codes = rng.integers(0, 1 << fmt.width, shape).astype(np.uint16)
    if finite and fmt.specials.value != "none":
        top = 1 << fmt.width - 1
        codes = np.where(codes & top - 1 > fmt.max_code, codes & top, codes)
    return codes.astype(np.uint16)


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return bool((a.view(np.uint32) == b.view(np.uint32)).all())
