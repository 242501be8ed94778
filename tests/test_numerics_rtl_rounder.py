"""Stage C in hardware: conversions against the golden model and ml_dtypes, one format proven."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from numerics_cases import (
    MILLION,
    ML_DTYPES,
    bf16_inputs,
    biased_words,
    float32_inputs,
)
from numerics_pipeline import in_amaranth, in_verilator, refuses
from numpy.typing import NDArray

from systolith.golden.numerics import decode, encode
from systolith.golden.numerics.words import encode_word
from systolith.harness.formal import prove
from systolith.numerics.format import Format, Kind, Overflow, Specials
from systolith.numerics.formats import FORMATS, lookup
from systolith.numerics.rounder import Rounder
from systolith.numerics.target import Target
from systolith.proofs.substitute import Mutant

FLOATS = ["bf16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1"]
ALL = [*FLOATS, "mxint8", "mxint16", "int8", "int4"]
Cases = dict[str, NDArray[Any]]


def words(count: int, seed: int) -> NDArray[np.uint32]:
    """A sixth at the ends of formats, the rest near their ranges and ties, and binary32 corners."""
    rng = np.random.default_rng(seed)
    ends = edges()[rng.integers(0, edges().size, count // 6)]
    near = float32_inputs((count - ends.size) // 2, seed).view(np.uint32)
    return np.concatenate([ends, near, biased_words(count - ends.size - near.size, rng)])


def edges() -> NDArray[np.uint32]:
    """Largest values and the middles above them, smallest ones and their halves, and neighbours."""
    values = []
    for name in ALL:
        form = lookup(name)
        unit = np.ldexp(1.0, form.lsb)
        step = np.ldexp(1.0, form.lsb + form.max_shift)
        values += [form.largest * unit, form.largest * unit + step / 2, unit, unit / 2]
        values += [np.ldexp(1.0, form.emin), np.ldexp(1.0, form.emin) - unit / 2]
    at = np.float32(values).view(np.uint32)
    sign = np.uint32(1 << 31)
    return np.concatenate([word ^ s for word in (at, at + 1, at - 1) for s in (0 * sign, sign)])


def cases(count: int, seed: int, formats: int) -> Cases:
    rng = np.random.default_rng(seed)
    made: Cases = {
        "word": words(count, seed),
        "stochastic": rng.integers(0, 2, count),
        "random": rng.integers(0, 1 << 16, count),
        "saturate": rng.integers(0, 2, count),
    }
    if formats > 1:
        made["select"] = rng.integers(0, formats, count)
    return made


def wanted(forms: list[Format], made: Cases) -> NDArray[np.int64]:
    """Codes by the golden model's integer form."""
    count = made["word"].size
    columns = (made.get(name, np.zeros(count, int)).tolist() for name in
               ("word", "stochastic", "random", "saturate", "select"))  # fmt: skip
    return np.array(
        [
            encode_word(word, forms[select], "sr" if sr else "rne", bool(saturate), random)
            for word, sr, random, saturate, select in zip(*columns, strict=True)
        ]
    )


@pytest.mark.parametrize("name", ALL)
def test_single_format(name: str) -> None:
    made = cases(1_500, 1, 1)
    got = in_amaranth(Rounder([lookup(name)]), made, "code")
    np.testing.assert_array_equal(got, wanted([lookup(name)], made))


@pytest.mark.parametrize("names", [FLOATS, ["mxint16", "e2m1", "bf16"]], ids="-".join)
def test_selected_format(names: list[str]) -> None:
    forms = [lookup(name) for name in names]
    made = cases(12_000 if names is FLOATS else 2_000, 2, len(forms))
    np.testing.assert_array_equal(in_amaranth(Rounder(forms), made, "code"), wanted(forms, made))


@pytest.mark.parametrize("names", [["e4m3"], ["e2m1"], FLOATS], ids="-".join)
def test_nearest_only(names: list[str]) -> None:
    forms = [lookup(name) for name in names]
    made = cases(2_000, 3, len(forms))
    del made["stochastic"], made["random"]
    rounder = Rounder(forms, stochastic=False)
    np.testing.assert_array_equal(in_amaranth(rounder, made, "code"), wanted(forms, made))


def test_random_bits_of_zero_round_toward_zero() -> None:
    """What saturates needs no third rounding."""
    forms = [lookup(name) for name in ALL]
    made = cases(4_000, 7, len(forms))
    made |= {"stochastic": np.ones(4_000, int), "random": np.zeros(4_000, int)}
    made["saturate"] = np.ones(4_000, int)
    x = made["word"].view(np.float32)
    got = in_amaranth(Rounder(forms), made, "code")
    for index, name in enumerate(ALL):
        mine = made["select"] == index
        # No format of the array keeps infinity here; the storage formats do, and overflow too.
        mine &= np.isfinite(x) if name != "bf16" else np.abs(x) < 2.0**127
        np.testing.assert_array_equal(got[mine], encode(x[mine], name, "rz"), err_msg=name)


def by_ml_dtypes(name: str, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Codes without saturation; the codes of NaN are ours, which have no sign."""
    with np.errstate(over="ignore", invalid="ignore"):
        codes = x.astype(ML_DTYPES[name])
    raw = codes.view(np.uint16 if name == "bf16" else np.uint8).astype(np.int64)
    form = lookup(name)
    if form.specials is Specials.NONE:
        return np.where(np.isnan(x), 0, raw)
    return np.where(np.isnan(codes.astype(np.float32)), form.nan_code, raw)


def test_equals_ml_dtypes() -> None:
    """Every 16th bf16 value, and words near ties, to each format in turn."""
    values = np.concatenate([bf16_inputs()[3::16], float32_inputs(6_000, 4)])
    made: Cases = {"word": values.view(np.uint32), "select": np.arange(values.size) % len(FLOATS)}
    got = in_amaranth(Rounder([lookup(n) for n in FLOATS], stochastic=False), made, "code")
    for index, name in enumerate(FLOATS):
        mine = made["select"] == index
        np.testing.assert_array_equal(got[mine], by_ml_dtypes(name, values[mine]), err_msg=name)


def test_nan_is_reported() -> None:
    made: Cases = {"word": np.array([0x7F800000, 0xFF800001, 0x7FC00000, 0, 0x7F7FFFFF])}
    assert in_amaranth(Rounder([lookup("e2m1")]), made, "nan").tolist() == [0, 1, 1, 0, 0]


def test_a_new_format_is_one_more_row() -> None:
    """1/3/4 with infinities is in no table; the rounder takes it from its row."""
    form = Format(
        name="e3m4",
        kind=Kind.FLOAT,
        width=8,
        exponent_bits=3,
        fraction_bits=4,
        specials=Specials.IEEE,
        overflow=Overflow.CHOICE,
        family="mx",
    )
    made: Cases = {"word": float32_inputs(3_000, 5).view(np.uint32)}
    got = in_amaranth(Rounder([form]), made, "code")
    x = made["word"].view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        theirs = x.astype(ml_dtypes.float8_e3m4)
    nan = np.isnan(x)
    np.testing.assert_array_equal(got[~nan], theirs.view(np.uint8)[~nan])
    assert (got[nan] == form.nan_code).all()


def test_bad_formats() -> None:
    refuses(lambda: Rounder([]), "Rounder.formats must name at least one format")
    message = "Target.form must have a sign and fewer than 23 fraction bits, not "
    for name in ("e8m0", "fp32"):
        refuses(lambda n=name: Rounder([lookup(n)]), message + f"'{name}'")
    assert {n for n in FORMATS if n not in ("e8m0", "fp32")} >= {*ALL}
    assert all(Target(lookup(n)).width == lookup(n).width for n in ALL)


FAULTS = [
    ("linear[at]", "Const(1)", "ties away from zero"),
    ("moved = Mux(far, 0, moved)", "pass", "shift wraps at 32 places"),
    ("tiny.eq(least <= rebias)", "tiny.eq(least < rebias)", "first subnormal binade"),
    ("over = magnitude > most", "over = magnitude >= most", "largest value taken for overflow"),
    ("~over | keeps", "1", "NaN of overflow with a sign"),
    ("Const(0, at - RANDOM_BITS)", "Const(0, at - RANDOM_BITS - 1)", "random bits one place low"),
    ("whole[:short].any()", "whole[0]", "short sticky bit"),
]


@pytest.mark.parametrize(("old", "new", "what"), FAULTS, ids=[f[2] for f in FAULTS])
def test_planted_faults_are_found(old: str, new: str, what: str) -> None:
    nearest = "sticky" in what
    form = lookup("e4m3")
    made = cases(1_500, 6, 1)
    if nearest:
        del made["stochastic"], made["random"]
    mutant = Mutant(Rounder, old, new).replacement([form], stochastic=not nearest)
    assert in_amaranth(mutant, made, "code").tolist() != wanted([form], made).tolist()


class Reference(wiring.Component):
    """The nearest code by comparing with the middles between neighbours: no arithmetic.

    For FP4, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5 and 5. A tie goes to the even code: the middle above
    an odd code counts as passed when it is met.
    """

    def __init__(self, rounder: Any, form: Format) -> None:
        self.rounder = rounder
        self.form = form
        super().__init__({"word": In(32), "saturate": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.rounder = rounder = self.rounder
        bits = self.form.width - 1
        values = decode(np.arange(1 << bits), self.form.name)
        middles = np.float32((values[1:] + values[:-1]) / 2).view(np.uint32).tolist()
        size = self.word[:31]
        passed = [
            size >= middle if code & 1 else size > middle for code, middle in enumerate(middles)
        ]
        # The middles ascend: the last one that is passed gives the code.
        count: Value = Const(0, bits)
        for code_above, more in enumerate(passed, 1):
            count = Mux(more, Const(code_above, bits), count)
        nan = size > 0x7F800000
        code = Mux(nan, 0, Cat(count, self.word[31]))
        history = [code]
        ages = [Const(1)]
        for stage in range(rounder.latency):
            late, age = Signal(bits + 1, name=f"code_{stage}"), Signal(name=f"age_{stage}")
            m.d.sync += [late.eq(history[-1]), age.eq(ages[-1])]
            history.append(late)
            ages.append(age)
        m.d.comb += [rounder.word.as_value().eq(self.word), rounder.saturate.eq(self.saturate)]
        m.d.comb += Assert(~ages[-1] | (rounder.code == history[-1]))
        return m


def equivalent(rounder: Any, form: Format, folder: Path) -> str:
    reference = Reference(rounder, form)
    source = rtlil.convert(reference, name="reference", ports=[reference.word, reference.saturate])
    # Every word passes through an empty pipeline: one word's journey is all there is to see.
    depth = rounder.latency + 2
    return prove(source, "reference", work_dir=folder, depth=depth).status


@pytest.mark.formal
@pytest.mark.parametrize("name", ["e2m1", "e2m3", "e3m2"])
def test_every_word_goes_to_the_nearest_code(name: str, tmp_path: Path) -> None:
    form = lookup(name)
    assert equivalent(Rounder([form], stochastic=False), form, tmp_path) == "pass"


@pytest.mark.formal
def test_the_proof_finds_a_fault(tmp_path: Path) -> None:
    form = lookup("e2m1")
    mutant = Mutant(Rounder, "linear[at]", "Const(1)").replacement([form], stochastic=False)
    assert equivalent(mutant, form, tmp_path) == "fail"


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_million_conversions(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    forms = [lookup(name) for name in FLOATS]
    made = cases(MILLION // 4, 10 + seed, len(forms))
    folder = tmp_path_factory.getbasetemp() / "rounder"
    got = in_verilator(Rounder(forms), made, "code", folder)
    x = made["word"].view(np.float32)
    for index, name in enumerate(FLOATS):
        for rounding in ("rne", "sr"):
            for saturate in (False, True):
                mine = made["select"] == index
                mine &= (made["stochastic"] == (rounding == "sr")) & (made["saturate"] == saturate)
                codes = encode(x[mine], name, rounding, saturate, made["random"][mine])
                np.testing.assert_array_equal(got[mine], codes, err_msg=name)


@pytest.mark.cosim
@pytest.mark.slow
def test_every_bf16_value_to_every_format(tmp_path: Path) -> None:
    values = bf16_inputs()
    count, total = values.size, values.size * len(FLOATS)
    made: Cases = {
        "word": np.tile(values.view(np.uint32), len(FLOATS)),
        "select": np.repeat(np.arange(len(FLOATS)), count),
        "saturate": np.zeros(total, int),
    }
    rounder = Rounder([lookup(name) for name in FLOATS], stochastic=False)
    got = in_verilator(rounder, made, "code", tmp_path).reshape(len(FLOATS), count)
    for codes, name in zip(got, FLOATS, strict=True):
        np.testing.assert_array_equal(codes, by_ml_dtypes(name, values), err_msg=name)
