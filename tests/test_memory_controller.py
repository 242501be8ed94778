"""The controller on a memory that watches: data, order, timing and refresh."""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from memory_bench import SMALL, Outcome, Player, Run, random_runs, region

from systolith.harness.script import Script
from systolith.memory.hbm import data_path
from systolith.proofs.substitute import Mutant, installed

pytestmark = pytest.mark.cosim

WAKE = 400  # cycles in which the small memories are brought up
EPISODES = 8


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


@dataclass(frozen=True)
class Look:
    """A read: clocks from the end of the last write in front of it as told, what it should see."""

    since: int
    right: bool


def _looks(player: Player, script: Script, runs: list[Run]) -> tuple[list[Look], set[int]]:
    """Every read, each of what was written last; the ports on which writes were done."""
    result = player.simulation.run([script.idle(3000)], deadline=100_000)

    def told(name: str, stream: Callable[[Any], int]) -> dict[int, list[tuple[int, Any]]]:
        """Of every stream, in order, from all ports."""
        events = sorted(
            (t.cycle, p, t.payload)
            for p in range(player.config.ports)
            for t in result.transfers[f"{name}{p}"]
        )
        found: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        for cycle, p, payload in events:
            layout = player.layouts.get(f"{name}{p}")
            word = layout.from_bits(payload) if layout else payload
            found[stream(word)].append((cycle, word))
        return found

    done = told("done", int)
    written = told("written", lambda word: int(word.stream))
    back = told("response", lambda word: int(word.stream))
    looks: list[Look] = []
    data: list[int] = []
    end = 0
    for run, t in zip(runs, result.transfers["run"], strict=True):
        if run.write:
            data = [int(written[run.stream].pop(0)[1].write.data) for _ in range(run.count)]
            end = done[run.stream].pop(0)[0]
        else:
            words = [int(back[run.stream].pop(0)[1].data) for _ in range(run.count)]
            looks.append(Look(t.cycle - end, words == data))
    return looks, {p for p in range(player.config.ports) if result.transfers[f"done{p}"]}


def _behind_others(one: int, at: int, count: int) -> list[Run]:
    """A write behind two long ones of its stream, more than are announced at once."""
    return [Run(one, True, 64, 40), Run(one, True, 128, 40), Run(one, True, at, count)]


def _many_looks(player: Player) -> list[Look]:
    """Reads as soon as they can be: of streams that have nothing announced, which go first."""
    script, sent = Script().send("control", player.control()).idle(WAKE), list[Run]()
    for turn in range(EPISODES):
        one, other = turn % 2, (turn + 1) % 2
        at, count = 5 * turn, 1 + turn % 3
        writes = _behind_others(one, at, count)
        player.send(script, writes)
        reads = [Run(other, False, at, count) for _ in range(40)]
        sent += writes + reads
        for read in reads:
            player.send(script, [read])
            script.idle(6 + turn % 4)
        script.idle(1500)
    looks, _ = _looks(player, script, sent)
    return looks


def test_a_write_that_is_done_is_seen_by_other_streams(player: Player) -> None:
    looks = _many_looks(player)
    after = [look for look in looks if look.since >= 0]
    assert len(after) > 3 * EPISODES
    assert all(look.right for look in after)
    # It matters when it is told.
    assert sum(not look.right for look in looks if look.since < 0) >= EPISODES


def _look_behind(player: Player, count: int, idle: int) -> tuple[Look, set[int]]:
    runs = [*_behind_others(0, 5, count), Run(1, False, 5, count)]
    script = Script().send("control", player.control()).idle(WAKE)
    player.send(script, runs[:-1])
    player.send(script.idle(idle), runs[-1:])
    (look,), ports = _looks(player, script, runs)
    return look, ports


def test_a_write_is_seen_from_the_clock_in_which_it_is_told_done(player: Player) -> None:
    """Nothing depends on a read before it is accepted: when to send it is known from another."""
    ports: set[int] = set()
    for count in range(1, 5):
        known, used = _look_behind(player, count, 2000)
        assert known.right
        ports |= used
        for clocks in range(3):
            look, _ = _look_behind(player, count, 2000 - known.since + clocks)
            assert look == Look(clocks, True)
    assert ports == set(range(player.config.ports))


@pytest.mark.parametrize("name", ["tight", pytest.param("tight4", marks=pytest.mark.slow)])
def test_a_write_that_is_told_done_too_soon_is_noticed(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every atom is told as the last one of a run, so that a run is done while others go before."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    fault = (data_path.DataPath, "access.write & access.last)", "access.write)")
    with installed([Mutant(*fault)]):
        player = Player(SMALL[name], shared / "models")
    wrong = [look for look in _many_looks(player) if look.since >= 0 and not look.right]
    assert len(wrong) >= EPISODES // 2


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
