"""A core with more ports than the package has pins, made measurable through six pins."""

from collections.abc import Mapping

from systolith.flow.errors import FlowError

__all__ = ["WRAPPER", "wrapper_verilog"]

WRAPPER = "systolith_wrapper"
"""Name of the generated top module."""

_FAN_IN = 4


def wrapper_verilog(core: str, ports: Mapping[str, tuple[str, int]]) -> str:
    """Verilog of a module that registers every port of ``core``.

    Every input bit comes from its own register, filled from a shift register while the pin
    ``take`` is high. Without those second registers Yosys would merge the shift register with
    registers of the core that delay it. Every output bit is registered and folded into the pin
    ``so`` by a pipelined tree of exclusive-ors, one table per stage, so that nothing can be
    removed and no path of the wrapper is long. ``take`` and ``si`` are pins: their paths count
    for no clock.

    Parameters
    ----------
    core
        Module to measure, with ports ``clk`` and, if it has one, ``rst``.
    ports
        Its ports: name to direction and bits.
    """
    if ports.get("clk") != ("input", 1):
        raise FlowError(f"{core} must have an input clk of one bit to be measured on its own")
    inputs = {n: w for n, (d, w) in ports.items() if d == "input" and n not in ("clk", "rst")}
    outputs = {n: w for n, (d, w) in ports.items() if d == "output"}
    lines = [
        f"module {WRAPPER}(input clk, input reset, input si, input take, output so);",
        "    reg rst;",
        "    always @(posedge clk) rst <= reset;",
    ]
    connections = [".clk(clk)"] + ([".rst(rst)"] if "rst" in ports else [])
    fed = sum(inputs.values())
    if fed:
        lines += [
            f"    reg [{fed - 1}:0] chain, hold;",
            "    always @(posedge clk) chain <= {chain, si};",
            "    always @(posedge clk) if (take) hold <= chain;",
        ]
    at = 0
    for name, width in inputs.items():
        connections.append(f".\\{name} (hold[{at + width - 1}:{at}])")
        at += width
    seen = sum(outputs.values())
    lines.append(f"    wire [{max(seen, 1) - 1}:0] out;")
    at = 0
    for name, width in outputs.items():
        connections.append(f".\\{name} (out[{at + width - 1}:{at}])")
        at += width
    lines.append(f"    \\{core} core({', '.join(connections)});")
    lines += [f"    reg [{max(seen, 1) - 1}:0] fold_0;", "    always @(posedge clk) fold_0 <= out;"]
    stage, width = 0, max(seen, 1)
    while width > 1:
        groups = [range(i, min(i + _FAN_IN, width)) for i in range(0, width, _FAN_IN)]
        lines.append(f"    reg [{len(groups) - 1}:0] fold_{stage + 1};")
        lines += [
            f"    always @(posedge clk) fold_{stage + 1}[{index}] "
            f"<= ^fold_{stage}[{group[-1]}:{group[0]}];"
            for index, group in enumerate(groups)
        ]
        stage, width = stage + 1, len(groups)
    lines += [f"    assign so = fold_{stage}[0];", "endmodule", ""]
    return "\n".join(lines)
