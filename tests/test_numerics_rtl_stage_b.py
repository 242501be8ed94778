"""Stage B in hardware: block sums to binary32, binary32 addition, and both together."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import softfloatpy as sf
from fp32_cases import (
    MINUS,
    MINUS_FLAG,
    NAN_FLAG,
    PLUS_FLAG,
    WIDTHS,
    accumulations,
    additions,
    blocks,
    rounded,
)
from numerics_cases import MILLION
from numerics_pipeline import in_amaranth, in_verilator, refuses
from test_numerics_fp32 import by_softfloat

from systolith.golden.numerics.words import INFINITY, NAN, add, pack
from systolith.numerics.fp32_add import ROUNDINGS, Fp32Add
from systolith.numerics.fp32_finish import finish
from systolith.numerics.fp32_term import EXPONENT_BITS, Fp32Term
from systolith.numerics.pairs import PAIRS, pair
from systolith.numerics.scale_add import ScaleAdd
from systolith.proofs.substitute import Mutant, installed


def test_addition_equals_softfloat() -> None:
    cases = additions(16_000, 1)
    got = in_amaranth(Fp32Add(), cases, "total")
    np.testing.assert_array_equal(got, by_softfloat(sf.f32_add, cases["a"], cases["b"]))


def test_addition_equals_golden() -> None:
    cases = additions(4_000, 2)
    wanted = [add(int(a), int(b)) for a, b in zip(cases["a"], cases["b"], strict=True)]
    wanted = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    np.testing.assert_array_equal(in_amaranth(Fp32Add(), cases, "total"), wanted)


# Accumulators of fewer bits or another rounding


@pytest.mark.parametrize("width", WIDTHS)
def test_term_equals_golden(width: int) -> None:
    sums, exponents = blocks(width, 3_000, width)
    got = in_amaranth(Fp32Term(width=width), {"total": sums, "exponent": exponents}, "term")
    np.testing.assert_array_equal(got, rounded(sums, exponents))


def test_term_equals_softfloat() -> None:
    sums, _ = blocks(62, 3_000, 3)
    theirs = b"".join(sf.i64_to_f32(sf.Int64.from_int(s)).to_bytes() for s in sums)
    got = in_amaranth(Fp32Term(width=62), {"total": sums, "exponent": [0] * len(sums)}, "term")
    np.testing.assert_array_equal(got, np.frombuffer(theirs, ">u4"))


def test_term_is_exact_for_narrow_sums() -> None:
    """Every sum of an FP4 block, at the largest, a middle and the smallest normal scale."""
    legal = pair("e2m1", "e2m1")
    sums = np.arange(-(1 << legal.block_bits - 1), 1 << legal.block_bits - 1, 3)
    for exponent in (legal.lsb, -126, 114):
        got = in_amaranth(
            Fp32Term(width=legal.block_bits),
            {"total": sums, "exponent": np.full(sums.size, exponent)},
            "term",
        )
        values = got.astype(np.uint32).view(np.float32).astype(np.float64)
        np.testing.assert_array_equal(values, np.ldexp(sums.astype(float), exponent))


def test_flags_become_special_words() -> None:
    sums = [0, -5, 7, 1]
    flags = list(range(8))
    got = in_amaranth(
        Fp32Term(width=14),
        {
            "total": [s for s in sums for _ in flags],
            "exponent": [0] * len(sums) * len(flags),
            "flags": flags * len(sums),
        },
        "term",
    )
    special = {PLUS_FLAG: INFINITY, MINUS_FLAG: INFINITY | MINUS}
    wanted = [
        special.get(f, NAN) if f else pack(int(s < 0), abs(s), 0) for s in sums for f in flags
    ]
    assert got.tolist() == wanted


@pytest.mark.parametrize("width", [14, 42])
def test_scale_add_equals_golden(width: int) -> None:
    columns, wanted = accumulations(width, 2_000, width)
    wanted = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    got = in_amaranth(ScaleAdd(width=width), columns, "result")[: len(wanted)]
    np.testing.assert_array_equal(got, wanted)


def test_first_block_and_sticky_specials() -> None:
    """-0 and tiny terms onto +0; NaN and infinity stay whatever follows."""
    block = ScaleAdd(width=14)
    cases = [  # total, exponent, flags, old, first, new
        (-1, -300, 0, 0x40000000, 1, 0),
        (-1, -149, 0, 0x40000000, 1, 0x80000001),
        (0, 0, 0, 0x80000000, 0, 0),
        (5, 0, 0, NAN, 0, NAN),
        (5, 0, 0, INFINITY, 0, INFINITY),
        (5, 0, MINUS_FLAG, INFINITY, 0, NAN),
        (5, 0, MINUS_FLAG, INFINITY, 1, INFINITY | MINUS),
        (5, 0, NAN_FLAG, 0x3F800000, 0, NAN),
        (4095, 300, 0, 0x3F800000, 0, INFINITY),
    ]
    total, exponent, flags, old, first, new = (list(c) for c in zip(*cases, strict=True))
    lead = [0] * block.lead
    columns = {"total": total + lead, "exponent": exponent + lead, "flags": flags + lead}
    columns |= {"stored": lead + old, "first": lead + first}
    assert in_amaranth(block, columns, "result")[: len(new)].tolist() == new


def test_loop_fits_the_fused_array() -> None:
    """Read, add and write of an accumulator in registered block RAM: at most 8 cycles."""
    assert Fp32Add.loop_cycles(2) == 8


def test_exponents_of_all_scales_fit() -> None:
    limit = 1 << EXPONENT_BITS - 1
    for legal in PAIRS:
        if legal.block:
            assert -limit <= legal.lsb - 254 and legal.lsb + 254 < limit


def test_bad_width() -> None:
    for block in (Fp32Term, ScaleAdd):
        refuses(lambda b=block: b(width=2), r"Fp32Term.width must be in 3\.\.128, not 2")
        refuses(lambda b=block: b(width=129), r"Fp32Term.width must be in 3\.\.128, not 129")


def test_names_tell_the_blocks_apart() -> None:
    """The usual accumulator is called what it always was; every other one differs from all."""
    adders = [Fp32Add(frac=f, rounding=r) for f in range(1, 24) for r in ROUNDINGS]
    names = [adder.module_name for adder in adders]
    assert len(set(names)) == len(names)
    assert "fp32_add" in names
    blocks = [ScaleAdd(width=14, frac=f, rounding=r) for f in (7, 23) for r in ROUNDINGS]
    assert [block.module_name for block in blocks] == [
        "scale_add_14_7_rne", "scale_add_14_7_rz", "scale_add_14_7_sr",
        "scale_add_14", "scale_add_14_23_rz", "scale_add_14_23_sr",
    ]  # fmt: skip
    for block in [*adders, *blocks]:
        block._MustUse__silence = True


FAULTS: list[tuple[Any, str, str, str]] = [
    (Fp32Add, "near = shift_right(", "near = (lambda m, v, n, _: v >> n)(", "no sticky bit"),
    (finish, "| kept[0]", "| 1", "ties away from zero"),
    (Fp32Add, " | limit_mark(aligned.field)", "", "subnormals moved too far"),
    (finish, "~(added.differ & empty)", "1", "cancellation to -0"),
    (finish, "m.If(~added.probe.any())", "m.If(0)", "cancellation to an exponent"),
    (finish, "counted.infinite | counted.over", "counted.infinite", "overflow to NaN"),
    (Fp32Add, "(fraction.any() | opposed)", "fraction.any()", "infinities do not cancel to NaN"),
    (finish, "[:FIELD_BITS]  # the field less one", "[:7]", "short exponent"),
    (Fp32Term, "far.eq(low)", "far.eq(0)", "shift wraps at 32 places"),
    (Fp32Term, "above[:_DOWN_BITS].any())", "1)", "shift of just 32 places"),
    (Fp32Term, "above[FIELD_BITS:].any() | ", "", "overflow wraps"),
    (Fp32Term, "part[: width - precise].any()", "part[width - precise - 1]", "short sticky bit"),
    (Fp32Term, "(large & part[-1])", "large", "zero times a large scale"),
    (Fp32Term, "flags.nan | (flags.plus & flags.minus)", "flags.nan", "both infinities"),
]


@pytest.mark.parametrize(("target", "old", "new", "what"), FAULTS, ids=[f[3] for f in FAULTS])
def test_planted_faults_are_found(target: Any, old: str, new: str, what: str) -> None:
    mutant = Mutant(target, old, new)
    with installed([mutant]):
        if target in (Fp32Add, finish):
            with pytest.raises(AssertionError):
                short = additions(1_500, 1)
                adder = mutant.replacement if target is Fp32Add else Fp32Add
                got = in_amaranth(adder(), short, "total")
                np.testing.assert_array_equal(got, by_softfloat(sf.f32_add, *short.values()))
        else:
            sums, exponents = blocks(42, 1_500, 1)
            flags = [6 if k == 7 else 0 for k in range(len(sums))]
            wanted = rounded(sums, exponents)
            wanted[7] = NAN
            columns = {"total": sums, "exponent": exponents, "flags": flags}
            got = in_amaranth(mutant.replacement(width=42), columns, "term")
            assert got.tolist() != wanted


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_million_additions(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "adder"
    cases = additions(MILLION // 4, 10 + seed)
    got = in_verilator(Fp32Add(), cases, "total", folder)
    np.testing.assert_array_equal(got, by_softfloat(sf.f32_add, cases["a"], cases["b"]))


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("width", [14, 28, 42, 70])
def test_many_accumulations(width: int, tmp_path: Path) -> None:
    columns, wanted = accumulations(width, MILLION // 8, 20)
    got = in_verilator(ScaleAdd(width=width), columns, "result", tmp_path)[: len(wanted)]
    canonical = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    np.testing.assert_array_equal(got, canonical)
