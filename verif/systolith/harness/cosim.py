"""Run Verilog under cocotb, driven by the stimulus player.

>>> simulation = build([Path("dut.v")], "dut", inputs, outputs, Path("build"))  # doctest: +SKIP
>>> result = simulation.run([Script().send("i", 3).wait("o", 1)])               # doctest: +SKIP
>>> result.transfers["o"]                                                       # doctest: +SKIP
[Transfer(cycle=2, payload=9)]
"""

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cocotb_tools.runner import get_runner

from systolith.devices.player import Halt, player_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.compile import TOP, Compiled, compile_bench, environment
from systolith.harness.errors import Deadline, SimulationFailed, tail
from systolith.harness.result import RunResult, Segment, read_log
from systolith.harness.script import Script, Step, encode
from systolith.harness.toolchain import find_program, require_libpython

__all__ = ["Deadline", "Simulation", "SimulationFailed", "build"]

_BENCH = "systolith.benches.player_bench"
_TIMEOUT_STATUS = 124  # of the program `timeout`
_WAVE_SUFFIX = {"verilator": ".vcd", "icarus": ".fst"}


def build(
    verilog: Sequence[Path] | str,
    top: str,
    inputs: Sequence[StreamPort],
    outputs: Sequence[StreamPort],
    build_dir: Path,
    *,
    simulator: str = "verilator",
    waves: bool = False,
) -> "Simulation":
    """Compile a design with a stimulus player around it.

    Parameters
    ----------
    verilog
        Files of the design, or its source text.
    top
        Its top module, with the ports ``clk``, ``rst`` and those of the streams.
    inputs, outputs
        Its streams.
    build_dir
        Folder that keeps compiled designs: equal sources and options are compiled once.
    simulator
        ``"verilator"`` or ``"icarus"``.
    waves
        Whether runs may write waveforms. With Verilator this makes a slower model.

    Raises
    ------
    ToolMissing
        If a program is missing.
    ValueError
        If an argument is wrong.
    SimulationFailed
        If the sources do not compile.
    """
    require_libpython()
    bench = player_verilog(top, inputs, outputs)
    text = verilog if isinstance(verilog, str) else "\n".join(p.read_text() for p in verilog)
    compiled = compile_bench(text, bench, build_dir, simulator=simulator, waves=waves)
    return Simulation(compiled=compiled, inputs=tuple(inputs), outputs=tuple(outputs), waves=waves)


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A design that can be simulated, as often as wanted.

    Parameters
    ----------
    compiled
        Compiled testbench, with the time it took and the version of the simulator.
    inputs, outputs
        Streams of the design.
    waves
        Whether runs may write waveforms.
    """

    compiled: Compiled
    inputs: tuple[StreamPort, ...]
    outputs: tuple[StreamPort, ...]
    waves: bool

    def run(
        self,
        segments: Sequence[Script],
        run_dir: Path | None = None,
        *,
        deadline: int = 10_000,
        timeout_s: int = 600,
        waves: Path | None = None,
    ) -> RunResult:
        """Play scripts one after the other, from power-up, and time each of them.

        Parameters
        ----------
        segments
            Scripts. Between two of them passes one clock cycle.
        run_dir
            Folder to keep the files of this run in, among them ``log.txt`` with all transfers;
            by default a temporary one. Files of an earlier run are replaced.
        deadline
            Clock cycles without any transfer after which the run is given up. Cycles in ``idle``
            and ``reset`` do not count.
        timeout_s
            Seconds after which the simulator is ended.
        waves
            Waveform file to write: ``.vcd`` with Verilator, ``.fst`` with Icarus. It is there
            after a failed run, too.

        Raises
        ------
        ValueError
            If an argument is wrong or a step of a script does not fit the streams.
        Deadline
            If nothing moved for ``deadline`` cycles, or the simulator took too long.
        SimulationFailed
            If the simulator died or left no usable result.
        """
        if not 1 <= deadline < 1 << 32:
            raise ValueError(f"deadline must be at least 1 and fit 32 bits, not {deadline!r}")
        if waves is not None:
            self._check_waves(waves)
        text, steps = encode(segments, self.inputs, self.outputs)
        with ExitStack() as stack:
            if run_dir is None:
                run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            run_dir = run_dir.resolve()
            run_dir.mkdir(parents=True, exist_ok=True)
            log, output, told = (run_dir / name for name in ("log.txt", "run.log", "result.json"))
            for path in (log, output, told):
                path.unlink(missing_ok=True)
            (run_dir / "script.txt").write_text(text)

            started = time.perf_counter()
            variables = {
                "SIM_CMD_PREFIX": f"{find_program('timeout')} {timeout_s}",
                "SYSTOLITH_RESULT": str(told),
            }
            with environment({**os.environ, **variables}):
                status = self._simulate(run_dir, output, deadline, waves)
            seconds = time.perf_counter() - started
            if status == _TIMEOUT_STATUS:
                raise Deadline(f"the simulator was ended after {timeout_s} s; {tail(output)}")
            if status != 0 or not told.is_file():
                name = self.compiled.simulator
                raise SimulationFailed(f"{name} ended with status {status}; {tail(output)}")
            result = json.loads(told.read_text())
            _check_verdict(result, steps, deadline)
            return RunResult(
                transfers=read_log(log, self.inputs, self.outputs),
                segments=tuple(Segment(**segment) for segment in result["segments"]),
                seconds=seconds,
            )

    def _check_waves(self, waves: Path) -> None:
        suffix = _WAVE_SUFFIX[self.compiled.simulator]
        if not self.waves:
            raise ValueError("waves needs a simulation that was built with waves=True")
        if waves.suffix != suffix:
            raise ValueError(
                f"waves must end in {suffix} with {self.compiled.simulator}, not {waves.name!r}"
            )

    def _simulate(self, run_dir: Path, output: Path, deadline: int, waves: Path | None) -> int:
        """Run the simulator in ``run_dir``; its exit status."""
        arguments, plusargs = [], [f"+deadline={deadline}"]
        drawn = run_dir / f"waves{waves.suffix}" if waves else None
        if drawn and self.compiled.simulator == "verilator":
            arguments = ["--trace", "--trace-file", drawn.name]
        elif drawn:
            plusargs.append(f"+waves={drawn.name}")
        try:
            get_runner(self.compiled.simulator).test(
                hdl_toplevel=TOP,
                hdl_toplevel_lang="verilog",
                test_module=_BENCH,
                build_dir=self.compiled.folder,
                test_dir=run_dir,
                results_xml=str(run_dir / "results.xml"),
                test_args=arguments,
                plusargs=plusargs,
                waves=bool(drawn) and not arguments,  # what Verilator needs is in its arguments
                seed=1,
                log_file=output,
            )
        except RuntimeError as error:  # the runner knows the status but tells it in words
            status = re.search(r"return code: (-?\d+)", str(error))
            if status is None:
                raise
            return int(status[1])
        finally:  # a failed run is the one whose waveforms are wanted
            if waves and drawn and drawn.is_file():
                waves.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(drawn, waves)
        return 0


def _check_verdict(result: dict[str, Any], steps: Sequence[Step], deadline: int) -> None:
    reason = Halt[result["reason"]]
    if reason is Halt.END:
        return
    index = min(result["op_index"], len(steps) - 1)
    where = f"at step {index} of the script ({steps[index]}), in cycle {result['cycle']}"
    if reason is Halt.TIMEOUT:
        raise Deadline(f"no transfer for {deadline} cycles {where}")
    raise SimulationFailed(f"the player could not read its script {where}")
