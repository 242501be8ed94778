"""The processing element of the block formats: decode, multiply, align, add, flags."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from itertools import product as cross
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from numerics_cases import ML_DTYPES
from numerics_pipeline import in_verilator

from systolith.golden.numerics import explicit
from systolith.golden.numerics.digits import digits
from systolith.hierarchy import Block
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac, partial_layout
from systolith.numerics.element import ElementDecode
from systolith.numerics.formats import FORMATS, Format
from systolith.numerics.pairs import PAIRS, Pair, pair

NAMES = [name for name, form in FORMATS.items() if form.operand]
PORTS = {"x_code": 16, "w_code": 16, "x_form": 4, "w_form": 4, "x_digit": 1, "w_digit": 1}
PORTS |= {"used": 1, "first": 1}
Case = tuple[Pair, int, int, int, int]
"""Pair, both codes, both digits."""


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

    @cache  # noqa: B019
    def of(self, p: Pair) -> list[tuple[BlockMacConfig, int]]:
        """The cells that have a pair, and where their results begin."""
        offsets = np.cumsum([0, *self.widths]).tolist()
        return [(c, at) for c, at in zip(self.configs, offsets, strict=False) if p in c.pairs]

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


FLAGS = [
    frozenset(name for k, name in enumerate(("nan", "+inf", "-inf")) if raised >> k & 1)
    for raised in range(8)
]
Product = tuple[int, frozenset[str]]
"""Sum and flags."""


def unpacked(word: int, config: BlockMacConfig) -> Product:
    total = config.sum_bits
    number = (word & (1 << total) - 1) - ((word >> total - 1 & 1) << total)
    return number, FLAGS[word >> total & (1 << partial_layout(config).size - total) - 1]


@cache
def values(form: Format) -> list[int | float]:
    """Every code by ml_dtypes, in units of the format; integers by two's complement."""
    if form.name in ML_DTYPES:
        codes = np.arange(1 << form.width, dtype=np.uint8)
        floats = codes.view(ML_DTYPES[form.name]).astype(np.float64).tolist()
        exact = [Fraction(v) / Fraction(2) ** form.lsb if np.isfinite(v) else v for v in floats]
        assert all(v.denominator == 1 for v in exact if isinstance(v, Fraction))
        return [int(v) if isinstance(v, Fraction) else v for v in exact]
    half = 1 << form.width - 1
    return [(code ^ half) - half for code in range(2 * half)]


def by_values(case: Case) -> Product:
    """Exact product of the values; IEEE rules for the specials."""
    p, a, b, *_ = case
    x, w = values(p.x)[a], values(p.w)[b]
    if isinstance(x, int) and isinstance(w, int):
        return x * w, FLAGS[0]
    special = float(x) * float(w)
    return 0, FLAGS[1 if np.isnan(special) else 2 if special > 0 else 4]


@cache
def by_digits(form: Format, code: int) -> tuple[int | str, ...]:
    """By our golden model: the element, or its digits."""
    if form.digits == 1:
        return (explicit.element(code, form),)
    return tuple(int(d) for d in digits([code], form.name)[:, 0])


def by_golden(case: Case) -> Product:
    p, a, b, i, j = case
    return explicit.block([explicit.product(by_digits(p.x, a)[i], by_digits(p.w, b)[j])])


def compare(cells: Cells, cases: Sequence[Case], words: Iterable[int]) -> int:
    """Judge every cell that has the case's pair; return how many results were judged."""
    judged = 0
    for case, word in zip(cases, words, strict=True):
        p = case[0]
        wanted = by_golden(case)
        if p.x.digits == p.w.digits == 1:
            assert wanted == by_values(case)
        for config, offset in cells.of(p):
            assert unpacked(word >> offset, config) == wanted, (p.name, case[1:], config.name)
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
@pytest.mark.slow
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
