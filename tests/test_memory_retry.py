"""Alerts of bad parity: whatever of the commands was done, nothing is lost or wrong."""

import random
from dataclasses import replace
from typing import Any

import pytest
from memory_bench import SMALL, Outcome, Player, Run, longest_wait, random_runs, region

from systolith.benches.player_layouts import users
from systolith.devices.parity_link import Unknown
from systolith.harness.script import Script
from systolith.memory.hbm.command_log import CommandLog
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.retry import MOST_TRIES, Retry, recovery_clocks
from systolith.proofs.substitute import Mutant, installed

pytestmark = pytest.mark.cosim

# Time for an alert before the data, and for a write behind a read before its alert.
_FAR = replace(SMALL["tight"].timing, cl=26, cwl=8, rtw=20, refi=2000)
CONFIGS = {
    "one": replace(SMALL["tight"], timing=_FAR, alert=22),
    "four": replace(SMALL["tight4"], timing=_FAR, alert=3),
    "merging": replace(SMALL["tight"], timing=_FAR, alert=22, streams=5, ecc="word-266-poison"),
}
CLEAN = {"violations": 0, "late": 0, "decayed": 0, "extra": 0, "refused": 0, "failed": 0}


@pytest.fixture(
    scope="module",
    params=[n if n == "four" else pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS],
)
def player(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Player:
    return _player(CONFIGS[request.param], tmp_path_factory)


def _player(config: ControllerConfig, factory: pytest.TempPathFactory) -> Player:
    base = factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    return Player(config, shared / "models")


def _strike(player: Player, draw: random.Random, kind: Unknown, **registers: int) -> int:
    return player.control(
        strike=1,
        kind=kind,
        column_bus=draw.randrange(2),
        delay=draw.randint(1, player.config.alert),
        **registers,
    )


def _struck(player: Player, runs: list[Run], *, seed: int, every: int, **registers: int) -> Script:
    """The runs, with an alert behind every few of them; the kinds take turns."""
    draw, script = random.Random(seed), Script()
    script.send("control", player.control(fill=1) if player.config.codec else player.control())
    script.idle(2500).send("control", player.control(**registers))
    for n, run in enumerate(runs):
        player.send(script, [run])
        if n % every == every - 1:
            kind = Unknown(n // every % len(Unknown))
            script.send("control", _strike(player, draw, kind, **registers))
            # Not so often that refreshes come too late: some of them close together.
            script.idle(draw.choice([20, 700, 1500, 2500]) if n % 3 else 1500)
    return script


def _clean(outcome: Outcome) -> None:
    assert outcome.wrong == []
    assert {n: outcome.status.get(n, 0) for n in CLEAN} == CLEAN


@pytest.mark.parametrize("slots", [0, 1], ids=["offered", "random"])
def test_every_atom_is_right_behind_alerts(player: Player, slots: int) -> None:
    """All streams at once; what is lost was read just before it was written again."""
    runs = random_runs(player.config, seed=3, number=400, longest=12)
    script = _struck(player, runs, seed=4, every=8, random_slots=slots)
    outcome = player.play(script, runs, rest=20_000)
    _clean(outcome)
    assert outcome.status["recovered"] > 30
    assert outcome.lost <= 5 < outcome.reads
    assert outcome.poisoned == 0
    if not slots:
        assert longest_wait(player.config, outcome, recoveries=1) <= 1


def _reads(player: Player) -> Outcome:
    """Reads of what was written before, struck every now and then while there are many."""
    size, streams = region(player.config), users(player.config)
    runs = [Run(s, True, s * size, size) for s in range(streams)]
    draw = random.Random(9)
    reads = [Run(n % streams, False, n % streams * size + draw.randrange(size - 16), 16)
             for n in range(200)]  # fmt: skip
    script = _struck(player, runs, seed=1, every=99).idle(4000)
    for n, run in enumerate(reads):
        player.send(script, [run])
        if n % 5 == 4:
            script.idle(draw.randint(40, 120))  # while data moves
            script.send("control", _strike(player, draw, Unknown(n // 5 % 3))).idle(1500)
    return player.play(script, runs + reads, rest=20_000)


def test_reads_alone_are_never_lost(player: Player) -> None:
    outcome = _reads(player)
    _clean(outcome)
    assert outcome.lost == 0
    assert outcome.status["recovered"] > 25


def _refreshes(player: Player) -> Outcome:
    """Nothing but refreshes, of which one in a few is not done at first."""
    draw, script = random.Random(5), Script()
    script.send("control", player.control()).idle(400)
    strike = {"strike": 1, "kind": Unknown.NONE_DONE, "column_bus": 0, "delay": 1}
    for _ in range(100):
        script.send("control", player.control(**strike)).idle(draw.randint(500, 600))
    return player.play(script, [], rest=4000)


def test_refreshes_are_done_again(player: Player) -> None:
    outcome = _refreshes(player)
    _clean(outcome)
    assert outcome.status["recovered"] > 25


def _overtaken(player: Player) -> Outcome:
    """A read, and a write of its place so close behind it that an alert of the read finds both."""
    runs = [Run(0, True, 0, 1), Run(0, False, 0, 1), Run(0, True, 0, 1), Run(0, False, 0, 1)]
    script = Script().send("control", player.control(mode=0)).idle(300)
    player.send(script, runs[:1])
    script.idle(100)
    strike = {"strike": 1, "kind": Unknown.ALL_DONE, "column_bus": 1}
    script.send("control", player.control(mode=0, delay=player.config.alert, **strike))
    player.send(script, runs[1:])
    return player.play(script, runs, rest=4000)


def test_a_read_whose_place_is_written_behind_it_is_lost(player: Player) -> None:
    outcome = _overtaken(player)
    _clean(outcome)
    assert outcome.status["recovered"] == 1
    assert outcome.lost == 1


def test_alerts_during_a_recovery(player: Player) -> None:
    """Each begins it anew; only too many of them end it for good."""
    draw = random.Random(2)
    size = region(player.config)
    runs = [Run(0, True, 0, min(32, size)), Run(0, False, 0, min(32, size))]
    for number in (3, MOST_TRIES + 2):
        script = Script().send("control", player.control(fill=1 if player.config.codec else 0))
        script.idle(2500).send("control", player.control())
        player.send(script, runs)
        script.idle(20)
        for _ in range(number):
            script.send("control", _strike(player, draw, Unknown.NONE_DONE)).idle(150)
        outcome = player.play(script, runs, rest=20_000)
        assert outcome.wrong == []
        assert outcome.status["violations"] == 0
        if number == 3:
            _clean(outcome)
            assert outcome.lost == 0


def test_given_up_beside_self_refresh(player: Player) -> None:
    """What became of an entry into self-refresh is unknown: told, and no read is answered wrong."""
    draw = random.Random(1)
    script = Script().send("control", player.control()).idle(400)
    script.send("control", _strike(player, draw, Unknown.ALL_DONE, sleep=1) & ~0)
    script.idle(200)
    ask = Run(0, False, 0, 4)
    script.send("control", player.control(sleep=0))
    player.send(script, [ask])
    outcome = player.play(script, [ask], rest=5000)
    assert outcome.wrong == []
    if outcome.status["failed"]:
        assert outcome.lost == 4
    else:
        assert outcome.lost == 0


def test_a_recovery_ends_in_time(player: Player) -> None:
    """From an alert to its end; the formula is an upper bound and not far off by orders."""
    config = player.config
    runs = [Run(0, True, 0, 16)]
    script = Script().send("control", player.control(fill=1 if config.codec else 0)).idle(2500)
    script.send("control", player.control(strike=1, column_bus=1, delay=1))
    player.send(script, runs)
    script.idle(recovery_clocks(config))
    result = player.simulation.run([script.idle(200)], deadline=100_000)
    layout: Any = player.layouts["status"]
    done = [t.cycle for t in result.transfers["status"] if layout.from_bits(t.payload).recovered]
    assert done
    assert done[0] - 2500 < recovery_clocks(config)


FAULTS = {
    "writes are not done again": (
        Retry,
        "send(Mux(write, Op.WRA, Op.RDA), access, _Next.WALK)",
        "send(Op.RDA, access, _Next.WALK)",
    ),
    "the row of now instead of then": (
        Retry,
        "m.d.sync += command.row.eq(access.row)\n                    send(Op.ACT",
        "m.d.sync += command.row.eq(log.bank_row)\n                    send(Op.ACT",
    ),
    "rows are not opened again": (
        Retry,
        "with m.Elif(log.open.bit_select(bank, 1)):",
        "with m.Elif(log.open.bit_select(bank, 1) & (bank == 0)):",
    ),
    "refreshes are not done again": (
        Retry,
        "with m.Elif((part == 0) & row.valid & ~_opens_or_closes(op)):",
        "with m.Elif((part == 0) & row.valid & (op == Op.MRS)):",
    ),
    "what is done is in the log still": (
        Retry,
        'fsm.ongoing("Drain") | returning',
        'fsm.ongoing("Drain")',
    ),
    "one clock too few": (
        Retry,
        "m.d.comb += kept.good.eq(since + depth < self.latency)",
        "m.d.comb += kept.good.eq(since + depth + 1 < self.latency)",
    ),
    "commands of the clock behind": (
        CommandLog,
        "kept.r_addr.eq(now - depth + self.at),",
        "kept.r_addr.eq(now - depth + self.at + 1),",
    ),
    "an old read gets new data": (
        Retry,
        "kept.good.eq(~stale),",
        "kept.good.eq(1),",
    ),
    "auto-precharge leaves a row open": (
        CommandLog,
        "| _any((a.valid & _auto(a)) << self._number(a) for a in accesses)",
        "| 0",
    ),
    "no rest behind an access": (
        Retry,
        "with m.If((since >= rest) & ~(reads",
        "with m.If((since >= LEAD) & ~(reads",
    ),
    "what is decided is sent": (
        Retry,
        "bus.passes.eq(idle & ~self.failed)",
        "bus.passes.eq((idle | fsm.ongoing('Drain')) & ~self.failed)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with installed([Mutant(*FAULTS[fault])]):
        player = _player(CONFIGS["one"], tmp_path_factory)
    runs = random_runs(player.config, seed=3, number=900, longest=12)
    script = _struck(player, runs, seed=4, every=8)
    outcomes = (
        player.play(script, runs, rest=20_000),
        _reads(player),
        _refreshes(player),
        _overtaken(player),
    )
    status = [{n: o.status.get(n, 0) for n in CLEAN} for o in outcomes]
    good = status == [CLEAN] * 4 and not any(o.wrong for o in outcomes)
    assert not good or outcomes[1].lost or outcomes[0].lost > 5


def test_the_size_of_the_window_is_checked() -> None:
    with pytest.raises(ValueError, match="alert must be at most 24"):
        replace(CONFIGS["one"], alert=25)
    with pytest.raises(ValueError, match="alert must be 0 for SDR"):
        replace(SMALL["sdr"], alert=1)
