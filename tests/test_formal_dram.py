"""The proofs of the memory controller, that they are not empty, and that they find faults."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT

from systolith.harness.formal import prove
from systolith.memory.hbm import address_map as maps
from systolith.memory.hbm.commands import Address
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS, Organisation
from systolith.proofs.dram_answer import forced_are_done
from systolith.proofs.dram_banks import legal_commands
from systolith.proofs.dram_bus import data_bus
from systolith.proofs.dram_faults import FAULTS
from systolith.proofs.dram_maps import injective
from systolith.proofs.dram_queues import runs_in_order, visits_conserved
from systolith.proofs.dram_refresh import debt_bounded
from systolith.proofs.dram_returns import responses_in_order
from systolith.proofs.dram_timing import guard_rules, shortened, stated
from systolith.proofs.substitute import Mutant

pytestmark = pytest.mark.formal
slow = pytest.mark.slow


def _config(shape: Organisation, timing: Any = TIGHT, **sizes: Any) -> ControllerConfig:
    return ControllerConfig(
        **{
            "organisation": shape,
            "timing": timing,
            "slots": 1,
            "streams": 2,
            "runs": 2,
            "visits": 1,
            **sizes,
        }
    )


_TWO = Organisation(sids=1, groups=2, banks=1, rows=2, columns=2, atom=8192)
_STACKS = replace(_TWO, sids=2)
_SINGLE = replace(_TWO, groups=1, banks=2)
ONE_SLOT, FOUR_SLOTS = _config(SHAPE), _config(SHAPE, slots=4)
ON_SDR = _config(SDR_SHAPE, SDR)
_SMALL = _config(_TWO)
_LONG = _config(replace(_TWO, columns=4))
_BRISK = _config(_TWO, replace(TIGHT, refi=640), slots=4)
_INDUCTION, _REACHABILITY = "smtbmc yices", "abc pdr"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A proof: how it is decided, and how far its covers and the faults in it are away.

    ``bound`` is None if all runs are covered, by induction of ``depth`` or by reachability.
    """

    build: Callable[[Iterable[Mutant]], str]
    cover: int
    depth: int = 1
    engine: str = _REACHABILITY
    bound: int | None = None
    slow: bool = False


def _rules(config: ControllerConfig) -> Case:
    return Case(build=lambda _: guard_rules(config), cover=0, depth=2, engine=_INDUCTION)


def _bus(config: ControllerConfig, cover: int) -> Case:
    return Case(build=lambda _: data_bus(config), cover=cover, depth=2, engine=_INDUCTION)


def _legal(config: ControllerConfig, cover: int = 32) -> Case:
    return Case(build=lambda f: legal_commands(config, f), cover=cover)


CASES = {
    "rules-1": _rules(ONE_SLOT),
    "rules-4": replace(_rules(_config(replace(SHAPE, sids=1), slots=4)), slow=True),
    "rules-4-stacks": replace(_rules(FOUR_SLOTS), slow=True),
    "rules-sdr": _rules(ON_SDR),
    "bus-1": _bus(ONE_SLOT, 16),
    "bus-4": replace(_bus(FOUR_SLOTS, 8), slow=True),
    "bus-sdr": _bus(ON_SDR, 20),
    "banks-1": _legal(_config(_STACKS)),
    "banks-merging": _legal(_config(replace(_STACKS, mask=False))),
    "banks-4": _legal(_config(_STACKS, slots=4)),
    "banks-4-groups": replace(_legal(_config(replace(_TWO, banks=2), slots=4)), slow=True),
    "banks-sdr": _legal(_config(_SINGLE, SDR), 48),
    "visits-1": Case(build=lambda f: visits_conserved(_SMALL, f), cover=16),
    # Rows of more accesses, in which a visit can join the first one.
    "visits-long": Case(build=lambda f: visits_conserved(_LONG, f), cover=16, bound=12, slow=True),
    "visits-2": Case(
        build=lambda f: visits_conserved(_config(_TWO, visits=2), f), cover=20, slow=True
    ),
    "runs-sdr": Case(build=lambda f: runs_in_order(_config(_SINGLE, SDR), f), cover=16),
    "runs-1": Case(build=lambda f: runs_in_order(_SMALL, f), cover=16),
    "runs-4": Case(build=lambda f: runs_in_order(_config(_TWO, slots=4), f), cover=16),
    "debt-4": Case(build=lambda f: debt_bounded(_BRISK, f), cover=54, depth=3, engine=_INDUCTION),
    # As before, for a fault that shows only where a refresh is late.
    "debt-4-late": Case(
        build=lambda f: debt_bounded(_BRISK, f), cover=90, depth=3, engine=_INDUCTION, slow=True
    ),
    "debt-1": Case(
        build=lambda f: debt_bounded(ONE_SLOT, f), cover=0, depth=3, engine=_INDUCTION, slow=True
    ),
    "debt-sdr": Case(build=lambda f: debt_bounded(ON_SDR, f), cover=0, depth=3, engine=_INDUCTION),
    "answer-4": Case(
        build=lambda f: forced_are_done(_BRISK, within=48, mutants=f), cover=24, bound=24
    ),
    "responses": Case(
        build=lambda f: responses_in_order(_config(replace(_TWO, atom=1)), f), cover=12, bound=16
    ),
    "map-small": Case(build=lambda f: injective(SHAPE, f), cover=1),
    "map-hbm3": Case(build=lambda f: injective(PARTS["hbm3-6400"].organisation, f), cover=1),
}


def _ids(name: str) -> Any:
    return pytest.param(name, id=name, marks=[slow] if CASES[name].slow else [])


@pytest.mark.parametrize("name", [_ids(name) for name in CASES])
def test_holds(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    if case.bound is not None:
        result = prove(case.build(()), "top", work_dir=tmp_path, depth=case.bound)
    else:
        result = prove(
            case.build(()),
            "top",
            work_dir=tmp_path,
            mode="prove",
            engine=case.engine,
            depth=case.depth,
        )
    assert result.status == "pass", result.message


@pytest.mark.parametrize("name", [_ids(name) for name, case in CASES.items() if case.cover])
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    result = prove(case.build(()), "top", work_dir=tmp_path, mode="cover", depth=case.cover)
    assert result.status == "pass", result.message


@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    [
        pytest.param(
            *fault,
            id=f"{fault[0]}: {fault[1]}".replace(" ", "-"),
            marks=[slow] if CASES[fault[0]].slow else [],
        )
        for fault in FAULTS
    ],
)
def test_finds(name: str, fault: str, target: Any, old: str, new: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.build([Mutant(target, old, new)])
    result = prove(source, "top", work_dir=tmp_path, depth=case.cover)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"


# One for each way in which rules are timed; the others take as long as all of this file.
_SAMPLE = {"tFAW", "tRFCpb to all banks", "tCCDR read"}
_GUARDS = {"4": FOUR_SLOTS, "1": ONE_SLOT, "sdr": ON_SDR}
# What follows without a counter: one row command in a cycle is another bus than none, and with one
# slot no decision is about a clock before the last ones have taken effect.
_IMPLIED = {
    "4": {"row bus"},
    "1": {"row bus", "row bus, ACT", "tPPD", "tCCDS read", "tCCDS write"},
    "sdr": {"bus", "tRCDRD", "tRCDWR", "tMRD"},
}


def _shortened(*, implied: bool) -> list[Any]:
    """Rules of each guard with the place of the guard in :data:`_GUARDS`."""
    return [
        pytest.param(
            at,
            rule,
            marks=[] if rule.name in _SAMPLE and at == "4" else [slow],
            id=f"{at}-{rule.name}",
        )
        for at, config in _GUARDS.items()
        for rule in stated(config)
        if (rule.name in _IMPLIED[at]) == implied
    ]


def _without_a_cycle(at: str, name: str) -> str:
    config = _GUARDS[at]
    return guard_rules(config, guarded=shortened(config, name), only=name, invariant=False)


@pytest.mark.parametrize(("at", "rule"), _shortened(implied=False))
def test_finds_a_rule_that_is_a_cycle_shorter(at: str, rule: Any, tmp_path: Path) -> None:
    depth = 16 if at == "4" else rule.latency + 4
    result = prove(_without_a_cycle(at, rule.name), "top", work_dir=tmp_path, depth=depth)
    assert result.status == "fail", f"{rule.name}: {result.status}\n{result.message}"


@pytest.mark.parametrize(("at", "rule"), _shortened(implied=True))
def test_implied_rules_hold_with_a_cycle_less(at: str, rule: Any, tmp_path: Path) -> None:
    source = _without_a_cycle(at, rule.name)
    result = prove(source, "top", work_dir=tmp_path, mode="prove", depth=1, engine="abc pdr")
    assert result.status == "pass", result.message


@pytest.mark.parametrize("shape", [SHAPE, PARTS["hbm3-6400"].organisation], ids=["small", "hbm3"])
@pytest.mark.parametrize("number", range(3))
def test_maps_are_those_of_the_model(shape: Organisation, number: int) -> None:
    amap = maps.default_maps(shape)[number]
    atom = Signal(len(amap.bits))
    fields = {name: Signal(max(1, width)) for name, width in amap.widths.items()}
    m = Module()
    m.d.comb += [fields[name].eq(value) for name, value in amap.decode(atom).items()]
    m.d.comb += Signal().eq(atom.any())
    draw = random.Random(number)

    async def bench(ctx: Any) -> None:
        for value in [0, (1 << len(atom)) - 1, *(draw.getrandbits(len(atom)) for _ in range(200))]:
            ctx.set(atom, value)
            at = Address(**{name: ctx.get(field) for name, field in fields.items()})
            assert at == amap.place(value)
            assert amap.atom(at) == value

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()


def test_every_rule_is_stated() -> None:
    for config in (ONE_SLOT, FOUR_SLOTS, ON_SDR):
        assert stated(config) == list(config.rules)
        names = [rule.name for rule in config.rules]
        assert len(names) == len(set(names))


def test_every_statement_has_a_fault() -> None:
    statements = {name.split("-")[0] for name in CASES} - {"rules", "bus"}
    assert statements == {name.split("-")[0] for name, *_ in FAULTS}
