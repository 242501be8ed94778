"""Block scales and quantisation: integer rules against exact arithmetic, gfloat and torchao."""

from fractions import Fraction
from typing import Any

import gfloat
import numpy as np
import pytest
from numerics_cases import GFLOAT, float32_inputs
from numpy.typing import NDArray

from systolith.golden.numerics import (
    decode,
    dequantize,
    encode,
    quantize,
    random_bits,
    tensor_scale,
)
from systolith.golden.numerics.scales import power_scale
from systolith.numerics.formats import FORMATS, RULES, Format, lookup

MX = [f for f in FORMATS.values() if f.family == "mx"]
MX_FLOATS = ["e4m3", "e5m2", "e3m2", "e2m3", "e2m1"]


def exponent_of(x: Fraction) -> int:
    """Largest e with 2^e <= x, for x > 0, without logarithms."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if x >= Fraction(2) ** e else e - 1


def exact_scale(peak: float, fmt: Format, rule: str) -> int:
    """The rules as statements about real numbers, for normal peaks."""
    x = Fraction(peak)
    e = exponent_of(x)
    largest = Fraction(fmt.largest) * Fraction(2) ** fmt.lsb
    fits = e - fmt.emax
    if rule == "even":
        unit = Fraction(2) ** (e - fmt.fraction_bits)
        fits = exponent_of((x / unit + Fraction(1, 2)) // 1 * unit) - fmt.emax
    elif rule == "ceil":
        fits += x != Fraction(2) ** e
    elif rule == "rceil":
        fits += x > largest * Fraction(2) ** fits
    return min(max(fits + 127, 0), 254)


@pytest.mark.parametrize("fmt", MX, ids=[f.name for f in MX])
@pytest.mark.parametrize("rule", RULES)
def test_rules(fmt: Format, rule: str) -> None:
    x = np.abs(float32_inputs(3_000, 1))
    x = x[np.isfinite(x) & (x >= 2.0**-126)]
    turn = np.ldexp(np.float32(1 + fmt.rceil_threshold / (1 << 23)), np.arange(-125, 127, 9))
    x = np.concatenate([x, turn, np.nextafter(turn, np.float32(0)), np.nextafter(turn, np.inf)])
    x = x.astype(np.float32)
    wanted = [exact_scale(float(v), fmt, rule) for v in x]
    np.testing.assert_array_equal(power_scale(x, fmt, rule), wanted)


@pytest.mark.parametrize("name", ["mxint8", "mxint16", *MX_FLOATS])
def test_round_up_rules_never_saturate(name: str) -> None:
    fmt = lookup(name)
    peak = np.abs(float32_inputs(100_000, 2))
    peak = peak[peak < 2.0**127]  # above that the scale itself may saturate
    largest = fmt.largest * 2.0**fmt.lsb
    for rule in ("ceil", "rceil"):
        scaled = peak / decode(power_scale(peak, fmt, rule), "e8m0")
        assert scaled.max() <= largest, rule
    assert (peak / decode(power_scale(peak, fmt, "floor"), "e8m0")).max() > largest


def test_default_rules() -> None:
    x = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)
    for fmt in MX:
        rule = "even" if fmt.name in ("e2m1", "e2m3") else "rceil"
        assert fmt.rule == rule
        for ours, named in zip(quantize(x, fmt.name), quantize(x, fmt.name, rule), strict=True):
            np.testing.assert_array_equal(ours, named)


@pytest.mark.parametrize("name", ["mxint8", "mxint16", *MX_FLOATS])
@pytest.mark.parametrize("rule", RULES)
def test_elements_are_rounded_once(name: str, rule: str) -> None:
    """Division by the scale is exact even where the quotient is no binary32 number."""
    rng = np.random.default_rng(4)
    x = float32_inputs(32 * 300, 5).reshape(300, 32)
    x = np.where(np.isfinite(x), x, np.float32(1))
    x[:100] = np.ldexp(rng.normal(size=(100, 32)), rng.integers(-149, -120, (100, 1)))
    codes, scales = quantize(x, name, rule)
    assert scales is not None
    exact = x / decode(scales, "e8m0")[:, :1]
    if name in GFLOAT:
        wanted = gfloat.round_ndarray(GFLOAT[name], exact, sat=True)
    else:
        fmt = lookup(name)
        units = np.clip(np.rint(np.ldexp(exact, -fmt.lsb)), -fmt.largest, fmt.largest)
        wanted = np.ldexp(units, fmt.lsb)
    np.testing.assert_array_equal(decode(codes, name), wanted)
    np.testing.assert_array_equal(
        dequantize(codes, scales, name), wanted * decode(scales, "e8m0")[:, :1]
    )


def test_sixteen_bits_are_much_finer_than_eight() -> None:
    x = np.random.default_rng(6).normal(size=(100, 32)).astype(np.float32)
    error = {
        name: np.abs(dequantize(*quantize(x, name), name) - x).max()
        for name in ("mxint8", "mxint16", "e4m3", "e2m1")
    }
    assert error["mxint16"] * 200 < error["mxint8"] < error["e4m3"] < error["e2m1"]


# Corners


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.block], ids=lambda f: f.name)
def test_block_of_zeros(fmt: Format) -> None:
    x = np.zeros((2, fmt.block), np.float32)
    codes, scales = quantize(x, fmt.name)
    assert scales is not None
    assert not codes.any()
    assert not scales.any()
    assert not dequantize(codes, scales, fmt.name).any()


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.block], ids=lambda f: f.name)
@pytest.mark.parametrize("bad", [0x7FC00000, 0x7F800001, 0x7F800000, 0xFF800000])
def test_block_with_a_special_value(fmt: Format, bad: int) -> None:
    x = np.ones((1, 2 * fmt.block + 1), np.float32)
    x.view(np.uint32)[0, 3] = bad
    codes, scales = quantize(x, fmt.name)
    assert scales is not None
    assert scales[0, 0] == (0xFF if fmt.scale == "e8m0" else 0x7F)
    assert not codes[0, : fmt.block].any()
    back = dequantize(codes, scales, fmt.name)
    assert np.isnan(back[0, : fmt.block]).all()
    # The scale of NVFP4 has a fraction of its own and is rounded to nearest.
    np.testing.assert_allclose(back[0, fmt.block :], 1.0, rtol=0.05 if fmt.name == "nvfp4" else 0)


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.block], ids=lambda f: f.name)
def test_last_block_may_be_short(fmt: Format) -> None:
    x = np.random.default_rng(7).normal(size=(3, fmt.block + 5)).astype(np.float32)
    codes, scales = quantize(x, fmt.name)
    assert scales is not None
    assert scales.shape == (3, 2)
    padded, padded_scales = quantize(np.pad(x, ((0, 0), (0, fmt.block - 5))), fmt.name)
    np.testing.assert_array_equal(codes, padded[:, : fmt.block + 5])
    np.testing.assert_array_equal(scales, padded_scales)
    assert dequantize(codes, scales, fmt.name).shape == x.shape


def test_scales_stay_in_range() -> None:
    fmt = lookup("e4m3")
    peak = np.float32([2.0**-149, 2.0**-126, 3.4e38])
    for rule in RULES:
        codes = power_scale(peak, fmt, rule)
        assert codes[:2].tolist() == [0, 0]
        assert codes[2] in (246, 247)


def test_plain_integers_have_no_scales() -> None:
    x = np.float32([[1.5, -3, 200]])
    codes, scales = quantize(x, "int8")
    assert scales is None
    np.testing.assert_array_equal(dequantize(codes, None, "int8"), [[2, -3, 127]])


def test_stochastic_elements() -> None:
    x = np.random.default_rng(8).normal(size=(40, 64)).astype(np.float32)
    bits = random_bits(3, np.arange(x.size).reshape(x.shape))
    codes, scales = quantize(x, "e2m1", "rceil", rounding="sr", random=bits)
    assert scales is not None
    exact = x / np.repeat(decode(scales, "e8m0"), 32, axis=1)
    wanted = gfloat.round_ndarray(
        GFLOAT["e2m1"],
        exact,
        gfloat.RoundMode.StochasticFastest,
        sat=True,
        srbits=bits.astype(np.int64),
        srnumbits=16,
    )
    np.testing.assert_array_equal(decode(codes, "e2m1"), wanted)


# NVFP4


def test_two_level_scales() -> None:
    """Exact quotients, each rounded once, stated with fractions."""
    rng = np.random.default_rng(9)
    x = (rng.normal(size=(20, 32)) * rng.choice([1e-3, 1, 40], (20, 1))).astype(np.float32)
    g = tensor_scale(x)
    assert g == np.float32(np.abs(x).max() / np.float64(6 * 448))
    codes, scales = quantize(x, "nvfp4", tensor_scale=float(g))
    assert scales is not None
    for block in np.ndindex(20, 2):
        part = x[block[0], block[1] * 16 :][:16]
        wanted = nearest(Fraction(float(np.abs(part).max())) / 6 / Fraction(float(g)), "e4m3")
        assert scales[block] == wanted
        factor = Fraction(float(decode(wanted, "e4m3"))) * Fraction(float(g))
        for value, code in zip(part, codes[block[0], block[1] * 16 :][:16], strict=True):
            size = nearest(Fraction(abs(float(value))) / factor, "e2m1")
            assert code & 7 == size
    back = dequantize(codes, scales, "nvfp4", tensor_scale=float(g))
    assert np.median(np.abs(back - x) / np.abs(x)) < 0.1


def nearest(x: Fraction, name: str) -> int:
    """Code of the value nearest to ``x`` >= 0, ties to the even code, saturating."""
    codes = range(lookup(name).max_code + 1)
    return min(codes, key=lambda c: (abs(Fraction(float(decode(c, name))) - x), c & 1))


def test_tensor_scale_corners() -> None:
    assert tensor_scale(np.zeros(3, np.float32)) == 1
    assert tensor_scale(np.float32([2.0**-149])) == np.float32(2.0**-149)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="tensor_scale: x must be finite"):
            tensor_scale(np.float32([1, bad]))
    with pytest.raises(ValueError, match="fmt must be a format with two scales, not 'e4m3'"):
        tensor_scale(np.float32([1]), "e4m3")


def test_block_far_below_the_tensor_scale_becomes_zero() -> None:
    x = np.full((1, 16), 1e-6, np.float32)
    x[0, 8:] = -1e-6
    codes, scales = quantize(x, "nvfp4")
    assert scales is not None
    assert not scales.any()
    assert codes[0].tolist() == [0] * 8 + [8] * 8  # zeros that keep their signs


# Bad input


def test_bad_input() -> None:
    x = np.zeros((2, 32), np.float32)
    with pytest.raises(ValueError, match="rule must be one of floor, even, ceil, rceil, not 'up'"):
        quantize(x, "e4m3", "up")
    with pytest.raises(ValueError, match="fmt must be an operand format, not 'bf16', which is for"):
        quantize(x, "bf16")
    with pytest.raises(ValueError, match="fmt must be an operand format, not 'e8m0', which is for"):
        dequantize(x.astype(np.uint8), None, "e8m0")
    with pytest.raises(ValueError, match=r"x must have shape \[\.\.\., K\] with K >= 1"):
        quantize(x[:, :0], "e4m3")
    with pytest.raises(ValueError, match=r"tensor_scale must be 1 for e4m3, .*, not 2\.0"):
        quantize(x, "e4m3", tensor_scale=2.0)
    with pytest.raises(ValueError, match="tensor_scale must be positive and finite, not 0"):
        quantize(x, "nvfp4", tensor_scale=0.0)
    with pytest.raises(ValueError, match="random must hold 16 random bits per element"):
        quantize(x, "e4m3", rounding="sr")
    codes = np.zeros((2, 40), np.uint8)
    with pytest.raises(ValueError, match=r"scales must have shape \(2, 2\), not \(2, 1\)"):
        dequantize(codes, codes[:, :1], "e4m3")
    with pytest.raises(ValueError, match="scales must hold one e8m0 code per block of e4m3"):
        dequantize(codes, None, "e4m3")
    with pytest.raises(ValueError, match="scales must be None for int8"):
        dequantize(codes, codes, "int8")


# torchao, where somebody has installed PyTorch


def by_torchao(x: NDArray[np.float32], name: str, rule: str) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    constants = pytest.importorskip("torchao.prototype.mx_formats.constants")
    kind = {
        "e4m3": torch.float8_e4m3fn,
        "e5m2": torch.float8_e5m2,
        "e3m2": constants.DTYPE_FP6_E3M2,
        "e2m3": constants.DTYPE_FP6_E2M3,
        "e2m1": torch.float4_e2m1fn_x2,
    }[name]
    mode = mx.ScaleCalculationMode[rule.upper()]
    scales, codes = mx.to_mx(torch.from_numpy(x), kind, 32, mode)
    codes = codes.view(torch.uint8).numpy()
    if name == "e2m1":  # two to a byte, low nibble first
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(x.shape)
    return codes, scales.view(torch.uint8).numpy().reshape(x.shape[0], -1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torchao's own
@pytest.mark.parametrize("name", MX_FLOATS)
@pytest.mark.parametrize("rule", RULES)
def test_torchao(name: str, rule: str) -> None:
    rng = np.random.default_rng(10)
    x = (rng.normal(size=(4000, 32)) * np.exp2(rng.integers(-60, 60, (4000, 1)))).astype(np.float32)
    x[:400] = np.ldexp(1.0, rng.integers(-100, 100, (400, 32)))
    codes, scales = quantize(x, name, rule)
    their_codes, their_scales = by_torchao(x, name, rule)
    np.testing.assert_array_equal(scales, their_scales)
    np.testing.assert_array_equal(codes, their_codes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchao_divides_for_rceil() -> None:
    """Just above max * 2^k torchao's quotient rounds to 2^k: its scale is one lower than ours."""
    peak = np.nextafter(np.ldexp(np.float32(448), np.arange(-60, 60)), np.float32(np.inf))
    x = np.zeros((peak.size, 32), np.float32)
    x[:, 0] = peak
    _, ours = quantize(x, "e4m3", "rceil")
    assert ours is not None
    _, theirs = by_torchao(x, "e4m3", "rceil")
    lower = (ours.astype(int) - theirs)[:, 0]
    assert set(lower) <= {0, 1}
    assert lower.sum() > peak.size // 2
    # Harmless for the element: it rounds to the largest value either way.
    scaled = np.ldexp(peak, 127 - theirs[:, 0].astype(int))[lower == 1]
    assert (encode(scaled, "e4m3") == 0x7E).all()
