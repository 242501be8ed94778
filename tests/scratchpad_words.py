"""A scratchpad in a simulation, and a word as the array reads it."""

from typing import Any

import pytest
from scratchpad_bench import (
    Session,
    scratchpad,
)

__all__ = ["DATA", "LANE", "lane_word", "opened"]

Factory = pytest.TempPathFactory

DATA = 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210
LANE = 72


def opened(factory: Factory, seed: int) -> tuple[Session, Any]:
    ports, simulation = scratchpad("small", factory)
    session = Session(ports, seed=seed)
    session.ready()
    return session, simulation


def lane_word(session: Session, half: int = 0, count: int = 1) -> list[Any]:
    """What the array reads in bank 0, in the split in which every bank is a sub-array."""
    session.settings["mode"] = len(session.ports.config.modes) - 1
    session.idle(10)
    session.do("give", {"groups": 1, "half": half})
    session.do("command0", {"base": 0, "half": half, "count": count})
    words = [out["lane"][0] for out in session.idle(10 + count) if 0 in out["lane"]]
    session.do("back", {"groups": 1, "half": half})
    return words
