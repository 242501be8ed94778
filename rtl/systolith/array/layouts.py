"""What travels in the array: activation lanes, weight words and the commands of the banks."""

from amaranth.hdl import signed
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.array.config import ArrayConfig, EngineConfig
from systolith.array.packed import PackedArray, PackedStruct

__all__ = [
    "act_word",
    "lane",
    "lane_row",
    "psum_row",
    "reach_width",
    "row_command",
    "sum_command",
    "weight_command",
    "weight_word",
    "y_command",
    "y_word",
]


def lane(config: ArrayConfig) -> data.StructLayout:
    """One row's activation with the swap token that starts a tile."""
    return PackedStruct({"x": signed(config.act_width), "swap": 1})


def lane_row(config: ArrayConfig, rows: int) -> data.ArrayLayout:
    """Lanes of ``rows`` neighbouring rows."""
    return PackedArray(lane(config), rows)


def act_word(config: ArrayConfig) -> data.ArrayLayout:
    """Word of an activation bank: one activation for each row of a tile."""
    return PackedArray(signed(config.act_width), config.tile)


def weight_word(config: ArrayConfig) -> data.ArrayLayout:
    """Word of a weight bank: one weight for each column of a tile."""
    return PackedArray(signed(config.weight_width), config.tile)


def psum_row(config: ArrayConfig, cols: int) -> data.ArrayLayout:
    """Partial sums of ``cols`` neighbouring columns."""
    return PackedArray(signed(config.psum_width), cols)


def y_word(config: EngineConfig) -> data.ArrayLayout:
    """Word of an accumulator bank: one result for each column of a tile."""
    return PackedArray(signed(config.acc_width), config.array.tile)


def reach_width(config: ArrayConfig) -> int:
    """Bits of the number of column bands that a command still has to cross."""
    return bits_for(config.col_bands - 1)


def row_command(config: EngineConfig) -> data.StructLayout:
    """Activations of one cycle: what an activation bank reads, and how its row behaves.

    ``rows`` of the band carry data, the rest zero. ``fuse`` joins the band to the one above,
    ``reach`` counts the column bands to the right that take the same activations.
    """
    a = config.array
    return PackedStruct(
        {
            "valid": 1,
            "swap": 1,
            "addr": config.x_width,
            "rows": bits_for(a.band_rows),
            "fuse": 1,
            "reach": reach_width(a),
        }
    )


def weight_command(config: EngineConfig) -> data.StructLayout:
    """Weight row of one cycle. ``first`` marks row 0 of a tile, ``start`` that of a command."""
    return PackedStruct(
        {
            "valid": 1,
            "first": 1,
            "start": 1,
            "addr": config.w_width,
            "reach": reach_width(config.array),
        }
    )


def sum_command(config: EngineConfig) -> data.StructLayout:
    """What an accumulator bank does with its lanes' next partial sums.

    ``add`` adds to the word at ``addr``, otherwise it is overwritten; only in the first ``cols``
    columns from here on.
    """
    return PackedStruct(
        {
            "valid": 1,
            "add": 1,
            "addr": config.y_width,
            "cols": bits_for(config.array.cols),
        }
    )


def y_command(config: EngineConfig) -> data.StructLayout:
    """Result of one cycle: what its accumulators do, and what belongs to it.

    The fields of :func:`sum_command`; ``first`` marks the first result of a tile, ``last`` the
    final one of command ``slot``, ``reach`` counts the column bands to the right that take the
    command. Within a tile, addresses follow each other; all but the tokens stays the same.
    """
    return PackedStruct(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "add": 1,
            "addr": config.y_width,
            "cols": bits_for(config.array.cols),
            "reach": reach_width(config.array),
            "slot": bits_for(config.control.outstanding - 1),
        }
    )
