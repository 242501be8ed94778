"""Random AXI4 traffic by cocotbext-axi, each reader against an array of bytes of its own."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiMaster  # type: ignore[import-untyped]

from systolith.benches.axi_play import Scenario, play, ready, reset

__all__ = ["scenarios", "traffic"]


def _pauses(seed: int, busy: float) -> Iterator[bool]:
    """Phases in which a channel is never, seldom or often held."""
    draw = random.Random(seed)
    while True:
        share = draw.choice([0.0, 0.2, busy])
        for _ in range(draw.randint(5, 60)):
            yield draw.random() < share


def _master(dut: Any, seed: int, busy: float) -> AxiMaster:
    master = AxiMaster(AxiBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    writes, reads = master.write_if, master.read_if
    if busy:
        for n, channel in enumerate(
            (
                writes.aw_channel,
                writes.w_channel,
                writes.b_channel,
                reads.ar_channel,
                reads.r_channel,
            )
        ):
            channel.set_pause_generator(_pauses(10 * seed + n, busy))
    return master


async def _user(
    master: Any, draw: random.Random, base: int, size: int, number: int, ids: list[int]
) -> list[str]:
    """Writes and reads in a region of its own; waits for each answer before it goes on."""
    wrong: list[str] = []
    known = bytearray(draw.randbytes(size))
    for at in range(0, size, 1024):
        done = await master.write(base + at, bytes(known[at : at + 1024]), awid=ids[0])
        if int(done.resp):
            wrong.append(f"first write at {at}: {done.resp}")
    widest = (master.write_if.byte_lanes - 1).bit_length()
    for n in range(number):
        length = draw.choice([1, 2, draw.randint(1, 64), draw.randint(1, min(size, 700))])
        at = draw.randrange(size - length + 1)
        beat = draw.choice([widest, widest, draw.randint(0, widest)])
        tag = draw.choice(ids)
        what = f"{n}: {length} bytes at {base + at:#x}, beats of {1 << beat}, id {tag}"
        if draw.random() < 0.5:
            block = draw.randbytes(length)
            known[at : at + length] = block
            done = await master.write(base + at, block, awid=tag, size=beat)
            if int(done.resp):
                wrong.append(f"write {what}: {done.resp}")
        else:
            found = await master.read(base + at, length, arid=tag, size=beat)
            if int(found.resp):
                wrong.append(f"read {what}: {found.resp}")
            elif bytes(found.data) != bytes(known[at : at + length]):
                wrong.append(f"read {what}: differs")
    found = await master.read(base, size, arid=ids[0])
    if bytes(found.data) != bytes(known):
        wrong.append(f"region at {base:#x} differs at the end")
    return wrong


async def traffic(
    dut: Any, *, seed: int, users: int = 3, number: int = 40, size: int = 2048, busy: float = 0.8
) -> dict[str, Any]:
    """Several users at a time, some with the same IDs, with gaps on all channels."""
    await ready(dut)
    master = _master(dut, seed, busy)
    await ClockCycles(dut.clk, 2)
    draw = random.Random(seed)
    tasks = [
        cocotb.start_soon(
            _user(master, random.Random(draw.random()), u * size, size, number, [u // 2, 5 + u])
        )
        for u in range(users)
    ]
    wrong = [line for task in tasks for line in await task]
    return {"wrong": wrong}


async def interrupted(dut: Any, *, seed: int, size: int = 1024) -> dict[str, Any]:
    """Reset in the middle of bursts of both directions; after it everything works again."""
    await ready(dut)
    master = _master(dut, seed, 0.3)
    await ClockCycles(dut.clk, 2)
    draw = random.Random(seed)
    open_: list[int] = []
    for turn in range(4):
        for k in range(4):
            master.init_write(k * size, draw.randbytes(size))
            master.init_read(k * size, size)
        await ClockCycles(dut.clk, draw.randint(10, 90))
        open_.append(master.write_if.in_flight_operations and master.read_if.in_flight_operations)
        await reset(dut, 1 + turn)
        await ready(dut)
    wrong = await _user(master, draw, 0, size, 20, [0, 1])
    return {"wrong": wrong, "open": open_}


async def streaming(dut: Any, *, beats: int = 64, bursts: int = 12) -> dict[str, Any]:
    """Long bursts in one direction after the other and in both: cycles from first to last beat."""
    await ready(dut)
    master = _master(dut, 1, 0.0)
    await ClockCycles(dut.clk, 2)
    lanes = master.write_if.byte_lanes
    block = random.Random(1).randbytes(beats * lanes)
    found: dict[str, Any] = {"wrong": []}
    for name in ("write", "read", "both"):
        spans: dict[str, list[int]] = {"w": [], "r": []}
        watch = [cocotb.start_soon(_beats(dut, channel, spans[channel])) for channel in spans]
        events = []
        for k in range(bursts):
            if name != "read":
                events.append(master.init_write(k * len(block), block))
            if name != "write":
                events.append(master.init_read(k * len(block), len(block)))
        for event in events:
            await event.wait()
        for task in watch:
            task.cancel()
        found[name] = {c: [len(s), s[-1] - s[0] + 1 if s else 0] for c, s in spans.items()}
    return found


async def _beats(dut: Any, channel: str, cycles: list[int]) -> None:
    valid, ready_ = getattr(dut, f"s_axi_{channel}valid"), getattr(dut, f"s_axi_{channel}ready")
    cycle = 0
    while True:
        await RisingEdge(dut.clk)
        cycle += 1
        if int(valid.value) and int(ready_.value):
            cycles.append(cycle)


scenarios: dict[str, Scenario] = {
    "traffic": traffic,
    "interrupted": interrupted,
    "streaming": streaming,
}


@cocotb.test()
async def run(dut: Any) -> None:
    """Play the scenario that is asked for."""
    await play(dut, scenarios)
