"""The controller on a memory that watches: data, order, timing and refresh."""

import random

import pytest
from memory_bench import SMALL, Outcome, Player, Run, random_runs, region

from systolith.harness.script import Script

pytestmark = pytest.mark.cosim

WAKE = 400  # cycles in which the small memories are brought up


@pytest.fixture(
    scope="module",
    params=[n if n != "tight4" else pytest.param(n, marks=pytest.mark.slow) for n in SMALL],
)
def player(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Player:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    return Player(SMALL[request.param], shared / "models")


@pytest.mark.parametrize(
    "registers",
    [
        {},
        {"masked": -1, "random_slots": 1},
        {"map": 1, "hotter": 2},
        {"map": 2, "mode": 2, "random_slots": 1},
        {"debt_bound": 2, "masked": -1},
    ],
    ids=lambda r: "-".join(f"{k}{v}" for k, v in r.items()) or "plain",
)
def test_every_atom_is_right(player: Player, registers: dict[str, int]) -> None:
    runs = random_runs(player.config, seed=7, number=900, longest=40)
    first = [Run(r.stream, r.write, r.atom, r.count) for r in runs]
    if registers.get("masked"):  # atoms are written in full before parts of them are
        whole, _ = _all(player)
        plain = {k: v for k, v in registers.items() if k != "masked"}
        script = Script().send("control", player.control(**plain))
        player.send(script, whole)
        script.idle(8000).send("control", player.control(**registers))
        first = whole + runs
    else:
        script = Script().send("control", player.control(**registers))
    player.send(script, runs)
    outcome = player.play(script, first, rest=8000)
    assert outcome.wrong == []
    assert outcome.reads > 500
    assert outcome.lost == 0
    assert outcome.status["violations"] == outcome.status["late"] == 0
    assert outcome.status["decayed"] == outcome.status["extra"] == 0


def _all(player: Player) -> tuple[list[Run], list[Run]]:
    """Every stream writes all that it has, and reads it."""
    size = region(player.config)
    runs = [Run(s, True, s * size, size) for s in range(player.config.streams)]
    return runs, [Run(r.stream, False, r.atom, r.count) for r in runs]


def _written_and_read(player: Player, *, between: dict[str, int], cycles: int) -> Outcome:
    writes, reads = _all(player)
    script = Script().send("control", player.control())
    player.send(script, writes)
    script.idle(3000).send("control", player.control(**between)).idle(cycles)
    script.send("control", player.control())
    player.send(script, reads)
    return player.play(script, writes + reads)


def test_refresh_that_is_held_off_loses_data(player: Player) -> None:
    cycles = 25 * player.config.timing["refi"] // player.config.slots
    held = _written_and_read(player, between={"mode": 0}, cycles=cycles)
    assert len(held.wrong) > 20
    assert held.status["decayed"] > 0
    kept = _written_and_read(player, between={}, cycles=cycles)
    assert (kept.wrong, kept.status["decayed"], kept.status["late"]) == ([], 0, 0)


def test_self_refresh_keeps_data(player: Player) -> None:
    cycles = 25 * player.config.timing["refi"] // player.config.slots
    slept = _written_and_read(player, between={"sleep": 1}, cycles=cycles)
    assert slept.wrong == []
    assert [slept.status[n] for n in ("violations", "late", "decayed", "asleep")] == [0, 0, 0, 0]


@pytest.mark.parametrize("fault", ["lose", "extra"])
def test_lost_and_extra_beats_are_told(player: Player, fault: str) -> None:
    writes, reads = _all(player)
    script = Script().send("control", player.control())
    player.send(script, writes)
    script.idle(3000)
    player.send(script, reads[:1])
    script.send("control", player.control(**{fault: 1}))
    script.send("control", player.control()).idle(3000)
    player.send(script, reads[1:])
    outcome = player.play(script, writes + reads)
    assert outcome.wrong == []  # whatever is delivered as good is right
    assert outcome.lost == (fault == "lose")
    assert outcome.status["extra"] == (fault == "extra")


def test_a_write_that_is_done_is_seen_by_other_streams(player: Player) -> None:
    script = Script().send("control", player.control()).idle(WAKE)
    runs = []
    for turn in range(40):
        one, other = turn % 2, (turn + 1) % 2
        at, count = (turn * 5) % 64, 1 + turn % 6
        runs += [Run(one, True, at, count), Run(other, False, at, count)]
        player.send(script, runs[-2:-1])
        script.wait("done0", turn + 1)
        player.send(script, runs[-1:])
    if player.config.ports == 1:  # else the last atom may be done on the other port
        assert player.play(script, runs).wrong == []


def test_reset_in_the_middle_of_a_burst(player: Player) -> None:
    writes, reads = _all(player)
    script = Script().send("control", player.control())
    player.send(script, writes)
    script.idle(3000)
    player.send(script, reads)
    script.idle(30).reset(3).send("control", player.control())
    player.send(script, reads)
    script.idle(3000)
    result = player.simulation.run([script], deadline=100_000)
    last = player.layouts["status"].from_bits(result.transfers["status"][-1].payload)
    assert (int(last.violations), int(last.late), int(last.extra)) == (0, 0, 0)
    for p in range(player.config.ports):
        words = [
            player.layouts[f"response{p}"].from_bits(t.payload)
            for t in result.transfers[f"response{p}"]
        ]
        assert not any(int(word.lost) for word in words)


@pytest.mark.parametrize("most", [0, 6, 12])
def test_banks_that_are_activated_often_are_managed(player: Player, most: int) -> None:
    """Rows are changed at every access. The watcher counts by itself; without limits, it tells."""
    if not player.config.managed:
        pytest.skip("the memory has no refresh management")
    size = region(player.config)
    draw = random.Random(2)
    runs = [
        Run(s, True, s * size + draw.randrange(size), 1)
        for _ in range(300)
        for s in range(player.config.streams)
    ]
    told = player.control(threshold=4, most=most, random_slots=1)
    script = Script().send("control", told)
    player.send(script, runs)
    outcome = player.play(script, runs, rest=8000)
    assert outcome.wrong == []
    assert outcome.status["violations"] == outcome.status["late"] == outcome.status["decayed"] == 0
    assert outcome.status["broken"] == 0 or not most  # a limit of 0 is taken for 1
    assert 4 <= outcome.status["worst"] <= max(most, 1) or not most
