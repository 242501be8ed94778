"""Run a block without handshakes: one set of inputs in every cycle, results ``latency`` later."""

import gc
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import UnusedElaboratable, Value
from amaranth.lib.wiring import In
from numpy.typing import NDArray

from systolith.devices.streams import StreamPort
from systolith.emit.verilog import emit_design
from systolith.harness.cosim import build
from systolith.harness.script import Script
from systolith.harness.sim import simulate


def refuses(make: Callable[[], object], message: str) -> None:
    """Check for a ValueError; Amaranth would also complain that the block was never used."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        with pytest.raises(ValueError, match=message):
            make()
        gc.collect()


Columns = Mapping[str, Sequence[int] | NDArray[Any]]


def in_amaranth(block: Any, inputs: Columns, output: str) -> NDArray[np.int64]:
    """Results in Amaranth's simulator. Ports that are not in ``inputs`` stay 0."""
    names = list(inputs)
    rows = list(zip(*(np.asarray(inputs[name]).tolist() for name in names), strict=True))
    ports = [_flat(block, name) for name in names]
    result = _flat(block, output)
    got: list[int] = []

    async def bench(ctx: Any) -> None:
        for cycle in range(len(rows) + block.latency - 1):
            for port, value in zip(ports, rows[min(cycle, len(rows) - 1)], strict=True):
                ctx.set(port, value)
            await ctx.tick()
            if cycle >= block.latency - 1:
                got.append(ctx.get(result))

    simulate(block, bench, deadline_cycles=len(rows) + 100)
    return np.array(got)


def in_verilator(block: Any, inputs: Columns, output: str, folder: Path) -> NDArray[np.int64]:
    """The same on the emitted Verilog; every input port has to be given."""
    design = emit_design(block, "dut")
    widths = {path[0]: len(_flat(block, path[0])) for path, *_ in block.signature.flatten(block)}
    taken = [name for name, member in block.signature.members.items() if member.flow == In]
    assert set(taken) == set(inputs)
    others = [name for name in widths if name not in taken and name != output]
    total, at = sum(widths[name] for name in taken), 0
    wires = "".join(f", .{name}()" for name in others)
    words = [0] * len(inputs[taken[0]])
    for name in taken:
        wires += f", .{name}(i__payload[{at} +: {widths[name]}])"
        mask = (1 << widths[name]) - 1
        words = [
            word | (value & mask) << at
            for word, value in zip(words, np.asarray(inputs[name]).tolist(), strict=True)
        ]
        at += widths[name]
    width, late = widths[output], block.latency
    text = f"""
module top(input clk, input rst, input [{total - 1}:0] i__payload, input i__valid,
           output [{width - 1}:0] o__payload, output o__valid);
    reg [{late}:0] valid = 0;
    always @(posedge clk) valid <= rst ? 0 : {{valid[{late - 1}:0], i__valid}};
    assign o__valid = valid[{late - 1}];
    {design.top} dut(.clk(clk), .rst(rst), .{output}(o__payload){wires});
endmodule
"""
    streams = [StreamPort("i", total, has_ready=False)], [StreamPort("o", width, has_ready=False)]
    simulation = build(design.verilog() + text, "top", *streams, folder)
    script = Script()
    for word in words:
        script.send("i", word)
    result = simulation.run([script.wait("o", len(words))])
    return np.array([transfer.payload for transfer in result.transfers["o"]])


def _flat(block: Any, name: str) -> Any:
    """A port as one number. The simulator sets views by their fields otherwise."""
    port = getattr(block, name)
    return port if isinstance(port, Value) else port.as_value()
