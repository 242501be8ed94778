"""Faults by the thousand: what happens to each, told by what the controller says and delivers."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from memory_bench import Player, Run, region

from systolith.benches.player_layouts import event_layout, users
from systolith.harness.script import Script

__all__ = ["KINDS", "campaign", "summary"]

_REST = 170  # cycles in which one access is over, with a refresh and a repair in its way
_WAKE = 450


@dataclass
class _Story:
    """A script, and for each read what it may deliver."""

    player: Player
    draw: random.Random
    script: Script = field(default_factory=Script)
    # Of each stream in order: number of the run, what is expected of the atom.
    reads: dict[int, list[tuple[int, str, int]]] = field(default_factory=lambda: defaultdict(list))
    # Of each stream in order: the atom, and the number of the reset that may come before, or 0.
    writes: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    bad: set[int] = field(default_factory=set)  # atoms that are beyond correction
    # Atoms that a reset may have caught, or that hold an error: written before the next fault.
    unsure: set[int] = field(default_factory=set)
    number: int = 0
    resets: int = 0
    repair: bool = False

    def place(self) -> tuple[int, int]:
        size = region(self.player.config)
        stream = self.draw.randrange(users(self.player.config))
        return stream, stream * size + self.draw.randrange(size)

    def send(self, run: Run) -> None:
        self.player.send(self.script, [run])
        self.script.idle(_REST)

    def write(self, stream: int, atom: int, *, partial: bool = False) -> None:
        """In part it stays as bad as it was."""
        self.control(masked=1 << stream if partial else 0)
        self.writes[stream].append((atom, 0))
        self.send(Run(stream, True, atom, 1, partial))
        if not partial:
            self.bad.discard(atom)
            self.unsure.discard(atom)

    def read(self, stream: int, atom: int, expected: str = "") -> None:
        expected = expected or ("poison" if atom in self.bad else "right")
        self.reads[stream].append((self.number, expected, atom))
        self.send(Run(stream, False, atom, 1))

    def flip(self, bits: int, *, persist: bool = False) -> None:
        width = 256 + self.player.config.check_bits
        word = width // (self.player.config.codec.words if self.player.config.codec else 1)
        first = self.draw.randrange(256 // 64) * 64 if word < width else 0
        places = self.draw.sample(range(first, first + 64 if word < width else width), bits)
        mask = sum(1 << place for place in places)
        self.script.send("flip", mask << 2 | persist << 1 | 1)

    def control(self, **registers: int) -> None:
        value = self.player.control(repair=int(self.repair), **registers)
        self.script.send("control", value)


def _flip_once(s: _Story, where: tuple[int, int]) -> None:
    s.flip(1)
    s.read(*where)


def _flip_stays(s: _Story, where: tuple[int, int]) -> None:
    s.flip(1, persist=True)
    s.read(*where)
    s.read(*where)
    s.unsure.add(where[1])


def _two_in_turn(s: _Story, where: tuple[int, int]) -> None:
    """The first one is repaired before the second, or both are there at the end."""
    for _ in range(2):
        s.flip(1, persist=True)
        s.read(*where, expected="right or poison" if not s.repair else "right")
    s.write(*where)


def _double_once(s: _Story, where: tuple[int, int]) -> None:
    s.flip(2)
    s.read(*where, expected="poison")
    s.read(*where)


def _double_stays(s: _Story, where: tuple[int, int]) -> None:
    s.flip(2, persist=True)
    s.read(*where, expected="poison")
    s.bad.add(where[1])
    s.read(*where)


def _flip_in_part(s: _Story, where: tuple[int, int]) -> None:
    s.flip(1, persist=bool(s.draw.getrandbits(1)))
    s.write(*where, partial=True)
    s.read(*where)


def _double_in_part(s: _Story, where: tuple[int, int]) -> None:
    s.flip(2, persist=bool(s.draw.getrandbits(1)))
    s.write(*where, partial=True)
    s.bad.add(where[1])
    s.read(*where)


def _lost(s: _Story, where: tuple[int, int]) -> None:
    s.control(lose=1)
    s.control()
    s.read(*where, expected="lost")
    s.read(*where)


def _lost_in_part(s: _Story, where: tuple[int, int]) -> None:
    s.control(lose=1)
    s.write(*where, partial=True)
    s.read(*where)


def _extra(s: _Story, where: tuple[int, int]) -> None:
    s.control(extra=1)
    s.control()
    s.script.idle(s.draw.randrange(20))
    s.read(*where)
    s.read(*where)


def _held_off(s: _Story, where: tuple[int, int]) -> None:
    """No slots for longer than a refresh interval."""
    refi = s.player.config.timing["refi"] // s.player.config.slots
    s.write(*where)
    s.control(no_slots=1)
    s.script.idle(s.draw.randint(refi, 2 * refi))
    s.control()
    s.script.idle(2 * refi)
    s.read(*where)


def _reset(s: _Story, where: tuple[int, int]) -> None:
    """While another stream writes; what was written before stays."""
    stream, atom = where
    s.write(stream, atom)
    size = region(s.player.config)
    other = (stream + 1) % users(s.player.config)
    count = s.draw.randint(1, 32)
    s.player.send(s.script, [Run(other, True, other * size, count)])
    s.unsure |= set(range(other * size, other * size + count))
    s.resets += 1
    s.writes[other] += [(other * size + n, s.resets) for n in range(count)]
    s.script.idle(s.draw.randint(1, 60)).reset(2)
    s.control()
    s.script.idle(_WAKE)
    s.read(stream, atom)
    for at in range(other * size, other * size + count):
        s.write(other, at)


KINDS: dict[str, Callable[[_Story, tuple[int, int]], None]] = {
    "one bit, in flight": _flip_once,
    "one bit, in the memory": _flip_stays,
    "one bit, then another": _two_in_turn,
    "two bits, in flight": _double_once,
    "two bits, in the memory": _double_stays,
    "one bit under a write in part": _flip_in_part,
    "two bits under a write in part": _double_in_part,
    "lost beat": _lost,
    "lost beat under a write in part": _lost_in_part,
    "extra beat": _extra,
    "no slots for 1 to 2 tREFI": _held_off,
    "reset in a burst": _reset,
}


def campaign(player: Player, *, seed: int, runs: int, kinds: list[str]) -> dict[str, Counter[str]]:
    """Faults one after the other in one simulation, and what became of each kind.

    Every atom that a user reads is compared with what was written to it: ``silent`` counts those
    that differ without a word.
    """
    story = _Story(player, random.Random(seed))
    size = region(player.config)
    story.repair = bool(seed & 1)
    story.script.send("control", player.control(fill=1)).idle(2500)
    story.control()
    for stream in range(users(player.config)):
        story.writes[stream] += [(stream * size + n, 0) for n in range(size)]
        player.send(story.script, [Run(stream, True, stream * size, size)])
    story.script.idle(3000)
    chosen = []
    for number in range(runs):
        story.number = number
        kind = story.draw.choice(kinds)
        chosen.append(kind)
        where = story.place()
        if where[1] in story.bad | story.unsure:
            story.write(*where)
        KINDS[kind](story, where)
    result = player.simulation.run([story.script.idle(1000)], deadline=20_000)
    return _judge(story, result, chosen)


def _judge(story: _Story, result: Any, chosen: list[str]) -> dict[str, Counter[str]]:
    player = story.player
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for kind in chosen:
        found[kind]["runs"] += 1
    ports = range(player.config.ports)
    events: list[tuple[int, int, str, int]] = _boots(player, result) + [
        (t.cycle, p, name, t.payload)
        for p in ports
        for name in ("written", "response")
        for t in result.transfers[f"{name}{p}"]
    ]
    known: dict[int, int] = {}
    reads = {stream: list(entries) for stream, entries in story.reads.items()}
    writes = {stream: list(entries) for stream, entries in story.writes.items()}
    atom_bytes = player.config.organisation.atom
    for _, p, name, payload in sorted(events, key=lambda e: (e[0], e[1], e[2] == "response")):
        if name == "boot":  # writes that had not begun are forgotten
            for entries in writes.values():
                while entries and entries[0][1] == payload != 0:
                    entries.pop(0)
            continue
        word = player.layouts[f"{name}{p}"].from_bits(payload)
        if name == "written":
            at, _ = writes[int(word.stream)].pop(0)
            mask = sum(255 << 8 * b for b in range(atom_bytes) if int(word.write.mask) >> b & 1)
            known[at] = known.get(at, 0) & ~mask | int(word.write.data) & mask
            continue
        number, expected, at = reads[int(word.stream)].pop(0)
        got = "lost" if int(word.lost) else "poison" if int(word.poison) else "right"
        if got == "right" and int(word.data) != known[at]:
            got = "silent"
        found[chosen[number]][got] += 1
        if got not in expected.split(" or "):
            found[chosen[number]][f"{got}, not {expected}"] += 1
    left = sum(len(entries) for entries in (*reads.values(), *writes.values()))
    told: Counter[str] = Counter()
    for t in result.transfers["event"]:
        word = event_layout().from_bits(t.payload)
        told.update(n for n in ("lost", "extra", "refused", "overdue") if int(word[n]))
    for t in [t for p in ports for t in result.transfers[f"correction{p}"]]:
        word = player.layouts["correction0"].from_bits(t.payload)
        told.update(n for n in ("corrected", "uncorrectable", "poisoned") if int(word[n]))
    found["all"] = told + Counter({"missing": left})
    status = [player.layouts["status"].from_bits(t.payload) for t in result.transfers["status"]]
    for name in ("violations", "late", "decayed"):
        found["all"][name] += max(int(word[name]) for word in status)  # they start anew at a reset
    return found


def _boots(player: Player, result: Any) -> list[tuple[int, int, str, int]]:
    """Cycles in which the memory is up again."""
    found: list[tuple[int, int, str, int]] = []
    layout, activated = player.layouts["status"], True
    for t in result.transfers["status"]:
        word = layout.from_bits(t.payload)
        if int(word.ready) and not int(word.worst) and activated:
            found.append((t.cycle, -1, "boot", len(found)))
        activated = int(word.worst) > 0
    return found


def summary(found: dict[str, Counter[str]]) -> str:
    """Table of what became of the faults."""
    columns = ("runs", "right", "poison", "lost", "silent")
    rows = [f"{'fault':34}" + "".join(f"{name:>9}" for name in columns)]
    for kind, counts in found.items():
        if kind != "all":
            rows.append(f"{kind:34}" + "".join(f"{counts[name]:9}" for name in columns))
    told = ", ".join(f"{count} {name}" for name, count in sorted(found["all"].items()))
    return "\n".join([*rows, f"told: {told}"])
