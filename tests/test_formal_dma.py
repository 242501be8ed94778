"""The proofs of the DMA engine, that they are not empty, and that they find faults."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from systolith.harness.formal import prove
from systolith.memory.dma import (
    answers,
    box,
    checker,
    mover,
    pages,
    planner,
    read_buffer,
    requests,
    returns,
)
from systolith.memory.dma.checker import CHECK_CYCLES
from systolith.memory.dma.config import DmaConfig
from systolith.proofs.dma import boxes_inside, pages_inside, tables_inside
from systolith.proofs.dma_room import room_for_answers, room_for_words
from systolith.proofs.dma_whole import whole
from systolith.proofs.substitute import Mutant

pytestmark = [
    pytest.mark.formal,
    pytest.mark.timeout(1600),
]  # some proofs take a quarter of an hour

TINY = DmaConfig(
    atom=64,
    atom_bits=3,
    local_bits=3,
    count_bits=2,
    token_bits=2,
    page_bits=1,
    regions=2,
    longest=2,
    room=4,
    reads=2,
    writes=2,
    write_room=2,
    answers=2,
    descriptors=2,
    table_room=2,
)
PROMPT = 24  # clocks within which a descriptor of up to 3 atoms retires
_ONCE = CHECK_CYCLES + 3


@dataclass(frozen=True, kw_only=True)
class Case:
    """A proof. ``bound``: cycles that are looked at; None: all runs."""

    build: Callable[[Iterable[Mutant]], str]
    bound: int | None = None
    cover: int | None = None
    slow: bool = False


CASES = {
    "box": Case(build=lambda f: boxes_inside(TINY, f), bound=_ONCE, cover=_ONCE, slow=True),
    "table": Case(build=lambda f: tables_inside(TINY, f), bound=_ONCE, cover=_ONCE),
    "pages": Case(build=lambda f: pages_inside(TINY, f), cover=12),
    "room": Case(build=lambda f: room_for_answers(TINY, f), cover=12),
    "words": Case(build=lambda f: room_for_words(TINY, f), cover=16),
    "whole": Case(build=lambda f: whole(TINY, mutants=f), bound=13, cover=20, slow=True),
    "alone": Case(build=lambda f: whole(TINY, alone=True, mutants=f), bound=16, slow=True),
    "prompt": Case(
        build=lambda f: whole(TINY, within=PROMPT, mutants=f), bound=PROMPT + 2, cover=18, slow=True
    ),
}

FAULTS: list[tuple[str, str, Any, str, str]] = [
    ("box", "highest >= end", checker.Checker, "highest >= end", "highest > end"),
    ("box", "no lower end", checker.Checker, "(lowest < 0) | ", ""),
    ("box", "sign of strides", box.Box, "negative[1]", "negative[0]"),
    ("box", "rights", checker.Checker, "(~decode.out, decode.out, 1)", "(1, decode.out, 1)"),
    (
        "table",
        "end of the table",
        checker.Checker,
        "(end >= kept[2].limit)",
        "(end > kept[2].limit)",
    ),
    (
        "pages",
        "pages that begin inside",
        pages.PageWalker,
        "at + page_atoms > self.size",
        "at >= self.size",
    ),
    (
        "pages",
        "what is left of a page",
        pages.PageWalker,
        "rest.eq(page_atoms - within)",
        "rest.eq(page_atoms)",
    ),
    ("room", "no look at the room", requests.Requests, "(~load | (free >= count))", "1"),
    ("room", "one atom too many", requests.Requests, "(free >= count)", "(free + 1 >= count)"),
    (
        "room",
        "requests without a place",
        requests.Requests,
        "self.expected_space & (~load",
        "(~load",
    ),
    (
        "room",
        "the buffer forgets an atom that leaves",
        read_buffer.ReadBuffer,
        "left.eq(stored - self.take)",
        "left.eq(stored)",
    ),
    (
        "words",
        "a word without room to the memory",
        mover.Mover,
        "Mux(store, room != 0, 1)",
        "1",
    ),
    (
        "prompt",
        "an end without an access is lost",
        answers.Answers,
        "closes.take | self.end_now",
        "closes.take",
    ),
    (
        "prompt",
        "the last run does not end the descriptor",
        planner.Planner,
        "token.last.eq(run.p.last & ~bad)",
        "token.last.eq(bad)",
    ),
    (
        "prompt",
        "atoms of other kinds end a request",
        returns.Returns,
        "queue.take.eq(comes & last)",
        "queue.take.eq(self.load & ~last)",
    ),
]


def _ids(name: str) -> Any:
    return pytest.param(name, id=name, marks=[pytest.mark.slow] if CASES[name].slow else [])


@pytest.mark.parametrize("name", [_ids(name) for name in CASES])
def test_holds(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    how: dict[str, Any] = {"mode": "prove", "engine": "abc pdr"}
    if case.bound is not None:
        how = {"depth": case.bound}
    result = prove(case.build(()), "top", work_dir=tmp_path, timeout_s=1500, **how)
    assert result.status == "pass", result.message


@pytest.mark.parametrize("name", [_ids(name) for name, case in CASES.items() if case.cover])
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.build(())
    result = prove(
        source, "top", work_dir=tmp_path, mode="cover", depth=case.cover or 1, timeout_s=1500
    )
    assert result.status == "pass", result.message


@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    [
        pytest.param(
            *fault,
            id=f"{fault[0]}: {fault[1]}".replace(" ", "-"),
            marks=[pytest.mark.slow] if CASES[fault[0]].slow else [],
        )
        for fault in FAULTS
    ],
)
def test_finds(name: str, fault: str, target: Any, old: str, new: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.build([Mutant(target, old, new)])
    result = prove(
        source,
        "top",
        work_dir=tmp_path,
        depth=case.bound or 16,
        skip=PROMPT if name == "prompt" else 0,  # before, nothing is late
        timeout_s=1500,
    )
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"
