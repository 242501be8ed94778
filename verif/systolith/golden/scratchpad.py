"""A scratchpad, cycle by cycle: contents, owners, refusals, and what is told of errors.

Time is absolute: whatever is accepted in a cycle has its consequences put down for the cycles in
which they happen. Words are kept as data, poison and flipped bits, and not as what is stored, so
that only words with flipped bits are ever decoded.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from systolith.golden.scratchpad_words import Found, Words
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scratchpad_modes import SubArray

__all__ = ["Place", "ScratchpadModel"]

Place = tuple[int, int, int]
"""Bank, half, and word of the half."""

_NO_HEAD, _RANGE, _SHAPE, _OWNER = range(4)
_PORT_RANGE, _PORT_MASK, _PORT_OWNER = range(3)


@dataclass
class _Access:
    """What the port does in one cycle."""

    kind: str  # "fill", "request", "back", "scrub"
    place: Place = (0, 0, 0)
    write: bool = False
    mask: int = 0
    data: int = 0
    poison: int = 0
    refused: int | None = None
    merge: bool = False
    quiet: bool = False


@dataclass
class _Walker:
    """The scrubber."""

    step: str = "idle"
    planting: bool = False
    stale: bool = False
    here: Place = (0, 0, 0)
    walk: Place = (0, 0, 0)
    flip: int = 0
    lanes: int = 0
    repaired: Found | None = None
    passed: int = 0


@dataclass
class _Head:
    """Commands of a segment: the last one's cycles."""

    free_from: int = 0
    busy_until: list[int] = field(default_factory=lambda: [-1] * HALVES)
    rotating: bool = False


class ScratchpadModel:
    """The block, from reset on.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """As after a reset; what the words hold then is gone."""
        config = self.config
        self.cycle = 0
        self.words = Words(config)
        self.owned = [0] * HALVES
        self.mode = 0
        self.heads = [_Head() for _ in range(config.groups)]
        self.walker = _Walker()
        self.access: _Access | None = None
        self.merging = False
        self.merge_at: dict[int, _Access] = {}
        self.found_at: dict[int, tuple[_Access, Found]] = {}
        self.responses: dict[int, dict[str, int | None]] = {}
        self.reads: dict[int, list[tuple[int, Place]]] = defaultdict(list)
        self.lanes: dict[int, dict[int, Found]] = defaultdict(dict)
        self.seen: dict[int, list[tuple[Place, Found, bool]]] = defaultdict(list)
        self.flags: dict[str, int] = {}
        self.refused_commands: dict[int, int] = {}
        self.corrected = np.zeros(config.banks, np.int64)
        self.lost = np.zeros(config.banks, np.int64)
        self.first_lost: Place | None = None
        self.last_corrected: Place | None = None
        self.counts = {"looked": 0, "repaired": 0, "overtaken": 0}

    # -- one cycle

    def step(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Outputs of this cycle; then time goes on.

        Parameters
        ----------
        inputs
            ``request, give, back, inject``: their fields, or None; ``command``: number of the
            segment to fields; ``mode, interval, pause, clear``.

        Returns
        -------
        Flags and counts by the names of the block's members; ``ready``: by stream; ``response``
        and ``refusal``: fields or None; ``lane``: what each lane group gets.
        """
        t = self.cycle
        filled = t >= self.config.depth
        merging = self.merging
        still = filled and not merging
        out = self._state(t)
        ready: dict[Any, bool] = {"request": still, "give": still}
        ready["back"] = self._back_ready(inputs["back"], t)
        ready["inject"] = self.walker.step == "idle"
        settled = inputs["mode"] == self.mode or inputs["mode"] >= len(self.config.modes)
        for n, head in enumerate(self.heads):
            ready[n] = self._free(head, inputs["command"].get(n), t) and settled and filled
        out["ready"] = ready

        # What the port does in this cycle was decided in the one before.
        self.flags = {}
        hit = self._perform(t)
        self._array_reads(t)
        keeps = self._tokens(inputs, ready)
        started = self._commands(inputs["command"], ready, keeps, t)
        resting = not started and not any(self._busy(h, k, t) for h in self.heads for k in (0, 1))
        if not settled and resting:
            self.mode = inputs["mode"]
        self._schedule(inputs, filled, merging, hit, t)
        self._log(inputs["clear"], t)
        self.merge_at.pop(t, None)
        self.found_at.pop(t, None)
        self.cycle += 1
        return out

    def _state(self, t: int) -> dict[str, Any]:
        answer = self.responses.pop(t, None)
        return {
            "response": answer,
            "owned": list(self.owned),
            "mode_now": self.mode,
            "lane": self.lanes.pop(t, {}),
            "command_refused": self.refused_commands,
            "corrected": self.corrected.tolist(),
            "lost": self.lost.tolist(),
            "first_lost": self.first_lost,
            "last_corrected": self.last_corrected,
            **self.counts,
            **{
                name: self.flags.get(name, 0)
                for name in ("give_refused", "back_refused", "injected", "inject_refused")
            },
        }

    # -- the port

    def _perform(self, t: int) -> Place | None:
        """Carry out the access of this cycle; the word that a request writes."""
        config, access = self.config, self.access
        later = t + config.latency + 2
        walker = self.walker
        if access is None:
            return None
        if access.kind == "fill":
            self.words.fill(access.place[2])
            return None
        if access.kind == "back":
            self.words.write(access.place, access.mask, access.data, access.poison)
            return access.place
        if access.kind == "scrub":
            busy = [place for _, place in self.reads.get(t, ())]
            met = any(place[:2] == access.place[:2] for place in busy)
            if met and access.write and config.ports == "1R1W":
                met = access.place in busy
            if met:
                walker.step = "again write" if access.write else "again read"
            elif access.write:
                self._scrub_write(access)
            else:
                walker.step = "wait"
                found = self.words.read(access.place)
                self.found_at[later - 1] = (access, found)
                if not access.quiet:
                    self.seen[later - 1].append((access.place, found, True))
            return None

        if access.refused is None and self._theirs(access.place):
            access.refused = _PORT_OWNER
        answer: dict[str, int | None] = {"refused": int(access.refused is not None), "error": 0}
        answer |= {"data": None, "code": access.refused, "address": self._address(access.place)}
        self.responses[later] = answer
        if access.refused is not None:
            self.merging = False
            return None
        if access.write and not access.merge:
            self.words.write(access.place, access.mask, access.data, access.poison)
            return access.place
        found = self.words.read(access.place)
        self.seen[later - 1].append((access.place, found, True))
        if access.merge:
            partial = self._partial(access.mask)
            answer["error"] = int(bool(found.error & partial))
            self.merge_at[later - 1] = _Access(
                kind="back",
                place=access.place,
                write=True,
                mask=access.mask,
                data=self._merged(access, found.data),
                poison=access.poison | found.error & partial,
            )
        else:
            answer |= {"data": found.data, "error": int(found.error != 0)}
        return None

    def _schedule(
        self, inputs: Mapping[str, Any], filled: bool, merging: bool, hit: Place | None, t: int
    ) -> None:
        """What the port does in the next cycle, and what the scrubber makes of this one."""
        request = inputs["request"]
        wants = self._walk(inputs, hit, t)
        self.access = None
        if not filled:
            self.access = _Access(kind="fill", place=(0, 0, t))
        elif t in self.merge_at:
            self.access = self.merge_at[t]
            self.merging = False
        elif request is not None and not merging:
            self.access = self._request(request)
        elif wants is not None and not merging:
            self.access = wants
            self.walker.step = "writing" if wants.write else "reading"

    def _request(self, request: Mapping[str, int]) -> _Access:
        config = self.config
        place = self._place(request["address"])
        outside = place[0] >= config.banks or place[2] >= config.depth
        part = bool(request["write"] and self._partial(request["mask"]))
        refused = None
        if outside:
            refused = _PORT_RANGE
        elif part and config.partial == "refuse":
            refused = _PORT_MASK
        merge = part and not outside and config.partial == "rmw"
        self.merging = merge
        return _Access(
            kind="request",
            place=place,
            write=bool(request["write"]),
            mask=request["mask"],
            data=request["data"],
            poison=(1 << config.lanes) - 1 if request["poison"] else 0,
            refused=refused,
            merge=merge,
        )

    def _merged(self, access: _Access, old: int) -> int:
        wide = sum(255 << 8 * b for b in range(self.config.bytes) if access.mask >> b & 1)
        return access.data & wide | old & ~wide

    def _partial(self, mask: int) -> int:
        """Code words of which some bytes are written, not all."""
        size = self.config.lane_bytes
        full = (1 << size) - 1
        parts = [mask >> size * lane & full for lane in range(self.config.lanes)]
        return sum(1 << lane for lane, part in enumerate(parts) if part not in (0, full))

    def _place(self, address: int) -> Place:
        bits = self.config.offset_bits
        return address >> bits + 1, address >> bits & 1, address & (1 << bits) - 1

    def _address(self, place: Place) -> int:
        bank, half, word = place
        return (bank * HALVES + half) << self.config.offset_bits | word

    def _theirs(self, place: Place) -> bool:
        return bool(self.owned[place[1]] >> place[0] // self.config.segment & 1)

    # -- the scrubber

    def _walk(self, inputs: Mapping[str, Any], hit: Place | None, t: int) -> _Access | None:
        """What it wants in the next cycle."""
        config, walker = self.config, self.walker
        interval = inputs["interval"]
        over = walker.passed >= interval
        started = False
        wants = None
        struck = hit == walker.here
        if walker.step == "wait":
            walker.stale |= struck
            if t in self.found_at:
                self._scrub_found(self.found_at[t][1])
        elif walker.step == "read":
            wants = _Access(kind="scrub", place=walker.here, quiet=walker.planting)
            walker.stale = False
        elif walker.step == "write":
            if struck:
                self._overtaken()
            else:
                wants = _Access(kind="scrub", place=walker.here, write=True)
        elif walker.step == "idle":
            if inputs["inject"] is not None:
                place = self._place(inputs["inject"]["address"])
                if place[0] >= config.banks or place[2] >= config.depth:
                    self.flags["inject_refused"] = 1
                else:
                    walker.step, walker.planting = "read", True
                    walker.here, walker.flip = place, inputs["inject"]["flip"]
            elif over and interval and not inputs["pause"]:
                walker.step, walker.planting, walker.here = "read", False, walker.walk
                started = True
        elif walker.step == "ended":
            walker.step = "idle"
        else:
            walker.step = walker.step.removeprefix("again ")
        walker.passed = 1 if started else walker.passed + (not over)
        return wants

    def _scrub_found(self, found: Found) -> None:
        walker = self.walker
        if not walker.planting:
            self._count("looked")
            bank, half, word = walker.walk
            place = bank * HALVES * self.config.depth + half * self.config.depth + word + 1
            place %= self.config.banks * HALVES * self.config.depth
            walker.walk = (
                place // self.config.depth // HALVES,
                place // self.config.depth % HALVES,
                place % self.config.depth,
            )
            walker.repaired = found
            if not found.corrected:
                walker.step = "idle"
                return
        if walker.stale:
            self._overtaken()
        else:
            walker.step = "write"

    def _overtaken(self) -> None:
        if self.walker.planting:
            self.walker.step = "read"
        else:
            self.walker.step = "idle"
            self._count("overtaken")

    def _scrub_write(self, access: _Access) -> None:
        walker = self.walker
        walker.step = "ended"
        if walker.planting:
            self.words.flip(access.place, walker.flip)
            self.flags["injected"] = 1
            return
        self._count("repaired")
        assert walker.repaired is not None
        self.words.repair(access.place, walker.repaired)

    def _count(self, name: str) -> None:
        """In the next cycle, unless cleared in this one; see :meth:`_log`."""
        self.counts[name] = min(self.counts[name] + 1, (1 << self.config.counter_bits) - 1)

    # -- tokens

    def _back_ready(self, token: Mapping[str, int] | None, t: int) -> bool:
        if token is None:
            return True
        reading = 0
        for n, head in enumerate(self.heads):
            part = self._part(n)
            if part and self._busy(head, token["half"], t):
                reading |= self._groups(part)
        return not reading & token["groups"]

    def _tokens(self, inputs: Mapping[str, Any], ready: Mapping[Any, bool]) -> list[int]:
        """Change owners; what the array had and keeps."""
        before = list(self.owned)
        keeps = list(self.owned)
        for name in ("give", "back"):
            token = inputs[name]
            if token is None or not ready[name]:
                continue
            groups, half = token["groups"], token["half"]
            foreign = before[half] if name == "give" else ~before[half]
            if not groups or groups & foreign:
                self.flags[f"{name}_refused"] = 1
            else:
                self.owned[half] ^= groups
                if name == "back":
                    keeps[half] &= ~groups
        return keeps

    # -- the array

    def _part(self, n: int) -> SubArray | None:
        first = n * self.config.segment
        arrays = self.config.modes[self.mode].arrays
        return next((part for part in arrays if part.first == first), None)

    def _groups(self, part: SubArray) -> int:
        return sum(1 << g for g in {bank // self.config.segment for bank in part.all_banks})

    def _busy(self, head: _Head, half: int, t: int) -> bool:
        return t <= head.busy_until[half]

    def _free(self, head: _Head, command: Mapping[str, int] | None, t: int) -> bool:
        waits = head.rotating or (command or {}).get("rotate", 0)
        busy = any(self._busy(head, half, t) for half in range(HALVES))
        return t >= head.free_from and not (self.config.rotation and waits and busy)

    def _commands(
        self,
        commands: Mapping[int, Mapping[str, int]],
        ready: Mapping[Any, bool],
        keeps: list[int],
        t: int,
    ) -> bool:
        self.refused_commands = {}
        started = False
        for n, command in commands.items():
            if not ready[n]:
                continue
            part, code = self._part(n), None
            if part is None:
                code = _NO_HEAD
            elif not command["count"] or command["base"] + command["count"] > (
                self.config.depth * part.pool
            ):
                code = _RANGE
            elif command.get("rotate") and command["count"] % len(part.banks):
                code = _SHAPE
            elif self._groups(part) & ~keeps[command["half"]]:
                code = _OWNER
            if code is not None or part is None:
                self.refused_commands[n] = int(code or 0)
                continue
            self._start(self.heads[n], part, command, t)
            started = True
        return started

    def _start(self, head: _Head, part: SubArray, command: Mapping[str, int], t: int) -> None:
        config, count, lanes = self.config, command["count"], len(part.banks)
        half = command["half"]
        head.free_from = t + count
        head.busy_until[half] = t + count + (lanes - 1) * config.spacing
        head.rotating = bool(command.get("rotate"))
        # Words of a rotated tile lie at their row, or at their column if lanes are odd apart.
        odd = config.spacing % 2
        for lane in range(lanes):
            for i in range(count):
                banks, place = part.banks[lane], command["base"] + i
                if head.rotating:
                    tile, s = divmod(i, lanes)
                    row, col = (lane, s) if command["turned"] else (s, lane)
                    banks = part.banks[(row + (1 + odd) * col) % lanes]
                    place = command["base"] + tile * lanes + (col if odd else row)
                index, word = divmod(place, config.depth)
                when = t + 2 + i + lane * config.spacing
                self.reads[when].append((part.first + lane, (banks[index], half, word)))

    def _array_reads(self, t: int) -> None:
        used = set()
        for lane, place in self.reads.get(t, ()):
            if place[0] in used:
                raise AssertionError(f"bank {place[0]} is read twice in cycle {t}")
            used.add(place[0])
            found = self.words.read(place)
            self.lanes[t + self.config.latency + 1][lane] = found
            self.seen[t + self.config.latency + 1].append((place, found, False))
        self.reads.pop(t, None)

    # -- the log

    def _log(self, clear: int, t: int) -> None:
        events = self.seen.pop(t, [])
        top = (1 << self.config.counter_bits) - 1
        # The port's first, so that the array's are noted before it, the lowest bank first.
        events.sort(key=lambda e: (not e[2], -e[0][0]))
        corrected, lost = (
            [place for place, found, _ in events if getattr(found, name)]
            for name in ("corrected", "lost")
        )
        for counts, places in ((self.corrected, corrected), (self.lost, lost)):
            for place in places:
                counts[place[0]] = min(counts[place[0]] + 1, top)
        if corrected:
            self.last_corrected = corrected[-1]
        if lost and self.first_lost is None:
            self.first_lost = lost[-1]
        if clear:
            self.corrected[:] = 0
            self.lost[:] = 0
            self.first_lost = self.last_corrected = None
            self.counts = dict.fromkeys(self.counts, 0)
