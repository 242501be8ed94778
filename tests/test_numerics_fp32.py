"""Binary32 addition and conversion of stage B, against Berkeley SoftFloat."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import softfloatpy as sf
from numerics_cases import MILLION, biased_words
from numpy.typing import NDArray

from systolith.golden.numerics import AccSpec, element_index, encode, random_bits
from systolith.golden.numerics.accumulate import (
    Accumulator,
    canonical,
    round_fraction,
    to_float32,
)
from systolith.golden.numerics.arrays import widen
from systolith.golden.numerics.rounding import add_to_odd
from systolith.golden.numerics.words import add, pack

CHUNK = 1 << 16


def by_softfloat(
    operation: Callable[..., Any], *operands: NDArray[np.uint32], mode: Any = None
) -> NDArray[np.uint32]:
    """Apply a function of binary32 words, one at a time."""
    raw = [operand.astype(">u4").tobytes() for operand in operands]
    load = sf.Float32.from_bytes
    before = sf.get_rounding_mode()
    sf.set_rounding_mode(sf.RoundingMode.NEAR_EVEN if mode is None else mode)
    try:
        results = b"".join(
            operation(*(load(data[at : at + 4]) for data in raw)).to_bytes()
            for at in range(0, len(raw[0]), 4)
        )
    finally:
        sf.set_rounding_mode(before)
    return np.frombuffer(results, f">u{len(results) // len(operands[0])}").astype(np.uint32)


def pairs_of_words(count: int, seed: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Operands of an addition: half independent, half made to cancel, nearly or exactly."""
    rng = np.random.default_rng(seed)
    a, b = biased_words(count, rng), biased_words(count, rng)
    half = slice(0, count // 2)
    # The other sign, an exponent at most 26 steps away (the reach of the sticky bit).
    field = (a[half] >> 23 & 0xFF).astype(np.int64) + rng.integers(-26, 27, count // 2)
    field = np.clip(field, 0, 254).astype(np.uint32)
    b[half] = (a[half] ^ 1 << 31) & 1 << 31 | field << 23 | b[half] & 0x7FFFFF
    quarter = slice(0, count // 8)
    b[quarter] = (a[quarter] ^ 1 << 31) + rng.integers(0, 3, count // 8, dtype=np.uint32)
    return a, b


def accumulate(spec: AccSpec, a: NDArray[np.uint32], b: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """One step of the accumulator from ``a``."""
    accumulator = Accumulator((1, a.size), spec)
    accumulator.value = a.view(np.float32)[None]
    accumulator.add(b.view(np.float32)[None])
    return canonical(accumulator.value)[0].view(np.uint32)


def test_addition() -> None:
    a, b = pairs_of_words(MILLION, 1)
    np.testing.assert_array_equal(accumulate(AccSpec(), a, b), by_softfloat(sf.f32_add, a, b))


def test_addition_toward_zero() -> None:
    a, b = pairs_of_words(MILLION, 2)
    theirs = by_softfloat(sf.f32_add, a, b, mode=sf.RoundingMode.MIN_MAG)
    np.testing.assert_array_equal(accumulate(AccSpec(23, "rz"), a, b), theirs)


def test_the_general_rounder_adds_like_the_hardware() -> None:
    a, b = (widen(word.view(np.float32)) for word in pairs_of_words(MILLION, 3))
    with np.errstate(invalid="ignore"):
        plain = a + b
    finite = np.isfinite(plain)
    ours = round_fraction(add_to_odd(a, b), 23, "rne")[finite]
    with np.errstate(over="ignore"):
        theirs = a[finite].astype(np.float32) + b[finite].astype(np.float32)
    np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))


@pytest.mark.parametrize("rounding", ["rne", "rz"])
def test_narrow_accumulator(rounding: str) -> None:
    """16 bits in all: bf16 of the exact sum; SoftFloat gets there from a sum rounded to odd."""
    a, b = pairs_of_words(MILLION // 4, 4)
    mode = sf.RoundingMode.NEAR_EVEN if rounding == "rne" else sf.RoundingMode.MIN_MAG
    wide = add_to_odd(widen(a.view(np.float32)), widen(b.view(np.float32)))
    kept = np.isfinite(wide)
    ours = accumulate(AccSpec(7, rounding), a[kept], b[kept])
    # float64 -> odd at 23 bits -> bf16: innocuous, and independent of our rounder.
    cut = np.abs(wide[kept]).view(np.int64)
    single = np.where(cut & (1 << 29) - 1, cut >> 29 << 29 | 1 << 29, cut).view(np.float64)
    normal = (single > 2.0**-120) & (single < 3.4e38)
    odd = np.copysign(single[normal], wide[kept][normal]).astype(np.float32)
    theirs = by_softfloat(sf.f32_to_bf16, odd.view(np.uint32), mode=mode) << 16
    np.testing.assert_array_equal(ours[normal], theirs)


def test_conversion_to_bf16() -> None:
    words = biased_words(MILLION, np.random.default_rng(5))
    theirs = by_softfloat(sf.f32_to_bf16, words)
    ours = encode(words.view(np.float32), "bf16")
    nan = (words & 0x7FFFFFFF) > 0x7F800000
    np.testing.assert_array_equal(ours[~nan], theirs[~nan])
    assert (ours[nan] == 0x7FC0).all()


def test_conversion_of_sums() -> None:
    """Integers of up to 62 bits to binary32: what stage B does to a block sum."""
    rng = np.random.default_rng(6)
    width = rng.integers(1, 63, MILLION // 4)
    values = rng.integers(0, 1 << 62, width.size) >> 62 - width
    values -= rng.integers(0, 2, width.size) * (values & 1 << 20)  # ties and near ties
    values *= rng.choice([-1, 1], width.size)
    theirs = b"".join(sf.i64_to_f32(sf.Int64.from_int(int(v))).to_bytes() for v in values)
    words = np.frombuffer(theirs, ">u4").astype(np.uint32)
    high, low = values >> 31, values & (1 << 31) - 1
    ours = to_float32(add_to_odd(np.ldexp(high.astype(float), 31), low.astype(float)))
    np.testing.assert_array_equal(ours.view(np.uint32), words)
    some = slice(0, 20_000)
    slow = [pack(int(v < 0), abs(int(v)), 0) for v in values[some]]
    np.testing.assert_array_equal(slow, words[some])


@pytest.mark.parametrize("spec", [AccSpec(), AccSpec(23, "rz"), AccSpec(16), AccSpec(7, "sr", 9)])
def test_integer_form_of_addition(spec: AccSpec) -> None:
    a, b = pairs_of_words(20_000, 7)
    random = np.zeros(a.size, np.int64)
    if spec.rounding == "sr":
        random = random_bits(spec.seed, element_index(0, np.arange(a.size))).astype(np.int64)
    # The accumulator's own grid: what it holds has ``frac`` fraction bits.
    a &= np.uint32(0xFFFFFFFF) << np.uint32(23 - spec.frac)
    slow = [
        add(int(x), int(y), spec.frac, spec.rounding, int(r))
        for x, y, r in zip(a, b, random, strict=True)
    ]
    np.testing.assert_array_equal(accumulate(spec, a, b), slow)


def test_first_block_never_leaves_minus_zero() -> None:
    tiny = np.float32([[-0.0, 0.0, -(2.0**-149)]])
    accumulator = Accumulator((1, 3), AccSpec())
    accumulator.add(tiny)
    words = accumulator.value.view(np.uint32)[0]
    assert words.tolist() == [0, 0, 0x80000001]
    assert to_float32(np.array([-(2.0**-160)])).view(np.uint32)[0] == 0x80000000
    assert add(0, 0x80000000) == 0
    assert add(0x3F800000, 0xBF800000) == 0


def test_bad_spec() -> None:
    with pytest.raises(ValueError, match=r"AccSpec.frac must be in 1\.\.23, not 24"):
        AccSpec(24)
    with pytest.raises(ValueError, match="rounding must be one of rne, rz, sr, not 'up'"):
        AccSpec(16, "up")
