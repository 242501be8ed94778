"""The proofs of the splittable array, that they are not empty, and that they find faults."""

from pathlib import Path
from typing import Any

import pytest

from systolith.array.band import Band
from systolith.array.boundary import Boundary
from systolith.array.checks import bad_shape
from systolith.array.feeder import Feeder
from systolith.array.pe import Pe
from systolith.array.queue import StartQueue
from systolith.array.schedule import Schedule
from systolith.array.sequencer import Sequencer
from systolith.array.tile import Tile
from systolith.array.weights import WeightBanks
from systolith.harness.formal import prove
from systolith.proofs.catalogue import PROOFS
from systolith.proofs.substitute import Mutant

# proof, what the fault is, where it is planted, its source text and what replaces it
FAULTS = [
    (
        "p1-swap-safety-4x2",
        "swap one cycle late",
        Pe,
        "with m.If(self.west.swap):",
        "with m.If(swap):",
    ),
    (
        "p1-swap-safety-4x2",
        "activations one cycle early",
        Sequencer,
        "lead = 1 + config.array.weight_lead",
        "lead = config.array.weight_lead",
    ),
    (
        "p1-swap-safety-4x4",
        "load token one row off",
        Tile,
        "pe.load.eq(token[k])",
        "pe.load.eq(token[k + 1])",
    ),
    (
        "p2-no-overwrite-4x2",
        "every weight row loads row 0",
        WeightBanks,
        "tokens.first.eq(command.valid & command.first)",
        "tokens.first.eq(command.valid)",
    ),
    (
        "p3-p5-alignment-4x2",
        "partial sums from above not masked",
        Band,
        "Mux(fused, Value.cast(self.n[j]), 0)",
        "self.n[j]",
    ),
    (
        "p3-p5-alignment-4x2",
        "one row too many",
        Feeder,
        "late.rows > u * size + k",
        "late.rows >= u * size + k",
    ),
    (
        "p3-p5-alignment-4x4",
        "results one cycle late",
        Sequencer,
        "lead + config.acc_delay",
        "lead + config.acc_delay + 1",
    ),
    (
        "p4-isolation-corner",
        "partial sums from above not masked",
        Band,
        "Mux(fused, Value.cast(self.n[j]), 0)",
        "self.n[j]",
    ),
    (
        "p4-isolation-right",
        "always joined to the left",
        Boundary,
        "joined.eq(late.reach != 0)",
        "joined.eq(1)",
    ),
    (
        "p4-isolation-lower",
        "always fused to the band above",
        Band,
        "march.eq(Cat(self.fuse, march))",
        "march.eq(Cat(1, march))",
    ),
    (
        "p3-p5-alignment-4x2",
        "all rows change over at once",
        Boundary,
        "row_joined = march[k - 1] if k else joined",
        "row_joined = joined",
    ),
    (
        "p3-p5-alignment-4x2",
        "fuse does not wait for the product",
        Band,
        "fused = march[config.multiply_cycles + j - 1]",
        "fused = self.fuse",
    ),
    (
        "p3-p5-alignment-4x4",
        "fuse does not march across columns",
        Band,
        "fused = march[config.multiply_cycles + j - 1]",
        "fused = march[config.multiply_cycles - 1]",
    ),
    (
        "p6-conservation",
        "last result lost",
        Sequencer,
        "y.valid.eq(use_row & job.bottom)",
        "y.valid.eq(use_row & job.bottom & ~y.last)",
    ),
    (
        "p6-conservation",
        "weight rows as long as the tile lasts",
        Sequencer,
        "self.weights.valid.eq(use_weight)",
        "self.weights.valid.eq(running)",
    ),
    (
        "p6-conservation",
        "never stops",
        Sequencer,
        "[running.eq(0), use_row.eq(0), last_row.eq(0), use_weight.eq(0)]",
        "[]",
    ),
    (
        "admission-dispatch",
        "empty dimensions accepted",
        bad_shape,
        "Cat(count == 0 for count in counts).any()",
        "counts[0] == 0",
    ),
    (
        "admission-schedule",
        "lag of the leader forgotten",
        Schedule,
        "(config.max_skew - self.skew)",
        "0",
    ),
    (
        "admission-release",
        "no job behind a released one",
        StartQueue,
        "self.load & (count > 1)",
        "0",
    ),
]


# More than a minute, or the same with longer jobs.
_LONG = {"admission-schedule", "admission-release"} | {n for n in PROOFS if n.endswith("-long")}


def _named(name: str) -> Any:
    return pytest.param(name, id=name, marks=[pytest.mark.slow] if name in _LONG else [])


@pytest.mark.formal
@pytest.mark.parametrize("name", [_named(name) for name in PROOFS])
def test_holds(name: str, tmp_path: Path) -> None:
    proof = PROOFS[name]
    if proof.bound is None:
        mode, engine, depth = "prove", "abc pdr", 1
    else:
        mode, engine, depth = "bmc", "smtbmc yices", proof.bound
    result = prove(
        proof.build(()),
        "top",
        work_dir=tmp_path,
        mode=mode,
        engine=engine,
        depth=depth,
        timeout_s=300,
    )
    assert result.status == "pass", result.message


@pytest.mark.formal
@pytest.mark.parametrize("name", [_named(name) for name in PROOFS])
def test_is_not_empty(name: str, tmp_path: Path) -> None:
    proof = PROOFS[name]
    result = prove(
        proof.build(()), "top", work_dir=tmp_path, mode="cover", depth=proof.cover, timeout_s=120
    )
    assert result.status == "pass", result.message
    # A bound that ends before the interesting runs would prove nothing about them.
    assert proof.bound is None or proof.bound >= proof.cover


@pytest.mark.formal
@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    FAULTS,
    ids=[f"{name}: {fault}".replace(" ", "-") for name, fault, *_ in FAULTS],
)
def test_finds(name: str, fault: str, target: type, old: str, new: str, tmp_path: Path) -> None:
    proof = PROOFS[name]
    source = proof.build([Mutant(target, old, new)])
    result = prove(source, "top", work_dir=tmp_path, depth=proof.cover, timeout_s=120)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"


def test_every_proof_has_a_fault() -> None:
    properties = {name.split("-4x")[0] for name in PROOFS}
    assert properties == {name.split("-4x")[0] for name, *_ in FAULTS}


def test_mutant_needs_its_text_once() -> None:
    with pytest.raises(ValueError, match="old must occur once in Pe, not 0 times: 'nothing'"):
        Mutant(Pe, "nothing", "anything")
