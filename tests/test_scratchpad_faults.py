"""Flipped bits in a scratchpad: corrected, told, scrubbed."""

import random
from itertools import combinations

import pytest
from scratchpad_bench import (
    play,
)
from scratchpad_words import DATA, LANE, lane_word, opened

Factory = pytest.TempPathFactory
pytestmark = pytest.mark.cosim

# -- flips


def test_every_single_flip_is_corrected_and_counted_once(tmp_path_factory: Factory) -> None:
    """By the port, and by the array; in both code words."""
    session, simulation = opened(tmp_path_factory, 1)
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
            (found,) = lane_word(session, half=bit & 1)
            assert (found.data, found.error) == (DATA, 0)
        out = session.cycle()
        assert out["corrected"] == [1, 0, 0, 0] and out["lost"] == [0] * 4
        assert out["last_corrected"] == place and out["first_lost"] is None
    assert play(simulation, session) == []


def test_double_flips_are_reported(tmp_path_factory: Factory) -> None:
    """In one code word: an error. In two: both are corrected."""
    session, simulation = opened(tmp_path_factory, 2)
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
    (found,) = lane_word(session)
    assert found.error
    assert play(simulation, session) == []


def test_dead_memory_is_not_data(tmp_path_factory: Factory) -> None:
    """All zeros and all ones are errors."""
    session, simulation = opened(tmp_path_factory, 3)
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
    session, simulation = opened(tmp_path_factory, 4)
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
    session, simulation = opened(tmp_path_factory, 5)
    place = (0, 0, 0)
    for flips in (0, 1, 1 << 70, 1 << 100, 1 << 3 | 1 << 75, 3, 3 << 80):
        assert session.access(place, DATA, poison=1)["error"] == 0
        if flips:
            session.flip(place, flips)
        assert session.access(place)["error"] == 1
        (found,) = lane_word(session)
        assert found.error
    session.access(place, DATA)
    session.access(place, DATA, poison=1, mask=2)
    assert session.access(place)["error"] == 1
    session.access(place, DATA)
    assert session.access(place)["error"] == 0
    assert play(simulation, session) == []


# -- scrubbing


def test_scrubbing_repairs_once(tmp_path_factory: Factory) -> None:
    session, simulation = opened(tmp_path_factory, 6)
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
    session, simulation = opened(tmp_path_factory, 7)
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
    session, simulation = opened(tmp_path_factory, 8)
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
    session, simulation = opened(tmp_path_factory, 9)
    config = session.ports.config
    for place, bits in (((0, 0, 0), 1), ((0, 0, 1), 3)):
        session.access(place, DATA)
        session.flip(place, bits)
        for _ in range(80):
            session.access(place)
    out = session.cycle()
    assert out["corrected"][0] == out["lost"][0] == (1 << config.counter_bits) - 1
    assert play(simulation, session) == []
