"""The engine's manual page, from the tables that the hardware is built from."""

from dataclasses import replace

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

**Block formats.** An engine with scaled formats (MX, NVFP4) has more ports and fields, marked
below. `x_form` and `w_form` choose among the enabled formats: {forms}. A block of `L` elements (32;
NVFP4 16) takes `L / R_g` K tiles, the last block perhaps fewer. The scale of row `i` in a block
sits at the word of X of that row in the block's *last* K tile, in the last of the block's row bands
and the group's first column band; the scales of W at the number of the block's last weight tile
(its first word divided by `r`), in the last of the block's row bands. In a group taller than a
block `g = R_g / L` blocks of every K tile lie one below the other, each in row bands of its own;
the sums pass from one to the next, so the words of Y in the last row band of each of them are
overwritten too. Scales of blocks beyond K are ignored. Results are binary32, in memories of their
own at the addresses of Y (`scaled` of `y_request`). A GEMM whose K has stretches of different
formats is one command for each, accumulating. The exact sums of blocks pass through the int32 words
of the same addresses, which a command of block formats leaves undefined. Codes of 16 bits are
stored whole; the engine runs their tiles once for each pair of 8-bit digits.

**Batches.** `follow` tells how many commands follow at once; all of a batch share one earliest
start, so that a GEMM whose N tiles are shared out starts on all groups in the same cycle.
"""


def engine_manual(config: EngineConfig) -> str:
    """Markdown text."""
    plain = replace(config, array=replace(config.array, formats=None))
    lines = [_INTRO.format(name=config.name, forms=_forms(config))]
    for port in ports(config):
        way = "host to engine" if port.to_engine else "engine to host"
        ready = "" if port.waits else ", no ready"
        only = "" if port.when(plain) else ", block formats"
        lines += [f"## `{port.name}` ({way}{ready}{only})", "", port.doc, ""]
        lines += ["| bits | field | meaning |", "|---|---|---|"]
        shift = 0
        for field in port.has(config):
            width = field.width(config)
            bits = f"{shift + width - 1}:{shift}" if width > 1 else f"{shift}"
            only = " (with formats)" if port.when(plain) and not field.when(plain) else ""
            lines.append(f"| {bits} | `{field.name}` | {field.doc}{only} |")
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
        "`T = 1 + (tiles - 1) * period + m + D + R_g + (C_g - 1) + P` cycles from the first weight",
        "row on a port to the last result visible, both included, with `period = max(m, r)`.",
        "",
        *(_block_time(config) if config.scaled else []),
        "`P` is one constant:",
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


def _forms(config: EngineConfig) -> str:
    mac = config.array.mac
    if mac is None:
        return "none here"
    return "; ".join(
        f"{side} " + ", ".join(f"{n} `{form.name}`" for n, form in enumerate(element.formats))
        for side, element in (("X", mac.x), ("W", mac.w))
    )


def _block_time(config: EngineConfig) -> list[str]:
    return [
        f"With block formats one unit of stage B serves `U` = {config.unit_lanes} columns in turn,",
        f"and its loop from accumulator to accumulator takes `A` = {config.loop_cycles} cycles;",
        "in a group taller than a block, with `g = R_g / L` of them, `A` is `L * (g - 1)` longer.",
        "`tiles` then counts each tile once for every pair of digits, `T` is `(U - 1) * (m - 1)`",
        "longer, and `period = max(m, r, U*m / p, A / p)`, rounded up; `p` is the largest power of",
        "two of the tiles from one complete block to the next (the last block's, if it is short).",
        "`A / p` falls away if K is one tile or one block. With `n_inside`, which needs blocks of",
        "one tile, `p` is 1 in `U*m / p` and that of `n_tiles` in `A / p`. The bands are busy for",
        "`tiles * period + max(0, U*m - period) + L * (g - 1)` cycles, and a command that",
        "accumulates waits for the same `L * (g - 1)` more.",
        "",
    ]
