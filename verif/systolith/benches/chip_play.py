"""A host at AXI and a DMA engine on one memory and one scratchpad: programs, errors, speed."""

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiMaster  # type: ignore[import-untyped]

from systolith.benches.axi_play import Scenario, play, ready
from systolith.benches.chip_design import FAULTS

__all__ = ["scenarios"]

_LIMIT = 20_000  # clocks in which something has to retire


class Host:
    """Reads and writes through the bus; its own traffic waits while another word is poisoned."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.bus = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        self.held = self.ended = False
        self.active = self.carried = 0
        self.wrong: list[str] = []

    async def write(self, at: int, image: bytes, **options: int) -> int:
        """The answer."""
        return int((await self.bus.write(at, image, **options)).resp)

    async def read(self, at: int, length: int, **options: int) -> tuple[int, bytes]:
        """The answer, and what it holds."""
        answer = await self.bus.read(at, length, **options)
        return int(answer.resp), bytes(answer.data)

    async def poison(self, at: int, image: bytes) -> int:
        """Write words that are known to be bad."""
        self.held = True
        while self.active:
            await RisingEdge(self.dut.clk)
        self.dut.poison.value = 1
        answer = await self.write(at, image)
        self.dut.poison.value = 0
        self.held = False
        return answer

    async def _own(
        self, image: bytearray, base: int, at: int, draw: random.Random, tag: int
    ) -> Any:
        """A read or a write of some bytes of a span."""
        while self.held:
            await RisingEdge(self.dut.clk)
        widest = (self.bus.write_if.byte_lanes - 1).bit_length()
        beat = draw.choice([widest, widest, draw.randint(0, widest)])
        most = len(image) - at
        length = min(most, draw.choice([1, 32, draw.randint(1, 64), draw.randint(1, 700)]))
        self.active += 1
        if draw.random() < 0.5:
            image[at : at + length] = block = draw.randbytes(length)
            resp, right = await self.write(base + at, block, awid=tag, size=beat), True
        else:
            resp, found = await self.read(base + at, length, arid=tag, size=beat)
            right = found == image[at : at + length]
        self.active -= 1
        self.carried += 1
        if resp or not right:
            self.wrong.append(f"{length} bytes at {base + at:#x}: {resp}, {right}")

    async def traffic(self, draw: random.Random, spans: list[list[int]], ids: list[int]) -> None:
        """Reads and writes in spans that nobody else writes, one after the other, to the end."""
        known = [bytearray(draw.randbytes(size)) for _, size in spans]
        while self.held:
            await RisingEdge(self.dut.clk)
        self.active += 1
        for (base, size), image in zip(spans, known, strict=True):
            for at in range(0, size, 1024):
                await self.write(base + at, bytes(image[at : at + 1024]))
        self.active -= 1
        while not self.ended:
            await ClockCycles(self.dut.clk, draw.choice([1, 1, 5, draw.randint(1, 200)]))
            n = draw.randrange(len(spans))
            (base, size), image = spans[n], known[n]
            await self._own(image, base, draw.randrange(size), draw, draw.choice(ids))
        for (base, size), image in zip(spans, known, strict=True):
            resp, found = await self.read(base, size)
            if resp or found != image:
                self.wrong.append(f"{base:#x} differs at the end: {resp}")


class Engine:
    """What the engine is told, and what it tells."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.pattern, self.now = dut, (1 << 32) - 1, 0
        self.retired: list[int] = []
        self.retired_at: list[int] = []
        self.sent_at: list[int] = []
        self.asked: list[int] = []
        cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        dut = self.dut
        while True:
            dut.retired__ready.value = takes = self.pattern >> self.now % 32 & 1
            await RisingEdge(dut.clk)
            self.now += 1
            if takes and int(dut.retired__valid.value):
                self.retired.append(int(dut.retired__payload.value))
                self.retired_at.append(self.now)
            asked = int(dut.asked.value)
            if asked & 1:
                self.asked.append(asked >> 1)

    async def send(self, stream: str, payload: int) -> None:
        valid = getattr(self.dut, f"{stream}__valid")
        taken = getattr(self.dut, f"{stream}__ready")
        getattr(self.dut, f"{stream}__payload").value = payload
        valid.value = 1
        while True:
            await RisingEdge(self.dut.clk)
            if int(taken.value):
                break
        valid.value = 0
        self.sent_at.append(self.now)

    async def wait(self, number: int) -> None:
        quiet, before = 0, len(self.retired)
        while len(self.retired) < number:
            await RisingEdge(self.dut.clk)
            quiet = quiet + 1 if len(self.retired) == before else 0
            before = len(self.retired)
            assert quiet < _LIMIT, f"{before} of {number} have retired"

    def told(self) -> dict[str, Any]:
        found = int(self.dut.faults.value)
        return {
            "retired": [f"{word:x}" for word in self.retired],
            "retired_at": self.retired_at,
            "sent_at": self.sent_at,
            "asked": [f"{word:x}" for word in self.asked],
            "faults": [name for n, name in enumerate(FAULTS) if found >> n & 1],
        }


async def program(dut: Any, *, path: str, spans: list[list[list[int]]], seed: int) -> Any:
    """Steps of a file beside traffic of the host: ``[kind, ...]``, see the branches."""
    await ready(dut)
    host, engine = Host(dut), Engine(dut)
    await ClockCycles(dut.clk, 2)
    images: list[list[str]] = []
    users: list[Any] = []
    for kind, *values in json.loads(Path(path).read_text()):
        if kind == "send":
            await engine.send(values[0], int(values[1], 16))
        elif kind == "set":
            getattr(dut, values[0]).value = int(values[1], 16)
        elif kind in ("write", "poison"):
            assert await getattr(host, kind)(values[0], bytes.fromhex(values[1])) == 0
        elif kind == "dump":
            images.append(await _image(host, *values))
        elif kind == "wait":
            await engine.wait(values[0])
        elif kind == "idle":
            await ClockCycles(dut.clk, values[0])
        elif kind == "ready":
            engine.pattern = values[0]
        else:
            raise ValueError(kind)
        if not users and images:  # from the end of the first program on
            users = [
                cocotb.start_soon(host.traffic(random.Random(seed + n), own, [n, 5 + n // 2]))
                for n, own in enumerate(spans)
            ]
    host.ended = True
    for user in users:
        await user
    refused = int(dut.refused.value)
    found = {"images": images, "host": host.wrong, "carried": host.carried, "refused": refused}
    return {**engine.told(), **found, "cycles": engine.now}


async def _image(host: Host, at: int, size: int) -> list[str]:
    """Bytes, and for every part of 1 KB the answer."""
    tasks = [
        cocotb.start_soon(host.read(at + n, min(1024, size - n))) for n in range(0, size, 1024)
    ]
    parts = [await task for task in tasks]
    return [b"".join(data for _, data in parts).hex(), "".join(str(resp) for resp, _ in parts)]


async def upset(
    dut: Any, *, regions: str, load: str, store: str, token: str, words: int, mask: str, atom: int
) -> Any:
    """Two bits of an atom flip in the memory; what the engine and the host see of it.

    ``load`` moves the first four atoms to words 0 to 3, ``store`` these to atoms 100 to 103;
    ``token`` gives the half of word 0 to the array, ``words`` is its address on the bus.
    """
    await ready(dut)
    host, engine = Host(dut), Engine(dut)
    dut.regions.value = int(regions, 16)
    await ClockCycles(dut.clk, 2)
    draw = random.Random(5)
    known = draw.randbytes(4 * atom)
    found: dict[str, Any] = {"known": known.hex()}

    async def four(at: int) -> list[Any]:
        answers = [await host.read(at + n * atom, atom) for n in range(4)]
        return [[resp for resp, _ in answers], b"".join(data for _, data in answers).hex()]

    await host.write(0, known)
    dut.flip.value = int(mask, 16) << 2 | 0b11
    await RisingEdge(dut.clk)
    dut.flip.value = 0
    found["flipped"] = (await host.read(atom, atom))[0]
    found["atoms"] = await four(0)
    await engine.send("descriptors", int(load, 16))
    await engine.wait(1)
    found["words"] = await four(words)
    await engine.send("descriptors", int(store, 16))
    await engine.wait(2)
    found["stored"] = await four(100 * atom)

    # A part does not heal it, all of it does.
    await host.write(words + atom, b"\x55")
    found["part"] = (await host.read(words + atom, atom))[0]
    await host.write(atom, known[atom : 2 * atom])
    await host.write(words + atom, b"\x66" * atom)
    found["whole"] = await four(words)
    await engine.send("descriptors", int(load, 16))
    await engine.wait(3)
    found["healed"] = await four(words)

    # Words of the array are refused.
    await engine.send("give", int(token, 16))
    found["theirs"] = await four(words)
    found["write"] = await host.write(words, b"\x77" * (3 * atom))
    found["refused"] = int(dut.refused.value)
    await engine.send("descriptors", int(load, 16))
    await engine.wait(4)
    await engine.send("back", int(token, 16))
    found["ours"] = await four(words)
    return {**found, **engine.told()}


async def pace(
    dut: Any, *, regions: str, groups: list[list[str]], host: list[int] | None = None
) -> Any:
    """Descriptors, each group at once and apart from the others.

    ``host``: from this address on it reads as many bytes, again and again, two reads at a time.
    """
    await ready(dut)
    engine, reads = Engine(dut), list[int]()
    dut.regions.value = int(regions, 16)
    await ClockCycles(dut.clk, 2)

    async def reading(bus: Host, at: int, size: int) -> None:
        while True:
            await bus.read(at, size)
            reads.append(engine.now)

    bus = Host(dut) if host else None
    tasks = [cocotb.start_soon(reading(bus, *host)) for _ in range(2) if bus and host]
    count = 0
    for group in groups:
        for word in group:
            await engine.send("descriptors", int(word, 16))
        count += len(group)
        await engine.wait(count)
        await ClockCycles(dut.clk, 50)
    for task in tasks:
        task.cancel()
    return {**engine.told(), "reads": reads}


scenarios: dict[str, Scenario] = {"program": program, "upset": upset, "pace": pace}


@cocotb.test()
async def run(dut: Any) -> None:
    """Play the scenario that is asked for."""
    await play(dut, scenarios)
