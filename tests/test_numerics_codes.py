"""Codes to values and back, against ml_dtypes, gfloat and the integer form of the same rules."""

import gfloat
import ml_dtypes
import numpy as np
import pytest
from numerics_cases import (
    GFLOAT,
    MILLION,
    ML_DTYPES,
    bf16_inputs,
    float32_inputs,
)
from numpy.typing import NDArray

from systolith.golden.numerics import decode, encode, random_bits
from systolith.golden.numerics.words import encode_word
from systolith.numerics.formats import FORMATS, lookup

FLOATS = tuple(ML_DTYPES)
SIGNED = tuple(name for name in FORMATS if name != "e8m0")


def all_codes(name: str) -> NDArray[np.unsignedinteger]:
    width = lookup(name).width
    return np.arange(1 << width).astype(np.uint8 if width <= 8 else np.uint16)


def same(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Equal values, signs of zeros included; any NaN equals any other."""
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)])
    )


def by_ml_dtypes(x: NDArray[np.float32], name: str) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return x.astype(ML_DTYPES[name]).astype(np.float64)


# Decode


@pytest.mark.parametrize("name", FLOATS)
def test_decode_every_code(name: str) -> None:
    codes = all_codes(name)
    values = decode(codes, name)
    with np.errstate(invalid="ignore"):
        assert same(values, codes.view(ML_DTYPES[name]).astype(np.float64))
    assert same(values, np.array([gfloat.decode_float(GFLOAT[name], int(c)).fval for c in codes]))


def test_decode_scales() -> None:
    codes = all_codes("e8m0")
    values = decode(codes, "e8m0")
    assert same(values, codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float64))
    info = gfloat.formats.format_info_ocp_e8m0
    assert same(values, np.array([gfloat.decode_float(info, int(c)).fval for c in codes]))
    assert np.isnan(values[0xFF])


def test_decode_integers() -> None:
    codes = all_codes("int8")
    np.testing.assert_array_equal(decode(codes, "int8"), codes.view(np.int8))
    four = all_codes("int4")
    np.testing.assert_array_equal(
        decode(four, "int4"), four.view(ml_dtypes.int4).astype(np.float64)
    )
    info = gfloat.formats.format_info_ocp_int8
    wanted = np.array([gfloat.decode_float(info, int(c)).fval for c in codes])
    np.testing.assert_array_equal(decode(codes, "mxint8"), wanted)
    wide = all_codes("mxint16")
    np.testing.assert_array_equal(decode(wide, "mxint16"), wide.view(np.int16) * 2.0**-14)


def test_decode_words() -> None:
    x = np.concatenate([float32_inputs(100_000, 1), np.float32([0.0, -0.0, np.inf, -np.inf])])
    with np.errstate(invalid="ignore"):
        assert same(decode(x.view(np.uint32), "fp32"), x.astype(np.float64))


def test_decode_takes_integers_as_numpy_holds_them() -> None:
    np.testing.assert_array_equal(decode(np.int8([-128, -1, 127]), "int8"), [-128, -1, 127])
    np.testing.assert_array_equal(decode(np.int8([-8, 7]), "int4"), [-8, 7])


@pytest.mark.parametrize("name", SIGNED)
def test_round_trip(name: str) -> None:
    if name == "fp32":
        codes: NDArray[np.unsignedinteger] = float32_inputs(100_000, 2).view(np.uint32)
    else:
        codes = all_codes(name)
    fmt = lookup(name)
    values = decode(codes, name)
    back = encode(values.astype(np.float32), name, saturate=False)
    kept = ~np.isnan(values) & (values != -(2.0 ** (fmt.width - 1 + fmt.lsb)))
    np.testing.assert_array_equal(back[kept], codes[kept])
    assert (back[np.isnan(values)] == fmt.nan_code).all()


# Encode, to nearest


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("source", ["bf16", "fp32"])
def test_nearest(name: str, source: str) -> None:
    x = bf16_inputs() if source == "bf16" else float32_inputs(MILLION, 3)
    nan = np.isnan(x)
    narrow = lookup(name).specials.value == "none"

    ours = decode(encode(x, name, saturate=False), name)
    theirs = by_ml_dtypes(x, name)
    assert same(ours[~nan], theirs[~nan])
    if not narrow:
        assert np.isnan(ours[nan]).all()

    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)[~nan]
    ieee = name == "bf16"
    ours = decode(encode(x, name), name)[~nan]
    assert same(ours, gfloat.round_ndarray(GFLOAT[name], wide, sat=not ieee))
    if not narrow and not ieee:
        ours = decode(encode(x, name, saturate=False), name)[~nan]
        assert same(ours, gfloat.round_ndarray(GFLOAT[name], wide, sat=False))


@pytest.mark.parametrize("name", FLOATS)
def test_toward_zero(name: str) -> None:
    x = float32_inputs(MILLION // 4, 4)
    x = x[np.isfinite(x)]
    theirs = gfloat.round_ndarray(
        GFLOAT[name], x.astype(np.float64), gfloat.RoundMode.TowardZero, sat=True
    )
    for saturate in (True, False):
        assert same(decode(encode(x, name, "rz", saturate), name), theirs)


def test_integers_are_rounded_to_even_and_saturate_symmetrically() -> None:
    x = np.arange(-300, 300, 0.125, dtype=np.float32)
    wanted = np.clip(np.rint(x), -127, 127)
    np.testing.assert_array_equal(decode(encode(x, "int8"), "int8"), wanted)
    np.testing.assert_array_equal(decode(encode(x, "int4"), "int4"), np.clip(np.rint(x), -7, 7))
    np.testing.assert_array_equal(decode(encode(x / 64, "mxint8"), "mxint8") * 64, wanted)
    fine = np.float32([2.0, -2.0, 1.5, 0.5 * 2**-14, 1.5 * 2**-14])
    np.testing.assert_array_equal(
        decode(encode(fine, "mxint16"), "mxint16") * 2**14, [32767, -32767, 24576, 0, 2]
    )


def test_special_values() -> None:
    x = np.float32([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0])
    for name, wanted in {
        "e4m3": [0x7F, 0x7F, 0x7E, 0xFE, 0, 0x80],
        "e5m2": [0x7E, 0x7E, 0x7B, 0xFB, 0, 0x80],
        "bf16": [0x7FC0, 0x7FC0, 0x7F80, 0xFF80, 0, 0x8000],
        "e2m1": [0, 0, 7, 15, 0, 8],  # no NaN: the code of +0
        "e2m3": [0, 0, 0x1F, 0x3F, 0, 0x20],
        "int8": [0, 0, 127, 129, 0, 0],
    }.items():
        np.testing.assert_array_equal(encode(x, name), wanted, err_msg=name)
    np.testing.assert_array_equal(encode(x[2:4], "e4m3", saturate=False), [0x7F, 0x7F])
    np.testing.assert_array_equal(encode(x[2:4], "e5m2", saturate=False), [0x7C, 0xFC])
    edge = np.float32([464, np.nextafter(np.float32(464), np.float32(500))])  # a tie, and beyond
    np.testing.assert_array_equal(encode(edge, "e4m3", saturate=False), [0x7E, 0x7F])


# Encode, stochastically


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("saturate", [True, False])
def test_stochastic_equals_gfloat(name: str, saturate: bool) -> None:
    x = float32_inputs(MILLION // 2, 5)
    x = x[np.isfinite(x)]
    bits = np.random.default_rng(6).integers(0, 1 << 16, x.size)
    sat = name != "bf16" and (saturate or lookup(name).specials.value == "none")
    theirs = gfloat.round_ndarray(
        GFLOAT[name],
        x.astype(np.float64),
        gfloat.RoundMode.StochasticFastest,
        sat=sat,
        srbits=bits,
        srnumbits=16,
    )
    assert same(decode(encode(x, name, "sr", saturate, bits), name), theirs)


def test_stochastic_is_unbiased() -> None:
    x = np.full(1 << 16, np.float32(1 + 2**-3 / 3))  # a third of the way to the next E4M3 value
    up = decode(encode(x, "e4m3", "sr", random=np.arange(1 << 16)), "e4m3") > 1
    assert abs(up.mean() - 1 / 3) < 2**-16
    lots = decode(encode(x, "e4m3", "sr", random=random_bits(1, np.arange(1 << 16))), "e4m3") > 1
    assert abs(lots.mean() - 1 / 3) < 0.01


# Both forms


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("rounding", ["rne", "rz", "sr"])
def test_integer_form_is_equal(name: str, rounding: str) -> None:
    x = float32_inputs(4_000, 7)
    bits = np.random.default_rng(8).integers(0, 1 << 16, x.size)
    fmt = lookup(name)
    for saturate in (True, False):
        fast = encode(x, name, rounding, saturate, bits)
        slow = [
            encode_word(int(word), fmt, rounding, saturate, int(bit))
            for word, bit in zip(x.view(np.uint32), bits, strict=True)
        ]
        np.testing.assert_array_equal(fast, slow)


# Bad input


def test_bad_input() -> None:
    one = np.float32([1.0])
    with pytest.raises(ValueError, match=r"format must be one of int8, .*, not 'e9m9'"):
        encode(one, "e9m9")
    with pytest.raises(ValueError, match=r"format must be one of .*, not 'E4M3'"):
        decode([0], "E4M3")
    with pytest.raises(ValueError, match="encode: fmt must be a format with a sign, not 'e8m0'"):
        encode(one, "e8m0")
    with pytest.raises(ValueError, match="rounding must be one of rne, rz, sr, not 'up'"):
        encode(one, "e4m3", "up")
    with pytest.raises(ValueError, match="random must hold 16 random bits per element"):
        encode(one, "e4m3", "sr")
    with pytest.raises(ValueError, match=r"random must have the shape \(1,\) of x, not \(2,\)"):
        encode(one, "e4m3", "sr", random=[1, 2])
    with pytest.raises(ValueError, match=r"random must be in 0\.\.65535"):
        encode(one, "e4m3", "sr", random=[1 << 16])
    with pytest.raises(ValueError, match="random must hold integers, not float64"):
        encode(one, "e4m3", "sr", random=[0.5])
    with pytest.raises(ValueError, match=r"codes of e2m1 must be in 0\.\.15, not 16; one element"):
        decode(np.uint8([16]), "e2m1")
    with pytest.raises(ValueError, match=r"codes of int4 must be in 0\.\.15, not -9"):
        decode(np.int8([-9]), "int4")
    with pytest.raises(ValueError, match="codes of e4m3 must be integers, not float64"):
        decode([1.0], "e4m3")
    with pytest.raises(ValueError, match="x must be an array of float32, not of complex128"):
        encode(np.array([1j]), "e4m3")
    with pytest.raises(ValueError, match="x must hold float32 values, not float64 values between"):
        encode(np.array([1 + 2**-4 + 2**-40]), "e4m3")
    np.testing.assert_array_equal(encode([1.0, 448], "e4m3"), [0x38, 0x7E])
    assert decode(np.uint8([]), "e4m3").size == 0
