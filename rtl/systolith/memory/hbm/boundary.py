"""The boundary between controller and memory: decoded commands, one pseudo-channel."""

from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2

from systolith.array.packed import PackedStruct
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation

__all__ = ["OP_BITS", "column_command", "row_command"]

OP_BITS = bits_for(max(Op))


def _bank(shape: Organisation) -> dict[str, int]:
    return {
        "sid": ceil_log2(shape.sids),
        "group": ceil_log2(shape.groups),
        "bank": ceil_log2(shape.banks),
    }


def row_command(shape: Organisation) -> data.StructLayout:
    """Command of the row bus in one clock; ``row`` of an activation, or what a mode register gets.

    Commands to all banks leave the bank at anything.
    """
    return PackedStruct(
        {"valid": 1, "op": OP_BITS, **_bank(shape), "row": max(1, ceil_log2(shape.rows))}
    )


def column_command(shape: Organisation) -> data.StructLayout:
    """Command of the column bus in one clock. SDR has one bus: never both in a clock."""
    return PackedStruct(
        {"valid": 1, "op": OP_BITS, **_bank(shape), "column": max(1, ceil_log2(shape.columns))}
    )
