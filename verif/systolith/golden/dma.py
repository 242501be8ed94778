"""What descriptors of the DMA engine do: memory, scratchpad and retirements, one after the other.

Written from the meaning of the descriptors, with integers that do not wrap.
"""

from dataclasses import dataclass, field, fields
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["Code", "Descriptor", "Model", "Op", "Region", "Request", "Retired", "Sizes", "Space"]


class Op(IntEnum):
    """Operations."""

    LOAD, STORE, GATHER, APPEND, FILL, FENCE = range(1, 7)


class Code(IntEnum):
    """Outcomes."""

    OK, BAD_OP, RESERVED, ZERO_COUNT, BAD_REGION, NO_RIGHT = range(6)
    MEMORY_RANGE, LOCAL_RANGE, TABLE_RANGE, STOPPED, TIMEOUT, DISORDER = range(6, 12)
    BAD_TABLE, BAD_PAGE, REFUSED, POISONED = range(12, 16)
    MISALIGNED, BAD_NEXT, TOO_LONG, BAD_FETCH = range(16, 20)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of an engine."""

    atom: int
    atom_bits: int
    local_bits: int
    count_bits: int
    token_bits: int
    page_bits: int
    regions: int
    longest: int


@dataclass(frozen=True, kw_only=True)
class Region:
    """Atoms ``base`` to ``limit - 1`` of one space, and what is allowed there."""

    local: bool = False
    read: bool = True
    write: bool = True
    base: int = 0
    limit: int = 0


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Fields as in the record of 64 bytes; strides are signed."""

    op: int
    before: int = 0
    after: int = 0
    end: int = 0
    reserved: int = 0
    tag: int = 0
    memory_region: int = 0
    local_region: int = 0
    table_region: int = 0
    page_log2: int = 0
    memory_offset: int = 0
    local_offset: int = 0
    count: tuple[int, int, int] = (1, 1, 1)
    memory_stride: tuple[int, int, int] = (1, 0, 0)
    local_stride: tuple[int, int, int] = (1, 0, 0)
    table_offset: int = 0
    first: int = 0
    next: int = 0

    def encode(self) -> int:
        """The record as one number, its first byte lowest."""
        flags = self.before | self.after << 1 | self.end << 2 | self.reserved << 3
        words = [
            self.op | flags << 8 | self.tag << 16,
            self.memory_region
            | self.local_region << 8
            | self.table_region << 16
            | self.page_log2 << 24,
            self.memory_offset,
            self.local_offset,
            *self.count,
            *self.memory_stride,
            *self.local_stride,
            self.table_offset,
            self.first,
            self.next,
        ]
        return sum((word & 0xFFFF_FFFF) << 32 * n for n, word in enumerate(words))

    @classmethod
    def decode(cls, record: int) -> "Descriptor":
        """Inverse of :meth:`encode`."""
        words = [record >> 32 * n & 0xFFFF_FFFF for n in range(16)]
        signed = [word - (word >> 31 << 32) for word in words]
        flags = words[0] >> 8 & 255
        values: list[object] = [
            words[0] & 255,
            *(flags & 1, flags >> 1 & 1, flags >> 2 & 1, flags >> 3),
            words[0] >> 16,
            *(words[1] >> 8 * n & 255 for n in range(4)),
            *words[2:4],
            *(tuple(part) for part in (words[4:7], signed[7:10], signed[10:13])),
            *words[13:16],
        ]
        names = [f.name for f in fields(cls)]
        return cls(**dict(zip(names, values, strict=True)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Retired:
    """Of a descriptor, or of a list: then ``atoms`` counts descriptors."""

    tag: int
    listed: bool
    code: Code
    atoms: int


@dataclass(frozen=True)
class Request:
    """For consecutive atoms of large memory."""

    write: bool
    atom: int
    count: int


class Space:
    """Words of a memory; some are poison, and some are refused."""

    def __init__(self, words: int, atom: int) -> None:
        self.data: NDArray[np.uint8] = np.zeros((words, atom), np.uint8)
        self.poison: NDArray[np.bool_] = np.zeros(words, bool)
        self.refused: NDArray[np.bool_] = np.zeros(words, bool)


Addresses = NDArray[np.int64]


def _box(start: int, count: tuple[int, ...], stride: tuple[int, ...]) -> Addresses:
    """Addresses of a box, innermost level first."""
    at = np.array([start], np.int64)
    for n, step in reversed(list(zip(count, stride, strict=True))):
        at = (at[:, np.newaxis] + step * np.arange(n, dtype=np.int64)).reshape(-1)
    return at


def _corners(start: int, count: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, int]:
    ways = [(n - 1) * step for n, step in zip(count, stride, strict=True)]
    return start + sum(min(0, way) for way in ways), start + sum(max(0, way) for way in ways)


@dataclass
class Model:
    """The engine with its two memories.

    Parameters
    ----------
    sizes
        Of the engine.
    memory, local
        The images, which descriptors change.
    regions
        Table of regions.
    requests
        Requests to large memory so far; those for descriptors of lists are not among them.
    """

    sizes: Sizes
    memory: Space
    local: Space
    regions: list[Region]
    requests: list[Request] = field(default_factory=list)

    def run(self, d: Descriptor) -> Retired:
        """Carry out one descriptor."""
        code = self._refusal(d)
        if code is not Code.OK or d.op == Op.FENCE:
            return Retired(d.tag, False, code, 0)
        code, moved = self._carry_out(d)
        return Retired(d.tag, False, code, moved)

    def run_list(self, tag: int, offset: int, *, region: int, most: int) -> list[Retired]:
        """Carry out a list to its end."""
        done: list[Retired] = []
        parts = max(1, 64 // self.sizes.atom)
        known = region < len(self.regions)
        where = self.regions[region] if known else Region()
        while True:
            if len(done) == most:
                code = Code.TOO_LONG
            elif offset % parts:
                code = Code.MISALIGNED
            elif where.base + offset + parts > self._limit(where) or where.local or not where.read:
                code = Code.BAD_NEXT
            else:
                atoms = slice(where.base + offset, where.base + offset + parts)
                code = Code.BAD_FETCH if self.memory.poison[atoms].any() else Code.OK
            if code is not Code.OK:
                return [*done, Retired(tag, True, code, len(done))]
            record = int.from_bytes(self.memory.data[atoms].tobytes()[:64], "little")
            d = Descriptor.decode(record)
            done.append(self.run(d))
            if d.end:
                return [*done, Retired(tag, True, Code.OK, len(done))]
            offset = d.next

    # -- checks

    def _limit(self, region: Region) -> int:
        bits = self.sizes.local_bits if region.local else self.sizes.atom_bits
        return min(region.limit, 1 << bits)

    def _inside(self, region: Region, low: int, high: int) -> bool:
        return region.base <= low and high < self._limit(region)

    def _refusal(self, d: Descriptor) -> Code:
        s = self.sizes
        if d.op not in list(Op):
            return Code.BAD_OP
        uses_memory = d.op not in (Op.FILL, Op.FENCE)
        paged = d.op in (Op.GATHER, Op.APPEND)
        out = d.op in (Op.STORE, Op.APPEND)
        if d.reserved or (d.op != Op.FENCE and not self._fits(d, paged)):
            return Code.RESERVED
        if d.op == Op.FENCE:
            return Code.OK
        if 0 in d.count:
            return Code.ZERO_COUNT
        used: list[tuple[int, bool | None, bool]] = [(d.local_region, True, not out)]
        if uses_memory:
            used.append((d.memory_region, False, out))
        if paged:
            used.append((d.table_region, None, False))
        if any(number >= s.regions for number, *_ in used):
            return Code.BAD_REGION
        named = [(self.regions[number], local, write) for number, local, write in used]
        if any(local is not None and region.local != local for region, local, _ in named):
            return Code.BAD_REGION
        if not all(region.write if write else region.read for region, _, write in named):
            return Code.NO_RIGHT
        if uses_memory and not paged:
            region = self.regions[d.memory_region]
            corners = _corners(region.base + d.memory_offset, d.count, d.memory_stride)
            if not self._inside(region, *corners):
                return Code.MEMORY_RANGE
        region = self.regions[d.local_region]
        if not self._inside(
            region, *_corners(region.base + d.local_offset, d.count, d.local_stride)
        ):
            return Code.LOCAL_RANGE
        if paged:
            region = self.regions[d.table_region]
            end = (d.first + d.count[1]) * d.count[0]
            entry = (end - 1) >> d.page_log2
            atom = region.base + d.table_offset + entry * 4 // s.atom
            if atom >= self._limit(region):
                return Code.TABLE_RANGE
        return Code.OK

    def _fits(self, d: Descriptor, paged: bool) -> bool:
        s = self.sizes
        return (
            max(d.count) < 1 << s.count_bits
            and d.memory_offset < 1 << s.atom_bits
            and d.local_offset < 1 << s.local_bits
            and d.table_offset < 1 << max(s.atom_bits, s.local_bits)
            and all(-(1 << s.atom_bits) <= step < 1 << s.atom_bits for step in d.memory_stride)
            and all(-(1 << s.local_bits) <= step < 1 << s.local_bits for step in d.local_stride)
            and (
                not paged
                or (d.page_log2 <= s.page_bits and d.first < 1 << s.token_bits and d.count[2] == 1)
            )
        )

    # -- accesses

    def _carry_out(self, d: Descriptor) -> tuple[Code, int]:
        code = Code.OK
        base = self.regions[d.local_region].base + d.local_offset
        there = _box(base, d.count, d.local_stride)
        if d.op == Op.FILL:
            word = np.frombuffer((d.first & 0xFFFF_FFFF).to_bytes(4, "little"), np.uint8)
            good = there[~self.local.refused[there]]
            self.local.data[good] = np.tile(word, self.sizes.atom // 4)
            self.local.poison[good] = False
            return (Code.OK if len(good) == len(there) else Code.REFUSED), len(good)
        if d.op in (Op.GATHER, Op.APPEND):
            code, here = self._pages(d)
            there = there[: len(here)]
        else:
            start = self.regions[d.memory_region].base + d.memory_offset
            here = _box(start, d.count, d.memory_stride)
        out = d.op in (Op.STORE, Op.APPEND)
        self._request(out, here)
        kept = ~self.local.refused[there]
        here, there = here[kept], there[kept]
        spaces = (self.local, there), (self.memory, here)
        (source, from_), (sink, to) = spaces if out else spaces[::-1]
        poisoned = bool(source.poison[from_].any())
        sink.data[to], sink.poison[to] = source.data[from_], source.poison[from_]
        if code is Code.OK and not kept.all():
            code = Code.REFUSED
        if code is Code.OK and poisoned:
            code = Code.POISONED
        return code, len(here)

    def _pages(self, d: Descriptor) -> tuple[Code, Addresses]:
        """Atoms of the tokens, up to the first page that is not to be used."""
        s = self.sizes
        pool, where = self.regions[d.memory_region], self.regions[d.table_region]
        table = self.local if where.local else self.memory
        size = self._limit(pool) - pool.base
        atoms: list[int] = []
        for at in range(d.first * d.count[0], (d.first + d.count[1]) * d.count[0]):
            byte = (at >> d.page_log2) * 4
            row = where.base + d.table_offset + byte // s.atom
            if table.poison[row] or (where.local and table.refused[row]):
                return Code.BAD_TABLE, np.array(atoms, np.int64)
            entry = table.data[row, byte % s.atom : byte % s.atom + 4]
            page = int.from_bytes(entry.tobytes(), "little")
            if (page + 1) << d.page_log2 > size:
                return Code.BAD_PAGE, np.array(atoms, np.int64)
            atoms.append(pool.base + (page << d.page_log2) + at % (1 << d.page_log2))
        return Code.OK, np.array(atoms, np.int64)

    def _request(self, write: bool, atoms: Addresses) -> None:
        """As long as possible, in order."""
        run: list[int] = []
        for atom in atoms.tolist():
            if run and (atom != run[0] + run[1] or run[1] == self.sizes.longest):
                self.requests.append(Request(write, run[0], run[1]))
                run = []
            run = [run[0], run[1] + 1] if run else [atom, 1]
        if run:
            self.requests.append(Request(write, run[0], run[1]))
