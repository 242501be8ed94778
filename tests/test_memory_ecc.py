"""Error correction and writes in part in the controller, on a memory that flips bits."""

import random
from dataclasses import replace
from typing import Any

import pytest
from memory_bench import (
    MERGING,
    SMALL,
    Outcome,
    Player,
    Run,
    longest_wait,
    random_runs,
    region,
)

from systolith.benches.player_layouts import users
from systolith.harness.errors import Deadline
from systolith.harness.script import Script
from systolith.memory.hbm import column_pipeline, column_sequencer, data_path
from systolith.memory.hbm.config import ControllerConfig
from systolith.proofs.substitute import Mutant, installed

pytestmark = pytest.mark.cosim

CLEAN = {"violations": 0, "late": 0, "decayed": 0, "extra": 0, "refused": 0}
FLUSH = 150  # cycles in which one access of an idle memory is over, a refresh in its way


@pytest.fixture(
    scope="module",
    params=[n if n == "word" else pytest.param(n, marks=pytest.mark.slow) for n in MERGING],
)
def player(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Player:
    return _player(MERGING[request.param], tmp_path_factory)


def _player(config: ControllerConfig, factory: pytest.TempPathFactory, **sizes: int) -> Player:
    base = factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    return Player(config, shared / "models", **sizes)


def _filled(player: Player, **registers: int) -> tuple[Script, list[Run]]:
    """A script in which every stream first writes all it has."""
    size = region(player.config)
    runs = [Run(s, True, s * size, size) for s in range(users(player.config))]
    script = Script().send("control", player.control(fill=1)).idle(2500)
    player.send(script.send("control", player.control()), runs)
    return script.idle(4000).send("control", player.control(**registers)), runs


def _flip(player: Player, *bits: int, persist: bool = False) -> int:
    mask = sum(1 << bit for bit in bits)
    return (mask << 2) | (persist << 1) | 1


def _clean(outcome: Outcome) -> None:
    assert outcome.wrong == []
    assert outcome.lost == 0
    assert {n: outcome.status[n] for n in CLEAN} == CLEAN


@pytest.mark.parametrize("slots", [0, 1], ids=["offered", "random"])
def test_bytes_are_written_in_part(player: Player, slots: int) -> None:
    """Streams of even number write in part, the others in full, all at once."""
    streams = users(player.config)
    even = sum(1 << s for s in range(0, streams, 2))
    script, runs = _filled(player, masked=even, random_slots=slots, hotter=2)
    more = []
    for run in random_runs(player.config, seed=5, number=600, longest=12):
        if run.write and run.stream % 2 == 0:
            more += [replace(run, atom=run.atom + n, count=1, partial=True) for n in range(3)]
        else:
            more.append(run)
    more = [r for r in more if r.atom // region(player.config) == r.stream]
    player.send(script, more)
    outcome = player.play(script, runs + more, rest=8000)
    _clean(outcome)
    assert outcome.reads > 400
    assert outcome.poisoned == 0 and outcome.corrections == []


def test_writes_in_part_end_in_time(player: Player) -> None:
    """All streams write parts of the rows of one bank; now and then old data is lost."""
    config = player.config
    size, row = region(config), (1 << config.atom_bits) // config.organisation.rows
    draw = random.Random(8)
    script, runs = _filled(player, masked=-1)
    more = [
        Run(n % users(config), True, n % users(config) * size + row * draw.randrange(size // row),
            1, True)
        for n in range(240)
    ]  # fmt: skip
    for n, run in enumerate(more):
        if n % 20 == 19:
            script.send("control", player.control(masked=-1, lose=1))
        player.send(script, [run])
    outcome = player.play(script, runs + more, rest=8000)
    _clean(outcome)
    outcome.waits = outcome.waits[len(runs) :]
    assert len(outcome.waits) == len(more)
    assert 0.01 < longest_wait(config, outcome, partial=True) <= 1


def test_streams_write_parts_of_the_same_atoms(player: Player) -> None:
    """All write to a few atoms; in the order in which data was fetched, none undoes another."""
    script, runs = _filled(player, masked=-1, random_slots=1)
    draw = random.Random(11)
    parts = [
        Run(draw.randrange(users(player.config)), True, draw.randrange(4), 1, True)
        for _ in range(300)
    ]
    player.send(script, parts)
    script.idle(12000)
    reads = [Run(0, False, at, 1) for at in range(4)]
    player.send(script, reads)
    result = player.simulation.run([script.idle(2000)], deadline=100_000)
    fetched = sorted(
        (t.cycle, p, t.payload)
        for p in range(player.config.ports)
        for t in result.transfers[f"written{p}"]
    )
    words = [player.layouts["written0"].from_bits(payload) for _, _, payload in fetched]
    queues: dict[int, list[int]] = {}
    for run in [*runs, *parts]:
        queues.setdefault(run.stream, []).extend(run.atom + n for n in range(run.count))
    known: dict[int, int] = {}
    for word in words:
        at = queues[int(word.stream)].pop(0)
        mask = sum(255 << 8 * b for b in range(player.config.organisation.atom)
                   if int(word.write.mask) >> b & 1)  # fmt: skip
        known[at] = known.get(at, 0) & ~mask | int(word.write.data) & mask
    back = [
        player.layouts[f"response{p}"].from_bits(t.payload)
        for _, p, t in sorted(
            (t.cycle, p, t)
            for p in range(player.config.ports)
            for t in result.transfers[f"response{p}"]
        )
    ]
    assert len(words) == len(parts) + sum(run.count for run in runs)
    assert [int(word.data) for word in back] == [known[at] for at in range(4)]


def test_each_single_error_is_corrected_and_counted(player: Player) -> None:
    codec = player.config.codec
    if codec is None:
        pytest.skip("there are no check bits")
    script, runs = _filled(player)
    width = 256 + codec.check_bits
    reads = []
    for bit in range(width):
        reads.append(Run(bit % 4, False, bit % 4 * region(player.config) + bit % 13, 1))
        script.send("flip", _flip(player, bit))
        player.send(script, reads[-1:])
        script.idle(FLUSH)
    outcome = player.play(script, runs + reads)
    _clean(outcome)
    assert (outcome.reads, outcome.poisoned) == (width, 0)
    told = sorted(int(c.atom) for c in outcome.corrections if int(c.corrected))
    assert told == sorted(run.atom for run in reads)
    assert not any(int(c.uncorrectable) for c in outcome.corrections)


def test_each_double_error_is_told_and_stays(player: Player) -> None:
    """What is written over a part of it is poisoned; in full, it is good again."""
    codec = player.config.codec
    if codec is None:
        pytest.skip("there are no check bits")
    draw = random.Random(3)
    script, runs = _filled(player, masked=1)
    size, word = region(player.config), 256 // codec.words
    more, bad = [], 0
    for n in range(40):
        first = draw.randrange(codec.words) * word
        pair = draw.sample(range(first, first + word), 2)
        at = n % 16
        script.send("flip", _flip(player, *pair, persist=True))
        steps = [
            Run(0, False, at, 1),  # told
            Run(0, True, at, 1, True),  # keeps it bad
            Run(0, False, at, 1),
            Run(1, False, size + at, 1),  # nobody else's
        ]
        more += steps
        for run in steps:
            player.send(script, [run])
            script.idle(2 * FLUSH)
        bad += 2
        script.send("control", player.control())
        more += (again := [Run(0, True, at, 1), Run(0, False, at, 1)])
        player.send(script, again)
        script.idle(2 * FLUSH).send("control", player.control(masked=1))
    outcome = player.play(script, runs + more)
    _clean(outcome)
    assert outcome.poisoned == bad
    kinds = [(int(c.uncorrectable), int(c.poisoned)) for c in outcome.corrections]
    assert kinds.count((1, 0)) == 2 * 40  # the read, and the one of the write
    assert kinds.count((1, 1)) == 40
    assert not any(int(c.corrected) for c in outcome.corrections)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_lost_old_data_is_read_again(player: Player, times: int) -> None:
    """After the third time the atom is poisoned."""
    script, runs = _filled(player, masked=1)
    part = Run(0, True, 5, 1, True)
    script.send("control", player.control(masked=1, lose=1))
    player.send(script, [part])
    for n in range(1, times):
        script.wait("event", n).send("control", player.control(masked=1, lose=1))
    script.wait("event", times).idle(FLUSH)
    reads = [Run(0, False, 5, 1), Run(1, False, region(player.config), 1)]
    player.send(script, reads)
    outcome = player.play(script, [*runs, part, *reads])
    if times < 3:
        _clean(outcome)
        assert outcome.poisoned == 0
    elif player.config.codec:
        assert (outcome.wrong, outcome.poisoned, outcome.status["refused"]) == ([], 1, 0)
    else:  # there is no way to mark it
        assert outcome.status["refused"] == 1


def test_a_part_that_is_not_called_one_is_refused(player: Player) -> None:
    script, runs = _filled(player, masked=1)
    part = Run(0, True, 5, 1)
    player.send(script, [part])
    script.idle(FLUSH)
    player.send(script, [Run(0, False, 5, 1)])
    outcome = player.play(script, [*runs, part, Run(0, False, 5, 1)])
    assert outcome.status["refused"] == 1
    if player.config.codec:
        assert (outcome.wrong, outcome.poisoned) == ([], 1)


def test_without_correction_data_is_passed_on(player: Player) -> None:
    if player.config.codec is None:
        pytest.skip("there are no check bits")
    script, runs = _filled(player, raw=1)
    script.send("flip", _flip(player, 9))
    reads = [Run(0, False, 3, 1), Run(0, False, 4, 1)]
    player.send(script, reads)
    outcome = player.play(script, runs + reads)
    assert len(outcome.wrong) == 1 and "atom 3" in outcome.wrong[0]
    assert outcome.corrections == []


def _uncovered(player: Player) -> tuple[Script, list[Run]]:
    """A script that fills the memory, and a read of all that users have."""
    size = region(player.config)
    reads = [Run(s, False, s * size, size) for s in range(users(player.config))]
    return Script().send("control", player.control(fill=1)).idle(4000), reads


def test_memory_has_to_be_filled(player: Player) -> None:
    """After the fill it is zero. Random check bits next to random data are seldom right."""
    if player.config.codec is None:
        pytest.skip("there are no check bits")
    script, reads = _uncovered(player)
    filled = player.play(player.sent(script, reads), reads)
    _clean(filled)
    assert (filled.poisoned, filled.status["filled"], filled.reads) == (0, 1, 4 * reads[0].count)
    assert set(filled.data) == {0}
    never = player.play(player.sent(Script().send("control", player.control()), reads), reads)
    assert never.poisoned > 0.8 * never.reads
    bad = [int(c.atom) for c in never.corrections if int(c.uncorrectable) > int(c.poisoned)]
    assert (never.status["first"], never.status["filled"]) == (bad[0], 0)
    assert never.status["uncorrectable"] + never.status["poisoned"] == never.poisoned


@pytest.mark.parametrize("by", ["nobody", "repair", "patrol"])
def test_single_errors_are_put_right_in_the_memory(player: Player, by: str) -> None:
    """Nobody, or who read the atom, or the patrol; meanwhile other streams write parts."""
    codec = player.config.codec
    if codec is None:
        pytest.skip("there are no check bits")
    draw = random.Random(9)
    number = 30
    script, runs = _filled(player, repair=by == "repair")
    flips = []
    for n in range(number):
        flips.append(Run(0, False, 3 * n % region(player.config), 1))
        bit = draw.randrange(256 + codec.check_bits)
        script.send("flip", _flip(player, bit, persist=True))
        player.send(script, flips[-1:])
        script.idle(FLUSH)
    script.send("control", player.control(masked=14, interval=20 * (by == "patrol")))
    parts = [
        Run(s, True, s * region(player.config) + draw.randrange(60), 1, True)
        for s in (1, 2, 3)
        for _ in range(60)
    ]
    player.send(script, parts)
    script.idle(40 * (1 << player.config.atom_bits)).send("control", player.control())
    size = region(player.config)
    reads = [Run(s, False, s * size, size) for s in range(users(player.config))]
    player.send(script.idle(2 * FLUSH), reads)
    outcome = player.play(script, runs + flips + parts + reads)
    _clean(outcome)
    told = [c for c in outcome.corrections if int(c.corrected)]
    assert not any(int(c.uncorrectable) for c in outcome.corrections)
    # Each is met once as it is planted, and once more: by the last read, or by who puts it right.
    assert outcome.status["corrected"] == len(told) == 2 * number
    assert sum(int(c.partial) for c in told) == (0 if by == "nobody" else number)


_ACCESS = 'getattr(self, f"access{p}")'
_SEQUENCER = column_sequencer.ColumnSequencer  # of several slots
_PIPELINE = column_pipeline.ColumnPipeline  # of one
FAULTS: dict[str, tuple[str, Any, str, str]] = {
    "old data is dropped": (
        "word",
        data_path.DataPath,
        "write.mask[b] | ~partial",
        "write.mask[b] | ~partial | partial",
    ),
    "the next write is taken for the one in part": (
        "sideband4",
        data_path.DataPath,
        'late(m, access.partial, "partial", 2)',
        'late(m, access.partial, "partial", 1)',
    ),
    "the row is closed by the read": (
        "sideband4",
        _SEQUENCER,
        "final & ~(access.partial & ~writing)",
        "final | (access.partial & ~writing)",
    ),
    "the row is closed by the read, one slot": (
        "word",
        _PIPELINE,
        "final[n].eq(_at(self.final, place) & goes)",
        "final[n].eq(_at(self.final, place))",
    ),
    "the visit ends with the read": (
        "sideband4",
        _SEQUENCER,
        f"moves(config, {_ACCESS})\n                        &",
        f"{_ACCESS}.valid\n                        &",
    ),
    "the visit ends with the read, one slot": (
        "word",
        _PIPELINE,
        "self.access.eq(Mux(goes_on, banks, 0))",
        "self.access.eq(Mux(issued, banks, 0))",
    ),
    "anybody's part may go first": (
        "sideband4",
        _SEQUENCER,
        "mine = self.unfinished & (head.turn == self.oldest)",
        "mine = self.unfinished",
    ),
    "anybody's part may go first, one slot": (
        "word",
        _PIPELINE,
        "turn = oldest[n] & self.unfinished & (head.turn == self.oldest)",
        "turn = self.unfinished",
    ),
    "it is read again before it came": (
        "sideband4",
        _SEQUENCER,
        "& ~(self.merging & ~self.merge_ready)",
        "",
    ),
    "it is read again before it came, one slot": (
        "word",
        _PIPELINE,
        "(turn & ~(self.merging & ~self.merge_ready))",
        "turn",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    name, *mutant = FAULTS[fault]
    with installed([Mutant(*mutant)]):
        player = _player(MERGING[name], tmp_path_factory)
    try:
        test_bytes_are_written_in_part(player, 1)
        test_streams_write_parts_of_the_same_atoms(player)
    except (AssertionError, Deadline):
        return
    pytest.fail("not noticed")


def test_configurations_without_room_are_refused() -> None:
    with pytest.raises(ValueError, match="ecc must be none for SDR"):
        replace(SMALL["sdr"], ecc="sideband-72")
    with pytest.raises(ValueError, match="ecc must be none for atoms of 16 bytes"):
        shape = replace(SMALL["tight"].organisation, atom=16)
        replace(SMALL["tight"], organisation=shape, ecc="sideband-72")
