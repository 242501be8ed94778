"""Whole products: exact block sums against MPFR, the fast form against the explicit one."""

import gmpy2
import numpy as np
import pytest
from numerics_cases import random_codes, same_bits
from numpy.typing import NDArray

from systolith.golden.numerics import (
    AccSpec,
    Segment,
    decode,
    matmul,
    matmul_segments,
    quantize,
)
from systolith.golden.numerics.digits import digits, sliced_sums
from systolith.golden.numerics.explicit import matmul_explicit
from systolith.golden.numerics.matmul import block_terms
from systolith.numerics.pairs import PAIRS, Pair, pair

BLOCK_PAIRS = [p for p in PAIRS if p.block]
NAMES = [p.name for p in BLOCK_PAIRS]
SINGLE = gmpy2.context(precision=24, emin=-148, emax=128, subnormalize=True)
EXACT = gmpy2.context(precision=1000)


def random_segment(
    legal: Pair,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    scales: tuple[int, int] = (120, 135),
    finite: bool = True,
) -> Segment:
    m, k, n = shape
    blocks = -(-k // legal.block)
    return Segment(
        random_codes(rng, legal.x, (m, k), finite=finite),
        rng.integers(*scales, (m, blocks), dtype=np.uint8),
        random_codes(rng, legal.w, (k, n), finite=finite),
        rng.integers(*scales, (blocks, n), dtype=np.uint8),
        legal.x.name,
        legal.w.name,
    )


def run(segment: Segment, acc: AccSpec | None = None) -> NDArray[np.float32]:
    result: NDArray[np.float32] = matmul(
        segment.x_codes,
        segment.x_scales,
        segment.w_codes,
        segment.w_scales,
        segment.x_fmt,
        segment.w_fmt,
        acc,
    )
    return result


# Block sums


@pytest.mark.parametrize("legal", BLOCK_PAIRS, ids=NAMES)
def test_terms_equal_mpfr(legal: Pair) -> None:
    """One exact sum of up to 70 bits, one rounding to binary32, at all sizes of scales."""
    rng = np.random.default_rng(1)
    for scales in ((0, 60), (100, 150), (0, 255)):
        segment = random_segment(legal, rng, (6, legal.block, 6), scales=scales)
        if legal.name == "nvfp4xnvfp4":
            scale = "e4m3"
            assert isinstance(segment.x_scales, np.ndarray)
            assert isinstance(segment.w_scales, np.ndarray)
            segment.x_scales[segment.x_scales & 0x7F == 0x7F] = 1
            segment.w_scales[segment.w_scales & 0x7F == 0x7F] = 1
            x_scales = np.abs(decode(segment.x_scales, scale))
            w_scales = np.abs(decode(segment.w_scales, scale))
        else:
            x_scales = decode(np.asarray(segment.x_scales), "e8m0")
            w_scales = decode(np.asarray(segment.w_scales), "e8m0")
        x = decode(segment.x_codes, legal.x.name)
        w = decode(segment.w_codes, legal.w.name)
        term = next(block_terms(segment))
        for m in range(6):
            for n in range(6):
                with EXACT:
                    total = sum(
                        gmpy2.mpfr(a) * gmpy2.mpfr(b) for a, b in zip(x[m], w[:, n], strict=True)
                    )
                    total = total * gmpy2.mpfr(x_scales[m, 0]) * gmpy2.mpfr(w_scales[0, n])
                with SINGLE:
                    wanted = float(gmpy2.mpfr(total))
                assert float(term[m, n]) == wanted


def test_terms_of_nearly_cancelling_wide_sums() -> None:
    """E5M2 sums of 70 bits whose low limb decides the rounding."""
    rng = np.random.default_rng(2)
    legal = pair("e5m2", "e5m2")
    for _ in range(20):
        x = random_codes(rng, legal.x, (8, 32))
        w = random_codes(rng, legal.w, (32, 8))
        x[:, 1], w[1] = x[:, 0] ^ 0x80, w[0]  # the largest two cancel
        x[:, 2:4], w[2:4] = 0x7B, rng.integers(0, 4, (2, 8))  # large times tiny
        one = np.full((8, 1), 127, np.uint8)
        segment = Segment(x, one, w, one.T, "e5m2", "e5m2")
        assert same_bits(run(segment), matmul_explicit([segment]))


# Both forms


@pytest.mark.parametrize("legal", BLOCK_PAIRS, ids=NAMES)
@pytest.mark.parametrize("finite", [True, False])
def test_fast_equals_explicit(legal: Pair, finite: bool) -> None:
    rng = np.random.default_rng(3)
    specs = (AccSpec(), AccSpec(16), AccSpec(7, "rz"), AccSpec(10, "sr", 77))
    for scales in ((120, 135), (0, 50), (0, 256)):
        segment = random_segment(legal, rng, (3, 70, 4), scales=scales, finite=finite)
        if not finite:  # few specials: else every output is NaN
            for codes, fmt in ((segment.x_codes, legal.x), (segment.w_codes, legal.w)):
                assert isinstance(codes, np.ndarray)
                rare = rng.random(codes.shape) < 0.98
                codes[rare] = random_codes(rng, fmt, codes.shape)[rare]
        for spec in specs:
            assert same_bits(run(segment, spec), matmul_explicit([segment], spec)), spec


def test_fast_equals_explicit_over_a_long_sum() -> None:
    rng = np.random.default_rng(4)
    for name in ("e2m1", "e4m3", "nvfp4"):
        x, xs = quantize(rng.normal(size=(4, 1000)).astype(np.float32), name)
        w, ws = quantize(rng.normal(size=(4, 1000)).astype(np.float32), name)
        assert ws is not None
        segment = Segment(x, xs, w.T, ws.T, name, name)
        assert same_bits(run(segment), matmul_explicit([segment]))


# Short blocks, segments, splits


@pytest.mark.parametrize("legal", BLOCK_PAIRS, ids=NAMES)
def test_last_block_may_be_short(legal: Pair) -> None:
    rng = np.random.default_rng(5)
    length = 2 * legal.block + 5
    segment = random_segment(legal, rng, (3, length, 3))
    padded = Segment(
        np.pad(np.asarray(segment.x_codes), ((0, 0), (0, legal.block - 5))),
        segment.x_scales,
        np.pad(np.asarray(segment.w_codes), ((0, legal.block - 5), (0, 0))),
        segment.w_scales,
        segment.x_fmt,
        segment.w_fmt,
    )
    assert same_bits(run(segment), run(padded))
    assert same_bits(run(segment), matmul_explicit([segment]))


def test_rows_and_columns_do_not_know_each_other() -> None:
    """Splitting M or N changes no bit."""
    rng = np.random.default_rng(6)
    for legal in BLOCK_PAIRS:
        segment = random_segment(legal, rng, (9, 96, 7), finite=False)
        whole = run(segment)
        x, xs = np.asarray(segment.x_codes), np.asarray(segment.x_scales)
        w, ws = np.asarray(segment.w_codes), np.asarray(segment.w_scales)
        for m, n in ((slice(0, 4), slice(3, 7)), (slice(4, 9), slice(0, 1))):
            part = Segment(x[m], xs[m], w[:, n], ws[:, n], segment.x_fmt, segment.w_fmt)
            assert same_bits(whole[m, n], run(part))


def test_format_tags_per_block() -> None:
    rng = np.random.default_rng(7)
    plan = [("e2m1", "e2m1", 64), ("mxint16", "mxint16", 40), ("e2m1", "e4m3", 32)]
    segments = [random_segment(pair(x, w), rng, (3, k, 4)) for x, w, k in plan]
    assert same_bits(matmul_segments(segments), matmul_explicit(segments))
    one = segments[:1]
    assert same_bits(matmul_segments(one), run(one[0]))


@pytest.mark.parametrize("x_fmt", ["mxint8", "mxint16", "e4m3", "e2m1"])
def test_digits_of_sixteen_bits_add_up(x_fmt: str) -> None:
    rng = np.random.default_rng(8)
    legal = pair(x_fmt, "mxint16")
    x = random_codes(rng, legal.x, (5, 32))
    w = random_codes(rng, legal.w, (32, 5))
    w[0], w[1] = 0x8000, 0x7FFF  # the most negative code has the largest magnitude
    passes = sliced_sums(x, w, x_fmt, "mxint16")
    assert len(passes) == legal.passes
    whole = sum(part << shift for part, shift in zip(passes, legal.shifts, strict=True))
    units = np.ldexp(decode(x, x_fmt), -legal.x.lsb), np.ldexp(decode(w, "mxint16"), 14)
    np.testing.assert_array_equal(whole, units[0] @ units[1])
    assert np.abs(digits(w, "mxint16")).max() < 1 << 8


# Plain integers


def test_integers() -> None:
    rng = np.random.default_rng(9)
    for x_fmt in ("int8", "int4"):
        for w_fmt in ("int8", "int4"):
            x = random_codes(rng, pair(x_fmt, w_fmt).x, (5, 300)).astype(np.uint8)
            w = random_codes(rng, pair(x_fmt, w_fmt).w, (300, 6)).astype(np.uint8)
            y = matmul(x, None, w, None, x_fmt, w_fmt)
            assert y.dtype == np.int32
            wanted = decode(x, x_fmt).astype(np.int64) @ decode(w, w_fmt).astype(np.int64)
            np.testing.assert_array_equal(y, wanted)


def test_longest_integer_sum() -> None:
    worst = np.full((1, 131_071), 0x80, np.uint8)
    y = matmul(worst, None, worst.T, None, "int8", "int8")
    assert y[0, 0] == 131_071 << 14
    longer = np.full((1, 131_072), 0x80, np.uint8)
    with pytest.raises(ValueError, match="K must be at most 131071 for int8xint8, not 131072"):
        matmul(longer, None, longer.T, None, "int8", "int8")


# Specials


def words(*rows: list[int]) -> NDArray[np.uint8]:
    return np.array(rows, np.uint8)


ONE = np.full((1, 1), 127, np.uint8)


@pytest.mark.parametrize(
    ("x", "w", "wanted"),
    [
        ([0x7C, 0x3C], [0x3C, 0x3C], np.inf),
        ([0x7C, 0x3C], [0xBC, 0x3C], -np.inf),
        ([0x7C, 0x7C], [0x3C, 0xBC], np.nan),  # +inf and -inf
        ([0x7C, 0x3C], [0x00, 0x3C], np.nan),  # infinity times zero
        ([0x7C, 0x3C], [0x80, 0x3C], np.nan),  # or times -0
        ([0x7D, 0x3C], [0x00, 0x3C], np.nan),  # NaN times zero
        ([0x7C, 0x3C], [0x7C, 0x3C], np.inf),
        ([0xFC, 0x3C], [0xFC, 0x3C], np.inf),
        ([0x3C, 0xBC], [0x3C, 0x3C], 0.0),
    ],
)
def test_flags(x: list[int], w: list[int], wanted: float) -> None:
    bits = 0x7FC00000 if np.isnan(wanted) else int(np.float32(wanted).view(np.uint32))
    for a, b in ((x, w), (w, x)):
        y = matmul(words(a), ONE, words(b).T, ONE, "e5m2", "e5m2")
        assert y.view(np.uint32)[0, 0] == bits


def test_infinity_meets_the_opposite_in_a_later_block() -> None:
    x = np.full((1, 64), 0x3C, np.uint8)
    w = np.full((64, 1), 0x3C, np.uint8)
    x[0, 3], x[0, 40] = 0x7C, 0xFC
    scales = np.full((1, 2), 127, np.uint8)
    y = matmul(x, scales, w, scales.T, "e5m2", "e5m2")
    assert y.view(np.uint32)[0, 0] == 0x7FC00000


def test_nan_scale_takes_only_its_own_outputs() -> None:
    rng = np.random.default_rng(10)
    for name, nan in (("e2m1", 0xFF), ("mxint8", 0xFF), ("nvfp4", 0x7F), ("nvfp4", 0xFF)):
        segment = random_segment(pair(name, name), rng, (3, 64, 3), scales=(100, 110))
        assert isinstance(segment.x_scales, np.ndarray)
        clean = run(segment)
        segment.x_scales[1, 1] = nan
        y = run(segment)
        assert (y[1].view(np.uint32) == 0x7FC00000).all()
        assert same_bits(y[[0, 2]], clean[[0, 2]])


def test_overflow_and_underflow_of_terms() -> None:
    x = np.full((1, 32), 0x7E, np.uint8)
    huge, tiny = np.full((1, 1), 254, np.uint8), np.full((1, 1), 0, np.uint8)
    assert matmul(x, huge, x.T, huge, "e4m3", "e4m3")[0, 0] == np.inf
    assert matmul(x ^ 0x80, huge, x.T, huge, "e4m3", "e4m3")[0, 0] == -np.inf
    y = matmul(x ^ 0x80, tiny, x.T, tiny, "e4m3", "e4m3")  # a tiny negative term
    assert y.view(np.uint32)[0, 0] == 0
    half = np.full((1, 1), 60, np.uint8)
    y = matmul(x, half, x.T, tiny, "e4m3", "e4m3")
    assert y[0, 0] == 448.0**2 * 32 * 2.0 ** (60 - 254)


def test_term_of_a_zero_scale_is_plus_zero() -> None:
    segment = Segment(words([0xF]), words([0]), words([0x7]), words([0x38]), "nvfp4", "nvfp4")
    assert next(block_terms(segment)).view(np.uint32)[0, 0] == 0


def test_tensor_scale_is_one_multiplication() -> None:
    rng = np.random.default_rng(11)
    segment = random_segment(pair("nvfp4", "nvfp4"), rng, (4, 64, 4), scales=(0, 127))
    plain = run(segment)
    for scale in (0.3, 1e-44, 3e38):
        y = matmul(
            segment.x_codes,
            segment.x_scales,
            segment.w_codes,
            segment.w_scales,
            "nvfp4",
            "nvfp4",
            tensor_scale=scale,
        )
        with np.errstate(over="ignore", under="ignore"):
            assert same_bits(y, plain * np.float32(scale))


# Bad input


def test_bad_input() -> None:
    x, w = np.zeros((2, 40), np.uint8), np.zeros((40, 3), np.uint8)
    xs, ws = np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8)
    for change, message in [
        ({"x_fmt": "int8"}, "int8 x e4m3 is not a legal pair"),
        ({"x_fmt": "bf16"}, "bf16 goes with nothing"),
        ({"w_fmt": "fp8"}, "format must be one of .*, not 'fp8'"),
        ({"w_codes": w[:-1]}, r"shapes \[M, K\] and \[K, N\], not \(2, 40\) and \(39, 3\)"),
        ({"x_codes": x[0]}, r"shapes \[M, K\] and \[K, N\], not \(40,\)"),
        ({"x_codes": x[:, :0], "w_codes": w[:0]}, r"not \(2, 0\) and \(0, 3\)"),
        ({"x_scales": None}, r"x_scales must have shape \(2, 2\) for blocks of 32 along K = 40"),
        ({"w_scales": ws[:1]}, r"w_scales must have shape \(2, 3\) .*, not \(1, 3\)"),
        ({"x_scales": xs.astype(float)}, "codes of e8m0 must be integers, not float64"),
        ({"x_scales": xs + np.uint16(256)}, r"codes of e8m0 must be in 0\.\.255, not 256"),
        ({"x_fmt": "e2m1", "x_codes": x + 16}, r"codes of e2m1 must be in 0\.\.15, not 16"),
        ({"tensor_scale": 2.0}, r"tensor_scale must be 1 for e4m3, .*, not 2\.0"),
    ]:
        arguments = {
            "x_codes": x,
            "x_scales": xs,
            "w_codes": w,
            "w_scales": ws,
            "x_fmt": "e4m3",
            "w_fmt": "e4m3",
        }
        with pytest.raises(ValueError, match=message):
            matmul(**(arguments | change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="x_scales must be None for plain integers"):
        matmul(x, xs, w, None, "int8", "int8")
    with pytest.raises(ValueError, match="tensor_scale must be positive and finite, not -1"):
        matmul(x[:, :32], xs, w[:32], ws, "nvfp4", "nvfp4", tensor_scale=-1)


def test_bad_segments() -> None:
    rng = np.random.default_rng(12)
    one = random_segment(pair("e2m1", "e2m1"), rng, (2, 32, 3))
    two = random_segment(pair("e2m1", "e2m1"), rng, (3, 32, 3))
    nv = random_segment(pair("nvfp4", "nvfp4"), rng, (2, 32, 3), scales=(0, 100))
    with pytest.raises(ValueError, match="segments must hold at least one"):
        matmul_segments([])
    with pytest.raises(ValueError, match="segments must agree in M and N"):
        matmul_segments([one, two])
    with pytest.raises(ValueError, match=r"must have E8M0 scales .*, not nvfp4xnvfp4"):
        matmul_segments([one, nv])
    with pytest.raises(ValueError, match="fmt must be an integer format, not 'e4m3'"):
        digits([0], "e4m3")
