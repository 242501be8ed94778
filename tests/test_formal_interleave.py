"""The proofs of interleaved memory, that they are not empty, and that they find faults."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from systolith.harness.formal import prove
from systolith.memory import (
    interleave,
    interleave_closing,
    interleave_parts,
    interleave_turns,
)
from systolith.memory.interleave_map import InterleaveConfig
from systolith.proofs.interleave import mapped, parted
from systolith.proofs.interleave_whole import whole
from systolith.proofs.substitute import Mutant

pytestmark = pytest.mark.formal


def _small(channels: Any, granule: int, hashed: bool, *bits: int) -> InterleaveConfig:
    atom_bits, count_bits, channel_count_bits = bits
    return InterleaveConfig(
        channels=channels,
        granule=granule,
        hashed=hashed,
        atom=1,
        atom_bits=atom_bits,
        count_bits=count_bits,
        channel_count_bits=channel_count_bits,
        outstanding=2,
        ahead=2,
    )


MAPS = {
    "2, hashed": _small(2, 1, True, 3, 3, 2),
    "4, granules of 4": _small(4, 4, True, 7, 7, 5),
    "8, granules of 2": _small(8, 2, True, 5, 8, 3),
    "32": _small(32, 1, True, 3, 8, 3),
    "2, unhashed": _small(2, 2, False, 3, 3, 2),
}
PARTS = {
    "2, hashed": MAPS["2, hashed"],
    "2, unhashed": MAPS["2, unhashed"],
    "4, hashed": _small(4, 2, True, 4, 5, 3),
}
WHOLE = _small(2, 1, True, 3, 2, 2)
# Clocks that are looked at: about a minute each, on an idle machine.
DEPTHS = {"reads": 9, "accesses": 8, "dones": 10, "moves": 14}
_SLOW_MAPS = ("8, granules of 2", "32")


def _marked(names: Iterable[str], slow: Iterable[str]) -> list[Any]:
    return [pytest.param(n, marks=[pytest.mark.slow] if n in slow else []) for n in names]


@pytest.mark.parametrize("name", _marked(MAPS, _SLOW_MAPS))
def test_the_map_holds(name: str, tmp_path: Path) -> None:
    result = prove(mapped(MAPS[name]), "top", work_dir=tmp_path, depth=1, timeout_s=120)
    assert result.status == "pass", result.message


@pytest.mark.parametrize("name", _marked(PARTS, ["4, hashed"]))
def test_parts_hold_of_any_pieces(name: str, tmp_path: Path) -> None:
    result = prove(
        parted(PARTS[name]),
        "top",
        work_dir=tmp_path,
        mode="prove",
        engine="abc pdr",
        timeout_s=300,
    )
    assert result.status == "pass", result.message


@pytest.mark.slow
@pytest.mark.parametrize("statement", DEPTHS)
def test_the_whole_holds_for_some_clocks(statement: str, tmp_path: Path) -> None:
    depth = DEPTHS[statement]
    source = whole(WHOLE, statement)
    result = prove(source, "top", work_dir=tmp_path, depth=depth, timeout_s=550)
    assert result.status == "pass", result.message


SOURCES: dict[str, tuple[Callable[[Iterable[Mutant]], str], int]] = {
    "mapped": (lambda mutants: mapped(MAPS["2, hashed"], mutants), 1),
    "parted": (lambda mutants: parted(PARTS["2, hashed"], mutants), 8),
    **{
        statement: (lambda mutants, s=statement: whole(WHOLE, s, mutants), depth)
        for statement, depth in DEPTHS.items()
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    make, depth = SOURCES[name]
    result = prove(make(()), "top", work_dir=tmp_path, mode="cover", depth=depth, timeout_s=200)
    assert result.status == "pass", result.message


# statement, what the fault is, where it is planted, its source text and what replaces it
FAULTS: list[tuple[str, str, Any, str, str]] = [
    (
        "parted",
        "a part ends an atom late",
        interleave_parts.InterleaveParts,
        "end[:low] + 1",
        "end[:low] + 2",
    ),
    (
        "parted",
        "places in the last round are compared unhashed",
        interleave_parts.InterleaveParts,
        "channel ^ ending ^ final_place",
        "channel",
    ),
    (
        "parted",
        "a granule of a channel that was asked asks again",
        interleave_parts.InterleaveParts,
        "Mux(go & ~met, one, 0)",
        "Mux(go, one, 0)",
    ),
    (
        "parted",
        "pieces stop after two granules",
        interleave_parts.InterleaveParts,
        "(asked | one).all()",
        "asked.any()",
    ),
    (
        "reads",
        "atoms are taken from channels without the hash",
        interleave_turns.InterleaveTurns,
        "config.channel_of(piece.atom[config.granule_bits :])",
        "piece.atom[config.granule_bits :]",
    ),
    ("reads", "errors are lost", interleave.Interleave, "come.error", "0"),
    (
        "accesses",
        "write atoms go in the order of reads",
        interleave.Interleave,
        "(writes, piece.p.write)",
        "(writes, ~piece.p.write)",
    ),
    (
        "dones",
        "a write is done without its first channel",
        interleave_closing.InterleaveClosing,
        "(head.channels & missing).any()",
        "(head.channels & missing)[1:].any()",
    ),
    (
        "moves",
        "writes are never done",
        interleave_closing.InterleaveClosing,
        "(head.channels & missing).any()",
        "head.channels.any()",
    ),
]


@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    [
        pytest.param(*f, marks=[pytest.mark.slow] if f[0] in DEPTHS else [], id=f"{f[0]}: {f[1]}")
        for f in FAULTS
    ],
)
def test_finds(name: str, fault: str, target: Any, old: str, new: str, tmp_path: Path) -> None:
    make, depth = SOURCES[name]
    source = make([Mutant(target, old, new)])
    result = prove(source, "top", work_dir=tmp_path, depth=depth + 4, timeout_s=300)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"


def test_finds_a_map_that_is_not_one(tmp_path: Path) -> None:
    fault = Mutant(
        InterleaveConfig, "low ^ self.hash(granule[self.channel_bits :])", "granule[1:][: len(low)]"
    )
    config = fault.replacement(**asdict(MAPS["4, granules of 4"]))  # type: ignore[operator]
    result = prove(mapped(config), "top", work_dir=tmp_path, depth=1, timeout_s=120)
    assert result.status == "fail", result.message
