"""Accumulators that keep fewer bits, in hardware: to nearest, toward zero, stochastic."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import softfloatpy as sf
from fp32_cases import (
    MINUS,
    NARROW,
    accumulations,
    additions,
    golden_sums,
    mpfr_sums,
    narrow,
)
from numerics_cases import MILLION
from numerics_pipeline import in_amaranth, in_verilator, refuses
from test_numerics_fp32 import by_softfloat

from systolith.golden.numerics.words import INFINITY, NAN
from systolith.numerics.fp32_add import Fp32Add
from systolith.numerics.fp32_finish import finish, spare_places
from systolith.numerics.fp32_stage import limit_mark
from systolith.numerics.scale_add import ScaleAdd
from systolith.proofs.substitute import Mutant, installed


@pytest.mark.parametrize(("frac", "rounding"), NARROW)
def test_narrow_addition_equals_golden(frac: int, rounding: str) -> None:
    cases = narrow(additions(700, frac), rounding, frac)
    sums = golden_sums(cases, frac, rounding)
    got = in_amaranth(Fp32Add(frac=frac, rounding=rounding), cases, "total")[: len(sums)]
    np.testing.assert_array_equal(got, sums)


@pytest.mark.parametrize(("frac", "rounding"), [n for n in NARROW if n[1] != "sr"])
def test_narrow_addition_equals_mpfr(frac: int, rounding: str) -> None:
    cases = additions(700, 100 + frac)
    got = in_amaranth(Fp32Add(frac=frac, rounding=rounding), cases, "total")
    np.testing.assert_array_equal(got, mpfr_sums(cases, frac, rounding))


def test_addition_toward_zero_equals_softfloat() -> None:
    cases = additions(2_000, 4)
    theirs = by_softfloat(sf.f32_add, cases["a"], cases["b"], mode=sf.RoundingMode.MIN_MAG)
    np.testing.assert_array_equal(in_amaranth(Fp32Add(rounding="rz"), cases, "total"), theirs)


def test_the_references_are_the_same_addition() -> None:
    """MPFR as it is used here gives what SoftFloat gives, where both can."""
    cases = additions(20_000, 5)
    theirs = by_softfloat(sf.f32_add, cases["a"], cases["b"])
    np.testing.assert_array_equal(mpfr_sums(cases, 23, "rne"), theirs)


@pytest.mark.parametrize(("frac", "rounding"), [(16, "rne"), (7, "rne"), (7, "rz"), (7, "sr")])
def test_narrow_scale_add_equals_golden(frac: int, rounding: str) -> None:
    columns, wanted = accumulations(14, 700, 30 + frac, frac, rounding)
    wanted = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    block = ScaleAdd(width=14, frac=frac, rounding=rounding)
    np.testing.assert_array_equal(in_amaranth(block, columns, "result")[: len(wanted)], wanted)


def test_bad_accumulators() -> None:
    for make in (Fp32Add, lambda **given: ScaleAdd(width=14, **given)):
        for frac in (0, 24):
            message = rf"Fp32Add.frac must be in 1\.\.23, not {frac}"
            refuses(lambda m=make, f=frac: m(frac=f), message)
        message = "Fp32Add.rounding must be one of rne, rz, sr, not 'up'"
        refuses(lambda m=make: m(rounding="up"), message)


NARROW_FAULTS: list[tuple[Any, str, str, int, str, str]] = [
    (
        Fp32Add,
        "].any()\n        special",
        "].any() & 0\n        special",
        7,
        "rne",
        "far term lost",
    ),
    (spare_places, "max(1, 1", "max(1, -1", 22, "rne", "sticky bit taken for a discarded one"),
    (spare_places, "max(1, 1", "max(1, -1", 16, "sr", "sticky bit taken for a random one"),
    (limit_mark, "MARK_BITS - 1 - at", "MARK_BITS - 2 - at", 16, "rne", "subnormals too far up"),
    (finish, "| kept[0]", "| 1", 7, "rne", "narrow ties away from zero"),
    (finish, "tail[-RANDOM_BITS:]", "tail[:RANDOM_BITS]", 7, "sr", "random bits too low"),
    (finish, "with m.If(~counted.infinite)", "with m.If(0)", 7, "rz", "overflow infinite"),
    (finish, "m.If(~added.probe.any())", "m.If(0)", 7, "rne", "cancelled to an exponent"),
]


@pytest.mark.parametrize(
    ("target", "old", "new", "frac", "rounding", "what"),
    NARROW_FAULTS,
    ids=[f[-1] for f in NARROW_FAULTS],
)
def test_planted_faults_of_narrow_sums_are_found(
    target: Any, old: str, new: str, frac: int, rounding: str, what: str
) -> None:
    cases = narrow(additions(1_000, 6), rounding, 6)
    sums = golden_sums(cases, frac, rounding)
    mutant = Mutant(target, old, new)
    with installed([mutant]):
        adder = mutant.replacement if target is Fp32Add else Fp32Add
        got = in_amaranth(adder(frac=frac, rounding=rounding), cases, "total")[: len(sums)]
    assert got.tolist() != sums


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize(("frac", "rounding"), [(16, "rne"), (7, "rne"), (7, "rz"), (16, "sr")])
def test_many_narrow_accumulations(frac: int, rounding: str, tmp_path: Path) -> None:
    columns, wanted = accumulations(14, MILLION // 8, 40, frac, rounding)
    block = ScaleAdd(width=14, frac=frac, rounding=rounding)
    got = in_verilator(block, columns, "result", tmp_path)[: len(wanted)]
    canonical = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    np.testing.assert_array_equal(got, canonical)
