"""Access patterns: registers of the traffic generator, and refusals."""

from collections.abc import Callable
from typing import Any

import pytest
from memory_ideal import controller

from systolith.memory.hbm.parts import PARTS
from systolith.memory.hbm.traffic import pattern_layout
from systolith.perf.memory.limits import limit
from systolith.perf.memory.model import simulate
from systolith.perf.memory.patterns import PATTERNS, Addresses, Pattern


@pytest.mark.parametrize("part", PARTS)
def test_patterns_are_registers_of_the_traffic_generator(part: str) -> None:
    config = controller(part)
    layout = pattern_layout(config)
    for name, make in PATTERNS.items():
        pattern = make(config)
        registers = pattern.registers(seed=5)
        assert pattern.name == name
        assert list(registers) == list(layout.members)
        word = layout.const(registers)
        assert {field: int(getattr(word, field)) for field in registers} == registers


def test_streams_of_a_mixed_pattern_stay_apart() -> None:
    for part in PARTS:
        config = controller(part)
        pattern = PATTERNS["rw-2to1"](config)
        addresses = Addresses(pattern, config)
        spans = [{addresses.take(n) // 512 for _ in range(300)} for n in range(3)]
        assert not spans[0] & spans[1] | spans[1] & spans[2] | spans[0] & spans[2]


FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"streams": 0}, "Pattern.streams must be 1 or more, not 0"),
    ({"writes": 2}, "Pattern.writes must be in 0..1, not 2"),
    ({"streams": 5, "writes": 2}, "Pattern.writes must be a part of streams, not 0b10"),
    ({"count": 0}, "Pattern.count must be 1 or more, not 0"),
    ({"random": True, "count": 3}, "Pattern.count must be a power of two if random is set, not 3"),
    ({"span": -1}, "Pattern.span must be 0 or more, not -1"),
    ({"inner_count": 1 << 16}, "Pattern.inner_count must be in 1..65535, not 65536"),
    ({"open": 128}, "Pattern.open must be in 1..127, not 128"),
]
FITS = [
    ({"streams": 1 << 16}, "Pattern.streams must be in 1..65535, not 65536"),
    ({"count": 513}, "Pattern.count must be in 1..512, not 513"),
    ({"outer": 1 << 24}, "Pattern.outer must be in 0..16777215, not 16777216"),
]
MADE = [
    ("random-64", {"outstanding": 17}, "outstanding must be in 1..16, the streams, not 17"),
    ("kv-decode", {"page_kib": 0}, "page_kib must be in 1..16, not 0"),
    ("rw-2to1", {"turn_kib": 17}, "turn_kib must be in 1..16, not 17"),
    ("stride", {"stride": 48}, "stride must be a multiple of 32 bytes, an atom, not 48"),
    ("one-bank", {"hits": 33}, "hits must be in 1..32, atoms of a row, not 33"),
]
RUNS: list[tuple[dict[str, Any], str]] = [
    ({"refresh": "never"}, "refresh must be one of per-bank, all-bank, off, not 'never'"),
    ({"address_map": 3}, "address_map must be in 0..2, not 3"),
    ({"seed": 0}, "seed must be in 1..2**32 - 1, not 0"),
    ({"warm_up": -1}, "warm_up must be 0 or more, not -1"),
    ({"cycles": 100}, "cycles must be at least warm_up + 2 tREFI = 49920, not 100"),
]


def refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == message


def test_bad_arguments_are_refused_with_what_is_allowed() -> None:
    config = controller()
    for fields, message in FIELDS:
        refused(lambda fields=fields: Pattern(name="x", **fields), message)
    for fields, message in FITS:
        refused(lambda fields=fields: simulate(config, Pattern(name="x", **fields)), message)
    for name, fields, message in MADE:
        refused(lambda name=name, fields=fields: PATTERNS[name](config, **fields), message)
    for fields, message in RUNS:
        refused(lambda fields=fields: simulate(config, Pattern(name="x"), **fields), message)
    refused(lambda: limit(config, Pattern(name="x"), address_map=3), RUNS[1][1])
    sdr = controller("sdr-mt48lc16m16")
    refused(
        lambda: simulate(sdr, Pattern(name="x"), refresh="per-bank"),
        "refresh must be one of all-bank, off, not 'per-bank'",
    )
