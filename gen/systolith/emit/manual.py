"""The engine's manual page, from the tables that the hardware is built from."""

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import ports

__all__ = ["engine_manual"]

_INTRO = """# The matrix engine: ports, commands, codes

Generated from `rtl/systolith/array/interface.py` (`make docs`); widths are those of `{name}`.

`clk` (rising edge) and `rst` (synchronous, active high) drive everything. Every port is a stream:
`<port>__payload`, `<port>__valid`, `<port>__ready`; a transfer happens in each cycle in which valid
and ready are high. Fields are packed from bit 0 up. Ports without a ready line never wait.

**Reset** returns all state machines to idle and drops every command without a completion. Memories
keep their contents. Reset must be applied once after power-up; no register relies on a power-up
value.

**Order.** Commands of one group run in the order in which they were sent; groups with no band in
common run independently. A command that overlaps an earlier one's bands starts as soon as each
band is free in its own time frame, without draining the array. Operands must be written before the
command is sent and stay until its completion; results may be read after it.

**Placement.** With `R_g x C_g` elements in the group: K tile `t` of X, row `i`, sits at word
`x_base + t*m + i` of the activation banks, array row `k` of the tile in row band `k // r`, tile
`k % r // T`, lane `k % T`. Weight tiles sit in the order in which they run (`n_inside`), `r` words
each, array column `j` in column band `j // c`, tile `j % c // T`, lane `j % T`. N tile `t` of Y,
row `i`, appears at word `y_base + t*m + i` of the accumulators of the group's last row band.

**Batches.** `follow` tells how many commands follow at once; all of a batch share one earliest
start, so that a GEMM whose N tiles are shared out starts on all groups in the same cycle.
"""


def engine_manual(config: EngineConfig) -> str:
    """Markdown text."""
    lines = [_INTRO.format(name=config.name)]
    for port in ports(config):
        way = "host to engine" if port.to_engine else "engine to host"
        ready = "" if port.waits else ", no ready"
        lines += [f"## `{port.name}` ({way}{ready})", "", port.doc, ""]
        lines += ["| bits | field | meaning |", "|---|---|---|"]
        shift = 0
        for field in port.has(config):
            width = field.width(config)
            bits = f"{shift + width - 1}:{shift}" if width > 1 else f"{shift}"
            lines.append(f"| {bits} | `{field.name}` | {field.doc} |")
            shift += width
        lines.append("")
    lines += ["## Completion codes", "", "| code | name | meaning |", "|---|---|---|"]
    lines += [f"| {int(code)} | `{code.name}` | {code.meaning} |" for code in Code]
    lines += [
        "",
        "A refused command changes nothing: no memory, no other command, no later start time.",
        "",
        "## Time",
        "",
        "`T = 1 + (tiles - 1) * max(m, r, T) + m + D + R_g + (C_g - 1) + P` cycles from the first",
        "weight row on a port to the last result visible, both included. `P` is one constant:",
        "",
        "| part of P | cycles |",
        "|---|---|",
        *(f"| {stage} | {cycles} |" for stage, cycles in config.pipeline_stages.items()),
        f"| **P** (`pipeline_cycles`) | **{config.pipeline_cycles}** |",
        "",
        (
            f"`D` = {config.array.multiply_cycles}; a command that accumulates starts "
            f"{config.accumulate_gap} cycles later than one that overwrites; a command is taken "
            f"every {config.dispatch_cycles} cycles."
        ),
        "",
    ]
    return "\n".join(lines)
