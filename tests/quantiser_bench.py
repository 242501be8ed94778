"""Blocks for the quantiser in hardware, and ways to run it on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numerics_cases import biased_words
from numpy.typing import NDArray

from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.golden.numerics import quantize
from systolith.golden.numerics.encode import encode_exact
from systolith.golden.numerics.scales import power_scale
from systolith.harness.cosim import build
from systolith.harness.script import Script
from systolith.harness.sim import simulate
from systolith.numerics.block_scale import threshold
from systolith.numerics.format import Format
from systolith.numerics.formats import FORMATS, RULES
from systolith.numerics.quantiser import Quantiser

__all__ = [
    "BLOCK",
    "MX",
    "NAMES",
    "Job",
    "Result",
    "in_order",
    "in_verilator",
    "jobs",
    "run",
    "wanted",
]

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
