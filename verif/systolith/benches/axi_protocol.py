"""Bursts of every kind, allowed or not, beat by beat, against a memory of bytes."""

import random
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from systolith.benches.axi_bytes import FIXED, INCR, WRAP, AxiBytes, Burst
from systolith.benches.axi_play import Scenario, play, ready
from systolith.benches.axi_raw import Raw

__all__ = ["scenarios"]


def _draw(draw: random.Random, lanes: int, base: int, size: int, capacity: int) -> Burst:
    """A burst within ``size`` bytes from ``base`` on, unless it is one that is refused."""
    widest = (lanes - 1).bit_length()
    number = draw.choice([widest, widest, draw.randint(0, widest)])
    tag, lock = draw.choice([0, 0, 3, draw.randrange(16)]), int(draw.random() < 0.2)
    length = draw.choice([1, 2, 3, 8, draw.randint(1, 24)])
    length = min(length, size >> number)
    at = base + draw.randrange(size - (length << number) + 1)
    burst = Burst(at, length, number, INCR, tag, lock)
    match draw.choice(["incr"] * 6 + ["wrap"] * 4 + ["odd"] * 3):
        case "wrap":
            length = draw.choice([n for n in (2, 4, 8, 16) if n << number <= size])
            at = base + draw.randrange(size >> number << number)
            return replace(burst, kind=WRAP, length=length, address=at >> number << number)
        case "odd":
            return draw.choice(
                [
                    replace(burst, kind=FIXED),
                    replace(burst, kind=3),
                    replace(burst, size=draw.choice([widest + 1, 7]) if widest < 7 else 7),
                    replace(burst, kind=WRAP, length=draw.choice([1, 3, 5, 17, 256])),
                    replace(burst, kind=WRAP, length=4, size=widest, address=base + 1),
                    replace(burst, address=(at | 0xFFF) - 1, length=9, size=max(1, number)),
                    replace(burst, address=capacity + at),
                ]
            )
    return burst


def _beats(draw: random.Random, burst: Burst, lanes: int, wrong: bool) -> Burst:
    """The same with data, and strobes that may be anywhere; mostly the last beat is marked."""
    length, full = burst.length, (1 << lanes) - 1
    beats = [
        (draw.getrandbits(8 * lanes), draw.choice([full, full, 0, draw.getrandbits(lanes)]), 0)
        for _ in range(length)
    ]
    if wrong and length > 1 and draw.random() < 0.15:
        beats = beats[: draw.randrange(1, length)]  # too few, the last one is marked
    elif wrong and draw.random() < 0.1:
        return replace(burst, beats=tuple(beats))  # none is marked
    beats[-1] = (*beats[-1][:2], 1)
    return replace(burst, beats=tuple(beats))


def _filled(draw: random.Random, burst: Burst, lanes: int) -> Burst:
    """The same with data in every byte."""
    full, last = (1 << lanes) - 1, burst.length - 1
    beats = ((draw.getrandbits(8 * lanes), full, int(n == last)) for n in range(burst.length))
    return replace(burst, beats=tuple(beats))


def _send(raw: Raw, burst: Burst) -> None:
    raw.queues["aw"].append(burst.fields())
    for data, strb, last in burst.beats:
        raw.queues["w"].append({"data": data, "strb": strb, "last": last})


def _answers(raw: Raw, model: AxiBytes, writes: list[Burst], since: int) -> list[str]:
    found = [fields for _, fields in raw.taken["b"][since:]]
    wrong = []
    for n, burst in enumerate(writes):
        asked = {"id": burst.tag, "resp": model.write(burst)}
        if found[n] != asked:
            wrong.append(f"{replace(burst, beats=())}: answer {found[n]}, not {asked}")
    return wrong


def _contents(raw: Raw, model: AxiBytes, reads: list[Burst], since: int) -> list[str]:
    beats = [fields for _, fields in raw.taken["r"][since:]]
    wrong, at = [], 0
    for burst in reads:
        problem = model.wrong(burst, beats[at : at + burst.length])
        wrong += [problem] if problem else []
        at += burst.length
    return wrong


def _start(dut: Any, seed: int, rates: dict[str, float], capacity: int) -> tuple[Raw, AxiBytes]:
    raw = Raw(dut, seed, rates)
    raw.start()
    return raw, AxiBytes(capacity, len(dut.s_axi_wdata) // 8)


async def bursts(
    dut: Any,
    *,
    seed: int,
    capacity: int,
    number: int = 12,
    rounds: int = 6,
    misplaced: bool = True,
    rates: dict[str, float] | None = None,
) -> dict[str, Any]:
    """A page is written; then one half of it is written while the other one is read, in turns."""
    await ready(dut)
    raw, model = _start(dut, seed, rates or {}, capacity)
    draw, half = random.Random(seed), 2048
    base = draw.randrange(capacity // 4096) * 4096
    widest = (model.lanes - 1).bit_length()
    whole = [Burst(at, 128 // model.lanes, widest) for at in range(base, base + 2 * half, 128)]
    first = [_filled(draw, burst, model.lanes) for burst in whole]
    for burst in first:
        _send(raw, burst)
    await raw.until("b", len(first))
    wrong = _answers(raw, model, first, 0)
    for turn in range(rounds):
        mine, other = base + (turn % 2) * half, base + (1 - turn % 2) * half
        writes = [
            _beats(draw, _draw(draw, model.lanes, mine, half, capacity), model.lanes, misplaced)
            for _ in range(number)
        ]
        reads = [_draw(draw, model.lanes, other, half, capacity) for _ in range(number)]
        before = (len(raw.taken["b"]), len(raw.taken["r"]))
        for write, read in zip(writes, reads, strict=True):
            _send(raw, write)
            raw.queues["ar"].append(read.fields())
        await raw.until("b", before[0] + number)
        await raw.until("r", before[1] + sum(b.length for b in reads))
        wrong += _contents(raw, model, reads, before[1])
        wrong += _answers(raw, model, writes, before[0])
    since = len(raw.taken["r"])
    raw.queues["ar"].extend(burst.fields() for burst in whole)
    await raw.until("r", since + sum(b.length for b in whole))
    wrong += _contents(raw, model, whole, since)
    return {"wrong": wrong, "known": len(model.known)}


async def blocked(dut: Any, *, channel: str, cycles: int, capacity: int) -> dict[str, Any]:
    """R or B is not taken for long: the other direction goes on, and then all is well."""
    await ready(dut)
    raw, model = _start(dut, 3, {}, capacity)
    draw, wrong = random.Random(3), list[str]()
    size = (model.lanes - 1).bit_length()
    length = min(64, 2048 // model.lanes)
    pages = [Burst(page * 4096, length, size, tag=page) for page in range(16)]
    writes = [_filled(draw, burst, model.lanes) for burst in pages]
    for write in writes:
        _send(raw, write)
    await raw.until("b", 16)
    wrong += _answers(raw, model, writes, 0)
    raw.held.add(channel)
    begun = raw.cycle
    more = [_filled(draw, replace(b, address=b.address + 2048), model.lanes) for b in pages]
    moved = 0
    for write, page in zip(more, pages, strict=True):
        _send(raw, write)
        raw.queues["ar"].append(page.fields())
    await raw.until("b" if channel == "r" else "r", 32 if channel == "r" else 16 * length)
    moved = raw.cycle - begun
    await ClockCycles(dut.clk, cycles)
    stuck = len(raw.taken[channel])
    raw.held.clear()
    await raw.until("b", 32)
    await raw.until("r", 16 * length)
    wrong += _answers(raw, model, more, 16)
    wrong += _contents(raw, model, pages, 0)
    return {"wrong": wrong, "moved": moved, "stuck": stuck}


async def lost(dut: Any, *, capacity: int) -> dict[str, Any]:
    """A beat of the memory is lost: some beats are SLVERR, without data, all others are right."""
    await ready(dut)
    raw, model = _start(dut, 4, {}, capacity)
    size = (model.lanes - 1).bit_length()
    page = Burst(0, 64, size)
    write = _filled(random.Random(4), page, model.lanes)
    _send(raw, write)
    await raw.until("b", 1)
    wrong = _answers(raw, model, [write], 0)
    raw.queues["ar"].extend([page.fields(), page.fields()])
    await raw.until("r", 8)
    dut.lose.value = 1
    await RisingEdge(dut.clk)
    dut.lose.value = 0
    await raw.until("r", 128)
    bad = 0
    for n, (_, beat) in enumerate(raw.taken["r"]):
        if beat["resp"]:
            bad += 1
            wrong += [f"beat {n}: {beat}"] if (beat["resp"], beat["data"]) != (2, 0) else []
            continue
        for byte in model.places(page)[n % 64]:
            found = beat["data"] >> 8 * (byte % model.lanes) & 255
            if model.known.get(byte, found) != found:
                wrong.append(f"beat {n}, byte {byte}")
    return {"wrong": wrong, "bad": bad}


async def extra(dut: Any, *, capacity: int) -> dict[str, Any]:
    """More beats than announced: they count for the next burst. Nothing hangs."""
    await ready(dut)
    raw, model = _start(dut, 5, {}, capacity)
    full = (1 << model.lanes) - 1
    one = Burst(0, 2, 2, beats=((1, full, 0), (2, full, 0)))
    two = Burst(64, 2, 2, beats=((3, full, 1),))  # begins with the beat too many of the first
    three = Burst(128, 1, 2, beats=((4, full, 1),))
    for burst in (one, two, three):
        _send(raw, burst)
    await raw.until("b", 3)
    return {"answers": [fields["resp"] for _, fields in raw.taken["b"]]}


scenarios: dict[str, Scenario] = {
    "bursts": bursts,
    "blocked": blocked,
    "lost": lost,
    "extra": extra,
}


@cocotb.test()
async def run(dut: Any) -> None:
    """Play the scenario that is asked for."""
    await play(dut, scenarios)
