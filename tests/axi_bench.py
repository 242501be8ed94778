"""Build a design with AXI ports for cocotb, and run a scenario of systolith.benches on it."""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Shape
from amaranth.lib.wiring import In
from cocotb_tools.runner import get_runner

from systolith.devices.dram import device_verilog
from systolith.emit.verilog import emit_design
from systolith.harness.compile import TOP, compile_bench, environment
from systolith.harness.errors import Deadline, tail
from systolith.harness.toolchain import find_program, require_libpython
from systolith.hierarchy import Block

__all__ = ["AxiSimulation", "models"]


def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of compiled models for all workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if base.name.startswith("popen") else base) / "models"


def _wrapper(top: Block, name: str) -> str:
    lines, pins = [], ["    .clk(clk),", "    .rst(rst),"]
    for path, member, _ in top.signature.flatten(top):
        port = "__".join(map(str, path))
        bits = Shape.cast(member.shape).width
        if member.flow == In:
            lines.append(f"  reg [{bits - 1}:0] {port} /*verilator public_flat_rw*/ = 0;")
        else:
            lines.append(f"  wire [{bits - 1}:0] {port} /*verilator public_flat_rd*/;")
        pins.append(f"    .{port}({port}),")
    pins[-1] = pins[-1].rstrip(",")
    return "\n".join(
        [
            f"module {TOP};",
            "  reg clk /*verilator public_flat_rw*/ = 0;",
            "  reg rst /*verilator public_flat_rw*/ = 1;",
            # Every model has a delay, so that all of them need the same run-time library.
            "  initial #1;",
            *lines,
            f"  {name} dut (",
            *pins,
            "  );",
            "endmodule",
            "",
        ]
    )


class AxiSimulation:
    """A design under Verilator whose ports cocotb drives."""

    def __init__(
        self,
        top: Block,
        cache: Path,
        *,
        device: bool = True,
        text: tuple[str, str] | None = None,
    ) -> None:
        require_libpython()
        if text:
            verilog, name = text
        elif device:
            verilog, name = device_verilog(top, "dut")
        else:
            design = emit_design(top, "dut")
            verilog, name = design.verilog(), design.top
        self.compiled = compile_bench(
            verilog, _wrapper(top, name), cache, simulator="verilator", waves=False
        )

    def run(self, module: str, scenario: str, *, timeout_s: int = 200, **options: Any) -> Any:
        """What the scenario tells; ``options`` are its keyword arguments."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            output, told = folder / "run.log", folder / "told.json"
            variables = {
                "SIM_CMD_PREFIX": f"{find_program('timeout')} {timeout_s}",
                "SYSTOLITH_RESULT": str(told),
                "SYSTOLITH_SCENARIO": json.dumps({"name": scenario, "options": options}),
                "COCOTB_LOG_LEVEL": "WARNING",
            }
            status = "0"
            with environment({**os.environ, **variables}):
                try:
                    get_runner("verilator").test(
                        hdl_toplevel=TOP,
                        hdl_toplevel_lang="verilog",
                        test_module=f"systolith.benches.{module}",
                        build_dir=self.compiled.folder,
                        test_dir=folder,
                        results_xml=str(folder / "results.xml"),
                        seed=1,
                        log_file=output,
                    )
                except RuntimeError as error:
                    found = re.search(r"return code: (-?\d+)", str(error))
                    status = found[1] if found else "?"
            text = output.read_text() if output.is_file() else ""
            if status == "124":
                raise Deadline(f"the simulator was ended after {timeout_s} s; {tail(output)}")
            assert told.is_file(), f"{scenario} {options}: status {status}\n{text[-6000:]}"
            return json.loads(told.read_text())
