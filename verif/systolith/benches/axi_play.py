"""What every scenario on an AXI design does before and after: clock, reset, verdict."""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from systolith.benches.axi_back import told_layout
from systolith.devices.axi_checker import RULES

__all__ = ["PERIOD", "Scenario", "counts", "play", "ready", "reset", "verdict"]

PERIOD = 10

Scenario = Callable[..., Awaitable[dict[str, Any]]]


async def reset(dut: Any, cycles: int = 4) -> None:
    """Reset for some cycles."""
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0
    await RisingEdge(dut.clk)


async def ready(dut: Any) -> None:
    """Wait until the memory is up."""
    for _ in range(4000):
        await RisingEdge(dut.clk)
        if counts(dut)["ready"]:
            return
    raise AssertionError("the memory is not up after 4000 cycles")


def counts(dut: Any) -> dict[str, int]:
    """What the memory has counted."""
    word: Any = told_layout().from_bits(int(dut.told.value))
    return {name: int(word[name]) for name in dict(iter(told_layout()))}


def verdict(dut: Any) -> dict[str, Any]:
    """Rules of the bus that were broken, and counts of the memory that have to be 0."""
    wrong = int(dut.wrong.value)
    found: dict[str, Any] = {"rules": [rule for n, rule in enumerate(RULES) if wrong >> n & 1]}
    if hasattr(dut, "told"):
        found["memory"] = {k: v for k, v in counts(dut).items() if v and k != "ready"}
    return found


async def play(dut: Any, scenarios: dict[str, Scenario]) -> None:
    """Play the scenario that the environment names, and tell what came of it."""
    asked = json.loads(os.environ["SYSTOLITH_SCENARIO"])
    Clock(dut.clk, PERIOD, unit="ns").start()
    await reset(dut)
    found = await scenarios[asked["name"]](dut, **asked["options"])
    await ClockCycles(dut.clk, 20)
    if hasattr(dut, "wrong"):
        found = {**verdict(dut), **found}
    Path(os.environ["SYSTOLITH_RESULT"]).write_text(json.dumps(found))
