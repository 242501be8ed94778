"""Random programs for the DMA engine, legal ones and others, and what must come of them."""

import random
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from dma_bench import LOCAL, MEMORY, DmaPlayer, Played, draw_manner, fresh_model

from systolith.golden.dma import Descriptor, Op, Region, Request, Retired
from systolith.harness.script import Script

TABLES, LISTS = 400, 448  # atoms from there on: page tables, lists
REGIONS = [
    Region(base=0, limit=256),
    Region(base=256, limit=TABLES),
    Region(base=TABLES, limit=MEMORY, write=False),
    Region(local=True, base=8, limit=200),
    Region(local=True, base=200, limit=232, write=False),
    Region(local=True, base=232, limit=LOCAL, read=False),
]
DATA, POOL, TABLE, WORDS, WORD_TABLE, SINK = range(6)


def draw_box(draw: random.Random, size: int) -> tuple[int, tuple[int, ...]]:
    """Offset and strides of a side, for counts up to about 6."""
    kind = draw.randrange(4)
    strides = (
        draw.choice([1, 1, 1, 2, -1, 0, 3]),
        draw.choice([0, 1, 6, 8, 7, -9, 20]),
        draw.choice([0, 30, -25, 36, 1]),
    )
    if kind == 0:
        return draw.randrange(size), (1, 0, 0)
    return draw.randint(size // 4, size * 3 // 4), strides


def draw_transfer(draw: random.Random, op: int) -> Descriptor:
    count = tuple(draw.choice([1, 1, 2, 3, draw.randint(1, 6)]) for _ in range(3))
    memory, local = draw_box(draw, 256), draw_box(draw, 192)
    if draw.random() < 0.3:  # a long one, and rows that join
        n = draw.randint(1, 40)
        count = (n, draw.choice([1, 2, 3]), 1)
        memory = (draw.randrange(120), (1, n, 0))
        local = (draw.randrange(60), (1, n, 0))
    at = [memory[0], local[0]]
    if draw.random() < 0.2:  # one that just fits, or just does not
        side, size = draw.choice([(0, 256), (1, 192)])
        ways = [(n - 1) * step for n, step in zip(count, (memory, local)[side][1], strict=True)]
        low, high = (sum(limit(0, way) for way in ways) for limit in (min, max))
        at[side] = draw.choice([max(0, -low - draw.randrange(2)), size - high - draw.randrange(2)])
        at[side] = max(0, at[side])
    return Descriptor(
        op=op,
        memory_region=DATA,
        local_region=draw.choice([WORDS] * 6 + [WORD_TABLE, SINK]),
        memory_offset=at[0],
        local_offset=at[1],
        count=count,
        memory_stride=memory[1],
        local_stride=local[1],
        first=draw.getrandbits(32) if op == Op.FILL else 0,
    )


def draw_paged(draw: random.Random, op: int) -> Descriptor:
    atoms, tokens = draw.randint(1, 6), draw.choice([1, 1, 2, draw.randint(1, 12)])
    return Descriptor(
        op=op,
        memory_region=POOL,
        local_region=draw.choice([WORDS] * 8 + [SINK]),
        table_region=draw.choice([TABLE, WORD_TABLE]),
        page_log2=draw.choice([0, 1, 2, 2, 3, 3, 4]),
        table_offset=draw.choice([0, 0, 1, draw.randrange(8)]),
        local_offset=draw.randrange(120),
        count=(atoms, tokens, 1),
        memory_stride=(draw.randint(-4, 4), 0, 0),
        local_stride=(1, draw.choice([atoms, atoms, atoms, 1, 9]), 0),
        first=draw.randrange(12),
    )


def broken(draw: random.Random, d: Descriptor) -> Descriptor:
    """With one field changed, mostly to something illegal."""
    count = list(d.count)
    count[draw.randrange(3)] = draw.choice([0, 0, 127, 128, 1 << 31])
    stride = [list(d.memory_stride), list(d.local_stride)]
    for side in stride:
        side[draw.randrange(3)] = draw.choice(
            [1 << 12, -(1 << 12), -(1 << 12) - 1, (1 << 12) - 1, 511, -512, 512, -(1 << 31)]
        )
    number = draw.choice([0, 1, 2, 3, 4, 5, 6, 7, 8, 255])
    changes: list[dict[str, Any]] = [
        {"op": draw.choice([0, 7, 8, 9, 255])},
        {"reserved": 1 << draw.randrange(5)},
        {"count": tuple(count)},
        {"count": tuple(count)},
        {"memory_stride": tuple(stride[0])},
        {"local_stride": tuple(stride[1])},
        {"memory_region": number},
        {"local_region": number},
        {"table_region": draw.choice([SINK, 6, 7, 8, 255])},
        {"page_log2": draw.choice([5, 6, 16, 32, 255])},
        {"memory_offset": draw.choice([255, 256, 4095, 4096, 1 << 31])},
        {"local_offset": draw.choice([191, 192, 511, 512, 1 << 31])},
        {"table_offset": draw.choice([31, 32, 511, 4095, 4096, 1 << 31])},
        {"first": draw.choice([40, 126, 127, 128, 1 << 31])},
    ]
    return replace(d, **draw.choice(changes))


def draw_descriptor(draw: random.Random, tag: int, *, paged: bool = True) -> Descriptor:
    op = draw.choice([Op.LOAD, Op.LOAD, Op.STORE, Op.STORE, Op.GATHER, Op.APPEND, Op.FILL])
    if draw.random() < 0.05:
        op = Op.FENCE
    if op in (Op.GATHER, Op.APPEND):
        d = draw_paged(draw, op) if paged else draw_transfer(draw, Op.LOAD)
    else:
        d = draw_transfer(draw, op)
    if draw.random() < 0.15:
        d = broken(draw, d)
        if not paged and d.op in (Op.GATHER, Op.APPEND):
            d = replace(d, op=Op.LOAD)
    return replace(d, tag=tag, before=int(draw.random() < 0.1), after=int(draw.random() < 0.1))


@dataclass
class Case:
    """What a program must show."""

    retired: list[Retired] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    images: list[Any] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)


class Programs:
    """Programs one after the other on the same memories."""

    def __init__(self, player: DmaPlayer, seed: int) -> None:
        self.player, self.seed = player, seed
        self.model = fresh_model(player.config, np.random.default_rng(seed), REGIONS)
        self.case = Case()
        self.scripts: list[Script] = []

    def add(self, number: int, *, wild: bool = False) -> None:
        """Append a random program."""
        seed = self.seed * 1000 + number
        draw = random.Random(seed)
        script, model, player = Script(), self.model, self.player
        if not self.scripts:
            player.poke(script, model.memory, range(MEMORY), local=False)
            player.poke(script, model.local, range(LOCAL), local=True)
        model.regions = self._wild(draw) if wild else REGIONS
        player.regions(script, model.regions)
        self._poke(script, draw)
        window = draw.choice([(0, 0), (0, 0), (40, 44), (100, 101), (150, 200), (200, 208)])
        model.local.refused[:] = False
        model.local.refused[slice(*window)] = True
        most, region = draw.choice([3, 8, 8, 0]), draw.choice([TABLE] * 9 + [WORDS, SINK, 7])
        player.control(
            script,
            memory=draw_manner(draw),
            local=draw_manner(draw),
            refuse_from=window[0],
            refuse_to=window[1],
            most=most,
            list_region=region,
        )
        script.ready("retired", draw.choice([0xFFFF_FFFF, 0x1111_1111, draw.getrandbits(32) | 1]))
        expected: list[Retired] = []
        for tag in range(draw.randint(1, 14)):
            script.idle(draw.choice([0, 0, 0, draw.randrange(60)]))
            if not wild and draw.random() < 0.12:
                offset = self._list(script, draw, len(expected), window)
                player.send(script, "lists", tag=tag, offset=offset)
                done = model.run_list(tag, offset, region=region, most=most)
            else:
                d = draw_descriptor(draw, tag, paged=not wild)
                script.send("descriptors", d.encode())
                done = [model.run(d)]
            expected += done
        self.case.retired += expected
        self.case.seeds += [seed] * len(expected)
        script.wait("retired", len(self.case.retired)).idle(20)
        player.dump(script)
        for space in (model.memory, model.local):
            self.case.images.append((space.data.copy(), space.poison.copy()))
        self.scripts.append(script)

    def _wild(self, draw: random.Random) -> list[Region]:
        return [
            Region(
                local=n > 2,
                read=draw.random() < 0.9,
                write=draw.random() < 0.9,
                base=draw.randrange(200),
                limit=min(draw.randint(100, 300), LOCAL if n > 2 else MEMORY),
            )
            for n in range(6)
        ]

    def _poke(self, script: Script, draw: random.Random) -> None:
        """Page tables and some other words anew."""
        model, atom = self.model, self.player.config.atom
        for space, at, local in ((model.memory, TABLES, False), (model.local, 200, True)):
            rows = range(at, at + 24)
            for row in rows:
                pages = [draw.choice([draw.randrange(9), draw.randrange(9), draw.randrange(40)])
                         for _ in range(atom // 4)]  # fmt: skip
                if draw.random() < 0.03:
                    pages[0] = draw.getrandbits(32)
                space.data[row] = np.array(pages, "<u4").view(np.uint8)
                space.poison[row] = draw.random() < 0.02
            self.player.poke(script, space, rows, local=local)
        for space, size, local in ((model.memory, TABLES, False), (model.local, 200, True)):
            some = draw.sample(range(size), 12)
            for at in some:
                space.data[at] = np.frombuffer(draw.randbytes(atom), np.uint8)
                space.poison[at] = draw.random() < 0.2
            self.player.poke(script, space, some, local=local)

    def _list(self, script: Script, draw: random.Random, tag: int, window: tuple[int, int]) -> int:
        """Write a list to the memory while nothing is under way; offset of its begin."""
        parts = self.player.config.record_atoms
        script.wait("retired", len(self.case.retired) + tag).idle(5)
        places = [LISTS - TABLES + parts * n for n in range((MEMORY - LISTS) // parts)]
        number = min(len(places), draw.randint(1, 4))
        chosen = draw.sample(places, number)
        for n, offset in enumerate(chosen):
            d = draw_descriptor(draw, 100 + n)
            after = chosen[(n + 1) % number]
            if n == number - 1:
                after = draw.choice([after, chosen[0] + 1, MEMORY, 1 << 31, 0xFFFF_FFFE])
            d = replace(d, end=int(n == number - 1 and draw.random() < 0.6), next=after)
            record = np.frombuffer(d.encode().to_bytes(64, "little"), np.uint8)
            atoms = range(TABLES + offset, TABLES + offset + parts)
            self.model.memory.data[atoms] = record.reshape(parts, -1)
            self.model.memory.poison[atoms] = False
            if draw.random() < 0.06:
                self.model.memory.poison[draw.choice(atoms)] = True
            self.player.poke(script, self.model.memory, atoms, local=False)
        return draw.choice([chosen[0]] * 9 + [MEMORY])

    def check(self, played: Played) -> list[str]:
        """What is wrong."""
        wrong: list[str] = []
        for n, (got, expected) in enumerate(zip(played.retired, self.case.retired, strict=False)):
            if got != expected:
                wrong.append(f"seed {self.case.seeds[n]}: {n}: {got}, not {expected}")
        if len(played.retired) != len(self.case.retired):
            wrong.append(f"{len(played.retired)} retired, not {len(self.case.retired)}")
        for n, (image, told) in enumerate(zip(played.images, self.case.images, strict=True)):
            bad = (image[0] != told[0]).any(axis=1) | (image[1] != told[1])
            if bad.any():
                kind = "memory" if n % 2 == 0 else "local"
                at = np.flatnonzero(bad)[:6].tolist()
                wrong.append(f"program {n // 2}: {kind} at {at} of {bad.sum()}")
        asked, told = (
            [r for r in requests if r.atom < TABLES]
            for requests in (played.requests, self.model.requests)
        )
        if asked != told:
            first = next(
                (n for n, (a, b) in enumerate(zip(asked, told, strict=False)) if a != b), -1
            )
            wrong.append(f"requests differ, {len(asked)} and {len(told)}, first at {first}")
        for name in ("stopped", "unanswered", "beyond", "overflow", "stray", "unstable"):
            if played.status.get(name):
                wrong.append(name)
        return wrong
