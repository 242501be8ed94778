"""``systolith fpga --self-test``: a bitstream by which a board tests its memory."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from systolith.boards.table import find_board
from systolith.cli.fpga import write_sources
from systolith.emit.verilog import emit_design
from systolith.flow.deliver import check_target, deliver
from systolith.flow.errors import TimingError
from systolith.flow.report import Report
from systolith.flow.run import synthesize
from systolith.host.self_test import (
    SELF_TEST,
    memory_pll,
    self_test_config,
    self_test_verilog,
)
from systolith.memory.sdr.self_test import SelfTest

__all__ = ["build_self_test"]

_TRIALS = 3  # placements


def build_self_test(
    board: str,
    work: Path,
    file: Path | None = None,
    *,
    route: bool = True,
    seed: int = 1,
    deadline_s: float = 1800,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Build the self-test of the memory of ``board`` for its pins.

    The report describes everything in the bitstream, which is written to ``file``, last and in
    one step, or stays in ``work``. A placement that is too slow is tried again with the next
    seed, twice at most: the memory's clock is close to what the device can do.

    Raises
    ------
    ValueError
        For an unknown board, one without SDR SDRAM, a missing tool, a file that cannot be
        written, or a design that is too slow for the memory's clock.
    """
    target = find_board(board)
    config = self_test_config(target)
    if file is not None:
        check_target(file)
    test = SelfTest(config)
    design = emit_design(test, "memory")
    top = self_test_verilog(target, test, design.top)
    sources = write_sources(work, {"self_test.v": design.verilog(), "top.v": top})
    assert target.sdram is not None
    clock, _, tx = target.pins
    used = replace(target, pins=(clock, tx, *target.leds, *target.sdram.pins))
    for trial in range(seed, seed + _TRIALS):
        try:
            report = synthesize(
                sources,
                design.leaves,
                SELF_TEST,
                used,
                work,
                io="board",
                clock_hz=round(memory_pll(target).output_hz),
                route=route,
                seed=trial,
                deadline_s=deadline_s,
                progress=progress,
            )
            break
        except TimingError:
            if trial == seed + _TRIALS - 1:
                raise
    if file is None or report.bitstream is None:
        return report
    deliver(report.bitstream, file)
    return replace(report, bitstream=file)
