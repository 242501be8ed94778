"""Faults planted in the DMA engine: each must show against the golden model, or end in silence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_dma
from dma_bench import SMALL, DmaPlayer
from dma_programs import Programs

from systolith.harness.errors import Deadline
from systolith.memory.dma import (
    answers,
    box,
    checker,
    lists,
    mover,
    pages,
    places,
    planner,
    requests,
    retire,
    rows,
    runs,
    table,
    writes,
)
from systolith.proofs.substitute import Mutant, installed

FAULTS: dict[str, tuple[Any, str, str]] = {
    "runs merge over a gap": (
        runs.RunBuilder,
        "(behind == self.piece.atom)",
        "(behind[1:] == self.piece.atom[1:])",
    ),
    "a request is one atom too long": (
        runs.RunBuilder,
        "full.eq(count == config.longest)",
        "full.eq(count == config.longest + 1)",
    ),
    "strides below zero count as above": (box.Box, "Mux(b < 0, -b, b)", "b"),
    "the last atom may be outside": (checker.Checker, "highest >= end", "highest > end"),
    "rights of the other direction": (
        checker.Checker,
        "reads = (~decode.out, decode.out, 1)",
        "reads = (decode.out, decode.out, 1)",
    ),
    "planes begin where the last row ended": (
        rows.RowWalker,
        "heads[k].eq(nexts[n]) for k in range(n + 1)",
        "heads[k].eq(nexts[n]) for k in range(max(n, 1))",
    ),
    "words of a plane begin one row late": (
        places.PlaceWalker,
        "left[k].eq(last[k]) for k in range(n)",
        "left[k].eq(last[k]) for k in range(min(n, 1))",
    ),
    "a page at the end is not checked": (
        pages.PageWalker,
        "outside.eq(at + page_atoms > self.size)",
        "outside.eq(at > self.size)",
    ),
    "the first page is read from its begin": (
        pages.PageWalker,
        "within.eq(self.position & (page_atoms - 1))",
        "within.eq(0)",
    ),
    "entries of a table in the wrong order": (table.TableFetch, "at.eq(self.entry)", "at.eq(0)"),
    "poison of a table is not seen": (
        table.TableFetch,
        "self.number_bad.eq(queue.head[config.data_bits])",
        "self.number_bad.eq(0)",
    ),
    "poison is not passed on": (
        mover.Mover,
        "request.p.poison.eq(load & self.read_error)",
        "request.p.poison.eq(0)",
    ),
    "more words than there is room for": (
        mover.Mover,
        "Mux(store, room != 0, 1)",
        "1",
    ),
    "refused words are written": (
        writes.Writes,
        "keep.eq(queue.valid & head.keep)",
        "keep.eq(queue.valid)",
    ),
    "refused words are counted": (
        answers.Answers,
        "(head.kind != Kind.TABLE) & ~response.refused",
        "(head.kind != Kind.TABLE)",
    ),
    "poison sticks to the next descriptor": (
        answers.Answers,
        "m.d.sync += [was_refused.eq(0), was_poisoned.eq(0), atoms.eq(0)]",
        "m.d.sync += [was_refused.eq(0), atoms.eq(0)]",
    ),
    "a store retires before it is visible": (
        planner.Planner,
        "token.mark.eq(self.issued + out)",
        "token.mark.eq(self.issued)",
    ),
    "room is not given back": (
        requests.Requests,
        "free.eq(free - used + self.freed)",
        "free.eq(free - used + (self.freed & free[0]))",
    ),
    "reads without room": (requests.Requests, "(~load | (free >= count))", "1"),
    "barriers are ignored": (
        planner.Planner,
        "plan.p.before | fence | after",
        "0",
    ),
    "lists go on for one more": (lists.Lists, "number == self.most", "number == self.most + 1"),
    "the code of a refusal is lost": (
        retire.Retire,
        "waits.entry.eq(self.finish)",
        "waits.entry.eq(self.finish.as_value() & ~(1 << 17))",
    ),
}
# What only time can tell.
_TIMED: dict[str, Callable[[DmaPlayer], None]] = {
    "a store retires before it is visible": test_dma.test_a_store_retires_when_it_is_visible,
    "barriers are ignored": test_dma.test_barriers_hold_back_what_follows,
}
_SAMPLE = {"runs merge over a gap"}


def shows(fault: str, folder: Path) -> bool:
    with installed([Mutant(*FAULTS[fault])]):
        player = DmaPlayer(SMALL, folder)
    if fault in _TIMED:
        try:
            _TIMED[fault](player)
        except AssertionError:
            return True
        return False
    for seed in (1, 3, 9):
        programs = Programs(player, seed)
        for n in range(30):
            programs.add(n, wild=n % 5 == 4)
        try:
            played = player.play(programs.scripts)
        except Deadline:
            return True
        if len(played.images) != len(programs.case.images) or programs.check(played):
            return True
    return False


@pytest.mark.cosim
@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=[] if name in _SAMPLE else [pytest.mark.slow]) for name in FAULTS],
)
def test_planted_faults_show(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    assert shows(fault, shared / "models")
