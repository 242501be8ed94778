"""cocotb side of the stimulus player: start it, time what it does, and let it go on.

Loaded into the simulator by :mod:`systolith.harness.cosim`. Python runs once per stop of the
player and never in between. The result goes as JSON to the file that ``SYSTOLITH_RESULT`` names.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import Timer, ValueChange

from systolith.devices.player import Halt

__all__ = ["play"]


@cocotb.test()
async def play(dut: Any) -> None:
    """Play the script to its end, its first fault or its deadline."""
    await Timer(1, unit="ns")  # the initial blocks come first
    segments = []
    begin = 0
    while True:
        started = time.perf_counter()
        dut.releases.value = int(dut.halts.value)
        await ValueChange(dut.halts)
        seconds = time.perf_counter() - started
        reason, cycle = Halt(int(dut.reason.value)), int(dut.cycle.value)
        segments.append({"cycles": cycle - begin, "seconds": seconds})
        begin = cycle + 1  # a mark takes one cycle
        if reason is not Halt.MARK:
            break
    result = {
        "segments": segments,
        "reason": reason.name,
        "op_index": int(dut.op_index.value),
        "cycle": cycle,
    }
    Path(os.environ["SYSTOLITH_RESULT"]).write_text(json.dumps(result))
