"""Requests as text for other simulators of memories, and back."""

from dataclasses import replace
from itertools import islice

import pytest
from memory_ideal import controller

from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.perf.memory.patterns import PATTERNS, Addresses, Pattern
from systolith.perf.memory.trace import (
    Request,
    read_addresses,
    read_vectors,
    requests,
    write_addresses,
    write_vectors,
)

STACKS = replace(PARTS["hbm3-6400"].organisation, sids=2, rows=1 << 14)
SINGLE, DOUBLE = controller(), controller(organisation=STACKS)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("config", [SINGLE, DOUBLE], ids=["one stack", "two stacks"])
def test_round_trip(config: ControllerConfig, name: str) -> None:
    found = list(islice(requests(config, PATTERNS[name](config), runs=6, seed=5, gap=2), 3000))
    assert list(read_addresses(write_addresses(found, config), config)) == found
    assert list(read_addresses(write_addresses(found, config, size=64), config, size=64)) == found
    timeless = [replace(request, clock=0) for request in found]
    for address_map in range(len(config.maps)):
        for stacks in (None, True):
            lines = write_vectors(found, config, address_map=address_map, stacks=stacks)
            assert list(read_vectors(lines, config, address_map=address_map)) == timeless


def test_requests_are_those_of_the_pattern() -> None:
    pattern = PATTERNS["rw-2to1"](SINGLE)
    addresses = Addresses(pattern, SINGLE, 7)
    found = list(requests(SINGLE, pattern, runs=4, seed=7, gap=3))
    firsts = [addresses.take(stream) for stream in (0, 1, 2, 0)]
    assert [r.atom for r in found[:: pattern.count]] == firsts
    assert [r.write for r in found[:: pattern.count]] == [False, False, True, False]
    assert [r.clock for r in found] == list(range(0, 3 * len(found), 3))
    assert [r.atom - firsts[0] for r in found[: pattern.count]] == list(range(pattern.count))
    last = (1 << SINGLE.atom_bits) - 1
    wraps = Pattern(name="end", count=2, apart=last, streams=0b10)
    assert [r.atom for r in requests(SINGLE, wraps, runs=1)] == [last, 0]


def test_lines() -> None:
    found = [Request(1 << 9 | 3), Request(5, True, 40)]
    assert list(write_vectors(found[1:], SINGLE)) == ["W 0,0,1,0,0,1"]
    at = SINGLE.maps[0].place(found[0].atom)
    first, second = write_vectors(found, SINGLE, channel=4, pseudo_channel=1, stacks=True)
    assert first == f"R 4,1,0,{at.group},{at.bank},{at.row},{at.column}"
    assert second == "W 4,1,0,1,0,0,1"
    assert list(write_addresses(found, SINGLE)) == ["0x4060 READ 0", "0xa0 WRITE 40"]


def test_lines_of_others_and_empty_ones_are_left_out() -> None:
    lines = ["R 0,0,3,0,0,0", "", "W 1,0,3,0,0,0", "R 0,1,3,0,0,0", "R 0,0,0,1,0,0,1"]
    assert list(read_vectors(lines, SINGLE)) == [Request(3), Request(5)]
    assert list(read_vectors(lines, SINGLE, channel=1)) == [Request(3, True)]
    assert list(read_vectors(lines, SINGLE, pseudo_channel=1)) == [Request(3)]
    assert list(read_addresses(["", "60 READ 1\n"], SINGLE)) == [Request(3, clock=1)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("R", "line 2: must be R or W and a vector, not 'R'"),
        ("R 0,0 1", "line 2: must be R or W"),
        ("X 0,0,0,0,0,0,0", "line 2: direction must be R or W, not 'X'"),
        ("R 0,0,0,0,0", "line 2: vector must be channel,pseudo-channel,stack"),
        ("R 0,0,0,0,0,0,0,0", "line 2: vector must be"),
        ("R 0,0,0,0,0,0,-1", "line 2: column must be a number of 0 or more, not '-1'"),
        ("R a,0,0,0,0,0,0", "line 2: channel must be a number"),
        ("R 0,0,0,0,0,0,32", r"line 2: column must be in 0\.\.31, not 32"),
        ("R 0,0,1,0,0,0,0", r"line 2: stack must be in 0\.\.0, not 1"),
        ("R 0,0,0,4,0,0,0", r"line 2: group must be in 0\.\.3, not 4"),
    ],
)
def test_bad_vectors(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_vectors(["R 0,0,0,0,0,0,0", line], SINGLE))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0x40 READ", "line 2: must be address, READ or WRITE, clock, not '0x40 READ'"),
        ("0x40 FETCH 0", "line 2: direction must be READ or WRITE, not 'FETCH'"),
        ("0xzz READ 0", "line 2: address must be hexadecimal, not '0xzz'"),
        ("0x READ 0", "line 2: address must be hexadecimal"),
        ("0x41 READ 0", "line 2: address must be a multiple of 32 below 0x20000000, not 0x41"),
        ("0x20000000 READ 0", "line 2: address must be a multiple of 32 below"),
        ("0x40 READ -1", "line 2: clock must be a number of 0 or more, not '-1'"),
        ("0x40 READ 1.5", "line 2: clock must be a number"),
    ],
)
def test_bad_addresses(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_addresses(["0x40 READ 0", line], SINGLE))


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="runs must be 0 or more, not -1"):
        requests(SINGLE, PATTERNS["seq-read"](SINGLE), runs=-1)
    with pytest.raises(ValueError, match="gap must be 0 or more, not -2"):
        requests(SINGLE, PATTERNS["seq-read"](SINGLE), runs=1, gap=-2)
    with pytest.raises(ValueError, match="stacks must be True"):
        list(write_vectors([Request(0)], DOUBLE, stacks=False))
    with pytest.raises(ValueError, match="line 1: vector must be"):
        list(read_vectors(["R 0,0,0,0,0,0"], DOUBLE))
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        list(write_addresses([Request(0)], SINGLE, size=0))
    with pytest.raises(ValueError, match=r"address_map must be in 0\.\.2, not 3"):
        list(write_vectors([Request(0)], SINGLE, address_map=3))
