"""Block scales and quantisation in hardware: against the golden model, fractions and ml_dtypes."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numerics_cases import ML_DTYPES
from numerics_pipeline import refuses
from quantiser_bench import BLOCK, MX, NAMES, Job, Result, in_order, in_verilator, jobs, run, wanted
from test_numerics_quantiser import exact_scale

from systolith.emit.verilog import emit_design
from systolith.golden.numerics import quantize
from systolith.golden.numerics.scales import power_scale
from systolith.numerics.block_scale import BlockScale, threshold
from systolith.numerics.block_store import BlockStore
from systolith.numerics.divide import Divide, places_of
from systolith.numerics.format import Format, Kind
from systolith.numerics.formats import RULES, lookup
from systolith.numerics.quantiser import Quantiser
from systolith.numerics.rounder import Rounder
from systolith.numerics.target import Target
from systolith.proofs.substitute import Mutant, installed


def test_every_format_rule_and_rounding() -> None:
    made = jobs(MX, len(MX) * len(RULES) * 2 * 5, 1)
    results, *_ = run(Quantiser(MX), made, gaps=0.1)
    assert results == wanted(MX, made)


@pytest.mark.parametrize("form", MX, ids=NAMES)
def test_single_format(form: Format) -> None:
    made = jobs([form], 24, 2)
    results, *_ = run(Quantiser([form]), made)
    assert results == wanted([form], made)


@pytest.mark.parametrize("names", [["e2m1"], ["e5m2", "e2m1"]], ids="-".join)
def test_nearest_only(names: list[str]) -> None:
    forms = [lookup(name) for name in names]
    made = jobs(forms, 40, 3, stochastic=False)
    results, *_ = run(Quantiser(forms, stochastic=False), made, gaps=0.3)
    assert results == wanted(forms, made)


def test_latency() -> None:
    """Of the last word of every block; of all words, if there are no gaps inside blocks."""
    form = lookup("e2m1")
    for gaps in (0.0, 0.5):
        quantiser = Quantiser([form], stochastic=False)
        assert quantiser.latency == 46
        made = jobs([form], 60, 4, stochastic=False)
        _, came, left = run(quantiser, made, gaps=gaps)
        at = 0
        for job in made:
            at += job.words.size
            ends = came[at - 1] + quantiser.latency
            assert left[at - job.words.size : at] == [*range(ends - job.words.size + 1, ends + 1)]
        if not gaps:
            assert {b - a for a, b in zip(came, left, strict=True)} == {quantiser.latency}


def test_blocks_of_one_and_slow_blocks() -> None:
    """As many scales in flight as there can be, and blocks that take very long to come."""
    form = lookup("e4m3")
    short = [
        replace(job, words=job.words[:1], random=job.random[:1]) for job in jobs([form], 99, 5)
    ]
    full = [job for job in jobs([form], 30, 6) if job.words.size == BLOCK]
    for made, gaps in ((full[:2] + short + full[2:4], 0.0), (full[:4], 0.9), (short, 0.7)):
        results, *_ = run(Quantiser([form]), made, gaps=gaps, seed=7)
        assert results == wanted([form], made)


def test_format_beyond_the_last_is_the_last() -> None:
    made = [replace(job, select=7) for job in jobs(MX, 40, 8)]
    results, *_ = run(Quantiser(MX), made)
    assert results == wanted(MX, [replace(job, select=len(MX) - 1) for job in made])


def test_random_bits_of_zero_round_toward_zero() -> None:
    form = lookup("e2m3")
    made = [replace(j, stochastic=1, random=np.zeros_like(j.random)) for j in jobs([form], 40, 9)]
    results, *_ = run(Quantiser([form]), made)
    at = 0
    for job in made:
        x = job.words.view(np.float32)
        codes, _ = quantize(x, form.name, RULES[job.rule], rounding="rz")
        assert [code for code, *_ in results[at : at + x.size]] == codes.tolist()
        at += x.size


def by_fractions(job: Job, form: Format) -> list[Result]:
    """Scale and quotients in fractions; elements rounded by ml_dtypes, or counted in units."""
    values = [Fraction(float(x)) for x in job.words.view(np.float32)]
    scale = exact_scale(float(max(map(abs, values))), form, RULES[job.rule])
    largest = Fraction(form.largest) * Fraction(2) ** form.lsb
    codes = []
    for value, word in zip(values, job.words.tolist(), strict=True):
        exact = value / Fraction(2) ** (scale - 127)
        # Saturation first does not differ: what is above the largest goes there either way.
        exact = max(min(exact, largest), -largest)
        if form.kind is Kind.INTEGER:
            codes.append(round(exact / Fraction(2) ** form.lsb) & (1 << form.width) - 1)
            continue
        single = np.float32(float(exact)) if exact else np.float32(-0.0 if word >> 31 else 0.0)
        # A quotient that binary32 cannot hold is far below half of the smallest element.
        assert Fraction(float(single)) == exact or abs(exact) < Fraction(2) ** -100
        codes.append(int(single.astype(ML_DTYPES[form.name]).view(np.uint8)))
    return in_order(codes, scale)


def test_equals_fractions_and_ml_dtypes() -> None:
    made = [
        replace(job, stochastic=0)
        for job in jobs(MX, 380, 10)
        # The rules are about real numbers only where the largest magnitude is normal.
        if 0x800000 <= (job.words & 0x7FFFFFFF).max() < 0x7F800000
    ]
    results, *_ = run(Quantiser(MX), made)
    assert results == [result for job in made for result in by_fractions(job, MX[job.select])]


def test_thresholds_are_the_rules() -> None:
    """The comparison of the hardware against the sums of the contract, beside each threshold."""
    for form in MX:
        for rule in RULES:
            at = threshold(form, rule)
            words = np.array(
                [f for f in (0, 1, at - 1, at, at + 1, 0x7FFFFF) if 0 <= f <= 0x7FFFFF]
            )
            peak = (words + (140 << 23)).astype(np.uint32).view(np.float32)
            assert (
                power_scale(peak, form, rule).tolist() == (140 - form.emax + (words > at)).tolist()
            )


def test_subnormal_words_have_to_move_only_where_the_target_is_finer() -> None:
    places = {form.name: places_of([Target(form)], 127) for form in MX}
    assert places == {
        "mxint8": 1, "mxint16": 1, "e4m3": 7, "e5m2": 15, "e3m2": 3, "e2m3": 1, "e2m1": 1,
    }  # fmt: skip


def test_a_new_format_is_one_more_row() -> None:
    form = Format(
        name="e3m4", kind=Kind.FLOAT, width=8, exponent_bits=3, fraction_bits=4, family="mx"
    )
    made = [job for job in jobs([form], 60, 11) if (job.words & 0x7FFFFFFF).max() < 0x7F800000]
    results, *_ = run(Quantiser([form]), made)
    assert results == wanted([form], made)


def test_bad_formats() -> None:
    refuses(lambda: Quantiser([]), "Quantiser.formats must name at least one format, not none")
    message = "Quantiser.formats must have scales that are powers of two, not "
    for name in ("nvfp4", "int8", "bf16", "e8m0"):
        refuses(lambda n=name: Quantiser([lookup(n)]), f"{message}'{name}'")
    sizes = {"width": 8, "note_width": 8}
    refuses(lambda: BlockStore(block=12, lag=1, **sizes), "block must be a power of two .*, not 12")
    refuses(lambda: BlockStore(block=16, lag=9, **sizes), r"lag must be in 1\.\.8, not 9")


def test_emits() -> None:
    """Equal bytes for equal parameters, and a module for each part."""
    first, second = (emit_design(Quantiser(MX[-2:]), "q").rtlil for _ in range(2))
    assert first == second
    assert all(part in first for part in ("block_scale", "block_store", "divide", "rounder"))


FAULTS: list[tuple[type, str, str, str]] = [
    (BlockScale, "[:FRACTION_BITS] > limit", "[:FRACTION_BITS] >= limit", "threshold met counts"),
    (
        BlockScale,
        "self.first | (self.size > peak)",
        "self.size > peak",
        "largest of earlier blocks",
    ),
    (BlockScale, "m.Elif(code < 0)", "m.Elif(Const(0))", "scale below zero wraps"),
    (BlockScale, "m.Elif(code > most)", "m.Elif(Const(0))", "largest scale is NaN"),
    (BlockScale, "special.eq(field.all())", "special.eq(0)", "NaN and infinity get a scale"),
    (BlockScale, "clamped.eq(offset)", "clamped.eq(rebias)", "clamped scale, other quotients"),
    (BlockStore, "self.last | count.all()", "self.last", "full blocks go on"),
    (BlockStore, "block - 1 - at", "block - at", "first element stays inside"),
    (Divide, "cleared.eq(self.clear)", "cleared.eq(0)", "elements beside NaN"),
    (Divide, 'up.eq(leading_zeros(m, top, "zeros"))', "up.eq(0)", "subnormal words do not move"),
    (Quantiser, "passing[divide.latency]", "passing[divide.latency - 1]", "choice of the next"),
    (Rounder, "(most + 1).bit_length()", "most.bit_length()", "no room for a carry"),
]


@pytest.mark.parametrize(("target", "old", "new", "what"), FAULTS, ids=[f[3] for f in FAULTS])
def test_planted_faults_are_found(target: type, old: str, new: str, what: str) -> None:
    forms = [lookup(name) for name in (["mxint16", "mxint8"] if "scale is" in what else ["e4m3"])]
    made = jobs(forms, 64, 12)
    with installed([Mutant(target, old, new)]):
        module = __import__("systolith.numerics.quantiser", fromlist=["Quantiser"])
        results, *_ = run(module.Quantiser(forms), made)
    assert results != wanted(forms, made)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES, ["e2m1"]], ids="-".join)
def test_many_blocks(names: list[str], tmp_path: Path) -> None:
    forms = [lookup(name) for name in names]
    made = jobs(forms, 12_000, 20)
    assert in_verilator(forms, made, tmp_path) == wanted(forms, made)
