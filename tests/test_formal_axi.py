"""The proofs of AXI and port buffers, that they are not empty, and that they find faults."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from dram_traces import SDR, TIGHT

from systolith.harness.formal import prove
from systolith.memory import atom_store, marks, port_buffer
from systolith.memory.axi import burst, read_path, write_path
from systolith.memory.axi.signature import AxiConfig
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import Organisation
from systolith.proofs.axi import bursts_answered
from systolith.proofs.port_buffer import promises_kept
from systolith.proofs.port_cuts import runs_are_requests
from systolith.proofs.substitute import Mutant

pytestmark = pytest.mark.formal
slow = pytest.mark.slow

_AXI = AxiConfig(data_bits=32, id_bits=1, address_bits=13, outstanding=2, atom=4, atom_bits=10)
_SHAPE = Organisation(sids=1, groups=1, banks=2, rows=2, columns=8, atom=2)
_SIZES: dict[str, Any] = {"streams": 2, "runs": 2, "visits": 1}
_SDR = ControllerConfig(organisation=_SHAPE, timing=SDR, **_SIZES)
_MERGES = ControllerConfig(organisation=replace(_SHAPE, mask=False), timing=SDR, **_SIZES)
_TWO = ControllerConfig(organisation=replace(_SHAPE, groups=2), timing=TIGHT, slots=4, **_SIZES)


@dataclass(frozen=True, kw_only=True)
class Case:
    """``bound``: cycles that are looked at; None if all are, by reachability."""

    build: Callable[[Iterable[Mutant]], str]
    bound: int | None
    cover: int = 16
    slow: bool = False


def _promises(config: ControllerConfig, *parts: str) -> Callable[[Iterable[Mutant]], str]:
    return lambda faults: promises_kept(config, parts=parts, mutants=faults)


def _cuts(config: ControllerConfig) -> Callable[[Iterable[Mutant]], str]:
    return lambda faults: runs_are_requests(config, mutants=faults)


def _bursts(*, marked: bool) -> Callable[[Iterable[Mutant]], str]:
    return lambda faults: bursts_answered(_AXI, marked=marked, mutants=faults)


CASES = {
    "bursts": Case(build=_bursts(marked=False), bound=8),
    "bursts-marked": Case(build=_bursts(marked=True), bound=8, slow=True),
    "bursts-deep": Case(build=_bursts(marked=False), bound=12, slow=True),
    "cuts": Case(build=_cuts(_SDR), bound=7),
    "cuts-deep": Case(build=_cuts(_SDR), bound=12, slow=True),
    "cuts-merges": Case(build=_cuts(_MERGES), bound=9, slow=True),
    "cuts-two": Case(build=_cuts(_TWO), bound=9, slow=True),
    "promises": Case(build=_promises(_SDR, "room", "backed", "data", "done"), bound=6),
    "room": Case(build=_promises(_SDR, "room"), bound=None, slow=True),
    "backed": Case(build=_promises(_SDR, "backed"), bound=None, slow=True),
    "data": Case(build=_promises(_SDR, "data", "done"), bound=10, slow=True),
    "data-merges": Case(build=_promises(_MERGES, "data", "done"), bound=8, slow=True),
    "data-two": Case(build=_promises(_TWO, "data", "done"), bound=8, slow=True),
}

FAULTS: list[tuple[str, str, int, Any, str, str]] = [  # case, fault, within, place, old, new
    ("bursts", "R changes", 9, read_path.ReadPath, "free.eq(~r.valid | r.ready)", "free.eq(1)"),
    ("bursts", "wrong ID", 9, read_path.ReadPath, "r.payload.id.eq(now.id)", "r.payload.id.eq(0)"),
    ("bursts", "RLAST early", 10, burst.Beats, "now.len == 0", "now.len <= 1"),
    (
        "bursts",
        "B before it is done",
        11,
        write_path.WritePath,
        "(none | (pieces.valid & last))",
        "(none | last)",
    ),
    (
        "bursts",
        "requests beyond the end",
        7,
        burst.Planner,
        "(end < page)",
        "(end < 2 * page)",
    ),
    (
        "bursts",
        "atoms are left over",
        13,
        read_path.ReadPath,
        "allowed & beats.ends",
        "allowed & beats.last",
    ),
    (
        "cuts",
        "the rest of a request is forgotten",
        8,
        port_buffer.PortBuffer,
        "finished.eq(cut & final & (~write | ((count + 1 == piece) & ~split)))",
        "finished.eq(cut)",
    ),
    (
        "cuts",
        "addresses go on by one",
        8,
        port_buffer.PortBuffer,
        "atom.eq(atom + length)",
        "atom.eq(atom + 1)",
    ),
    (
        "cuts-merges",
        "a whole atom is partial",
        8,
        port_buffer.PortBuffer,
        "run.run.partial.eq(write & part & ~split)",
        "run.run.partial.eq(write & part)",
    ),
    (
        "promises",
        "runs without room",
        10,
        port_buffer.PortBuffer,
        "room.eq(piece <= vacant)",
        "room.eq(1)",
    ),
    (
        "promises",
        "runs before their data",
        8,
        port_buffer.PortBuffer,
        "cut_write.eq(port.write.valid & gather & ends)",
        "cut_write.eq(gather & ends)",
    ),
    (
        "promises",
        "done of every run",
        10,
        port_buffer.PortBuffer,
        "run.done & write_ends.out",
        "run.done",
    ),
    (
        "promises",
        "the word that waits is not kept",
        10,
        atom_store.ReadStore,
        "at.eq(Mux(take, head, shown))",
        "at.eq(head)",
    ),
    (
        "promises",
        "marks are not taken",
        10,
        marks.Marks,
        "head.eq(head + sum(self.take))",
        "head.eq(head)",
    ),
]


def _ids(name: str) -> Any:
    return pytest.param(name, id=name, marks=[slow] if CASES[name].slow else [])


@pytest.mark.parametrize("name", [_ids(name) for name in CASES])
def test_holds(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    how: dict[str, Any] = {"depth": case.bound or 1, "timeout_s": 550}
    if case.bound is None:
        how |= {"mode": "prove", "engine": "abc pdr"}
    result = prove(case.build(()), "top", work_dir=tmp_path, **how)
    assert result.status == "pass", result.message


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n in ("bursts", "cuts", "promises") else [slow])
        for n in ("bursts", "cuts", "cuts-merges", "cuts-two", "promises", "data-two")
    ],
)
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    result = prove(case.build(()), "top", work_dir=tmp_path, mode="cover", depth=case.cover)
    assert result.status == "pass", result.message


@slow
@pytest.mark.parametrize(
    ("name", "fault", "within", "target", "old", "new"),
    [pytest.param(*f, id=f"{f[0]}: {f[1]}".replace(" ", "-")) for f in FAULTS],
)
def test_finds(
    name: str, fault: str, within: int, target: Any, old: str, new: str, tmp_path: Path
) -> None:
    source = CASES[name].build([Mutant(target, old, new)])
    result = prove(source, "top", work_dir=tmp_path, depth=within)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"
