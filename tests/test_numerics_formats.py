"""The table of formats and pairs, against published figures and brute force."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith.golden.numerics import decode
from systolith.numerics.formats import FORMATS, Format, Kind, lookup
from systolith.numerics.pairs import PAIRS, accumulator_bits, pair

# Largest and smallest positive values, exponent of the largest, RCEIL threshold.
LIMITS = [
    ("int8", 127, 1, 6, 0x7E0000),
    ("int4", 7, 1, 2, 0x600000),
    ("mxint8", 127 / 64, 2**-6, 0, 0x7E0000),
    ("mxint16", 32767 / 16384, 2**-14, 0, 0x7FFE00),
    ("e4m3", 448, 2**-9, 8, 0x600000),
    ("e5m2", 57344, 2**-16, 15, 0x600000),
    ("e3m2", 28, 2**-4, 4, 0x600000),
    ("e2m3", 7.5, 2**-3, 2, 0x700000),
    ("e2m1", 6, 0.5, 2, 0x400000),
    ("nvfp4", 6, 0.5, 2, 0x400000),
    ("bf16", 3.3895313892515355e38, 2.0**-133, 127, 0x7F0000),
    ("fp32", 3.4028234663852886e38, 2.0**-149, 127, 0x7FFFFF),
]

# Exponent of the unit, bits of a product's magnitude, bits of the exact sum of a block of 32.
WIDTHS = [
    ("mxint8", "mxint8", -12, 15, 21),
    ("mxint8", "mxint16", -20, 23, 29),
    ("mxint16", "mxint16", -28, 31, 37),
    ("e2m1", "e2m1", -2, 8, 14),
    ("e2m1", "e2m3", -4, 10, 16),
    ("e2m1", "e3m2", -5, 13, 19),
    ("e2m1", "e4m3", -10, 22, 28),
    ("e2m1", "e5m2", -17, 36, 42),
    ("e2m3", "e2m3", -6, 12, 18),
    ("e2m3", "e3m2", -7, 15, 21),
    ("e3m2", "e3m2", -8, 18, 24),
    ("e2m3", "e4m3", -12, 24, 30),
    ("e3m2", "e4m3", -13, 27, 33),
    ("mxint8", "e4m3", -15, 25, 31),
    ("e4m3", "e4m3", -18, 36, 42),
    ("e4m3", "e5m2", -25, 50, 56),
    ("e5m2", "e5m2", -32, 64, 70),
]


@pytest.mark.parametrize(("name", "largest", "smallest", "emax", "threshold"), LIMITS)
def test_limits(name: str, largest: float, smallest: float, emax: int, threshold: int) -> None:
    fmt = lookup(name)
    assert fmt.largest * 2.0**fmt.lsb == largest
    assert 2.0**fmt.lsb == smallest
    assert fmt.emax == emax
    assert fmt.rceil_threshold == threshold


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.width <= 16 and f.operand])
def test_derived_sizes_hold_for_every_code(fmt: Format) -> None:
    values = decode(np.arange(1 << fmt.width), fmt.name)
    units = np.ldexp(values[np.isfinite(values)], -fmt.lsb)
    assert (units == np.rint(units)).all()
    assert np.abs(units).max() == fmt.magnitude
    assert fmt.magnitude < 1 << fmt.integer_bits <= 2 * fmt.magnitude
    if fmt.kind is Kind.FLOAT:
        odd = np.abs(units[units != 0]).astype(np.int64)
        trailing = np.log2(odd & -odd).astype(int)
        assert max(int(n).bit_length() - t for n, t in zip(odd, trailing, strict=True)) <= (
            fmt.significand_bits
        )
        assert fmt.largest == ((1 << fmt.significand_bits) - 1 << fmt.max_shift) or (
            fmt.specials.value == "nan"  # the all-ones significand is NaN
        )


@pytest.mark.parametrize(("x", "w", "lsb", "product", "block"), WIDTHS)
def test_widths(x: str, w: str, lsb: int, product: int, block: int) -> None:
    for one in (pair(x, w), pair(w, x)):
        assert (one.lsb, one.product_bits, one.block_bits) == (lsb, product, block)


def test_every_block_fits_its_width() -> None:
    for legal in PAIRS:
        if legal.block:
            worst = legal.block * legal.x.magnitude * legal.w.magnitude
            limit = 1 << legal.block_bits - 1
            assert limit // 2 <= worst < limit, legal.name  # wide enough, not a bit more


def test_plain_integers_and_nvfp4() -> None:
    assert pair("int8", "int8").max_k == 131_071
    assert pair("nvfp4", "nvfp4").block == 16
    assert pair("nvfp4", "nvfp4").block_bits == 13
    assert pair("e2m1", "e2m1").max_k is None


def test_which_block_sums_are_binary32_numbers() -> None:
    exact = {p.name for p in PAIRS if p.exact_in_fp32}
    small = ("e2m1", "e2m3", "e3m2", "mxint8")
    assert exact == {f"{x}x{w}" for x in small for w in small} | {
        "e2m1xmxint16",
        "mxint16xe2m1",
        "nvfp4xnvfp4",
    }


def test_digits_of_sixteen_bits() -> None:
    assert pair("mxint16", "mxint16").shifts == (0, 8, 8, 16)
    assert pair("mxint16", "e4m3").shifts == (0, 8)
    assert pair("e2m1", "mxint16").passes == 2
    assert all(p.passes == 1 for p in PAIRS if "mxint16" not in p.name)


def test_legal_pairs() -> None:
    mx = {"mxint8", "mxint16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1"}
    wanted = {(x, w) for x in mx for w in mx}
    wanted |= {(x, w) for x in ("int8", "int4") for w in ("int8", "int4")} | {("nvfp4", "nvfp4")}
    assert {(p.x.name, p.w.name) for p in PAIRS} == wanted


def test_accumulator_follows_from_the_enabled_pairs() -> None:
    assert accumulator_bits([pair("e2m1", "e2m1")]) == 14
    assert accumulator_bits([pair("e2m1", "e2m1"), pair("mxint8", "mxint8")]) == 21
    assert accumulator_bits([pair("e3m2", "e3m2"), pair("e2m1", "e2m1")], limit=24) == 24
    assert accumulator_bits(p for p in PAIRS if p.block) == 70


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        ("fp8", "e4m3", "format must be one of int8, .*, not 'fp8'"),
        ("int8", "e4m3", "int8 x e4m3 is not a legal pair of formats; int8 goes with int8, int4"),
        ("nvfp4", "e2m1", "nvfp4 x e2m1 is not a legal pair .*; nvfp4 goes with nvfp4$"),
        ("bf16", "bf16", "bf16 goes with nothing: it is not an operand format"),
        ("e8m0", "e4m3", "e8m0 goes with nothing: it is not an operand format"),
    ],
)
def test_bad_pairs(x: str, w: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair(x, w)


def test_accumulator_beyond_a_limit() -> None:
    with pytest.raises(ValueError, match="e4m3xe4m3 needs an accumulator of 42 bits, more than"):
        accumulator_bits([pair("e2m1", "e2m1"), pair("e4m3", "e4m3")], limit=40)
    with pytest.raises(ValueError, match="pairs must name at least one"):
        accumulator_bits([])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 9}, "width of odd must be .* = 8, not 9"),
        ({"family": "mxx"}, "family of odd must be one of plain, mx, .*, not 'mxx'"),
        ({"rule": "up"}, "rule of odd must be one of floor, even, ceil, rceil, not 'up'"),
    ],
)
def test_bad_rows(change: dict[str, object], message: str) -> None:
    row = {"name": "odd", "kind": Kind.FLOAT, "width": 8, "exponent_bits": 4}
    row |= {"fraction_bits": 3, "family": "mx"}
    with pytest.raises(ValueError, match=message):
        Format(**(row | change))  # type: ignore[arg-type]


def test_tables_and_golden_model_need_no_hdl() -> None:
    code = (
        "import systolith.numerics.pairs, systolith.golden.numerics, sys; "
        "sys.exit('amaranth' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_widths_in_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "numerics.md").read_text()
    names = [fmt.name for fmt in FORMATS.values() if fmt.family == "mx"]
    for x in names:
        pairs = [pair(x, w) for w in names]
        cells = " | ".join(f"{p.block_bits}, 2^{p.lsb}" for p in pairs)
        assert f"| {x} | {cells} |" in text
    for name in FORMATS:
        assert f"`{name}`" in text
