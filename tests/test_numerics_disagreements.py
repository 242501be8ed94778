"""Where references disagree with each other, or with the contract: who, and how.

A failure here means that a reference has changed its mind, not that the contract is broken.
"""

import gfloat
import ml_dtypes
import numpy as np
from numerics_cases import GFLOAT, ML_DTYPES

from systolith.golden.numerics import decode, encode, quantize
from systolith.golden.numerics.scales import power_scale
from systolith.numerics.formats import lookup


def test_ml_dtypes_rounds_float64_twice() -> None:
    """ml_dtypes goes through float32; gfloat does not, and we refuse."""
    x = np.array([1 + 2**-4 + 2**-40])
    assert x.astype(ML_DTYPES["e4m3"]).astype(float)[0] == 1.0
    assert gfloat.round_ndarray(GFLOAT["e4m3"], x)[0] == 1.125


def test_ml_dtypes_e4m3_overflows_to_nan() -> None:
    """ml_dtypes has no saturating mode; gfloat has both, as we do."""
    x = np.float32([464, 465, np.inf])
    kept = [448.0, np.nan, np.nan]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(x.astype(ML_DTYPES["e4m3"]).astype(float), kept)
    np.testing.assert_array_equal(decode(encode(x, "e4m3", saturate=False), "e4m3"), kept)
    np.testing.assert_array_equal(decode(encode(x, "e4m3"), "e4m3"), [448.0] * 3)


def test_ml_dtypes_nan_keeps_its_sign() -> None:
    """ml_dtypes gives 0xFF for negative overflow; our NaN is always 0x7F."""
    x = np.float32([-1000])
    with np.errstate(all="ignore"):
        assert x.astype(ML_DTYPES["e4m3"]).view(np.uint8)[0] == 0xFF
    assert encode(x, "e4m3", saturate=False)[0] == 0x7F


def test_ml_dtypes_narrow_nan_is_negative_zero() -> None:
    """ml_dtypes turns NaN into -0 in FP4 and FP6; gfloat refuses; we give +0."""
    nan = np.uint32([0x7FC00000]).view(np.float32)
    with np.errstate(all="ignore"):
        for name, code in (("e2m1", 0x8), ("e2m3", 0x20), ("e3m2", 0x20)):
            assert nan.astype(ML_DTYPES[name]).view(np.uint8)[0] == code
            assert encode(nan, name)[0] == 0
    try:
        gfloat.encode_float(GFLOAT["e2m1"], float("nan"))
    except ValueError:
        pass
    else:
        raise AssertionError("gfloat now encodes NaN in E2M1")


def test_ml_dtypes_int4_wraps() -> None:
    """ml_dtypes wraps integers and cuts fractions; we saturate and round."""
    x = np.float32([8, 15, 1.75])
    theirs = x.astype(ml_dtypes.int4).astype(int)
    assert theirs.tolist() == [-8, -1, 1]
    assert decode(encode(x, "int4"), "int4").tolist() == [7, 7, 2]


def test_gfloat_uses_the_most_negative_integer() -> None:
    """gfloat gives -2 in MXINT8 (code 0x80); we keep the range symmetric."""
    info = gfloat.formats.format_info_ocp_int8
    assert gfloat.round_ndarray(info, np.array([-2.0]), sat=True)[0] == -2.0
    assert decode(encode(np.float32([-2.0]), "mxint8"), "mxint8")[0] == -127 / 64


def test_e8m0_ties() -> None:
    """ml_dtypes rounds ties up, gfloat to the even code; our scales come from integer rules."""
    info = gfloat.formats.format_info_ocp_e8m0
    x = np.float32([1.5, 3.0])
    assert x.astype(ml_dtypes.float8_e8m0fnu).astype(float).tolist() == [2.0, 4.0]
    assert gfloat.round_ndarray(info, x.astype(float)).tolist() == [2.0, 2.0]
    assert np.isnan(np.float32([0.0]).astype(ml_dtypes.float8_e8m0fnu).astype(float)[0])


def test_logarithms_miss_the_exponent_below_powers_of_two() -> None:
    """gfloat's block scale uses floor(log2(amax)) in the precision of its input."""
    below = np.nextafter(np.float32(2.0) ** np.arange(1, 120, dtype=np.float32), np.float32(0))
    fmt = lookup("e4m3")
    wrong = 0
    for peak in below:
        theirs = gfloat.compute_scale_amax(fmt.emax, np.array([peak], np.float32))
        wrong += theirs != decode(power_scale(np.array([peak]), fmt, "floor"), "e8m0")[0]
    assert wrong > 100


def test_gfloat_agrees_where_the_logarithm_is_right() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 32)).astype(np.float32)
    info = gfloat.formats.format_info_mxfp8_e4m3
    codes, scales = quantize(x, "e4m3", "floor")
    assert scales is not None
    for row, code, scale in zip(x, codes, scales, strict=True):
        theirs = gfloat.quantize_block(info, row.astype(float), gfloat.compute_scale_amax)
        ours = decode(code, "e4m3") * decode(scale, "e8m0")
        np.testing.assert_array_equal(ours, theirs)
