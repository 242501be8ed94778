"""Faults planted in the controller: each must be noticed by the memory or the data."""

import pytest
from memory_bench import SMALL, Player, random_runs

from systolith.harness.errors import Deadline
from systolith.harness.script import Script
from systolith.memory.hbm import (
    bank_queue,
    column_pipeline,
    management,
    returns,
    row_sequencer,
    run_queue,
    timers,
    walker,
)
from systolith.proofs.substitute import Mutant, installed

FAULTS = {
    "misaimed refresh": (
        row_sequencer.RowSequencer,
        "self.issue_bank.eq(decision.bank)",
        "self.issue_bank.eq(decision.bank ^ (decision.op == Op.REFPB))",
    ),
    "rows of other streams are accessed": (
        column_pipeline.ColumnPipeline,
        "self.owner[b] == n",
        "(self.owner[b] == n) | (self.owner[b] != n)",
    ),
    "visits to other rows are merged": (
        walker.Walker,
        "before.r_data == here.as_value()",
        "before.r_data[:1] == here.as_value()[:1]",
    ),
    "rows are closed one access early": (
        bank_queue.BankQueue,
        "self.first.left == 2, self.first.left == 1",
        "self.first.left == 3, self.first.left == 2",
    ),
    "a closed row is accessed": (
        row_sequencer.RowSequencer,
        "self.open & ~closing & ~",
        "~",
    ),
    "accesses that an access rules out are issued": (
        column_pipeline.ColumnPipeline,
        "ready.any() & ~issued",
        "ready.any()",
    ),
    "what a row command rules out is issued": (
        row_sequencer.RowSequencer,
        "there & ~self.issue.valid",
        "there",
    ),
    "a refresh waits for an open bank": (
        row_sequencer.RowSequencer,
        "able.eq(self.pending & ~self.open & soon)",
        "able.eq(self.pending & soon)",
    ),
    "activations are too close": (
        timers.Timers,
        "fresh = _after(slot, rule.latency, self.slots)\n            older",
        "fresh = _after(slot, rule.latency - 2, self.slots)\n            older",
    ),
    "banks are activated too often": (
        management.Management,
        "(count >= self.most) & (count != 0)",
        "(count >= self.most + 3) & (count != 0)",
    ),
    "a block is left out": (walker.Walker, "block.word.number + 1", "block.word.number + 2"),
    "reads are counted for the wrong stream": (
        returns.Returns,
        "ring.r_addr.eq(now - self.latency)",
        "ring.r_addr.eq(now - self.latency - 1)",
    ),
    "a run starts one atom late": (
        run_queue.RunQueue,
        "self.head.atom.eq(self.head.atom + self.moved)",
        "self.head.atom.eq(self.head.atom + 2 * self.moved)",
    ),
}


SLOTS_4 = {"a refresh waits for an open bank"}
"""Faults of a step that with one slot is looked at again a clock later."""


@pytest.mark.cosim
@pytest.mark.parametrize(
    "fault",
    [
        name if name == "misaimed refresh" else pytest.param(name, marks=pytest.mark.slow)
        for name in FAULTS
    ],
)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    with installed([Mutant(*FAULTS[fault])]):
        player = Player(
            SMALL["tight4" if fault in SLOTS_4 else "tight"], shared / "models", ref_groups=4
        )
    # Debt is low and all streams are busy: refreshes are forced, too.
    script = Script().send(
        "control",
        player.control(hotter=2, debt_bound=3, random_slots=1, threshold=4, most=8),
    )
    runs = random_runs(player.config, seed=3, number=900, longest=32)
    player.send(script, runs)
    try:
        outcome = player.play(script, runs, rest=8000)
    except Deadline:
        return
    counts = [outcome.status[n] for n in ("violations", "late", "decayed", "extra", "broken")]
    assert outcome.wrong or outcome.lost or any(counts)
