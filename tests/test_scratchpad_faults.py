"""Flipped bits in a scratchpad, and faults planted in its RTL."""

import random
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from scratchpad_bench import (
    CONFIGS,
    Session,
    build_scratchpad,
    play,
    scratchpad,
)
from scratchpad_programs import random_program

from systolith.memory import (
    scratchpad_access,
    scratchpad_bank,
    scratchpad_codec,
    scratchpad_commands,
    scratchpad_head,
    scratchpad_log,
    scratchpad_port,
    scratchpad_reader,
    scratchpad_tokens,
    scrubber,
)
from systolith.proofs.substitute import Mutant, installed

Factory = pytest.TempPathFactory
pytestmark = pytest.mark.cosim

DATA = 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210
LANE = 72


def _session(factory: Factory, seed: int) -> tuple[Session, Any]:
    ports, simulation = scratchpad("small", factory)
    session = Session(ports, seed=seed)
    session.ready()
    return session, simulation


def _lane_word(session: Session, half: int = 0, count: int = 1) -> list[Any]:
    """What the array reads in bank 0, in the split in which every bank is a sub-array."""
    session.settings["mode"] = len(session.ports.config.modes) - 1
    session.idle(10)
    session.do("give", {"groups": 1, "half": half})
    session.do("command0", {"base": 0, "half": half, "count": count})
    words = [out["lane"][0] for out in session.idle(10 + count) if 0 in out["lane"]]
    session.do("back", {"groups": 1, "half": half})
    return words


# -- flips


def test_every_single_flip_is_corrected_and_counted_once(tmp_path_factory: Factory) -> None:
    """By the port, and by the array; in both code words."""
    session, simulation = _session(tmp_path_factory, 1)
    for bit in range(2 * LANE):
        place = (0, bit & 1, 0)
        session.access(place, DATA)
        session.flip(place, 1 << bit)
        session.settings["clear"] = 1
        session.cycle()
        session.settings["clear"] = 0
        if bit % 3:
            answer = session.access(place)
            assert (answer["data"], answer["error"]) == (DATA, 0)
        else:
            (found,) = _lane_word(session, half=bit & 1)
            assert (found.data, found.error) == (DATA, 0)
        out = session.cycle()
        assert out["corrected"] == [1, 0, 0, 0] and out["lost"] == [0] * 4
        assert out["last_corrected"] == place and out["first_lost"] is None
    assert play(simulation, session) == []


def test_double_flips_are_reported(tmp_path_factory: Factory) -> None:
    """In one code word: an error. In two: both are corrected."""
    session, simulation = _session(tmp_path_factory, 2)
    draw = random.Random(2)
    place = (0, 0, 0)
    pairs = draw.sample(list(combinations(range(LANE), 2)), 60)
    for first, second in pairs:
        for base in (0, LANE):
            session.access(place, DATA)
            session.flip(place, (1 << first | 1 << second) << base)
            assert session.access(place)["error"] == 1
        session.access(place, DATA)
        session.flip(place, 1 << first | 1 << LANE + second)
        answer = session.access(place)
        assert (answer["data"], answer["error"]) == (DATA, 0)
    session.access(place, DATA)
    session.flip(place, 3 << 30)
    (found,) = _lane_word(session)
    assert found.error
    assert play(simulation, session) == []


def test_dead_memory_is_not_data(tmp_path_factory: Factory) -> None:
    """All zeros and all ones are errors."""
    session, simulation = _session(tmp_path_factory, 3)
    place = (1, 1, 3)
    for dead in (0, (1 << 2 * LANE) - 1):
        session.access(place, DATA)
        session.flip(place, session.model.words.stored(place) ^ dead)
        assert session.model.words.stored(place) == dead
        assert session.access(place)["error"] == 1
    assert session.cycle()["first_lost"] == place
    assert play(simulation, session) == []


def test_writes_of_parts(tmp_path_factory: Factory) -> None:
    """They correct what they read; what they merge with an error stays one, and nothing else."""
    session, simulation = _session(tmp_path_factory, 4)
    place = (0, 0, 5)
    low = (1 << 64) - 1
    session.access(place, DATA)
    session.flip(place, 1 << 13)
    assert session.access(place, 0xAA, mask=1)["error"] == 0
    assert session.cycle()["corrected"][0] == 1
    assert session.access(place)["data"] == DATA & ~255 | 0xAA
    assert session.cycle()["corrected"][0] == 1  # it was written back without the flip

    session.access(place, DATA)
    session.flip(place, 5)  # two in the lower code word
    assert session.access(place, 0, mask=1 << 15)["error"] == 0  # the upper one is fine
    assert session.access(place)["error"] == 1
    assert session.access(place, 0, mask=1 << 3)["error"] == 1
    lost = session.cycle()["lost"][0]
    assert session.access(place)["error"] == 1
    assert session.cycle()["lost"][0] == lost  # known by now: poisoned, not lost again
    assert session.access(place, 0, mask=0xFF)["error"] == 0
    answer = session.access(place)
    assert (answer["error"], answer["data"]) == (0, DATA & ~low & ~(255 << 120))
    assert play(simulation, session) == []


def test_poison(tmp_path_factory: Factory) -> None:
    """It is read back as an error, also with flips; a whole write ends it."""
    session, simulation = _session(tmp_path_factory, 5)
    place = (0, 0, 0)
    for flips in (0, 1, 1 << 70, 1 << 100, 1 << 3 | 1 << 75, 3, 3 << 80):
        assert session.access(place, DATA, poison=1)["error"] == 0
        if flips:
            session.flip(place, flips)
        assert session.access(place)["error"] == 1
        (found,) = _lane_word(session)
        assert found.error
    session.access(place, DATA)
    session.access(place, DATA, poison=1, mask=2)
    assert session.access(place)["error"] == 1
    session.access(place, DATA)
    assert session.access(place)["error"] == 0
    assert play(simulation, session) == []


# -- scrubbing


def test_scrubbing_repairs_once(tmp_path_factory: Factory) -> None:
    session, simulation = _session(tmp_path_factory, 6)
    config = session.ports.config
    words = config.banks * 2 * config.depth
    places = [(n % config.banks, n & 1, n % config.depth) for n in range(5)]
    for place in places:
        session.access(place, DATA)
        session.flip(place, 1 << 20)
    session.access((3, 1, 7), DATA)
    session.flip((3, 1, 7), 3)
    session.access((3, 0, 7), DATA, poison=1)
    session.settings["interval"] = 20
    session.idle(20 * (words + 1))
    out = session.cycle()
    assert (out["repaired"], out["overtaken"]) == (len(places), 0)
    assert (sum(out["corrected"]), sum(out["lost"])) == (len(places), 1)
    session.idle(20 * words)
    out = session.cycle()
    assert (sum(out["corrected"]), sum(out["lost"])) == (len(places), 2)  # beyond repair
    assert out["first_lost"] == (3, 1, 7)
    session.settings["pause"] = 1
    session.idle(20)
    looked = session.cycle()["looked"]
    assert looked == (1 << config.counter_bits) - 1  # and does not wrap
    session.settings["interval"] = 0
    assert all(session.access(place)["data"] == DATA for place in places)
    assert play(simulation, session) == []


@pytest.mark.parametrize("partial", [False, True])
def test_scrubbing_never_overwrites_newer_data(partial: bool, tmp_path_factory: Factory) -> None:
    """A write of the word in every cycle around the scrubber's own."""
    overtaken = repaired = 0
    session, simulation = _session(tmp_path_factory, 7)
    config = session.ports.config
    mask = 0xF if partial else (1 << config.bytes) - 1
    for wait in range(24):
        session.reset()
        session.ready()
        place = (0, 0, 0)
        session.access(place, DATA)
        session.flip(place, 1 << 40)
        session.settings["interval"] = 100
        while session.model.walker.step == "idle":
            session.cycle()
        session.settings["pause"] = 1
        session.idle(wait)
        newer = session.access(place, wait, mask=mask)
        assert not newer["error"]
        session.idle(20)
        answer = session.access(place)
        wide = (1 << 32) - 1 if partial else (1 << 128) - 1
        assert (answer["data"], answer["error"]) == (DATA & ~wide | wait, 0)
        out = session.cycle()
        overtaken, repaired = overtaken + out["overtaken"], repaired + out["repaired"]
        session.settings |= {"interval": 0, "pause": 0}
    assert overtaken and repaired
    assert play(simulation, session) == []


def test_the_scrubber_takes_free_cycles_only(tmp_path_factory: Factory) -> None:
    """Requests in every cycle, or the array in the half, hold it up; and nothing else."""
    session, simulation = _session(tmp_path_factory, 8)
    config = session.ports.config
    request = {"write": 0, "address": config.address(1, 0, 0), "data": 0, "mask": 0, "poison": 0}
    session.settings["interval"] = 1
    session.idle(50)
    session.settings["clear"] = 1
    session.cycle()
    session.settings["clear"] = 0
    assert all(session.cycle(request=request)["ready"]["request"] for _ in range(50))
    assert session.cycle()["looked"] <= 1  # one that was under way
    assert play(simulation, session) == []


def test_counters_saturate(tmp_path_factory: Factory) -> None:
    session, simulation = _session(tmp_path_factory, 9)
    config = session.ports.config
    for place, bits in (((0, 0, 0), 1), ((0, 0, 1), 3)):
        session.access(place, DATA)
        session.flip(place, bits)
        for _ in range(80):
            session.access(place)
    out = session.cycle()
    assert out["corrected"][0] == out["lost"][0] == (1 << config.counter_bits) - 1
    assert play(simulation, session) == []


# -- campaign

KINDS = (
    "data bit",
    "check bit",
    "one bit in each code word",
    "two bits of a code word",
    "poisoned, no flip",
    "poisoned, one flip",
    "poisoned, two flips",
    "no flip",
)
READERS = ("port", "array", "scrubbed, then port", "write of a part, then port")


def _flips(kind: str, draw: random.Random) -> int:
    lane = LANE * draw.getrandbits(1)
    match kind:
        case "data bit" | "poisoned, one flip":
            return 1 << lane + draw.randrange(64)
        case "check bit":
            return 1 << lane + draw.randrange(64, LANE)
        case "one bit in each code word":
            return 1 << draw.randrange(LANE) | 1 << LANE + draw.randrange(LANE)
        case "two bits of a code word" | "poisoned, two flips":
            first, second = draw.sample(range(LANE), 2)
            return (1 << first | 1 << second) << lane
        case _:
            return 0


def _campaign_run(session: Session, kind: str, reader: str, draw: random.Random) -> str:
    """One fault: what whoever reads the word gets."""
    config = session.ports.config
    place = (0, draw.getrandbits(1), 0)
    if reader.startswith("scrubbed"):
        place = session.model.walker.walk  # the next one
    data, poison = draw.getrandbits(8 * config.bytes), int("poison" in kind)
    session.access(place, data, poison=poison)
    if flips := _flips(kind, draw):
        session.flip(place, flips)
    if reader == "array":
        (found,) = _lane_word(session, half=place[1])
        got, error = found.data, bool(found.error)
    else:
        if reader.startswith("scrubbed"):
            session.settings["interval"] = 1
            session.idle(20)
            session.settings["interval"] = 0
            session.idle(10)
        if reader.startswith("write"):
            byte = draw.randrange(config.bytes)
            new = draw.getrandbits(8 * config.bytes)
            session.access(place, new, mask=1 << byte)
            wide = 255 << 8 * byte
            data = data & ~wide | new & wide
        answer = session.access(place)
        got, error = answer["data"], bool(answer["error"])
    if error:
        return "poisoned"
    return "right" if got == data else "silently wrong"


def _campaign(session: Session, runs: int, seed: int) -> dict[str, Counter[str]]:
    draw = random.Random(seed)
    table: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    for number in range(runs):
        kind = KINDS[number % len(KINDS)]
        reader = draw.choice(READERS)
        table[kind][_campaign_run(session, kind, reader, draw)] += 1
    return table


@pytest.mark.parametrize("runs", [200, pytest.param(4000, marks=pytest.mark.slow)])
def test_fault_campaign(
    runs: int, tmp_path_factory: Factory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Short runs in one simulation; the table is printed."""
    session, simulation = _session(tmp_path_factory, 10)
    table = _campaign(session, runs, seed=10)
    assert play(simulation, session) == []
    with capsys.disabled():
        print(f"\n{runs} runs, seed 10, {len(session.cycles)} cycles")
        print(f"{'fault':28}{'runs':>6}{'right':>7}{'poisoned':>10}{'silently wrong':>16}")
        for kind, counts in table.items():
            row = [counts[name] for name in ("right", "poisoned", "silently wrong")]
            print(f"{kind:28}{sum(row):6}{row[0]:7}{row[1]:10}{row[2]:16}")
    for kind, counts in table.items():
        assert counts["silently wrong"] == 0
        harmless = "poison" not in kind and "two" not in kind
        assert counts["poisoned" if harmless else "right"] == 0


# -- planted faults

FAULTS: dict[str, tuple[Any, str, str]] = {
    "requests touch what the array owns": (
        scratchpad_access.ScratchAccess,
        "refused.eq(now.outside | now.mask_bad | theirs)",
        "refused.eq(now.outside | now.mask_bad)",
    ),
    "scrubber and array meet at a memory": (
        scratchpad_access.ScratchAccess,
        "Mux(now.scrub, ~denied,",
        "Mux(now.scrub, 1,",
    ),
    "one enable for all code words": (
        scratchpad_access.ScratchAccess,
        "now.mask[size * lane :][:size].any() for lane",
        "now.mask.any() for lane",
    ),
    "poison is not stored": (
        scratchpad_access.ScratchAccess,
        "encoder.poison.eq(now.poison)",
        "encoder.poison.eq(0)",
    ),
    "the array reads the other half": (
        scratchpad_bank.ScratchBank,
        "Mux(came.half, self.raw[1], self.raw[0])",
        "Mux(came.half, self.raw[0], self.raw[1])",
    ),
    "errors of the array are not told": (
        scratchpad_bank.ScratchBank,
        "error.eq(decoder.error.any())",
        "error.eq(0)",
    ),
    "poison of one code word is another one's": (
        scratchpad_codec.WordEncoder,
        "Mux(self.poison[lane], config.mark, 0)",
        "Mux(self.poison[0], config.mark, 0)",
    ),
    "commands on halves of the DMA": (
        scratchpad_commands.ScratchCommands,
        "(uses & ~owned).any()",
        "(uses & ~owned).all()",
    ),
    "a split changes under way": (
        scratchpad_commands.ScratchCommands,
        "(~settled & resting)",
        "(~settled)",
    ),
    "one step too many": (
        scratchpad_head.ScratchHead,
        "self.step.valid.eq(left != 0)",
        "self.step.valid.eq((left != 0) | self.busy.any())",
    ),
    "the array hands over too early": (
        scratchpad_head.ScratchHead,
        "total.eq(command.count + self.drain)",
        "total.eq(command.count)",
    ),
    "counters wrap": (
        scratchpad_log.ScratchLog,
        "Mux(total > top, top, total)",
        "total",
    ),
    "the last loss is kept, not the first": (
        scratchpad_log.ScratchLog,
        "~(kept.valid & keeps)",
        "1",
    ),
    "a write of a part forgets the error": (
        scratchpad_port.ScratchPort,
        "now.poison | (decoder.error & partial)",
        "now.poison",
    ),
    "a write of a part merges the wrong way": (
        scratchpad_port.ScratchPort,
        "m.If(~now.mask[byte])",
        "m.If(now.mask[byte])",
    ),
    "no wait for a write that reads first": (
        scratchpad_port.ScratchPort,
        "self.still.eq(~filling & ~merging)",
        "self.still.eq(~filling)",
    ),
    "the fill ends early": (
        scratchpad_port.ScratchPort,
        "offset == config.depth - 1",
        "offset == config.depth - 2",
    ),
    "steps leave their sub-array": (
        scratchpad_reader.ScratchReader,
        "hop.valid.eq(before.valid & follows.any())",
        "hop.valid.eq(before.valid)",
    ),
    "lane groups are one cycle late": (
        scratchpad_reader.ScratchReader,
        "delayed(m, hop, config.spacing,",
        "delayed(m, hop, config.spacing + 1,",
    ),
    "a foreign token is taken": (
        scratchpad_tokens.ScratchTokens,
        "foreign.append(gives & (owned & given.groups).any())",
        "foreign.append(gives & (owned & given.groups).all())",
    ),
    "tokens do not wait for steps": (
        scratchpad_tokens.ScratchTokens,
        "self.back.ready.eq(~waits)",
        "self.back.ready.eq(1)",
    ),
    "the scrubber overwrites newer data": (
        scrubber.Scrubber,
        "hit.eq(self.written.valid & (self.written.place == here))",
        "hit.eq(0)",
    ),
    "the scrubber writes all code words": (
        scrubber.Scrubber,
        "lanes.eq(self.found.corrected)",
        "lanes.eq(-1)",
    ),
    "an injection is lost": (
        scrubber.Scrubber,
        "step.eq(Mux(planting, _Step.READ, _Step.IDLE))\n            with m.Case(_Step.WRITE)",
        "step.eq(_Step.IDLE)\n            with m.Case(_Step.WRITE)",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path: Path) -> None:
    # Where lane groups are one cycle apart, a change of split takes as long as a step stays.
    config = CONFIGS["plain" if fault == "steps leave their sub-array" else "small"]
    with installed([Mutant(*FAULTS[fault])]):
        ports, simulation = build_scratchpad(config, tmp_path)
    session = Session(ports, seed=11)
    random_program(session, 12_000)
    if config.ecc:
        _collide(session)
    assert play(simulation, session)


def _collide(session: Session) -> None:
    """Scrub a word with a flip, write it, and inject beside writes: in every cycle around."""
    for wait in range(20):
        session.reset()
        session.settings |= {"interval": 0, "pause": 0, "clear": 0}
        session.ready()
        session.access((0, 0, 0), DATA)
        session.flip((0, 0, 0), (3 << 80 | 1) if wait & 1 else 1)
        session.settings["interval"] = 60
        while session.model.walker.step == "idle":
            session.cycle()
        session.settings["interval"] = 0
        session.idle(wait // 2)
        session.access((0, 0, 0), wait)
        session.idle(10)
        session.access((0, 0, 0))
        session.do("inject", {"address": 0, "flip": 2})
        session.idle(wait // 2)
        session.access((0, 0, 0), wait)
        session.idle(10)
        session.access((0, 0, 0))
    config = session.ports.config
    # One code word that can be repaired, beside one that cannot.
    session.access((0, 0, 0), DATA)
    session.flip((0, 0, 0), 3 << 80 | 1)
    session.settings["interval"] = 1
    session.idle(1200)
    session.settings["interval"] = 0
    session.idle(20)
    session.access((0, 0, 0))
    # More errors than a counter counts.
    for bits in (1, 3):
        session.access((0, 0, 0), DATA)
        session.flip((0, 0, 0), bits)
        for _ in range(1 << config.counter_bits):
            session.access((0, 0, 0))
