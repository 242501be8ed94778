"""What guards a memory's port: what it lets pass, what it refuses, how; with planted faults."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from guard_bench import FULL, GAPS, PORT, SIZE, WIDE, GuardedUser, play, random_mix, request
from memory_bench import SMALL
from numerics_pipeline import refuses
from ports_bench import MemoryUser, Request, SlowMemory, Words, run

from systolith.harness.formal import prove
from systolith.memory import port_guard
from systolith.memory.ports import MemoryPort
from systolith.memory.system import system
from systolith.memory.system.config import MemorySystemConfig
from systolith.proofs.port_guard import what_is_sent_on
from systolith.proofs.substitute import Mutant, installed

slow = pytest.mark.slow


@pytest.mark.parametrize("gaps", GAPS)
def test_what_is_refused_is_answered_in_turn(gaps: float) -> None:
    random_mix(1, gaps=gaps, share=0.4)
    random_mix(2, gaps=gaps, share=0.1, atoms=50, latency=25, outstanding=4)
    random_mix(4, gaps=gaps, share=0.4, late=0.7, number=30)
    random_mix(3, gaps=gaps, share=0.8, port=WIDE, atoms=8, latency=1, number=25)


@slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_what_is_refused_is_answered_in_turn_more_often(seed: int) -> None:
    for gaps in GAPS:
        sizes: dict[str, Any] = {"latency": 1 + 5 * (seed % 4), "outstanding": 2 << seed % 4}
        sizes |= {"atoms": 40 + seed, "late": (seed % 3) / 3}
        random_mix(seed, gaps=gaps, share=(seed % 5) / 5, number=300, **sizes)


EDGES = [  # atom, count, whether it is within 64 atoms
    (63, 1, True),
    (64 - 15, 15, True),
    (0, 15, True),
    (63, 2, False),
    (64 - 15 + 1, 15, False),
    (63, 15, False),
    (0, 0, False),
    (63, 0, False),
]


@pytest.mark.parametrize(("atom", "count", "within"), EDGES)
@pytest.mark.parametrize("write", [False, True])
def test_exactly_the_end_is_the_last(atom: int, count: int, within: bool, write: bool) -> None:
    """Between two others, so that nothing is lost or left over."""
    draw = random.Random(1)
    requests = [
        request(draw, True, 0, 5),
        request(draw, write, atom, count),
        request(draw, True, 2, 1),
        request(draw, False, 0, 6),
    ]
    _, memory = play(requests, draw)
    assert len(memory.asked) == 3 + within


def test_the_sum_does_not_wrap() -> None:
    """63 atoms from 7 on, of 8: the sum is 70, of which 6 is left in its bits."""
    draw = random.Random(1)
    sums = [(7, 63), (7, 57), (1, 63), (7, 9), (0, 63)]
    requests = [request(draw, write, *at) for at in sums for write in (False, True)]
    _, memory = play([*requests, request(draw, False, 7, 1)], draw, port=WIDE, atoms=8)
    assert memory.asked == [(0, 7, 1)]


class Through(wiring.Component):
    """Wires in place of a guard, and a clock for the simulator."""

    user: wiring.Signature
    memory: wiring.Signature

    def __init__(self, port: MemoryPort) -> None:
        members = wiring.Signature(port.members)
        super().__init__({"user": In(members), "memory": Out(members)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += Signal().eq(0)
        connect(m, flipped(self.user), flipped(self.memory))
        return m


def beats(dut: Any, counts: list[tuple[bool, int]]) -> list[int]:
    draw = random.Random(1)
    requests = [
        Request(write, n % 8, count, ((n, FULL, 0),) * (count * write))
        for n, (write, count) in enumerate(counts)
    ]
    memory = SlowMemory(dut.memory, draw, Words(SIZE, 64), latency=5)
    user = MemoryUser(dut.user, draw, requests, Words(SIZE, 64))
    run(dut, user, memory)
    return user.beats


@pytest.mark.parametrize("kind", ["reads", "writes", "both"])
def test_other_requests_lose_no_clock(kind: str) -> None:
    draw = random.Random(2)
    counts = [
        1,
        1,
        1,
        1,
        1,
        15,
        1,
        1,
        2,
        15,
        15,
        1,
        3,
        *(draw.choice([1, 2, 15]) for _ in range(30)),
    ]
    each = [(kind == "writes" or (kind == "both" and draw.random() < 0.5), c) for c in counts]
    found = beats(port_guard.PortGuard(PORT), each)
    assert found == beats(Through(PORT), each)
    if kind != "both":
        assert len(found) == sum(counts) and all(b - a == 1 for a, b in pairwise(found))


class Events:
    """Counts clocks in which a refusal is told."""

    finished, now, told = True, 0, 0

    def __init__(self, events: Any) -> None:
        self.refused = events.refused

    def drive(self, ctx: Any) -> None: ...

    def watch(self, ctx: Any) -> None:
        self.told += ctx.get(self.refused)


def test_a_product_answers_at_its_native_ports_and_tells() -> None:
    """What is refused needs no memory; the product answers before it is up. Here it tells, too."""
    shape = replace(SMALL["sdr"].organisation, rows=64)  # as many as the pins need
    controller = replace(SMALL["sdr"], organisation=shape, streams=4)
    config = MemorySystemConfig(controller=controller, native=1, address_bits=14)
    with installed([Mutant(system.MemorySystem, "Mux(boot.up, Cat(", "Mux(1, Cat(")]):
        dut: Any = system.MemorySystem(config)
    draw, atoms = random.Random(1), 1 << config.controller.atom_bits
    size = config.controller.organisation.atom
    requests = [
        Request(True, atoms - 1, 2, ((1, 1, 0),) * 2),
        Request(False, atoms - 1, 2),
        Request(True, 0, 0),
        Request(False, 5, 0),
    ]
    user = GuardedUser(dut.port0, draw, requests, Words(size, atoms))
    events = Events(dut.registers.interrupt_status_set)
    run(dut, user, events, limit=200)
    assert events.told == 2  # writes


# Faults.

_GUARD = port_guard.PortGuard
_MIX: Callable[[], Any] = lambda: random_mix(3, gaps=0.5, share=0.3, late=0.5)  # noqa: E731
_RATE: Callable[[], Any] = lambda: test_other_requests_lose_no_clock("writes")  # noqa: E731

FAULTS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "one atom beyond the end": (_MIX, "> self.atoms)", "> self.atoms + 1)"),
    "the last atom is refused": (_MIX, "> self.atoms)", ">= self.atoms)"),
    "the sum wraps": (
        test_the_sum_does_not_wrap,
        "asked.p.atom + asked.p.count > self.atoms",
        "(asked.p.atom + asked.p.count)[: len(asked.p.count)] > self.atoms",
    ),
    "requests of nothing pass": (_MIX, "(asked.p.count == 0) | ", ""),
    "an answer before its turn": (_MIX, "free & (under_way == 0)", "free & none"),
    "a request overtakes the answer": (_MIX, "free.eq(~answers & ~drops)", "free.eq(~answers)"),
    "atoms that are dropped are written": (
        _MIX,
        "write.valid & ~none & free",
        "write.valid & ~none",
    ),
    "atoms go ahead of their request": (
        _MIX,
        "memory.write.valid.eq(write.valid & ~none & free)",
        "memory.write.valid.eq(write.valid & free)",
    ),
    "done before the last atom": (_MIX, "ended.eq(drops & none)", "ended.eq(drops & (left <= 0))"),
    "a refused write is told as good": (
        _MIX,
        "ended | (memory.done & memory.refused)",
        "memory.done & memory.refused",
    ),
    "the memory's refusals are lost": (_MIX, "ended | (memory.done & memory.refused)", "ended"),
    "a refused read is told as good": (
        _MIX,
        "memory.read.p.error | answers",
        "memory.read.p.error",
    ),
    "no end": (_MIX, "Mux(answers, final, memory.read.p.last)", "memory.read.p.last"),
    "old data in a refused read": (
        _MIX,
        "Mux(answers, 0, memory.read.p.data)",
        "memory.read.p.data",
    ),
    "requests wait for the data before": (_RATE, "none | ~left[self.count_bits]", "none"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_show(fault: str) -> None:
    play, *change = FAULTS[fault]
    with installed([Mutant(_GUARD, *change)]):
        try:
            play()
        except (AssertionError, IndexError, TimeoutError):
            return
    pytest.fail(f"{fault}: not noticed")


# Proofs. Memories of 6 of 8 atoms, and of 3 with requests of up to 7.

PROVED = {
    "inside": (MemoryPort(atom=1, atom_bits=3, count_bits=2), 6),
    "wide": (MemoryPort(atom=1, atom_bits=2, count_bits=3), 3),
}


@pytest.mark.formal
@pytest.mark.parametrize("name", PROVED)
def test_holds(name: str, tmp_path: Path) -> None:
    port, atoms = PROVED[name]
    how: dict[str, Any] = {"mode": "prove", "engine": "abc pdr", "timeout_s": 300}
    source = what_is_sent_on(port, atoms=atoms)
    result = prove(source, "top", work_dir=tmp_path, depth=1, **how)
    assert result.status == "pass", result.message


@pytest.mark.formal
def test_is_not_empty(tmp_path: Path) -> None:
    port, atoms = PROVED["inside"]
    source = what_is_sent_on(port, atoms=atoms)
    result = prove(source, "top", work_dir=tmp_path, mode="cover", depth=12)
    assert result.status == "pass", result.message


@pytest.mark.formal
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(f, marks=[] if n in (0, 4) else [slow])
        for n, f in enumerate(FAULTS)
        if FAULTS[f][0] is not _RATE
    ],
)
def test_proofs_find(fault: str, tmp_path: Path) -> None:
    port, atoms = PROVED["wide" if fault == "the sum wraps" else "inside"]
    source = what_is_sent_on(port, atoms=atoms, mutants=[Mutant(_GUARD, *FAULTS[fault][1:])])
    result = prove(source, "top", work_dir=tmp_path, depth=10)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"


def test_wrong_sizes_are_refused() -> None:
    refuses(lambda: port_guard.PortGuard(PORT, atoms=65), "atoms must be from 1 to 64, not 65")
    refuses(lambda: port_guard.PortGuard(PORT, atoms=0), "atoms must be from 1 to 64, not 0")
    refuses(lambda: port_guard.PortGuard(PORT, outstanding=3), "outstanding must be a power of two")
