"""AXI4-Lite registers, played by cocotbext-axi against a model of the table."""

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster  # type: ignore[import-untyped]

from systolith.benches.axi_play import Scenario, play

__all__ = ["scenarios"]

_OKAY, _SLVERR = 0, 2


def _pauses(seed: int) -> Iterator[bool]:
    draw = random.Random(seed)
    while True:
        yield draw.random() < 0.4


def _master(dut: Any, seed: int) -> Any:
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
    if seed:
        write, read = master.write_if, master.read_if
        channels = (write.aw_channel, write.w_channel, write.b_channel)
        for n, channel in enumerate((*channels, read.ar_channel, read.r_channel)):
            channel.set_pause_generator(_pauses(10 * seed + n))
    return master


async def accesses(
    dut: Any, *, table: list[dict[str, Any]], seed: int, number: int = 150
) -> dict[str, Any]:
    """Random accesses, one at a time; of registers with any bits, at any address."""
    master = _master(dut, seed)
    await ClockCycles(dut.clk, 2)
    draw, wrong = random.Random(seed), list[str]()
    kept = {r["name"]: r["reset"] for r in table}
    outside = {}
    for r in table:
        if r["access"] == "ro":
            outside[r["name"]] = kept[r["name"]] = draw.getrandbits(r["bits"])
            getattr(dut, r["name"]).value = kept[r["name"]]
    places: dict[int, Any] = {r["offset"]: r for r in table}
    most = 1 << len(dut.s_axil_awaddr)
    seen: dict[str, int] = {}
    for n in range(number):
        address = draw.choice(
            [*places, *places, draw.randrange(most) & ~3, draw.randrange(most) & ~3]
        )
        here: Any = places.get(address)
        mask = (1 << here["bits"]) - 1 if here else 0
        if draw.random() < 0.5:
            start = draw.choice([0, 0, 0, 1, 2, 3]) if here else 0
            length = draw.randint(1, 4 - start)
            word = draw.randbytes(length)
            done = await master.write(address + start, word)
            expected = _OKAY if here and here["access"] != "ro" else _SLVERR
            if start:  # an address that is not aligned
                expected = _SLVERR
            if int(done.resp) != expected:
                wrong.append(f"{n}: write {address + start:#x} {length}: {done.resp}")
            if expected == _OKAY and here:
                bytes_ = ((1 << 8 * length) - 1) & mask
                value = int.from_bytes(word, "little") & bytes_
                if here["access"] == "rw":
                    kept[here["name"]] = kept[here["name"]] & ~bytes_ | value
                elif here["access"] == "w1c":
                    kept[here["name"]] &= ~value
                elif here["access"] == "counter":
                    kept[here["name"]] = 0
                seen["write " + here["access"]] = 1
        else:
            done = await master.read(address, 4)
            value = int.from_bytes(done.data, "little")
            expected = _OKAY if here else _SLVERR
            asked = kept[here["name"]] if here and here["access"] != "pulse" else 0
            if (int(done.resp), value) != (expected, asked):
                wrong.append(f"{n}: read {address:#x}: {done}, not {asked:#x}")
            seen["read " + (here["access"] if here else "none")] = 1
        events = [r for r in table if r["access"] in ("w1c", "counter") and draw.random() < 0.2]
        for r in events:
            bits = draw.getrandbits(r["bits"]) if r["access"] == "w1c" else 1
            pin = getattr(dut, r["name"] + ("_set" if r["access"] == "w1c" else "_step"))
            steps = draw.randint(1, 9)
            pin.value = bits
            await ClockCycles(dut.clk, steps)
            pin.value = 0
            await RisingEdge(dut.clk)
            if r["access"] == "w1c":
                kept[r["name"]] |= bits
            else:
                kept[r["name"]] = min(kept[r["name"]] + steps, (1 << r["bits"]) - 1)
        for r in table:
            if r["access"] in ("rw", "w1c"):
                pin = int(getattr(dut, r["name"]).value)
                if pin != kept[r["name"]]:
                    wrong.append(f"{n}: {r['name']} is {pin:#x}, not {kept[r['name']]:#x}")
        if hasattr(dut, "irq"):
            await ClockCycles(dut.clk, 2)
            cause = any(kept[r["name"]] & kept[r["enable"]] for r in table if r["enable"])
            if int(dut.irq.value) != cause:
                wrong.append(f"{n}: irq is {int(dut.irq.value)}")
    return {"wrong": wrong, "seen": sorted(seen)}


async def pins(dut: Any, *, table: list[dict[str, Any]]) -> dict[str, Any]:
    """By hand: strobes of none, of some; odd addresses; answers that are not taken; pulses; causes.

    A cause that comes in the cycle in which it is cleared is kept.
    """
    offsets = {r["access"]: r for r in table}
    kept = offsets["rw"]
    wrong: list[str] = []

    async def write(address: int, data: int, strb: int, wait: int = 0) -> int:
        dut.s_axil_awaddr.value, dut.s_axil_wdata.value = address, data
        dut.s_axil_wstrb.value, dut.s_axil_wvalid.value = strb, 1
        for _ in range(wait):  # data first
            await RisingEdge(dut.clk)
            if int(dut.s_axil_wready.value):
                wrong.append("data were taken without an address")
        dut.s_axil_awvalid.value = 1
        await RisingEdge(dut.clk)
        while not (int(dut.s_axil_awready.value) and int(dut.s_axil_wready.value)):
            await RisingEdge(dut.clk)
        dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = 0
        dut.s_axil_wdata.value = 0xDEADBEEF
        for _ in range(wait + 1):  # the answer stays
            await RisingEdge(dut.clk)
            if not int(dut.s_axil_bvalid.value):
                wrong.append("an answer that was not taken is gone")
        answer = int(dut.s_axil_bresp.value)
        dut.s_axil_bready.value = 1
        await RisingEdge(dut.clk)
        dut.s_axil_bready.value = 0
        await RisingEdge(dut.clk)
        if int(dut.s_axil_bvalid.value):
            wrong.append("two answers")
        return answer

    async def read(address: int, wait: int = 0) -> tuple[int, int]:
        dut.s_axil_araddr.value, dut.s_axil_arvalid.value = address, 1
        await RisingEdge(dut.clk)
        while not int(dut.s_axil_arready.value):
            await RisingEdge(dut.clk)
        dut.s_axil_arvalid.value = 0
        for _ in range(wait + 1):
            await RisingEdge(dut.clk)
        found = (int(dut.s_axil_rvalid.value), int(dut.s_axil_rdata.value))
        answer = int(dut.s_axil_rresp.value)
        dut.s_axil_rready.value = 1
        await RisingEdge(dut.clk)
        dut.s_axil_rready.value = 0
        if not found[0]:
            wrong.append("no read data")
        return answer, found[1]

    full = (1 << kept["bits"]) - 1
    answers = [await write(kept["offset"], full, 15)]
    answers += [await write(kept["offset"], 0, 0, wait=3)]
    after = await read(kept["offset"], wait=5)
    odd = [await write(kept["offset"] + k, 0, 15) for k in (1, 2, 3)]
    odd += [(await read(kept["offset"] + k))[0] for k in (1, 2, 3)]
    still = await read(kept["offset"])
    cause = offsets["w1c"]
    getattr(dut, cause["name"] + "_set").value = 1
    await ClockCycles(dut.clk, 3)
    watch = cocotb.start_soon(_fall(dut, cause["name"]))
    await write(cause["offset"], 1, 15)
    await ClockCycles(dut.clk, 3)
    if watch.done():
        wrong.append("a cause was lost")
    watch.cancel()
    getattr(dut, cause["name"] + "_set").value = 0
    await write(cause["offset"], 1, 15)
    cleared = int(getattr(dut, cause["name"]).value)
    pulse = offsets["pulse"]
    dut.s_axil_bready.value = 1
    dut.s_axil_awaddr.value, dut.s_axil_wdata.value, dut.s_axil_wstrb.value = pulse["offset"], 1, 15
    dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = 1
    await RisingEdge(dut.clk)
    dut.s_axil_awvalid.value = dut.s_axil_wvalid.value = 0
    seen = []
    for _ in range(4):
        await RisingEdge(dut.clk)
        seen.append(int(getattr(dut, pulse["name"]).value))
    return {
        "wrong": wrong,
        "answers": answers,
        "kept": [list(after), list(still)],
        "odd": odd,
        "pulse": seen,
        "cleared": cleared,
        "full": full,
    }


async def _fall(dut: Any, name: str) -> None:
    """Wait until the lowest bit is not set."""
    while int(getattr(dut, name).value) & 1:
        await RisingEdge(dut.clk)


scenarios: dict[str, Scenario] = {"accesses": accesses, "pins": pins}


@cocotb.test()
async def run(dut: Any) -> None:
    """Play the scenario that is asked for."""
    await play(dut, scenarios)
