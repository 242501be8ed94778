"""Scratchpads behind ports for large memory: adapter, split, join; each with planted faults."""

import random
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import pytest
from numerics_pipeline import refuses
from ports_bench import (
    Access,
    LocalUser,
    LocalWords,
    MemoryUser,
    Request,
    SlowMemory,
    Words,
    random_requests,
    run,
)

from systolith.memory import local_join, local_memory, port_split
from systolith.memory.ports import LocalPort, MemoryPort
from systolith.proofs.substitute import Mutant, installed

slow = pytest.mark.slow
SIZE, FULL = 4, 15
GAPS = [0.0, 0.3, 0.8]
LOCAL = LocalPort(bytes=SIZE, address_bits=6)
PORT = MemoryPort(atom=SIZE, atom_bits=12, count_bits=5)
BOUNDARY, LOW, HIGH = 2048, range(2028, 2048), range(2048, 2078)


def adapter(seed: int, *, gaps: float, number: int = 120, depth: int = 8, latency: int = 5) -> Any:
    """Random requests on the adapter, in front of words some of which are refused."""
    draw = random.Random(seed)
    dut: Any = local_memory.LocalMemory(LOCAL, count_bits=5, depth=depth)
    words, there = (Words(SIZE, 64, refused=range(3)) for _ in range(2))
    requests = list(random_requests(draw, number, size=SIZE, spans=[range(64)], longest=20))
    ends = list(accumulate(r.count for r in requests if r.write))
    scratchpad = LocalWords(dut.local, draw, there, gaps=gaps, latency=latency)
    user = MemoryUser(
        dut.user,
        draw,
        requests,
        words,
        gaps=gaps,
        visible=lambda n: scratchpad.wrote >= ends[n - 1],
    )

    class Refusals:
        """Counts those that are told."""

        finished, now, told = True, 0, 0

        def drive(self, ctx: Any) -> None: ...

        def watch(self, ctx: Any) -> None:
            self.told += ctx.get(dut.refused)

    refusals = Refusals()
    run(dut, user, scratchpad, refusals)
    assert refusals.told == scratchpad.refused > 0
    return user


@pytest.mark.parametrize("gaps", GAPS)
def test_a_scratchpad_is_a_memory(gaps: float) -> None:
    adapter(1, gaps=gaps)
    adapter(2, gaps=gaps, depth=2, latency=1)


@slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_a_scratchpad_is_a_memory_more_often(seed: int) -> None:
    for gaps in GAPS:
        adapter(seed, gaps=gaps, number=300, depth=2 << seed % 4, latency=1 + seed % 7)


def gapless(beats: list[int]) -> bool:
    return all(b - a == 1 for a, b in pairwise(beats))


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("latency", [1, 6])
def test_a_word_a_clock_from_one_request_to_the_next(write: bool, latency: int) -> None:
    """Depth 8 is two more than the clocks from a request to its response."""
    dut: Any = local_memory.LocalMemory(LOCAL, count_bits=5, depth=8)
    words, draw = Words(SIZE, 64), random.Random(1)
    requests = [
        Request(write, n, count, ((n, FULL, 0),) * count if write else ())
        for n, count in enumerate((12, 1, 1, 1, 20, 2, 9))
    ]
    scratchpad = LocalWords(dut.local, draw, Words(SIZE, 64), latency=latency)
    user = MemoryUser(dut.user, draw, requests, words)
    run(dut, user, scratchpad)
    assert gapless(user.beats)
    assert user.beats[0] == (1 if write else 2 + latency)


def halves(
    seed: int, *, gaps: float, number: int = 120, outstanding: int = 4, uneven: bool = False
) -> list[SlowMemory]:
    """Random requests around the boundary, into memories of different latencies."""
    draw = random.Random(seed)
    dut: Any = port_split.PortSplit(
        PORT, boundary=BOUNDARY, low_bits=11, high_bits=5, outstanding=outstanding
    )
    requests = list(random_requests(draw, number, size=SIZE, spans=[LOW, HIGH], longest=24))
    above = [r.atom >= BOUNDARY for r in requests if r.write]
    sides = [
        SlowMemory(
            getattr(dut, name),
            draw,
            Words(SIZE, size, refused=refused),
            gaps=gaps,
            latency=latency,
        )
        for name, size, latency, refused in (
            ("low", BOUNDARY, 25 if uneven else 3, LOW[:4]),
            ("high", 32, 1 if uneven else 3, range(0)),
        )
    ]

    def visible(number: int) -> bool:
        return all(sides[s].done >= above[:number].count(bool(s)) for s in (0, 1))

    words = Words(SIZE, 1 << 12, refused=LOW[:4])
    user = MemoryUser(dut.user, draw, requests, words, gaps=gaps, visible=visible)
    run(dut, user, *sides)
    for n, side in enumerate(sides):
        mine = [r for r in requests if (r.atom >= BOUNDARY) == bool(n)]
        assert side.asked == [(int(r.write), r.atom - n * BOUNDARY, r.count) for r in mine]
    return sides


@pytest.mark.parametrize("gaps", GAPS)
def test_two_memories_are_one(gaps: float) -> None:
    halves(1, gaps=gaps)
    halves(2, gaps=gaps, outstanding=2, uneven=True)


@slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_two_memories_are_one_more_often(seed: int) -> None:
    for gaps in GAPS:
        halves(seed, gaps=gaps, number=300, outstanding=2 << seed % 4, uneven=bool(seed & 1))


@pytest.mark.parametrize("write", [False, True])
def test_an_atom_a_clock_in_either_memory(write: bool) -> None:
    dut: Any = port_split.PortSplit(PORT, boundary=BOUNDARY, low_bits=11, high_bits=5)
    draw = random.Random(1)
    requests = [
        Request(write, at, count, ((5, FULL, 0),) * count if write else ())
        for at, count in ((2020, 9), (2028, 1), (2029, 1), (2030, 12), (2048, 3), (2050, 20))
    ]
    sides = [SlowMemory(getattr(dut, n), draw, Words(SIZE, BOUNDARY)) for n in ("low", "high")]
    user = MemoryUser(dut.user, draw, requests, Words(SIZE, 1 << 12))
    run(dut, user, *sides)
    assert gapless(user.beats)


def joined(seed: int, *, gaps: float, number: int = 3, each: int = 150, depth: int = 4) -> None:
    """Users with words of their own, one of which asks in every clock."""
    draw = random.Random(seed)
    dut: Any = local_join.LocalJoin(LOCAL, number=number, depth=depth)
    words = Words(SIZE, 64)
    users = []
    for n in range(number):
        mine = range(n * 64 // number, (n + 1) * 64 // number)
        accesses = [
            Access(
                draw.random() < 0.5,
                draw.choice(mine[:6]),
                draw.getrandbits(32),
                draw.choice([FULL, 3]),
            )
            for _ in range(each)
        ]
        user = LocalUser(getattr(dut, f"user{n}"), draw, accesses, words, gaps=gaps * (n > 0))
        users.append(user)
    scratchpad = LocalWords(dut.local, draw, Words(SIZE, 64), gaps=gaps)
    run(dut, *users, scratchpad)


@pytest.mark.parametrize("gaps", GAPS)
def test_users_share_a_scratchpad(gaps: float) -> None:
    joined(1, gaps=gaps)
    joined(2, gaps=gaps, number=2, depth=2)


@slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_users_share_a_scratchpad_more_often(seed: int) -> None:
    for gaps in GAPS:
        joined(seed, gaps=gaps, number=2 + seed % 3, each=300, depth=2 << seed % 4)


def test_users_have_their_turn_and_lose_no_clock() -> None:
    dut: Any = local_join.LocalJoin(LOCAL, number=3, depth=8)
    draw, words = random.Random(1), Words(SIZE, 64)
    users = [
        LocalUser(getattr(dut, f"user{n}"), draw, [Access(False, n)] * 30, words) for n in range(3)
    ]
    scratchpad = LocalWords(dut.local, draw, Words(SIZE, 64), latency=6)
    run(dut, *users, scratchpad)
    assert {tuple(sorted(scratchpad.order[n : n + 3])) for n in range(0, 90, 3)} == {(0, 1, 2)}
    assert gapless(sorted(beat for user in users for beat in user.beats))


# Faults.

_ADAPTER: Callable[[], Any] = lambda: adapter(3, gaps=0.6)  # noqa: E731
_SPLIT: Callable[[], Any] = lambda: halves(3, gaps=0.6, uneven=True)  # noqa: E731
_JOIN: Callable[[], Any] = lambda: joined(3, gaps=0.6)  # noqa: E731

FAULTS: dict[str, tuple[Callable[[], Any], Any, str, str]] = {
    "reads without room": (
        _ADAPTER,
        local_memory.LocalMemory,
        "Mux(write, user.write.valid, owed != self.depth)",
        "Mux(write, user.write.valid, 1)",
    ),
    "done of every word": (
        _ADAPTER,
        local_memory.LocalMemory,
        "user.done.eq(response.valid & wrote & last)",
        "user.done.eq(response.valid & wrote)",
    ),
    "done before the answer": (
        _ADAPTER,
        local_memory.LocalMemory,
        "user.done.eq(response.valid & wrote & last)",
        "user.done.eq(step & write & final)",
    ),
    "a refused word is read as good": (
        _ADAPTER,
        local_memory.LocalMemory,
        "response.error | response.refused",
        "response.error",
    ),
    "reads in the order of arrival": (
        _SPLIT,
        port_split.PortSplit,
        "reads.entry.eq(above)",
        "reads.entry.eq(self.high.read.valid)",
    ),
    "a write ends an atom late": (
        _SPLIT,
        port_split.PortSplit,
        "last.eq(before + 1 == left)",
        "last.eq(before == left)",
    ),
    "writes are done in any order": (
        _SPLIT,
        port_split.PortSplit,
        "dones.valid & Mux(dones.head, high.valid, low.valid)",
        "dones.valid & (high.valid | low.valid)",
    ),
    "the boundary belongs to the lower memory": (
        _SPLIT,
        port_split.PortSplit,
        "asked.p.atom >= self.boundary",
        "asked.p.atom > self.boundary",
    ),
    "an offer changes hands": (
        _JOIN,
        local_join.LocalJoin,
        "turn.eq(Mux(held, before, fresh))",
        "turn.eq(fresh)",
    ),
    "answers go to who asks": (
        _JOIN,
        local_join.LocalJoin,
        "asked.entry.eq(turn)",
        "asked.entry.eq(before)",
    ),
}


def shows(fault: str) -> bool:
    play, *mutant = FAULTS[fault]
    with installed([Mutant(*mutant)]):
        try:
            play()
        except (AssertionError, IndexError, TimeoutError):
            return True
    return False


@pytest.mark.parametrize(
    "fault",
    [pytest.param(f, marks=[] if n in (1, 6, 9) else [slow]) for n, f in enumerate(FAULTS)],
)
def test_planted_faults_show(fault: str) -> None:
    assert shows(fault)


def test_wrong_sizes_are_refused() -> None:
    sizes: dict[str, int] = {"boundary": BOUNDARY, "low_bits": 11, "high_bits": 5}
    refuses(lambda: local_memory.LocalMemory(LOCAL, count_bits=5, depth=6), "depth must be a power")
    refuses(lambda: local_memory.LocalMemory(LOCAL, count_bits=0), "count_bits must be from 1")
    refuses(lambda: local_join.LocalJoin(LOCAL, number=1), "number must be at least 2")
    refuses(lambda: local_join.LocalJoin(LOCAL, depth=3), "depth must be a power of two")
    for change, message in (
        ({"boundary": 1000}, "boundary must be a multiple of 4 KB, 1024 atoms"),
        ({"boundary": 0}, "boundary must be"),
        ({"boundary": 4096}, "within the port's 4096, not 4096"),
        ({"low_bits": 10}, "low_bits must be at least 11"),
        ({"high_bits": 13}, "high_bits must be from 1 to 12"),
        ({"outstanding": 3}, "outstanding must be a power of two"),
    ):
        refuses(lambda c=change: port_split.PortSplit(PORT, **{**sizes, **c}), message)  # type: ignore[misc]
