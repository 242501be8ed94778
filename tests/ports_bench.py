"""Users and memories of both kinds of ports, cycle by cycle in the Amaranth simulator."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from amaranth.hdl import Elaboratable

from systolith.harness.sim import simulate

__all__ = [
    "Access",
    "LocalUser",
    "LocalWords",
    "MemoryUser",
    "Request",
    "SlowMemory",
    "Words",
    "random_requests",
    "run",
]


class Part:
    """Sets its signals in each clock, then looks at all of them."""

    def __init__(self, draw: random.Random, gaps: float) -> None:
        self.draw, self.gaps, self.now = draw, gaps, 0
        self.held: dict[str, int] = {}

    def goes(self) -> bool:
        return self.draw.random() >= self.gaps

    def word(self, payload: Any, fields: dict[str, int] | None) -> int:
        """Noise, if there is nothing to say."""
        layout = payload.shape()
        if fields is None:
            return self.draw.getrandbits(layout.size)
        return int(layout.const(fields).as_value().value)

    def offer(self, ctx: Any, port: Any, queue: "deque[dict[str, int]]", name: str) -> None:
        """The next of the queue, until it is taken."""
        if queue and (name in self.held or self.goes()):
            self.held.setdefault(name, self.word(port.payload, queue[0]))
            word = self.held[name]
        else:
            word = self.word(port.payload, None)
        ctx.set(port.valid, int(name in self.held))
        ctx.set(port.payload.as_value(), word)

    def taken(self, ctx: Any, port: Any, queue: "deque[dict[str, int]]", name: str) -> bool:
        if name in self.held and ctx.get(port.ready):
            del self.held[name]
            queue.popleft()
            return True
        return False

    def comes(self, ctx: Any, port: Any, name: str) -> Any | None:
        """What is taken in this clock; what waits has to stay."""
        valid, ready = ctx.get(port.valid), ctx.get(port.ready)
        word = ctx.get(port.payload.as_value())
        waited = self.held.pop(name, None)
        assert waited is None or (valid and word == waited), f"{name}: an offer was taken back"
        if valid and not ready:
            self.held[name] = word
        return port.payload.shape().from_bits(word) if valid and ready else None


@dataclass(frozen=True)
class Request:
    """Of a memory port; ``atoms`` of a write: data, mask, poison."""

    write: bool
    atom: int
    count: int
    atoms: tuple[tuple[int, int, int], ...] = ()


@dataclass
class Words:
    """Contents with marks, some of them refused."""

    size: int
    number: int
    refused: range = range(0)
    data: dict[int, int] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)

    def read(self, at: int) -> tuple[int, bool]:
        bad = at in self.marked or at in self.refused
        return self.data.get(at, 0), bad

    def refuses(self, first: int, count: int) -> bool:
        return any(at in self.refused for at in range(first, first + count))

    def write(self, at: int, data: int, mask: int, poison: int) -> None:
        if at in self.refused or not mask:
            return
        bits = sum(255 << 8 * b for b in range(self.size) if mask >> b & 1)
        self.data[at] = self.data.get(at, 0) & ~bits | data & bits
        (self.marked.add if poison else self.marked.discard)(at)


class MemoryUser(Part):
    """Plays requests on a memory port and checks what comes back against ``words``.

    ``visible`` says whether so many writes may be told as done.
    """

    def __init__(
        self,
        port: Any,
        draw: random.Random,
        requests: list[Request],
        words: Words,
        *,
        gaps: float = 0.0,
        visible: Callable[[int], bool] = lambda number: True,
    ) -> None:
        super().__init__(draw, gaps)
        self.port, self.visible = port, visible
        self.requests: deque[dict[str, int]] = deque()
        self.writes: deque[dict[str, int]] = deque()
        self.expected: deque[tuple[int, bool, bool]] = deque()
        self.owed, self.done = 0, 0
        self.partly = list[bool]()  # of each write: some of its atoms are refused
        self.beats: list[int] = []
        for r in requests:
            self.requests.append({"write": int(r.write), "atom": r.atom, "count": r.count})
            self.owed += r.write
            if r.write:
                self.partly.append(words.refuses(r.atom, r.count))
            for k in range(r.count):
                if r.write:
                    words.write(r.atom + k, *r.atoms[k])
                    named = zip(("data", "mask", "poison"), r.atoms[k], strict=True)
                    self.writes.append(dict(named))
                else:
                    self.expected.append((*words.read(r.atom + k), k == r.count - 1))

    @property
    def finished(self) -> bool:
        return not (self.requests or self.writes or self.expected) and self.done == self.owed

    def drive(self, ctx: Any) -> None:
        self.offer(ctx, self.port.request, self.requests, "request")
        self.offer(ctx, self.port.write, self.writes, "write")
        ctx.set(self.port.read.ready, int(self.goes()))

    def watch(self, ctx: Any) -> None:
        self.taken(ctx, self.port.request, self.requests, "request")
        if self.taken(ctx, self.port.write, self.writes, "write"):
            self.beats.append(self.now)
        word: Any = self.comes(ctx, self.port.read, "read")
        if word is not None:
            data, error, last = self.expected.popleft()
            assert (int(word.error), int(word.last)) == (error, last), len(self.expected)
            assert error or int(word.data) == data, len(self.expected)
            self.beats.append(self.now)
        if ctx.get(self.port.done):
            self.done += 1
            assert self.done <= self.owed and self.visible(self.done), f"done {self.done} is early"
            assert ctx.get(self.port.refused) == self.partly[self.done - 1], self.done


class SlowMemory(Part):
    """A memory behind a port: requests in order, an atom a clock at best."""

    def __init__(
        self, port: Any, draw: random.Random, words: Words, *, gaps: float = 0.0, latency: int = 3
    ) -> None:
        super().__init__(draw, gaps)
        self.port, self.words, self.latency = port, words, latency
        self.queue: deque[list[int]] = deque()  # write, atom, count
        self.answers: deque[tuple[int, dict[str, int]]] = deque()
        self.dones: deque[tuple[int, bool]] = deque()
        self.partly = False  # of the write that goes on
        self.done, self.asked = 0, list[tuple[int, ...]]()
        self.finished = True

    def late(self) -> int:
        return self.now + self.latency + (self.draw.randrange(6) if self.gaps else 0)

    def drive(self, ctx: Any) -> None:
        port = self.port
        ctx.set(port.request.ready, int(len(self.queue) < 3 and self.goes()))
        ctx.set(port.write.ready, int(bool(self.queue and self.queue[0][0]) and self.goes()))
        due: deque[dict[str, int]] = deque()
        if self.answers and self.answers[0][0] <= self.now:
            due.append(self.answers[0][1])
        self.offer(ctx, port.read, due, "read")
        tells = bool(self.dones and self.dones[0][0] <= self.now and self.goes())
        ctx.set(port.done, int(tells))
        ctx.set(port.refused, self.draw.getrandbits(1))
        if tells:
            ctx.set(port.refused, int(self.dones.popleft()[1]))
            self.done += 1

    def watch(self, ctx: Any) -> None:
        port = self.port
        if self.taken(ctx, port.read, deque([{}]), "read"):
            self.answers.popleft()
        word: Any = self.comes(ctx, port.write, "write")
        head = self.queue[0] if self.queue else None
        if word is not None:
            assert head and head[0]
            self.words.write(head[1], int(word.data), int(word.mask), int(word.poison))
            self.partly |= head[1] in self.words.refused
        elif head and not head[0]:
            data, error = self.words.read(head[1])
            last = int(head[2] == 1)
            self.answers.append((self.late(), {"data": data, "error": int(error), "last": last}))
        if head and (word is not None or not head[0]):
            head[1], head[2] = head[1] + 1, head[2] - 1
            if not head[2]:
                self.queue.popleft()
                if head[0]:
                    self.dones.append((self.late(), self.partly))
                    self.partly = False
        asked: Any = self.comes(ctx, port.request, "request")
        if asked is not None:
            request = [int(asked.write), int(asked.atom), int(asked.count)]
            assert request[1] + request[2] <= self.words.number, f"{request} is outside"
            self.asked.append(tuple(request))
            self.queue.append(request)


class LocalWords(Part):
    """A scratchpad: answers ``latency`` clocks after a request, or some later."""

    def __init__(
        self, port: Any, draw: random.Random, words: Words, *, gaps: float = 0.0, latency: int = 5
    ) -> None:
        super().__init__(draw, gaps)
        self.port, self.words, self.latency = port, words, latency
        self.answers: deque[tuple[int, bool, dict[str, int]]] = deque()
        self.wrote, self.refused = 0, 0  # words whose answer is out
        self.order: list[int] = []
        self.finished = True

    def drive(self, ctx: Any) -> None:
        ctx.set(self.port.request.ready, int(self.goes()))
        fields = None
        if self.answers and self.answers[0][0] <= self.now and self.goes():
            _, write, fields = self.answers.popleft()
            self.wrote += write
            self.refused += write and fields["refused"]
        response = self.port.response
        word = self.word(response, fields)
        valid = response.shape()["valid"].offset
        ctx.set(response.as_value(), word & ~(1 << valid) | (fields is not None) << valid)

    def watch(self, ctx: Any) -> None:
        asked: Any = self.comes(ctx, self.port.request, "request")
        if asked is None:
            return
        at, write = int(asked.address), bool(int(asked.write))
        assert at < self.words.number, f"{at} is outside"
        self.order.append(at)
        data, error = self.words.read(at)
        if write:
            self.words.write(at, int(asked.data), int(asked.mask), int(asked.poison))
        refused = at in self.words.refused
        fields = {
            "valid": 1,
            "data": data,
            "error": int(error and not write and not refused),
            "refused": int(refused),
        }
        self.answers.append((self.now + self.latency, write, fields))


@dataclass(frozen=True)
class Access:
    """Of a scratchpad."""

    write: bool
    address: int
    data: int = 0
    mask: int = 0


class LocalUser(Part):
    """Plays accesses and checks each answer; always ready for one."""

    def __init__(
        self,
        port: Any,
        draw: random.Random,
        accesses: list[Access],
        words: Words,
        *,
        gaps: float = 0.0,
    ) -> None:
        super().__init__(draw, gaps)
        self.port = port
        self.accesses: deque[dict[str, int]] = deque()
        self.expected: deque[int | None] = deque()
        self.beats: list[int] = []
        for a in accesses:
            fields = {"write": int(a.write), "address": a.address, "data": a.data, "mask": a.mask}
            self.accesses.append({**fields, "poison": 0})
            self.expected.append(None if a.write else words.read(a.address)[0])
            if a.write:
                words.write(a.address, a.data, a.mask, 0)

    @property
    def finished(self) -> bool:
        return not self.accesses and not self.expected

    def drive(self, ctx: Any) -> None:
        self.offer(ctx, self.port.request, self.accesses, "request")

    def watch(self, ctx: Any) -> None:
        if self.taken(ctx, self.port.request, self.accesses, "request"):
            self.beats.append(self.now)
        response: Any = self.port.response
        if ctx.get(response.valid):
            expected = self.expected.popleft()
            assert expected in (None, ctx.get(response.data)), len(self.expected)


def run(dut: Elaboratable, *parts: Any, limit: int = 20_000, rest: int = 40) -> None:
    """Until all have finished, and some clocks more, in which nothing may come."""

    async def bench(ctx: Any) -> None:
        quiet = 0
        while quiet < rest:
            for part in parts:
                part.drive(ctx)
            for part in parts:
                part.watch(ctx)
            for part in parts:
                part.now += 1
            quiet = quiet + 1 if all(part.finished for part in parts) else 0
            await ctx.tick()

    simulate(dut, bench, deadline_cycles=limit)


def random_requests(
    draw: random.Random, number: int, *, size: int, spans: list[range], longest: int
) -> Iterator[Request]:
    """Each within one of the spans, many of them short, in places that meet often."""
    for _ in range(number):
        span = draw.choice(spans)
        count = min(len(span), draw.choice([1, 1, 2, 3, draw.randint(1, longest)]))
        last = span.stop - count
        at = draw.choice([span.start, last, draw.randint(span.start, last)])
        write = draw.random() < 0.5
        full = (1 << size) - 1
        atoms = tuple(
            (
                draw.getrandbits(8 * size),
                draw.choice([full, full, 0, draw.getrandbits(size)]),
                int(draw.random() < 0.1),
            )
            for _ in range(count if write else 0)
        )
        yield Request(write, at, count, atoms)
