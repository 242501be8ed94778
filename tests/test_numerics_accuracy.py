"""How accurate the contract is, next to cheaper accumulators and to published tensor cores."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.golden.numerics import (
    BLACKWELL,
    BLACKWELL_FP4,
    HOPPER,
    HOPPER_PROMOTED,
    AccSpec,
    FusedSpec,
    Segment,
    decode,
    dequantize,
    encode,
    error_bound,
    matmul,
    quantize,
)
from systolith.golden.numerics.matmul import matmul_segments

K, SIDE = 4096, 32  # 1,024 dot products
ONES = np.full((SIDE, K // 32), 127, np.uint8)


def errors(
    x: NDArray[np.uint8], w: NDArray[np.uint8], acc: AccSpec | FusedSpec
) -> tuple[float, float]:
    """Median relative error and mean error over the sum of magnitudes; E4M3, scales of one."""
    y = matmul(x, ONES, w, ONES.T, "e4m3", "e4m3", acc).astype(np.float64)
    x_values, w_values = decode(x, "e4m3"), decode(w, "e4m3")
    exact = x_values @ w_values  # integers of 42 bits times 2^-18: exact in float64
    sizes = np.abs(x_values) @ np.abs(w_values)
    return float(np.median(np.abs(y - exact) / np.abs(exact))), float(np.mean((y - exact) / sizes))


@pytest.fixture(scope="module")
def same_sign() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(1)
    x, w = (np.abs(rng.normal(size=shape)).astype(np.float32) for shape in ((SIDE, K), (K, SIDE)))
    return encode(x, "e4m3"), encode(w, "e4m3")


@pytest.fixture(scope="module")
def outliers() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(2)
    x, w = (rng.normal(size=shape).astype(np.float32) for shape in ((SIDE, K), (K, SIDE)))
    x[:, rng.random(K) < 0.005] *= 50
    return encode(x, "e4m3"), encode(w, "e4m3")


def test_contract(same_sign, outliers) -> None:  # type: ignore[no-untyped-def]
    median, bias = errors(*same_sign, AccSpec())
    assert 2e-8 < median < 2e-7
    assert abs(bias) < 2e-8
    assert errors(*outliers, AccSpec())[0] < 2e-7


def test_hopper_is_biased(same_sign) -> None:  # type: ignore[no-untyped-def]
    median, bias = errors(*same_sign, HOPPER)
    assert -8e-2 < bias < -6e-2
    assert 6e-2 < median < 8e-2
    assert -1e-3 < errors(*same_sign, HOPPER_PROMOTED)[1] < -3e-4


def test_order_of_accumulators(same_sign, outliers) -> None:  # type: ignore[no-untyped-def]
    for data in (same_sign, outliers):
        medians = [
            errors(*data, acc)[0]
            for acc in (AccSpec(), BLACKWELL, AccSpec(16), HOPPER_PROMOTED, HOPPER)
        ]
        assert medians == sorted(medians)
    # Stochastic rounding of a narrow accumulator trades noise for bias.
    assert errors(*same_sign, AccSpec(7))[1] < -1e-3
    assert abs(errors(*same_sign, AccSpec(7, "sr", 3))[1]) < 1e-3


@pytest.mark.parametrize("fmt", ["e2m1", "e2m3", "e3m2", "mxint8", "mxint16", "e4m3", "nvfp4"])
@pytest.mark.parametrize("positive", [False, True])
def test_error_bound(fmt: str, positive: bool) -> None:
    """A golden model that is wrong cannot stay within the bound of float64's result."""
    rng = np.random.default_rng(3)
    spread = np.exp2(rng.integers(-6, 7, K // 32)).repeat(32)
    x = (rng.normal(size=(SIDE, K)) * spread).astype(np.float32)
    w = rng.normal(size=(SIDE, K)).astype(np.float32)
    if positive:
        x, w = np.abs(x), np.abs(w)
    (xc, xs), (wc, ws) = quantize(x, fmt), quantize(w, fmt)
    assert xs is not None
    assert ws is not None
    exact = dequantize(xc, xs, fmt) @ dequantize(wc, ws, fmt).T
    segment = Segment(xc, xs, wc.T, ws.T, fmt, fmt)
    y = matmul(xc, xs, wc.T, ws.T, fmt, fmt)
    # float64 itself errs by 2^-53 of the sum of magnitudes per addition.
    slack = K * 2.0**-53 * (np.abs(dequantize(xc, xs, fmt)) @ np.abs(dequantize(wc, ws, fmt)).T)
    bound = error_bound(segment) + slack
    assert (np.abs(y - exact) <= bound).all()
    broken = matmul_segments([segment], AccSpec(16)) if fmt != "nvfp4" else y * np.float32(1.01)
    assert (np.abs(broken - exact) > bound).any()


# The published rules, restated one product at a time with fractions


def split(value: Fraction, emin: int) -> tuple[Fraction, int]:
    if not value:
        return Fraction(0), -10_000
    e = emin
    while abs(value) >= Fraction(2) ** (e + 1):
        e += 1
    return value / Fraction(2) ** e, e


def truncated(value: Fraction, bits: int) -> Fraction:
    significand, e = split(value, -126)
    return Fraction(math.trunc(significand * 2**bits), 2**bits) * Fraction(2) ** e


def restated(
    x: NDArray[np.float64],
    w: NDArray[np.float64],
    scales: NDArray[np.float64],
    emin: int,
    spec: FusedSpec,
) -> float:
    """One output; ``scales`` are products of powers of two, per element."""
    total = Fraction(0)
    for at in range(0, len(x), spec.group):
        addends = [split(total, -126)]
        for start in range(at, min(at + spec.group, len(x)), spec.exact):
            some = range(start, min(start + spec.exact, len(x)))
            power = round(math.log2(scales[start]))
            if spec.exact == 1:
                (a, ea), (b, eb) = (split(Fraction(float(v[start])), emin) for v in (x, w))
                addends.append((a * b, ea + eb + power))
            else:
                dot = sum((Fraction(float(x[k])) * Fraction(float(w[k])) for k in some), Fraction())
                addends.append((dot, power))
        top = max(e for _, e in addends)
        kept = Fraction(0)
        for significand, e in addends:
            kept += math.trunc(significand * Fraction(2) ** (spec.align + e - top))
        total = truncated(kept / 2**spec.align * Fraction(2) ** top, spec.out)
    return float(total)


@pytest.mark.parametrize(
    ("fmt", "spec"),
    [("e4m3", HOPPER), ("e4m3", BLACKWELL), ("e3m2", BLACKWELL), ("e2m1", BLACKWELL_FP4)],
)
def test_published_rules(fmt: str, spec: FusedSpec) -> None:
    rng = np.random.default_rng(4)
    length = 150  # short last group
    x = (rng.normal(size=(4, length)) * np.exp2(rng.integers(-9, 9, (4, length)))).astype(
        np.float32
    )
    w = rng.normal(size=(4, length)).astype(np.float32)
    (xc, xs), (wc, ws) = quantize(x, fmt), quantize(w, fmt)
    assert xs is not None
    assert ws is not None
    y = matmul(xc, xs, wc.T, ws.T, fmt, fmt, spec)
    x_scale, w_scale = (np.repeat(decode(s, "e8m0"), 32, axis=1)[:, :length] for s in (xs, ws))
    emin = {"e4m3": -6, "e3m2": -2, "e2m1": 0}[fmt]
    for m in range(4):
        for n in range(4):
            wanted = restated(
                decode(xc, fmt)[m], decode(wc, fmt)[n], x_scale[m] * w_scale[n], emin, spec
            )
            assert y[m, n] == wanted


def test_published_rules_with_special_values() -> None:
    one = np.full((1, 1), 127, np.uint8)
    for x, w, wanted in [
        ([0x7C, 0x3C], [0x3C, 0x3C], np.inf),
        ([0x7C, 0x7C], [0x3C, 0xBC], np.nan),
        ([0x7D, 0x00], [0x00, 0x00], np.nan),
        ([0x00, 0x00], [0x3C, 0x3C], 0.0),
    ]:
        y = matmul(np.uint8([x]), one, np.uint8([w]).T, one, "e5m2", "e5m2", BLACKWELL)
        np.testing.assert_array_equal(y, [[np.float32(wanted)]])
    nan = np.full((1, 1), 0xFF, np.uint8)
    y = matmul(np.uint8([[1]]), nan, np.uint8([[1]]), one, "e5m2", "e5m2", HOPPER)
    assert y.view(np.uint32)[0, 0] == 0x7FC00000


def test_bad_rules() -> None:
    with pytest.raises(ValueError, match="group must be a positive multiple of exact = 16, not 40"):
        FusedSpec(group=40, align=35, out=23, exact=16)
    with pytest.raises(ValueError, match="promote must be a multiple of group = 32, not 100"):
        FusedSpec(group=32, align=13, out=13, promote=100)
    with pytest.raises(ValueError, match=r"align must be in 1\.\.40 and out in 1\.\.23"):
        FusedSpec(group=32, align=60, out=13)
    x = np.zeros((1, 64), np.uint8)
    scales = np.zeros((1, 4), np.uint8)
    odd = FusedSpec(group=64, align=35, out=23, exact=32)
    with pytest.raises(ValueError, match="exact must divide the block of 16, not 32"):
        matmul(x, scales, x.T, scales.T, "nvfp4", "nvfp4", odd)
