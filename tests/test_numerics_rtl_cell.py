"""The processing element of the block formats: decode, multiply, align, add, flags."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from itertools import product as cross
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from amaranth.hdl import Assert, Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out
from numerics_cases import ML_DTYPES
from numerics_pipeline import in_amaranth, in_verilator

from systolith.golden.numerics import explicit
from systolith.golden.numerics.digits import digits
from systolith.harness.formal import prove
from systolith.hierarchy import Block
from systolith.numerics.block_align import align
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac, _flags, partial_layout
from systolith.numerics.block_multiply import multiply
from systolith.numerics.element import ElementDecode
from systolith.numerics.formats import FORMATS, Format
from systolith.numerics.pairs import PAIRS, Pair, pair
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

NAMES = [name for name, form in FORMATS.items() if form.operand]
PORTS = {"x_code": 16, "w_code": 16, "x_form": 4, "w_form": 4, "x_digit": 1, "w_digit": 1}
PORTS |= {"used": 1, "first": 1}
Case = tuple[Pair, int, int, int, int]
"""Pair, both codes, both digits."""


FLAGS = [
    frozenset(name for k, name in enumerate(("nan", "+inf", "-inf")) if raised >> k & 1)
    for raised in range(8)
]
Product = tuple[int, frozenset[str]]
"""Sum and flags."""


class Place(NamedTuple):
    """A partial sum in a result."""

    cell: str
    offset: int
    sum_bits: int
    width: int

    def of(self, result: int) -> Product:
        word = result >> self.offset & (1 << self.width) - 1
        negative = word >> self.sum_bits - 1 & 1
        number = (word & (1 << self.sum_bits) - 1) - (negative << self.sum_bits)
        return number, FLAGS[word >> self.sum_bits]


class Cells(Block):
    """Cells side by side, with their decoders and a register each, fed with the same operands."""

    def __init__(self, configs: Sequence[BlockMacConfig]) -> None:
        self.configs = tuple(configs)
        self.widths = [partial_layout(config).size for config in configs]
        (mac_latency,) = {config.latency for config in configs}
        self.latency = mac_latency + 1
        super().__init__(
            {name: In(width) for name, width in PORTS.items()} | {"result": Out(sum(self.widths))}
        )

    def of(self, p: Pair) -> list[Place]:
        """Where the results of the cells that have a pair are."""
        offsets = np.cumsum([0, *self.widths]).tolist()
        places = zip(self.configs, offsets, self.widths, strict=False)
        return [Place(c.name, at, c.sum_bits, w) for c, at, w in places if p in c.pairs]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        first: Any = self.first
        for _ in range(self.latency - 1):
            late = Signal()
            m.d.sync += late.eq(first)
            first = late
        sums = []
        for config in self.configs:
            mac = BlockMac(config)
            m.submodules += mac
            for side in "xw":
                decode = ElementDecode(getattr(config, side))
                m.submodules += decode
                m.d.comb += [
                    decode.code.eq(getattr(self, f"{side}_code")),
                    getattr(mac, side).eq(decode.element),
                ]
                if side == "x":
                    m.d.comb += decode.used.eq(self.used)
                if hasattr(decode, "digit"):
                    m.d.comb += decode.digit.eq(getattr(self, f"{side}_digit"))
                if hasattr(decode, "select"):
                    with m.Switch(getattr(self, f"{side}_form")):
                        for index, form in enumerate(decode.config.formats):
                            with m.Case(NAMES.index(form.name)):
                                m.d.comb += decode.select.eq(index)
            partial = Signal(mac.s.as_value().shape())
            m.d.sync += partial.eq(mac.s.as_value())
            m.d.comb += mac.n.as_value().eq(Mux(first, 0, partial))
            sums.append(partial)
        m.d.comb += self.result.eq(Cat(*sums))
        return m


def columns(cases: Iterable[Case], used: Any = 1, first: Any = 1) -> dict[str, list[int]]:
    rows = [(a, b, NAMES.index(p.x.name), NAMES.index(p.w.name), i, j) for p, a, b, i, j in cases]
    named = dict(zip(PORTS, map(list, zip(*rows, strict=True)), strict=False))
    for name, value in (("used", used), ("first", first)):
        named[name] = [value] * len(rows) if isinstance(value, int) else list(value)
    return named


@cache
def values(name: str) -> list[int | float]:
    """Every code by ml_dtypes, in units of the format; integers by two's complement."""
    form = FORMATS[name]
    if name in ML_DTYPES:
        codes = np.arange(1 << form.width, dtype=np.uint8)
        floats = codes.view(ML_DTYPES[name]).astype(np.float64).tolist()
        exact = [Fraction(v) / Fraction(2) ** form.lsb if np.isfinite(v) else v for v in floats]
        assert all(v.denominator == 1 for v in exact if isinstance(v, Fraction))
        return [int(v) if isinstance(v, Fraction) else v for v in exact]
    half = 1 << form.width - 1
    return [(code ^ half) - half for code in range(2 * half)]


def by_values(case: Case) -> Product:
    """Exact product of the values; IEEE rules for the specials."""
    p, a, b, *_ = case
    x, w = values(p.x.name)[a], values(p.w.name)[b]
    if isinstance(x, int) and isinstance(w, int):
        return x * w, FLAGS[0]
    special = float(x) * float(w)
    return 0, FLAGS[1 if np.isnan(special) else 2 if special > 0 else 4]


@cache
def by_digits(name: str, code: int) -> tuple[int | str, ...]:
    """By our golden model: the element, or its digits."""
    form = FORMATS[name]
    if form.digits == 1:
        return (explicit.element(code, form),)
    return tuple(int(d) for d in digits([code], name)[:, 0])


def by_golden(case: Case) -> Product:
    p, a, b, i, j = case
    return explicit.block([explicit.product(by_digits(p.x.name, a)[i], by_digits(p.w.name, b)[j])])


def compare(cells: Cells, cases: Sequence[Case], words: Iterable[int]) -> int:
    """Judge every cell that has the case's pair; return how many results were judged."""
    places = {p.name: cells.of(p) for p in PAIRS}
    judged = 0
    for case, word in zip(cases, words, strict=True):
        name = case[0].name
        wanted = by_golden(case)
        if "mxint16" not in name:
            assert wanted == by_values(case)
        for place in places[name]:
            assert place.of(word) == wanted, (name, case[1:], place.cell)
            judged += 1
    return judged


def every(p: Pair) -> list[Case]:
    return [(p, a, b, 0, 0) for a, b in cross(range(1 << p.x.width), range(1 << p.w.width))]


def corners(form: Format) -> list[int]:
    """Zeros, ends of the range and of the subnormals, all special codes; codes of a sign each."""
    half = 1 << form.width - 1
    some = {0, 1, form.max_code, (1 << form.fraction_bits) - 1, 1 << form.fraction_bits, half - 1}
    some |= set(range(form.max_code, half)) if form.width <= 8 else set()
    return sorted({c & half - 1 for c in some} | {c & half - 1 | half for c in some})


def some(p: Pair, count: int, rng: np.random.Generator) -> list[Case]:
    """Pairs of corners and random ones, in every pass."""
    drawn = rng.integers(0, (1 << p.x.width, 1 << p.w.width), (count, 2)).tolist()
    pairs = [*cross(corners(p.x), corners(p.w)), *drawn]
    return [
        (p, a, b, i, j) for a, b in pairs for i, j in cross(range(p.x.digits), range(p.w.digits))
    ]


SMALL = [p for p in PAIRS if max(p.x.width, p.w.width) <= 6]
EXHAUSTIVE = [*SMALL, pair("e4m3", "e4m3"), pair("int8", "int8")]
SINGLES = ["int8", "int4", "mxint8", "mxint16", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "nvfp4"]


def configs(latency: int) -> list[BlockMacConfig]:
    """All formats; all without the widest; every format alone; mixed pairs."""
    light = [p for p in PAIRS if not {"e5m2", "mxint16"} & {p.x.name, p.w.name}]
    chosen: list[Sequence[Pair]] = [PAIRS, light, *([pair(name, name)] for name in SINGLES)]
    chosen += [[pair("e4m3", "e2m1")], [pair("e2m1", "e5m2")], [pair("mxint16", "e2m1")]]
    return [BlockMacConfig(pairs=tuple(pairs), latency=latency) for pairs in chosen]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All tests of this file use the same compiled design."""
    return tmp_path_factory.mktemp("cells")


@pytest.mark.cosim
def test_exhaustive(folder: Path) -> None:
    """All pairs of formats of at most 6 bits, E4M3 and INT8: every pair of codes; others drawn."""
    rng = np.random.default_rng(3)
    cases = [case for p in EXHAUSTIVE for case in every(p)]
    assert len(cases) == sum(1 << p.x.width + p.w.width for p in SMALL) + 2 * 65536
    for p in PAIRS:
        if p not in EXHAUSTIVE:
            cases += some(p, 200, rng)
    cells = Cells(configs(latency=1))
    words = in_verilator(cells, columns(cases), "result", folder)
    assert compare(cells, cases, words.tolist()) > 2 * len(cases)


def extreme(form: Format) -> int:
    """Code of the largest magnitude."""
    finite = [abs(v) if isinstance(v, int) else 0 for v in values(form.name)]
    return finite.index(max(finite))


def blocks(rng: np.random.Generator, pairs: Iterable[Pair]) -> tuple[list[Case], list[int]]:
    """Blocks of every pair one after the other, in every pass; and which elements are used.

    The largest product in every row; corners; any codes; corners with half of the rows unused.
    """
    cases, used = [], []
    for p in pairs:
        length = p.block or 32
        for kind in range(4):
            codes = []
            for form in (p.x, p.w):
                pools = [[extreme(form)], corners(form), range(1 << form.width), corners(form)]
                codes.append(rng.choice(pools[kind], length).tolist())
            silent = rng.random(length) < (0.5 if kind == 3 else 0)
            for i, j in cross(range(p.x.digits), range(p.w.digits)):
                cases += [(p, a, b, i, j) for a, b in zip(*codes, strict=True)]
                used += [int(not s) for s in silent]
    return cases, used


@pytest.mark.cosim
def test_blocks(folder: Path) -> None:
    """Sums and sticky flags of whole blocks; unused rows leave neither."""
    cases, used = blocks(np.random.default_rng(4), PAIRS)
    starts, at = [], 0
    while at < len(cases):
        starts.append(at)
        at += cases[at][0].block or 32
    first = [0] * len(cases)
    for start in starts:
        first[start] = 1
    cells = Cells(configs(latency=1))
    words = in_verilator(cells, columns(cases, used, first), "result", folder).tolist()
    seen = set()
    for start in starts:
        p = cases[start][0]
        end = start + (p.block or 32)
        parts = [by_golden(c) for c, u in zip(cases[start:end], used[start:end], strict=True) if u]
        wanted = sum(number for number, _ in parts), frozenset().union(*(f for _, f in parts))
        seen.add(wanted[1])
        for place in cells.of(p):
            assert place.of(words[end - 1]) == wanted, (p.name, place.cell)
    assert len(seen) >= 6  # combinations of flags


@pytest.mark.parametrize("name", ["e2m1", "mxint16"])
def test_passes_add_up(name: str) -> None:
    """The digits that the cell is compared with, at the pair's shifts, make the product."""
    p = pair("mxint16", name)
    for case in some(p, 200, np.random.default_rng(5)):
        if case[3:] == (0, 0):
            passes = [(p, *case[1:3], i, j) for i, j in cross(range(2), range(p.w.digits))]
            total = sum(by_golden(c)[0] << 8 * (c[3] + c[4]) for c in passes)
            assert total == by_values(case)[0]


def drawn(cells: Cells, cases: Sequence[Case], used: Any = 1) -> list[int]:
    words: list[int] = in_amaranth(cells, columns(cases, used), "result").tolist()
    return words


@pytest.mark.parametrize("latency", [0, 2, 3])
def test_latency(latency: int) -> None:
    rng = np.random.default_rng(6)
    pairs = (pair("e5m2", "e4m3"), pair("mxint8", "e2m1"), pair("mxint16", "e5m2"))
    cells = Cells([BlockMacConfig(pairs=pairs, latency=latency)])
    cases = [case for p in pairs for case in some(p, 50, rng)]
    assert compare(cells, cases, drawn(cells, cases)) == len(cases)


def test_unused_rows_are_silent() -> None:
    """Zero times a stale NaN sets nothing, on either side; nor does infinity."""
    p = pair("e5m2", "e4m3")
    special = [0x7C, 0xFC, 0x7D, 0x7F, 0x00, 0x80, 0x3C, 0xBC]
    cases = [(p, a, b, 0, 0) for a, b in cross(special, [0x7F, 0xFF, 0x00, 0x38, 0xB8])]
    cells = Cells([BlockMacConfig(pairs=(p,)), BlockMacConfig(pairs=PAIRS)])
    assert compare(cells, cases, drawn(cells, cases)) == 2 * len(cases)
    assert not any(drawn(cells, cases, used=0))


FAULTS = [
    (multiply, "low[step:] + high", "(low[step:] + high)[:-1]", "carry lost"),
    (align, "upper = steps == group - 1", "upper = steps == group", "upper half missing"),
    (align, "Mux(data, lower, negative)", "Mux(data, lower, 0)", "padding without sign"),
    (align, "level << step, level", "level, level", "small shift missing"),
    (_flags, "(w_nan & used)", "w_nan", "stale NaN of the weight"),
    (_flags, "| (x_infinite & w_zero)", "", "infinity times zero"),
    (_flags, "infinite & ~negative, infinite & negative", "infinite, Const(0, 1)", "sign of inf"),
    (BlockMac, "n.sum + term.as_signed() + negative", "n.sum + term.as_signed()", "no carry"),
    (ElementDecode, "shift.eq(field - normal)", "shift.eq(field - 1)", "subnormals"),
    (ElementDecode, "magnitude & counts.replicate(len(magnitude))", "magnitude", "NaN a number"),
]


@pytest.mark.parametrize(("target", "old", "new", "what"), FAULTS, ids=[f[3] for f in FAULTS])
def test_planted_faults_are_found(target: Any, old: str, new: str, what: str) -> None:
    p = pair("e5m2", "e4m3")
    cases = some(p, 300, np.random.default_rng(7))
    used = [int(k % 5 != 0) for k in range(len(cases))]
    mutant = Mutant(target, old, new)
    with pytest.MonkeyPatch.context() as patch, installed([mutant]):
        if target.__name__ in globals():
            patch.setitem(globals(), target.__name__, mutant.replacement)
        cells = Cells([BlockMacConfig(pairs=(p,))])
        words = drawn(cells, cases, used)
    silent = [word for word, u in zip(words, used, strict=True) if not u]
    counted = [(case, word) for case, word, u in zip(cases, words, used, strict=True) if u]
    with pytest.raises(AssertionError):
        assert not any(silent)
        compare(cells, *zip(*counted, strict=True))


class Block32(Elaboratable):
    """Any codes for as many cycles as a block has elements; the column's sum never wraps."""

    def __init__(self, p: Pair) -> None:
        self.pair = p
        self.config = BlockMacConfig(pairs=(p,))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        p, width = self.pair, self.config.sum_bits
        largest = p.x.magnitude * p.w.magnitude
        alone, column = BlockMac(self.config), BlockMac(self.config)
        m.submodules += [alone, column]
        used = free(m, 1, "used")
        for side, form in (("x", p.x), ("w", p.w)):
            decode = ElementDecode(getattr(self.config, side))
            m.submodules += decode
            m.d.comb += decode.code.eq(free(m, form.width, side))
            if side == "x":
                m.d.comb += decode.used.eq(used)
            m.d.comb += [getattr(mac, side).eq(decode.element) for mac in (alone, column)]
        count, total = Signal(range(p.block + 1)), Signal(signed(width))
        with m.If(count < p.block):
            m.d.sync += [count.eq(count + 1), total.eq(column.s.sum)]
        m.d.comb += [
            column.n.sum.eq(total),
            Assert(count <= p.block),
            # Induction: the sum of n products is at most n times the largest one.
            Assert((total <= count * largest) & (total >= -(count * largest))),
            Assert((alone.s.sum <= largest) & (alone.s.sum >= -largest)),
            Assert((column.s.sum == total + alone.s.sum) | (count == p.block)),
        ]
        return m


@pytest.mark.formal
@pytest.mark.parametrize(("x", "w"), [("e2m1", "e2m1"), ("nvfp4", "nvfp4"), ("e4m3", "e2m1")])
def test_no_block_overflows(x: str, w: str, tmp_path: Path) -> None:
    """For every block of legal codes, element by element."""
    bench = Block32(pair(x, w))
    assert bench.config.sum_bits == bench.config.accumulator_bits == pair(x, w).block_bits
    result = prove(to_rtlil(bench), "top", work_dir=tmp_path, mode="prove", depth=2)
    assert result, result.message
