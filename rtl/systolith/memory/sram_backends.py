"""Technology modules for the memory leaf: block RAM with its own output register.

Portable RTL leaves the output register of a two-cycle memory in the fabric, behind the long
clock-to-output delay of the block RAM. The modules here have the name, ports and latency of the
portable leaf, and the register is the block's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from amaranth.utils import bits_for

__all__ = ["SHALLOW", "TARGETS", "BlockPlan", "plan_ecp5", "sram_verilog"]

TARGETS = ("ecp5", "ice40")

SHALLOW = 32
"""Words up to which distributed RAM or flip-flops are the better memory."""

# Address bits below the word address in each shape of the 18 kbit block; the two widest shapes use
# some of them as enables of 9-bit groups.
_SHAPES = {36: 5, 18: 4, 9: 3, 4: 2, 2: 1, 1: 0}
_ADDRESS = 14


@dataclass(frozen=True, kw_only=True)
class BlockPlan:
    """How one memory is cut into ECP5 block RAMs.

    Parameters
    ----------
    shape
        Bits of a word of one block: 1, 2, 4, 9, 18 or 36.
    columns
        For every block of a row, the memory's bits in each of its enable groups.
    rows
        Blocks along the depth.
    """

    shape: int
    columns: tuple[tuple[range, ...], ...]
    rows: int

    @property
    def blocks(self) -> int:
        """Block RAMs in all."""
        return self.rows * len(self.columns)

    @property
    def depth(self) -> int:
        """Words of one block."""
        return 1 << (_ADDRESS - _SHAPES[self.shape])


def plan_ecp5(depth: int, width: int, lanes: int) -> BlockPlan:
    """The cheapest cut: fewest blocks, then fewest rows, since rows cost an output multiplexer.

    A group of bits with its own write enable belongs to one lane only, which keeps enables exact.
    """
    plans = []
    for shape in _SHAPES:
        group, groups = (9, shape // 9) if shape >= 9 else (shape, 1)
        lane = width // lanes
        cuts = [
            range(start + offset, min(start + offset + group, start + lane))
            for start in range(0, width, lane)
            for offset in range(0, lane, group)
        ]
        columns = tuple(tuple(cuts[i : i + groups]) for i in range(0, len(cuts), groups))
        capacity = 1 << (_ADDRESS - _SHAPES[shape])
        plans.append(BlockPlan(shape=shape, columns=columns, rows=-(-depth // capacity)))
    return min(plans, key=lambda plan: (plan.blocks, plan.rows, -plan.shape))


def sram_verilog(leaf: Mapping[str, Any], target: str) -> str | None:
    """Replacement of a memory leaf.

    Parameters
    ----------
    leaf
        ``module`` (name), ``depth`` (words), ``width`` (bits), ``lanes`` (write enables),
        ``latency`` (cycles) and ``clears`` (has ``r_clear``), as the generator describes it.
    target
        One of :data:`TARGETS`.

    Returns
    -------
    str or None
        Verilog of one module with ports ``clk``, ``rst``, ``w_en``, ``w_addr``, ``w_data``,
        ``r_addr``, ``r_clear`` if it clears, ``r_data``, or None where the tools infer the best
        memory from the portable leaf: at most :data:`SHALLOW` words, or any size on ``ice40``.

    Raises
    ------
    ValueError
        The target is not known, or the block has no such latency.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    if leaf["latency"] not in (1, 2):
        raise ValueError(f"{leaf['module']}: latency must be 1 or 2, not {leaf['latency']!r}")
    if target == "ice40" or leaf["depth"] <= SHALLOW:
        return None
    return _ecp5(leaf, plan_ecp5(leaf["depth"], leaf["width"], leaf["lanes"]))


def _ecp5(leaf: Mapping[str, Any], plan: BlockPlan) -> str:
    width, lanes, latency = leaf["width"], leaf["lanes"], leaf["latency"]
    address = bits_for(leaf["depth"] - 1)
    low = min(address, plan.depth.bit_length() - 1)
    lines = [
        f"module {leaf['module']}(",
        "    input clk,",
        "    input rst,",
        f"    input [{lanes - 1}:0] w_en,",
        f"    input [{address - 1}:0] w_addr,",
        f"    input [{width - 1}:0] w_data,",
        f"    input [{address - 1}:0] r_addr,",
        *(["    input r_clear,"] if leaf["clears"] else []),
        f"    output [{width - 1}:0] r_data",
        ");",
    ]
    for row in range(plan.rows):
        lines.append(f"    wire [{width - 1}:0] q_{row};")
        here = f" && w_addr[{address - 1}:{low}] == {row}" if plan.rows > 1 else ""
        lines += [f"    wire en_{row}_{lane} = w_en[{lane}]{here};" for lane in range(lanes)]
        for column, groups in enumerate(plan.columns):
            lines += _block(f"block_{row}_{column}", leaf, plan, groups, row, low)
    if plan.rows == 1:
        choice = "q_0"
    else:
        # The row that was addressed leaves the blocks ``latency`` cycles later: so must its number.
        row_bits = address - low
        for stage in range(latency):
            source = f"row_{stage - 1}" if stage else f"r_addr[{address - 1}:{low}]"
            lines.append(f"    reg [{row_bits - 1}:0] row_{stage};")
            lines.append(f"    always @(posedge clk) row_{stage} <= {source};")
        choice = f"q_{plan.rows - 1}"
        for row in reversed(range(plan.rows - 1)):
            choice = f"row_{latency - 1} == {row} ? q_{row} : {choice}"
    if leaf["clears"]:
        # The block's own reset may take the word behind the cleared one with it: gates instead.
        lines += ["    reg clear_0, clear_1;", "    always @(posedge clk) clear_0 <= r_clear;"]
        lines.append("    always @(posedge clk) clear_1 <= clear_0;")
        choice = f"clear_1 ? {width}'d0 : ({choice})"
    lines.append(f"    assign r_data = {choice};")
    return "\n".join([*lines, "endmodule", ""])


def _block(
    name: str,
    leaf: Mapping[str, Any],
    plan: BlockPlan,
    groups: tuple[range, ...],
    row: int,
    low: int,
) -> list[str]:
    """One DP16KD: port A writes, port B reads in every cycle."""
    lane = leaf["width"] // leaf["lanes"]
    shape, skip = plan.shape, _SHAPES[plan.shape]
    register = "OUTREG" if leaf["latency"] == 2 else "NOREG"
    parameters = [
        *((f"DATA_WIDTH_{side}", str(shape)) for side in "AB"),
        *((f"REGMODE_{side}", f'"{register}"') for side in "AB"),
        *((f"WRITEMODE_{side}", '"NORMAL"') for side in "AB"),
        *((f"CSDECODE_{side}", '"0b000"') for side in "AB"),
        ("RESETMODE", '"SYNC"'),
        ("GSR", '"AUTO"'),
    ]
    enables = [f"en_{row}_{bits.start // lane}" for bits in groups]
    by_group = shape >= 18
    ports = [("WEA", "1'b1" if by_group else enables[0]), ("WEB", "1'b0")]
    for side in "AB":
        ports += [(f"CLK{side}", "clk"), (f"CE{side}", "1'b1"), (f"OCE{side}", "1'b1")]
        ports += [(f"RST{side}", "1'b0"), *((f"CS{side}{bit}", "1'b0") for bit in range(3))]
        bus = "w_addr" if side == "A" else "r_addr"
        for bit in range(_ADDRESS):
            if side == "A" and by_group and bit < shape // 9:
                value = enables[bit] if bit < len(enables) else "1'b0"
            else:
                value = f"{bus}[{bit - skip}]" if 0 <= bit - skip < low else "1'b0"
            ports.append((f"AD{side}{bit}", value))
    # Bit 18 and up of the widest shape are the other port's pins, for data in and data out alike.
    placed = {9 * g + i: bit for g, bits in enumerate(groups) for i, bit in enumerate(bits)}
    for pin in range(36):
        side, index, bit = "AB"[pin // 18], pin % 18, placed.get(pin)
        ports.append((f"DI{side}{index}", "1'b0" if bit is None else f"w_data[{bit}]"))
        if bit is not None:
            ports.append((f"DO{side if shape == 36 else 'B'}{index}", f"q_{row}[{bit}]"))
    lines = ["    DP16KD #("]
    lines.append(",\n".join(f"        .{key}({value})" for key, value in parameters))
    lines.append(f"    ) {name} (")
    lines.append(",\n".join(f"        .{port}({value})" for port, value in ports))
    lines.append("    );")
    return lines
