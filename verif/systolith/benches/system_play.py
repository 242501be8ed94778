"""The product at its buses: traffic, registers, errors and interrupts."""

import random
from collections.abc import Callable
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import (  # type: ignore[import-untyped]
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiMaster,
)

from systolith.benches.axi_play import Scenario, counts, play
from systolith.benches.axi_traffic import traffic

__all__ = ["scenarios"]


def _memory(dut: Any) -> Any:
    return AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)


def _registers(dut: Any) -> Any:
    return AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)


async def _up(dut: Any) -> None:
    """Wait until the memory is calibrated and filled."""
    for _ in range(400):
        await ClockCycles(dut.clk, 100)
        if counts(dut)["ready"]:
            return
    raise AssertionError("the memory is not up after 40000 cycles")


async def _all(registers: Any, offsets: dict[str, int]) -> dict[str, int]:
    return {name: int(await registers.read_dword(at)) for name, at in offsets.items()}


async def status(dut: Any, *, offsets: dict[str, int]) -> dict[str, Any]:
    """Registers after some traffic."""
    registers = _registers(dut)
    early = await _all(registers, {"start": offsets["start"]})
    await _up(dut)
    found = await traffic(dut, seed=4, users=2, number=15)
    return {**found, "early": early, "registers": await _all(registers, offsets)}


async def errors(
    dut: Any, *, offsets: dict[str, int], width: int, number: int = 40
) -> dict[str, Any]:
    """One bit is flipped in every other read, two in every eighth; what becomes of each."""
    await _up(dut)
    memory, registers = _memory(dut), _registers(dut)
    draw = random.Random(8)
    atom = 32
    known = draw.randbytes(64 * atom)
    for at in range(0, len(known), 1024):
        await memory.write(at, known[at : at + 1024])
    await registers.write_dword(offsets["interrupt_enable"], 0b110)  # uncorrectable, poisoned
    await registers.write_dword(offsets["scrub"], 0)  # else a repair could take the next flip
    wrong, told = list[str](), {"single": 0, "double": 0, "irq": 0, "slverr": 0}
    for n in range(number):
        at = draw.randrange(64) * atom
        bits = 2 if n % 8 == 0 else n % 2
        await RisingEdge(dut.clk)
        mask = sum(1 << bit for bit in draw.sample(range(width), bits))
        dut.flip.value = mask << 2 | (bits > 0)
        await RisingEdge(dut.clk)
        dut.flip.value = 0
        found = await memory.read(at, atom)
        await ClockCycles(dut.clk, 8)
        told["single"] += bits == 1
        told["double"] += bits == 2
        told["slverr"] += int(found.resp) == 2
        if bits < 2 and (int(found.resp) or bytes(found.data) != known[at : at + atom]):
            wrong.append(f"{n}: {bits} bits at {at:#x}: {found.resp}")
        if int(dut.irq.value) != (bits == 2):
            wrong.append(f"{n}: irq is {dut.irq.value} for {bits} bits")
        if bits == 2:
            told["irq"] += int(dut.irq.value)
            await registers.write_dword(offsets["interrupt_status"], 0x7F)
            await ClockCycles(dut.clk, 2)
    return {"wrong": wrong, "told": told, "registers": await _all(registers, offsets)}


async def _handshake(dut: Any, stream: str, payload: int) -> None:
    getattr(dut, f"{stream}__payload").value = payload
    getattr(dut, f"{stream}__valid").value = 1
    while True:
        await RisingEdge(dut.clk)
        if int(getattr(dut, f"{stream}__ready").value):
            break
    getattr(dut, f"{stream}__valid").value = 0


async def native(dut: Any, *, atom_bits: int, number: int = 20) -> dict[str, Any]:
    """What a native port writes, AXI reads, and the other way round."""
    await _up(dut)
    memory = _memory(dut)
    draw = random.Random(6)
    wrong = list[str]()
    count = 7
    for n in range(number):
        first = draw.randrange(40)
        words = [draw.getrandbits(256) for _ in range(count)]
        image = b"".join(word.to_bytes(32, "little") for word in words)
        if n % 2:
            request = count << (1 + atom_bits) | first << 1 | 1
            await _handshake(dut, "port0__request", request)
            for word in words:
                await _handshake(dut, "port0__write", ((1 << 32) - 1) << 256 | word)
            while not int(dut.port0__done.value):
                await RisingEdge(dut.clk)
            found = await memory.read(32 * first, 32 * count)
            if bytes(found.data) != image:
                wrong.append(f"{n}: AXI reads something else")
        else:
            await memory.write(32 * first, image)
            await _handshake(dut, "port0__request", count << (1 + atom_bits) | first << 1)
            dut.port0__read__ready.value = 1
            back: list[int] = []
            while len(back) < count:
                await RisingEdge(dut.clk)
                if int(dut.port0__read__valid.value):
                    back.append(int(dut.port0__read__payload.value))
            dut.port0__read__ready.value = 0
            if [word & ((1 << 256) - 1) for word in back] != words:
                wrong.append(f"{n}: the port reads something else")
            if [word >> 256 for word in back] != [0] * (count - 1) + [2]:
                wrong.append(f"{n}: marks are {[word >> 256 for word in back]}")
    return {"wrong": wrong}


async def _user(
    memory: Any, base: int, draw: random.Random, number: int, over: Callable[[], bool]
) -> list[str]:
    """Write and read a part of the memory of one's own, ``number`` times or until it is over."""
    wrong = list[str]()
    known = bytearray(2048)
    await memory.write(base, bytes(known))
    for k in range(number):
        if over():
            break
        at = draw.randrange(1900)
        some = draw.randbytes(draw.randint(1, min(400, 2048 - at)))
        if (await memory.write(base + at, some)).resp:
            wrong.append(f"{base:#x}, {k}: write refused")
        known[at : at + len(some)] = some
        at = draw.randrange(1500)
        found = await memory.read(base + at, 500)
        if int(found.resp) or bytes(found.data) != known[at : at + 500]:
            wrong.append(f"{base:#x}, {k}: {found.resp} for a read at {at}")
    return wrong


async def settings(
    dut: Any, *, offsets: dict[str, int], steps: list[dict[str, int]], pause: int
) -> dict[str, Any]:
    """Registers are written while users write and read; each keeps what was written last."""
    await _up(dut)
    memory, registers = _memory(dut), _registers(dut)
    wrong, over = list[str](), False
    users = [
        cocotb.start_soon(_user(memory, 2048 * n, random.Random(n), 100_000, lambda: over))
        for n in range(3)
    ]
    draw = random.Random(7)
    for step in steps:
        for name, value in step.items():
            await registers.write_dword(offsets[name], value)
            if int(await registers.read_dword(offsets[name])) != value:
                wrong.append(f"{name} does not keep {value:#x}")
        await ClockCycles(dut.clk, draw.randint(pause // 4, pause))
    over = True
    for user in users:
        wrong += await user
    return {"wrong": wrong, "registers": await _all(registers, offsets)}


async def alerts(
    dut: Any, *, offsets: dict[str, int], number: int = 25, least: int = 20, most: int = 900
) -> dict[str, Any]:
    """Users write and read their own parts, while commands get bad parity now and then."""
    await _up(dut)
    memory, registers = _memory(dut), _registers(dut)
    wrong, strikes, over = list[str](), 0, False

    async def strike() -> None:
        nonlocal strikes
        draw = random.Random(3)
        while not over:
            await ClockCycles(dut.clk, draw.randint(least, most))
            dut.strike.value = 1
            await RisingEdge(dut.clk)
            dut.strike.value = 0
            strikes += 1

    task = cocotb.start_soon(strike())
    users = [
        cocotb.start_soon(_user(memory, 2048 * n, random.Random(n), number, lambda: False))
        for n in range(3)
    ]
    for user in users:
        wrong += await user
    over = True
    await task
    await ClockCycles(dut.clk, 4000)
    values = await _all(registers, offsets)
    return {"wrong": wrong, "strikes": strikes, "registers": values}


scenarios: dict[str, Scenario] = {
    "alerts": alerts,
    "status": status,
    "errors": errors,
    "native": native,
    "settings": settings,
}


@cocotb.test()
async def run(dut: Any) -> None:
    """Play the scenario that is asked for."""
    await play(dut, scenarios)
