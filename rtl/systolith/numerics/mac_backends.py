"""Technology modules for the multiplier leaf: DSP blocks that hold its registers.

Portable RTL leaves every pipeline register of a multiplier in the fabric. The modules here have the
name, ports and latency of the portable leaf and keep those registers inside the DSP block.
"""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["HALF_USED", "TARGETS", "mac_verilog", "multiplier_verilog"]

TARGETS = ("ecp5", "ice40")

HALF_USED = "systolith_half_used"
"""Attribute of an SB_MAC16 whose lower multiplier is free, so that a netlist pass may fill it."""

_ECP5_WIDTH = 18
_ICE40_WIDTH = 8

# Which registers of the block are on, by latency. The slow part is the multiplier array: with one
# register it must sit behind it, since the adder of the partial sum follows in the same cycle.
_ECP5_REGISTERS: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("OUTPUT",),
    2: ("INPUTA", "INPUTB", "OUTPUT"),
    3: ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"),
}

_ICE40_REGISTERS: dict[int, tuple[str, ...]] = {
    0: (),
    1: ("TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG"),
    2: ("A_REG", "B_REG", "TOP_8x8_MULT_REG", "BOT_8x8_MULT_REG"),
}

_ICE40_TIED = (
    "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT",
    "OLOADTOP", "OLOADBOT", "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI",
    "SIGNEXTIN",
)  # fmt: skip


def mac_verilog(leaf: Mapping[str, Any], target: str) -> str | None:
    """Replacement of a multiplier leaf.

    Parameters
    ----------
    leaf
        ``module`` (name), ``a_width``, ``b_width`` (bits, two's complement) and ``latency``
        (cycles), as the generator describes it.
    target
        One of :data:`TARGETS`.

    Returns
    -------
    str or None
        Verilog of one module with ports ``clk``, ``rst``, ``a``, ``b``, ``p``, or None when the
        block cannot hold the operands or the registers and the portable leaf should stay. On
        ``ice40`` the module holds one product in the upper half of an SB_MAC16 and marks the cell
        with :data:`HALF_USED`.

    Raises
    ------
    ValueError
        The target is not known.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    a_width, b_width, latency = leaf["a_width"], leaf["b_width"], leaf["latency"]
    widest = _ECP5_WIDTH if target == "ecp5" else _ICE40_WIDTH
    registers = _ECP5_REGISTERS if target == "ecp5" else _ICE40_REGISTERS
    if max(a_width, b_width) > widest or latency not in registers:
        return None
    build = _ecp5 if target == "ecp5" else _ice40
    return _module(leaf, build(a_width, b_width, registers[latency]))


def multiplier_verilog(leaf: Mapping[str, Any], target: str) -> str | None:
    """Replacement of the control logic's unsigned multiplier.

    ``leaf`` has ``module``, ``a_width`` and ``b_width``; ports as of :func:`mac_verilog`. None on
    ``ice40``, whose few blocks the array needs, and for operands that a block cannot hold.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, not {target!r}")
    a_width, b_width = leaf["a_width"], leaf["b_width"]
    if target == "ice40" or max(a_width, b_width) > _ECP5_WIDTH:
        return None
    return _module(leaf, _ecp5(a_width, b_width, _ECP5_REGISTERS[2], signed=False))


def _module(leaf: Mapping[str, Any], body: str) -> str:
    a_width, b_width = leaf["a_width"], leaf["b_width"]
    return (
        f"module {leaf['module']}(\n"
        "    input clk,\n"
        "    input rst,\n"
        f"    input [{a_width - 1}:0] a,\n"
        f"    input [{b_width - 1}:0] b,\n"
        f"    output [{a_width + b_width - 1}:0] p\n"
        ");\n"
        f"{body}"
        "endmodule\n"
    )


def _connections(ports: Iterable[tuple[str, str]]) -> str:
    return ",\n".join(f"        .{port}({value})" for port, value in ports)


def _ecp5(a_width: int, b_width: int, registers: Iterable[str], *, signed: bool = True) -> str:
    """One MULT18X18D; operands are extended to its 18 bits."""
    ports = []
    for bit in range(_ECP5_WIDTH):
        for port, bus, width in (("A", "a", a_width), ("B", "b", b_width)):
            inside = signed or bit < width
            ports.append((f"{port}{bit}", f"{bus}[{min(bit, width - 1)}]" if inside else "1'b0"))
        ports.append((f"C{bit}", "1'b0"))
    ports += [(f"SIGNED{side}", f"1'b{int(signed)}") for side in "AB"]
    ports += [("SOURCEA", "1'b0"), ("SOURCEB", "1'b0")]
    # The four multipliers of a slice share these nets: constants and one clock never conflict.
    for index in range(4):
        ports.append((f"CLK{index}", "clk" if index == 0 else "1'b0"))
        ports.append((f"CE{index}", "1'b1"))
        ports.append((f"RST{index}", "1'b0"))
    ports += [(f"P{bit}", f"p[{bit}]") for bit in range(a_width + b_width)]
    parameters = [(f"REG_{register}_CLK", '"CLK0"') for register in registers]
    settings = f" #(\n{_connections(parameters)}\n    )" if parameters else ""
    return f"    MULT18X18D{settings} mult (\n{_connections(ports)}\n    );\n"


def _ice40(a_width: int, b_width: int, registers: Iterable[str]) -> str:
    """The upper half of an SB_MAC16 in its mode of two independent 8 by 8 products."""
    parameters = [(register, "1'b1") for register in registers]
    parameters += [("MODE_8x8", "1'b1"), ("A_SIGNED", "1'b1"), ("B_SIGNED", "1'b1")]
    parameters += [("TOPOUTPUT_SELECT", "2'b10"), ("BOTOUTPUT_SELECT", "2'b10")]
    ports = [("CLK", "clk"), ("A", "{a_wide, 8'd0}"), ("B", "{b_wide, 8'd0}"), ("O", "o")]
    ports += [("CE", "1'b1"), ("C", "16'd0"), ("D", "16'd0")]
    ports += [(port, "1'b0") for port in _ICE40_TIED]
    width = a_width + b_width
    return (
        "    wire [7:0] a_wide = $signed(a);\n"
        "    wire [7:0] b_wide = $signed(b);\n"
        "    wire [31:0] o;\n"
        f"    assign p = o[{15 + width}:16];\n"
        f"    (* {HALF_USED} = 1 *)\n"
        f"    SB_MAC16 #(\n{_connections(parameters)}\n    )"
        f" mult (\n{_connections(ports)}\n    );\n"
    )
