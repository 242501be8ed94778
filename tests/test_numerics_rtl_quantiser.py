"""Block scales and quantisation in hardware: against the golden model, fractions and ml_dtypes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numerics_cases import ML_DTYPES, biased_words
from numerics_pipeline import refuses
from numpy.typing import NDArray
from test_numerics_quantiser import exact_scale

from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.golden.numerics import quantize
from systolith.golden.numerics.encode import encode_exact
from systolith.golden.numerics.scales import power_scale
from systolith.harness.cosim import build
from systolith.harness.script import Script
from systolith.harness.sim import simulate
from systolith.numerics.block_scale import BlockScale, threshold
from systolith.numerics.block_store import BlockStore
from systolith.numerics.divide import Divide, places_of
from systolith.numerics.format import Format, Kind
from systolith.numerics.formats import FORMATS, RULES, lookup
from systolith.numerics.quantiser import Quantiser
from systolith.numerics.rounder import Rounder
from systolith.numerics.target import Target
from systolith.proofs.substitute import Mutant, installed

MX = [form for form in FORMATS.values() if form.family == "mx"]
NAMES = [form.name for form in MX]
BLOCK = 32
Result = tuple[int, int, int]  # code, scale, last of its block


@dataclass(frozen=True)
class Job:
    """A block, and how it is quantised."""

    words: NDArray[np.uint32]
    select: int
    rule: int
    stochastic: int
    random: NDArray[np.int64]


def jobs(forms: Sequence[Format], count: int, seed: int, *, stochastic: bool = True) -> list[Job]:
    """Every format, rule and rounding in turn, on blocks biased to the corners of scales."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        select, rest = number % len(forms), number // len(forms)
        rule, rest = rest % len(RULES), rest // len(RULES)
        length = int(rng.choice([BLOCK, BLOCK, BLOCK, 1, 2, 7, BLOCK - 1]))
        words = block(forms[select], RULES[rule], length, rng)
        random = rng.choice([0, 1, 0x7FFF, 0x8000, 0xFFFF, *rng.integers(0, 1 << 16, 5)], length)
        made.append(Job(words, select, rule, int(stochastic and rest % 2), random))
    return made


def block(form: Format, rule: str, length: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """A largest magnitude at or beside the rule's threshold, the others at most 24 octaves below.

    Some are all subnormal, some all zeros, and some hold a NaN or an infinity.
    """
    words = biased_words(length, rng)
    sign, fraction = words & np.uint32(1 << 31), words & np.uint32(0x7FFFFF)
    kind = rng.integers(0, 10)
    top = int(rng.choice([0, 1, 2, 3, *range(8, 26, 4), 127, 252, 253, 254, rng.integers(0, 255)]))
    if kind == 0:
        top = 0
    field = np.clip(top - rng.integers(0, 25, length), 0, 254).astype(np.uint32)
    if kind == 1:  # ties of elements: few significand bits
        fraction &= np.uint32(0x7FFFFF) << np.uint32(rng.integers(16, 23)) & np.uint32(0x7FFFFF)
    words = sign | field << np.uint32(23) | fraction
    if kind < 7:
        edge = min(max(threshold(form, rule) + int(rng.integers(-1, 2)), 0), 0x7FFFFF)
        peak = top << 23 | edge
        words = np.where((words & 0x7FFFFFFF) > peak, sign | peak, words).astype(np.uint32)
        at = int(rng.integers(0, length))
        words[at] = int(sign[at]) | peak
    elif kind == 7:
        words = sign
    elif kind == 8:
        words[rng.integers(0, length)] = rng.choice(
            [0x7F800000, 0xFF800000, 0x7FC00000, 0xFF800001]
        )
    return words


def wanted(forms: Sequence[Format], made: Sequence[Job]) -> list[Result]:
    """By the golden model, from the rows themselves: they need not be in the table."""
    results = []
    for job in made:
        form, x = forms[job.select], job.words.view(np.float32)
        rounding, random = ("sr", job.random) if job.stochastic else ("rne", None)
        if FORMATS.get(form.name) == form:
            codes, scales = quantize(
                x, form.name, RULES[job.rule], rounding=rounding, random=random
            )
            assert scales is not None
            scale = int(scales[0])
        else:
            scale = int(power_scale(np.abs(x).max(keepdims=True), form, RULES[job.rule])[0])
            exact = np.ldexp(x.astype(np.float64), 127 - scale)
            codes = encode_exact(exact, form, rounding, True, random)
        results += in_order(codes.tolist(), scale)
    return results


def in_order(codes: list[int], scale: int) -> list[Result]:
    return [(code, scale, int(k == len(codes) - 1)) for k, code in enumerate(codes)]


def arrivals(made: Sequence[Job], gaps: float, seed: int) -> Iterator[tuple[Job, int] | None]:
    """A word of a block in each cycle, or none."""
    rng = np.random.default_rng(seed)
    for job in made:
        for k in range(job.words.size):
            while rng.random() < gaps:
                yield None
            yield job, k


def run(
    quantiser: Any, made: Sequence[Job], *, gaps: float = 0.0, seed: int = 0
) -> tuple[list[Result], list[int], list[int]]:
    """Results, the cycles when the words came, and those when the codes left.

    Inputs that do not count, beside no valid word or not beside a block's last one, are noise.
    """
    rng = np.random.default_rng(seed)
    schedule = [*arrivals(made, gaps, seed), *[None] * (quantiser.latency + 1)]
    random = [int(value) for job in made for value in job.random]
    results: list[Result] = []
    came, left = [], []

    async def bench(ctx: Any) -> None:
        drawn = 0
        for cycle, item in enumerate(schedule):
            noise = rng.integers(0, 1 << 31, 5).tolist()
            word, last, select, rule, stochastic = noise
            if item is not None:
                job, k = item
                word, last = int(job.words[k]), int(k == job.words.size - 1)
                if last:
                    select, rule, stochastic = job.select, job.rule, job.stochastic
                    last &= int(job.words.size < BLOCK or noise[0] & 1)  # full blocks need none
                came.append(cycle)
            ctx.set(quantiser.valid, int(item is not None))
            ctx.set(quantiser.word.as_value(), word)
            ctx.set(quantiser.last, last)
            ctx.set(quantiser.rule, rule)
            if quantiser.select_bits:
                ctx.set(quantiser.select, select)
            if quantiser.has_stochastic:
                ctx.set(quantiser.stochastic, stochastic)
                ctx.set(quantiser.random, random[drawn] if ctx.get(quantiser.draw) else noise[1])
                drawn += ctx.get(quantiser.draw)
            if ctx.get(quantiser.leaves):
                left.append(cycle)
                results.append(
                    (ctx.get(quantiser.code), ctx.get(quantiser.scale), ctx.get(quantiser.ends))
                )
            await ctx.tick()

    simulate(quantiser, bench, deadline_cycles=len(schedule) + 100)
    return results, came, left


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


def in_verilator(forms: Sequence[Format], made: Sequence[Job], folder: Path) -> list[Result]:
    """On the emitted Verilog. The wrapper keeps a word's random bits until they are drawn."""
    quantiser = Quantiser(forms)
    design = emit_design(quantiser, "dut")
    code, scale, select = len(quantiser.code), len(quantiser.scale), quantiser.select_bits
    fields = {"word": 32, "last": 1, "rule": 2, "select": select, "stochastic": 1, "random": 16}
    fields = {name: bits for name, bits in fields.items() if bits}
    places, at = {}, 0
    for name, width in fields.items():
        places[name] = f"i__payload[{at} +: {width}]"
        at += width
    wires = "".join(f", .{name}({places[name]})" for name in fields if name != "random")
    width = code + scale + 1
    text = f"""
module top(input clk, input rst, input [{at - 1}:0] i__payload, input i__valid,
           output [{width - 1}:0] o__payload, output o__valid);
    reg [15:0] bits [0:255];
    reg [7:0] filled = 0, drawn = 0;
    wire draw;
    always @(posedge clk) begin
        if (i__valid) bits[filled] <= {places["random"]};
        filled <= rst ? 8'd0 : filled + {{7'd0, i__valid}};
        drawn <= rst ? 8'd0 : drawn + {{7'd0, draw}};
    end
    {design.top} dut(.clk(clk), .rst(rst), .valid(i__valid){wires}, .draw(draw),
        .random(bits[drawn]), .leaves(o__valid), .code(o__payload[0 +: {code}]),
        .scale(o__payload[{code} +: {scale}]), .ends(o__payload[{width - 1}]));
endmodule
"""
    streams = [StreamPort("i", at, has_ready=False)], [StreamPort("o", width, has_ready=False)]
    simulation = build(design.verilog() + text, "top", *streams, folder)
    script = Script()
    for job in made:
        for k, (word, random) in enumerate(
            zip(job.words.tolist(), job.random.tolist(), strict=True)
        ):
            value, low = 0, 0
            now = {
                "word": word,
                "last": int(k == job.words.size - 1),
                "rule": job.rule,
                "select": job.select,
                "stochastic": job.stochastic,
                "random": random,
            }
            for name, bits in fields.items():
                value |= now[name] << low
                low += bits
            script.send("i", value)
    result = simulation.run([script.wait("o", sum(job.words.size for job in made))])
    payloads = [transfer.payload for transfer in result.transfers["o"]]
    return [(p & (1 << code) - 1, p >> code & (1 << scale) - 1, p >> width - 1) for p in payloads]


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("names", [NAMES, ["e2m1"]], ids="-".join)
def test_many_blocks(names: list[str], tmp_path: Path) -> None:
    forms = [lookup(name) for name in names]
    made = jobs(forms, 12_000, 20)
    assert in_verilator(forms, made, tmp_path) == wanted(forms, made)
