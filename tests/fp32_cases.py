"""Additions, block sums and accumulations of binary32, and what the references make of them."""

from typing import Any

import gmpy2
import numpy as np
from numpy.typing import NDArray
from test_numerics_fp32 import pairs_of_words

from systolith.golden.numerics.words import INFINITY, NAN, add, pack
from systolith.numerics.fp32_add import Fp32Add
from systolith.numerics.fp32_term import EXPONENT_BITS, term_latency

__all__ = [
    "MINUS",
    "MINUS_FLAG",
    "NAN_FLAG",
    "NARROW",
    "PLUS_FLAG",
    "WIDTHS",
    "accumulations",
    "additions",
    "blocks",
    "golden_sums",
    "mpfr_sums",
    "narrow",
    "rounded",
    "specials",
]

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
