"""Stage B in hardware: block sums to binary32, binary32 addition, and both together."""

from pathlib import Path
from typing import Any

import gmpy2
import numpy as np
import pytest
import softfloatpy as sf
from numerics_cases import MILLION
from numerics_pipeline import in_amaranth, in_verilator, refuses
from numpy.typing import NDArray
from test_numerics_fp32 import by_softfloat, pairs_of_words

from systolith.golden.numerics.words import INFINITY, NAN, add, pack
from systolith.numerics.fp32_add import ROUNDINGS, Fp32Add
from systolith.numerics.fp32_finish import finish, spare_places
from systolith.numerics.fp32_stage import limit_mark
from systolith.numerics.fp32_term import EXPONENT_BITS, Fp32Term, term_latency
from systolith.numerics.pairs import PAIRS, pair
from systolith.numerics.scale_add import ScaleAdd
from systolith.proofs.substitute import Mutant, installed

WIDTHS = [13, 14, 28, 42, 70]
NARROW = [(23, "rz"), (22, "rne"), (21, "rne"), (16, "rne"), (7, "rne"), (1, "rne"), (16, "rz"),
          (7, "rz"), (23, "sr"), (16, "sr"), (7, "sr"), (5, "sr")]  # fmt: skip
MINUS = 1 << 31
NAN_FLAG, PLUS_FLAG, MINUS_FLAG = 1, 2, 4


def specials() -> tuple[list[int], list[int]]:
    """Every pair of zeros, ends of the subnormals and normals, infinities, quiet and other NaN."""
    words = [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0x3F800000, 0x7F7FFFFF, INFINITY]
    words += [NAN, 0x7F800001, 0x7FFFFFFF]
    words += [word | MINUS for word in words]
    return [a for a in words for _ in words], [b for _ in words for b in words]


def additions(count: int, seed: int) -> dict[str, NDArray[np.uint32]]:
    a, b = pairs_of_words(count, seed)
    corner_a, corner_b = (np.array(words, np.uint32) for words in specials())
    return {"a": np.concatenate([corner_a, a]), "b": np.concatenate([corner_b, b])}


def blocks(width: int, count: int, seed: int) -> tuple[list[int], list[int]]:
    """Sums and exponents: ties, near ties, and results about the ends of the number range."""
    rng = np.random.default_rng(seed)
    top = 1 << width - 1
    sums, exponents = [0, -top, top - 1, 0, -1], [511, 400, -512, -512, -300]
    for length in rng.integers(1, width, count).tolist():
        size = int.from_bytes(rng.bytes(16), "little") % (1 << length) | 1 << length - 1
        shape, low = rng.integers(0, 4), max(0, length - 25)
        if shape == 0:  # a tie at the significand's end, or beside it
            size = (size >> low | 1) << low
            size += int(rng.integers(-1, 2)) if size > 1 else 0
        elif shape == 1:
            size = (1 << length) - 1 - int(rng.integers(0, 2))
        elif shape == 2:
            size = 1 << length - 1
        where = rng.integers(0, 4)
        if where == 0:
            exponent = int(rng.integers(-300, 260))
        elif where == 1:
            exponent = 128 - length + int(rng.integers(-2, 2))
        else:  # subnormal, with the first one at any of the last bits
            exponent = -149 - length + int(rng.integers(-2, 27))
        limit = 1 << EXPONENT_BITS - 1
        sums.append(min(size, top - 1) * int(rng.choice([-1, 1])))
        exponents.append(min(max(exponent, -limit), limit - 1))
    return sums, exponents


def rounded(sums: list[int], exponents: list[int]) -> list[int]:
    return [pack(int(s < 0), abs(s), e) for s, e in zip(sums, exponents, strict=True)]


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


def narrow(cases: dict[str, Any], rounding: str, seed: int) -> dict[str, Any]:
    """Add random bits to additions, as many cycles late as the adder wants them."""
    if rounding != "sr":
        return cases
    rng = np.random.default_rng(seed)
    late, count = Fp32Add.random_lag, len(cases["a"])
    some = np.array([0, 1, 0x7FFF, 0x8000, 0xFFFF, *rng.integers(0, 1 << 16, 11)])
    random = np.concatenate([np.zeros(late, int), rng.choice(some, count)])
    return {name: np.pad(words, (0, late)) for name, words in cases.items()} | {"random": random}


def golden_sums(cases: dict[str, Any], frac: int, rounding: str) -> list[int]:
    random = cases.get("random")
    late = 0 if random is None else Fp32Add.random_lag
    count = len(cases["a"]) - late
    bits = np.zeros(count, int) if random is None else random[late:]
    sums = [
        add(a, b, frac, rounding, r)
        for a, b, r in zip(cases["a"].tolist(), cases["b"].tolist(), bits.tolist(), strict=False)
    ]
    return [NAN if word & ~MINUS > INFINITY else word for word in sums]


def mpfr_sums(cases: dict[str, Any], frac: int, rounding: str) -> list[int]:
    """MPFR with ``frac`` + 1 bits and the exponents of binary32, gradual underflow included."""
    mode = gmpy2.RoundToZero if rounding == "rz" else gmpy2.RoundToNearest
    exponents = {"emin": -125 - frac, "emax": 128, "subnormalize": True}
    context = gmpy2.context(precision=frac + 1, round=mode, **exponents)
    wide = gmpy2.context(precision=53)
    with np.errstate(invalid="ignore"):
        a, b = (cases[name].view(np.float32).astype(float).tolist() for name in "ab")
        sums = [
            float(context.add(gmpy2.mpfr(x, 0, wide), gmpy2.mpfr(y, 0, wide)))
            for x, y in zip(a, b, strict=True)
        ]
        words = np.array(sums, np.float32).view(np.uint32)
    return np.where((words & 0x7FFFFFFF) > INFINITY, NAN, words).tolist()


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


def accumulations(
    width: int, count: int, seed: int, frac: int = 23, rounding: str = "rne"
) -> tuple[dict[str, Any], list[int]]:
    """Blocks onto accumulators, and the new accumulators. Many terms nearly cancel."""
    rng = np.random.default_rng(seed)
    sums, exponents = blocks(width, count, seed)
    total = len(sums)
    first = (rng.random(total) < 0.2).astype(int).tolist()
    flags = np.where(rng.random(total) < 0.05, rng.integers(0, 8, total), 0).tolist()
    old = pairs_of_words(total, seed)[0].tolist()
    random = rng.integers(0, 1 << 16, total).tolist()
    new = []
    for k, term in enumerate(rounded(sums, exponents)):
        if rng.random() < 0.5 and INFINITY & ~term:
            old[k] = max((term ^ MINUS) + int(rng.integers(-2, 3)), 0)
        if flags[k]:
            term = {PLUS_FLAG: INFINITY, MINUS_FLAG: INFINITY | MINUS}.get(flags[k], NAN)
        new.append(add(0 if first[k] else old[k], term, frac, rounding, random[k]))
    late = term_latency(width)
    # Each input comes so many cycles after the block sum; all end in the same cycle.
    lags = {"total": 0, "exponent": 0, "flags": 0, "stored": late, "first": late}
    values = {"total": sums, "exponent": exponents, "flags": flags, "stored": old, "first": first}
    if rounding == "sr":
        lags["random"], values["random"] = late + Fp32Add.random_lag, random
    most = max(lags.values())
    columns = {name: [0] * at + values[name] + [0] * (most - at) for name, at in lags.items()}
    return columns, new


@pytest.mark.parametrize("width", [14, 42])
def test_scale_add_equals_golden(width: int) -> None:
    columns, wanted = accumulations(width, 2_000, width)
    wanted = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    got = in_amaranth(ScaleAdd(width=width), columns, "result")[: len(wanted)]
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("frac", "rounding"), [(16, "rne"), (7, "rne"), (7, "rz"), (7, "sr")])
def test_narrow_scale_add_equals_golden(frac: int, rounding: str) -> None:
    columns, wanted = accumulations(14, 700, 30 + frac, frac, rounding)
    wanted = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    block = ScaleAdd(width=14, frac=frac, rounding=rounding)
    np.testing.assert_array_equal(in_amaranth(block, columns, "result")[: len(wanted)], wanted)


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


def test_bad_accumulators() -> None:
    for make in (Fp32Add, lambda **given: ScaleAdd(width=14, **given)):
        for frac in (0, 24):
            message = rf"Fp32Add.frac must be in 1\.\.23, not {frac}"
            refuses(lambda m=make, f=frac: m(frac=f), message)
        message = "Fp32Add.rounding must be one of rne, rz, sr, not 'up'"
        refuses(lambda m=make: m(rounding="up"), message)


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


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize(("frac", "rounding"), [(16, "rne"), (7, "rne"), (7, "rz"), (16, "sr")])
def test_many_narrow_accumulations(frac: int, rounding: str, tmp_path: Path) -> None:
    columns, wanted = accumulations(14, MILLION // 8, 40, frac, rounding)
    block = ScaleAdd(width=14, frac=frac, rounding=rounding)
    got = in_verilator(block, columns, "result", tmp_path)[: len(wanted)]
    canonical = [NAN if word & ~MINUS > INFINITY else word for word in wanted]
    np.testing.assert_array_equal(got, canonical)
