"""Play requests on a guarded port, of which some are refused, against a memory of words."""

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from ports_bench import MemoryUser, Request, SlowMemory, Words, run

from systolith.memory import port_guard
from systolith.memory.ports import MemoryPort

__all__ = [
    "FULL",
    "GAPS",
    "PORT",
    "SIZE",
    "WIDE",
    "GuardedUser",
    "legal",
    "mixed",
    "play",
    "random_mix",
    "request",
]

SIZE, FULL = 4, 15
GAPS = [0.0, 0.3, 0.8]
PORT = MemoryPort(atom=SIZE, atom_bits=6, count_bits=4)
WIDE = MemoryPort(atom=SIZE, atom_bits=3, count_bits=6)  # more atoms in a request than in memory
REFUSED = range(8, 11)  # by the memory itself, which can tell, too


def legal(r: Request, atoms: int) -> bool:
    return r.count > 0 and r.atom + r.count <= atoms


class GuardedUser(MemoryUser):
    """Knows what is refused, and what has to be answered before; every field is exact.

    Atoms of writes are ``late`` in that share of clocks.
    """

    def __init__(
        self,
        port: Any,
        draw: random.Random,
        requests: list[Request],
        words: Words,
        *,
        gaps: float = 0.0,
        late: float = 0.0,
        visible: Callable[[int], bool] = lambda number: True,
    ) -> None:
        super().__init__(port, draw, [], words, gaps=gaps, visible=visible)
        self.late = late
        self.number = [0, 0]  # atoms so far: of writes, of reads
        self.before: dict[int, tuple[int, int]] = {}  # a refused write's
        self.writes_before = deque[int]()  # of each atom that is read
        sent, asked = 0, 0
        for r in requests:
            self.requests.append({"write": int(r.write), "atom": r.atom, "count": r.count})
            good = legal(r, words.number)
            if r.write:
                self.owed += 1
                sent += r.count
                self.partly.append(not good or words.refuses(r.atom, r.count))
                if not good:
                    self.before[self.owed] = sent, asked
            for k, (data, mask, poison) in enumerate(r.atoms):
                self.writes.append({"data": data, "mask": mask, "poison": poison})
                if good:
                    words.write(r.atom + k, data, mask, poison)
            for k in range(0 if r.write else max(1, r.count)):
                data, bad = words.read(r.atom + k) if good else (0, True)
                self.expected.append((data, bad, k >= r.count - 1))
                self.writes_before.append(0 if good else self.owed)
                asked += 1

    def goes(self) -> bool:
        # Not in the first clock: a failure in it leaves the watchdog of the simulation unstarted.
        return bool(self.now and super().goes())

    def drive(self, ctx: Any) -> None:
        port = self.port
        self.offer(ctx, port.request, self.requests, "request")
        late = "write" not in self.held and self.draw.random() < self.late
        self.offer(ctx, port.write, deque() if late else self.writes, "write")
        ctx.set(port.read.ready, int(self.goes()))

    def watch(self, ctx: Any) -> None:
        port = self.port
        self.taken(ctx, port.request, self.requests, "request")
        if self.taken(ctx, port.write, self.writes, "write"):
            self.beats.append(self.now)
            self.number[0] += 1
        # Of a clock `done` comes first: it is told, the atom may still wait.
        if ctx.get(port.done):
            self.done += 1
            assert self.done <= self.owed and self.visible(self.done), f"done {self.done} is early"
            assert ctx.get(port.refused) == self.partly[self.done - 1], self.done
            sent, asked = self.before.get(self.done, (0, 0))
            assert self.number[0] >= sent and self.number[1] >= asked, f"done {self.done} is early"
        word: Any = self.comes(ctx, port.read, "read")
        if word is not None:
            assert self.expected, "an atom that nobody asked for"
            data, error, last = self.expected.popleft()
            found = int(word.data), int(word.error), int(word.last)
            assert found == (data, error, last), len(self.expected)
            assert self.done >= self.writes_before.popleft(), "an answer before its turn"
            self.beats.append(self.now)
            self.number[1] += 1


class FarSide:
    """Looks at what is offered to the memory: requests within it, atoms of writes that it took."""

    def __init__(self, port: Any, atoms: int) -> None:
        self.port, self.atoms, self.owed = port, atoms, 0
        self.finished, self.now = True, 0

    def drive(self, ctx: Any) -> None: ...

    def watch(self, ctx: Any) -> None:
        request, write = self.port.request, self.port.write
        assert self.owed or not ctx.get(write.valid), "an atom of a write that was not taken"
        self.owed -= ctx.get(write.valid) and ctx.get(write.ready)
        if ctx.get(request.valid):
            asked = ctx.get(request.payload)
            offered = Request(bool(asked.write), int(asked.atom), int(asked.count))
            assert legal(offered, self.atoms), f"{offered} is sent on"
            self.owed += offered.count * (offered.write and ctx.get(request.ready))


def request(draw: random.Random, write: bool, atom: int, count: int) -> Request:
    atoms = tuple(
        (draw.getrandbits(8 * SIZE), draw.choice([FULL, FULL, 0, 5]), int(draw.random() < 0.1))
        for _ in range(count if write else 0)
    )
    return Request(write, atom, count, atoms)


def mixed(
    draw: random.Random, number: int, port: MemoryPort, atoms: int, share: float
) -> list[Request]:
    """A share is refused; half of all requests touch the edge, on one side or the other."""
    most, found = (1 << port.count_bits) - 1, list[Request]()
    while len(found) < number:
        count = draw.choice([0, 1, 1, 1, 2, most, draw.randint(1, most)])
        edge = atoms - count + draw.choice([-1, 0, 0, 1])
        at = draw.choice([edge, draw.randrange(1 << port.atom_bits)])
        r = request(draw, draw.random() < 0.5, at, count)
        if 0 <= at < 1 << port.atom_bits and legal(r, atoms) == (draw.random() >= share):
            found.append(r)
    return found


def play(
    requests: list[Request],
    draw: random.Random,
    *,
    port: MemoryPort = PORT,
    atoms: int = 64,
    gaps: float = 0.0,
    late: float = 0.0,
    latency: int = 3,
    outstanding: int = 16,
) -> tuple[GuardedUser, SlowMemory]:
    dut: Any = port_guard.PortGuard(port, atoms=atoms, outstanding=outstanding)
    words, there = (Words(SIZE, atoms, refused=REFUSED) for _ in range(2))
    memory = SlowMemory(dut.memory, draw, there, gaps=gaps, latency=latency)
    good = [legal(r, atoms) for r in requests if r.write]
    user = GuardedUser(
        dut.user,
        draw,
        requests,
        words,
        gaps=gaps,
        late=late,
        visible=lambda n: memory.done >= sum(good[:n]),
    )
    run(dut, user, memory, FarSide(dut.memory, atoms))
    assert memory.asked == [(int(r.write), r.atom, r.count) for r in requests if legal(r, atoms)]
    assert (there.data, there.marked) == (words.data, words.marked)
    return user, memory


def random_mix(seed: int, *, number: int = 60, gaps: float, share: float, **sizes: Any) -> None:
    draw = random.Random(seed)
    port, atoms = sizes.get("port", PORT), sizes.get("atoms", 64)
    play(mixed(draw, number, port, atoms, share), draw, gaps=gaps, **sizes)
