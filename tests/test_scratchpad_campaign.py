"""Many faults of the contents of a scratchpad, in one simulation: none is silent."""

import random
from collections import Counter

import pytest
from scratchpad_bench import (
    Session,
    play,
)
from scratchpad_words import LANE, lane_word, opened

Factory = pytest.TempPathFactory
pytestmark = pytest.mark.cosim

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
        (found,) = lane_word(session, half=place[1])
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
    session, simulation = opened(tmp_path_factory, 10)
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
