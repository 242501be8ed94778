"""The proofs of the scratchpad, that they are not empty, and that they find faults."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from systolith.harness.formal import prove
from systolith.memory import (
    scratchpad_access,
    scratchpad_commands,
    scratchpad_head,
    scratchpad_port,
    scratchpad_reader,
    scratchpad_tokens,
    scrubber,
)
from systolith.proofs.scratchpad import contents, exclusive, newest, proof_config
from systolith.proofs.substitute import Mutant

pytestmark = pytest.mark.formal
slow = pytest.mark.slow

Build = Callable[[Iterable[Mutant]], str]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A statement on a geometry; ``bound``: cycles of a bounded proof, None: of all runs."""

    build: Build
    cover: int
    bound: int | None = None
    slow: bool = False


def _case(
    statement: Any, cover: int, *, bound: int | None = None, slow: bool = False, **sizes: Any
) -> Case:
    config = proof_config(**sizes)
    return Case(build=partial(statement, config), cover=cover, bound=bound, slow=slow)


CASES = {
    "exclusive-1rw": _case(exclusive, 22),
    "exclusive-1r1w": _case(exclusive, 22, ports="1R1W", slow=True),
    "exclusive-late": _case(exclusive, 22, latency=2, spacing=2, slow=True),
    "exclusive-rotated-1": _case(exclusive, 22, rotation=True, slow=True),
    "exclusive-rotated-2": _case(exclusive, 22, rotation=True, spacing=2, slow=True),
    "exclusive-rotated-4": _case(exclusive, 22, rotation=True, banks=4, depth=4, slow=True),
    "newest": _case(newest, 20, slow=True),
    "contents": _case(contents, 24, bound=14, banks=1, split=False, slow=True),
}


def _ids(name: str) -> Any:
    return pytest.param(name, id=name, marks=[slow] if CASES[name].slow else [])


@pytest.mark.parametrize("name", [_ids(name) for name in CASES])
def test_holds(name: str, tmp_path: Path) -> None:
    case, source = CASES[name], CASES[name].build(())
    if case.bound is not None:
        result = prove(source, "top", work_dir=tmp_path, depth=case.bound, timeout_s=500)
    else:
        result = prove(source, "top", work_dir=tmp_path, mode="prove", engine="abc pdr", depth=1)
    assert result.status == "pass", result.message


@slow
@pytest.mark.parametrize("name", CASES)
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    result = prove(
        case.build(()), "top", work_dir=tmp_path, mode="cover", depth=case.cover, timeout_s=500
    )
    assert result.status == "pass", result.message


# proof, what the fault is, where it is planted, its source text and what replaces it
FAULTS = [
    (
        "exclusive-1rw",
        "requests touch what the array owns",
        scratchpad_access.ScratchAccess,
        "refused.eq(now.outside | now.mask_bad | theirs)",
        "refused.eq(now.outside | now.mask_bad)",
    ),
    (
        "exclusive-1rw",
        "the scrubber does not look at the array",
        scratchpad_access.ScratchAccess,
        "Mux(now.scrub, ~denied,",
        "Mux(now.scrub, 1,",
    ),
    (
        "exclusive-1r1w",
        "a write beside a read of the same word",
        scratchpad_access.ScratchAccess,
        "reads &= ~(now.write & other)",
        "reads &= ~now.write",
    ),
    (
        "exclusive-1rw",
        "commands on a half that is handed over",
        scratchpad_tokens.ScratchTokens,
        "self.keeps[half].eq(owned & ~to_dma)",
        "self.keeps[half].eq(owned)",
    ),
    (
        "exclusive-1rw",
        "tokens do not wait for steps",
        scratchpad_head.ScratchHead,
        "total.eq(command.count + self.drain)",
        "total.eq(command.count)",
    ),
    (
        "exclusive-1rw",
        "tokens do not wait for a write that reads first",
        scratchpad_tokens.ScratchTokens,
        "give.eq(self.give.valid & self.still & ~give_bad)",
        "give.eq(self.give.valid & ~give_bad)",
    ),
    (
        "exclusive-late",
        "steps leave their sub-array",
        scratchpad_reader.ScratchReader,
        "hop.valid.eq(before.valid & follows.any())",
        "hop.valid.eq(before.valid)",
    ),
    (
        "exclusive-1rw",
        "a split changes under way",
        scratchpad_commands.ScratchCommands,
        "(~settled & resting)",
        "(~settled)",
    ),
    (
        "exclusive-rotated-4",
        "a rotated command does not wait for one that is not",
        scratchpad_commands.ScratchCommands,
        "(command.rotate | head.rotating)",
        "head.rotating",
    ),
    (
        "exclusive-rotated-1",
        "columns as if lane groups were no cycles apart",
        scratchpad_head.ScratchHead,
        "k = 1 + odd",
        "k = 1",
    ),
    (
        "exclusive-1rw",
        "requests while a write reads first",
        scratchpad_port.ScratchPort,
        "self.still.eq(~filling & ~merging)",
        "self.still.eq(~filling)",
    ),
    (
        "newest",
        "writes of others go unseen",
        scrubber.Scrubber,
        "hit.eq(self.written.valid & (self.written.place == here))",
        "hit.eq(0)",
    ),
    (
        "newest",
        "a write before the word came back goes unseen",
        scrubber.Scrubber,
        "m.d.sync += stale.eq(stale | hit)",
        "m.d.sync += stale.eq(0)",
    ),
    (
        "newest",
        "a write while the word waits goes unseen",
        scrubber.Scrubber,
        "self.want.eq(~hit)\n                with m.If(hit):",
        "self.want.eq(1)\n                with m.If(0):",
    ),
    (
        "contents",
        "a write of a part merges the wrong way",
        scratchpad_port.ScratchPort,
        "m.If(~now.mask[byte])",
        "m.If(now.mask[byte])",
    ),
    (
        "contents",
        "a write of a part forgets the poison",
        scratchpad_port.ScratchPort,
        "now.poison | (decoder.error & partial)",
        "now.poison",
    ),
]


@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    [
        pytest.param(
            *fault,
            id=f"{fault[0]}: {fault[1]}".replace(" ", "-"),
            marks=[] if number == 0 else [slow],
        )
        for number, fault in enumerate(FAULTS)
    ],
)
def test_finds(name: str, fault: str, target: Any, old: str, new: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.build([Mutant(target, old, new)])
    result = prove(source, "top", work_dir=tmp_path, depth=case.cover, timeout_s=500)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"
