"""A stimulus player: the part of a testbench that must act every cycle, written in Verilog.

:func:`player_verilog` writes a top module ``bench`` around a design under test. The bench makes
the clock and the reset, plays a script of transactions (see
:class:`~systolith.harness.script.Script` for what an operation means and how long it takes) and
logs every transfer. It is Verilog-2005 and needs no Python while it plays; whoever runs it talks
to it through four words only:

``halts``
    Number of times the player has stopped, 1 at the start of time.
``releases``
    Written from outside. The player goes on as soon as it equals ``halts``.
``reason``
    Why it stopped, one of :class:`Halt`.
``cycle``, ``op_index``
    Cycle number and index of the operation at which it stopped.

Files come by plusargs: ``+script=FILE`` (a line per operation: code, stream, hexadecimal value),
``+log=FILE`` (a line per transfer: cycle, stream, hexadecimal payload; inputs are numbered first,
then outputs) and ``+deadline=CYCLES``.
"""

from collections.abc import Sequence
from enum import IntEnum
from importlib import resources
from string import Template

from systolith.devices.streams import StreamPort

__all__ = ["RESET_CYCLES", "Halt", "Op", "player_verilog"]

RESET_CYCLES = 4
"""Cycles of reset before cycle 0."""


class Op(IntEnum):
    """Operation codes of the script file."""

    END = 0
    SEND = 1
    WAIT = 2
    IDLE = 3
    RESET = 4
    READY = 5
    MARK = 6


class Halt(IntEnum):
    """Reasons for which the player stops."""

    START = 0
    MARK = 1
    END = 2
    TIMEOUT = 3
    BAD_SCRIPT = 4


def player_verilog(top: str, inputs: Sequence[StreamPort], outputs: Sequence[StreamPort]) -> str:
    """Verilog-2005 source of the module ``bench``, which plays a script on the module ``top``.

    Parameters
    ----------
    top
        Name of the module under test. It has the ports ``clk``, ``rst`` and those of the streams.
    inputs, outputs
        Streams into and out of the design, in the order of their numbers in script and log.

    Raises
    ------
    ValueError
        If there is no input, or two streams share a name.
    """
    streams = [*inputs, *outputs]
    names = [stream.name for stream in streams]
    if not inputs:
        raise ValueError("inputs must name at least one stream: nothing could be played")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"stream names must differ, but {name!r} occurs more than once")

    source = resources.files("systolith.devices").joinpath("player.v").read_text()
    return _Template(source).safe_substitute(
        top=top,
        reset_cycles=RESET_CYCLES,
        width=max(32, *(stream.width for stream in streams)),
        inputs=len(inputs),
        outputs=max(1, len(outputs)),
        wires="\n".join(_wires(streams)),
        drives="\n".join(_drives(inputs, outputs)),
        connections=",\n".join(_connections(streams)),
        log_transfers="\n".join(_log_transfers(inputs, outputs)),
        **{f"op_{op.name.lower()}": str(op.value) for op in Op},
        **{f"halt_{halt.name.lower()}": str(halt.value) for halt in Halt},
    )


class _Template(Template):
    # The usual `$` belongs to Verilog. A lone `@` stays as it is under safe_substitute.
    delimiter = "@"


def _wires(streams: Sequence[StreamPort]) -> list[str]:
    lines = []
    for stream in streams:
        lines.append(f"  wire [{stream.width - 1}:0] {stream.name}__payload;")
        lines.append(f"  wire {stream.name}__valid, {stream.name}__ready;")
    return lines


def _drives(inputs: Sequence[StreamPort], outputs: Sequence[StreamPort]) -> list[str]:
    # One payload register feeds every input: only one stream is valid at a time, and the others
    # see a payload that changes under them, as a careless neighbour would give it.
    lines = []
    for index, stream in enumerate(inputs):
        name = stream.name
        lines.append(f"  assign {name}__payload = payload[{stream.width - 1}:0];")
        lines.append(f"  assign {name}__valid = offer[{index}];")
        lines.append(f"  assign accepted[{index}] = {name}__valid & {name}__ready;")
        if not stream.has_ready:
            lines.append(f"  assign {name}__ready = 1'b1;")
    for index, stream in enumerate(outputs):
        ready = f"allow[{index}][phase]" if stream.has_ready else "1'b1"
        lines.append(f"  assign {stream.name}__ready = {ready};")
    return lines


def _connections(streams: Sequence[StreamPort]) -> list[str]:
    lines = ["    .clk(clk)", "    .rst(rst)"]
    for stream in streams:
        for member in ("payload", "valid", "ready") if stream.has_ready else ("payload", "valid"):
            lines.append(f"    .{stream.name}__{member}({stream.name}__{member})")
    return lines


def _log_transfers(inputs: Sequence[StreamPort], outputs: Sequence[StreamPort]) -> list[str]:
    lines = []
    for index, stream in enumerate([*inputs, *outputs]):
        name = stream.name
        lines.append(f"        if ({name}__valid & {name}__ready) begin")
        lines.append(f'          $fdisplay(log, "%0d {index} %h", cycle, {name}__payload);')
        if index >= len(inputs):
            k = index - len(inputs)
            lines.append(f"          counts[{k}] = counts[{k}] + 1;")
        lines.append("          progress = 1'b1;")
        lines.append("        end")
    return lines
