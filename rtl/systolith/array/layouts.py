"""What travels in the array: activation lanes, weight words and the commands of the banks."""

from typing import Any

from amaranth.hdl import signed, unsigned
from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2

from systolith.array.config import ArrayConfig, EngineConfig
from systolith.array.packed import PackedArray, PackedStruct
from systolith.numerics.block_config import ElementConfig
from systolith.numerics.block_mac import partial_layout
from systolith.numerics.element import element_layout
from systolith.numerics.fp32_term import EXPONENT_BITS

__all__ = [
    "act_shape",
    "act_word",
    "block_row",
    "drain_command",
    "lane",
    "lane_row",
    "psum_row",
    "psum_shape",
    "reach_width",
    "row_command",
    "select_width",
    "shift_width",
    "sum_command",
    "total_layout",
    "weight_bus",
    "weight_command",
    "weight_shape",
    "weight_word",
    "y_command",
    "y_word",
]


def _packed(layout: data.StructLayout) -> data.StructLayout:
    return PackedStruct({name: field.shape for name, field in layout})


def act_shape(config: ArrayConfig) -> Any:
    """Activation in the array: a number, or an element decoded at the edge."""
    return _packed(element_layout(config.mac.x)) if config.mac else signed(config.act_width)


def weight_shape(config: ArrayConfig) -> Any:
    """Weight in the array: a number, or an element decoded at the edge."""
    return _packed(element_layout(config.mac.w)) if config.mac else signed(config.weight_width)


def psum_shape(config: ArrayConfig) -> Any:
    """Partial sum: a number, or one with the flags of what is no number."""
    return _packed(partial_layout(config.mac)) if config.mac else signed(config.psum_width)


def select_width(side: ElementConfig) -> int:
    """Bits that choose among the formats of one operand."""
    return ceil_log2(len(side.formats))


def shift_width(config: ArrayConfig) -> int:
    """Bits of the place of a pass among the digits' products, in steps of 8."""
    if not config.mac:
        return 0
    return bits_for((config.mac.x.digits > 1) + (config.mac.w.digits > 1)) * (config.digits > 1)


def _forms(config: ArrayConfig, side: str) -> dict[str, int]:
    """Selectors of an operand's decoders, as far as there is something to select."""
    if not config.mac:
        return {}
    element = getattr(config.mac, side)
    return {"form": select_width(element), "digit": int(element.digits > 1)}


def lane(config: ArrayConfig) -> data.StructLayout:
    """One row's activation with the swap token that starts a tile."""
    return PackedStruct({"x": act_shape(config), "swap": 1})


def lane_row(config: ArrayConfig, rows: int) -> data.ArrayLayout:
    """Lanes of ``rows`` neighbouring rows."""
    return PackedArray(lane(config), rows)


def act_word(config: ArrayConfig) -> data.ArrayLayout:
    """Word of an activation bank: one activation for each row of a tile."""
    shape = unsigned(config.x_bits) if config.mac else signed(config.act_width)
    return PackedArray(shape, config.tile)


def weight_word(config: ArrayConfig) -> data.ArrayLayout:
    """Word of a weight bank: one weight for each column of a tile."""
    shape = unsigned(config.w_bits) if config.mac else signed(config.weight_width)
    return PackedArray(shape, config.tile)


def weight_bus(config: ArrayConfig) -> data.ArrayLayout:
    """Weights on their way to a tile, one for each of its columns."""
    return PackedArray(weight_shape(config), config.tile)


def psum_row(config: ArrayConfig, cols: int) -> data.ArrayLayout:
    """Partial sums of ``cols`` neighbouring columns."""
    return PackedArray(psum_shape(config), cols)


def total_layout(config: EngineConfig) -> data.StructLayout:
    """Exact accumulator: a sum, and the flags of a partial sum."""
    flags = {}
    if config.array.mac:
        flags = {n: f.shape for n, f in partial_layout(config.array.mac) if n != "sum"}
    return PackedStruct({"sum": signed(config.sum_width), **flags})


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
            **_forms(a, "x"),
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
            **_forms(config.array, "w"),
        }
    )


def sum_command(config: EngineConfig) -> data.StructLayout:
    """What an accumulator bank does with its lanes' next partial sums.

    ``add`` adds to the word at ``addr``, otherwise it is overwritten; only in the first ``cols``
    columns from here on. ``shift`` is the place of a digit, in steps of 8; ``final`` completes the
    sum of a block.
    """
    return PackedStruct(
        {
            "valid": 1,
            "add": 1,
            "addr": config.y_width,
            "cols": bits_for(config.array.cols),
            **_block_fields(config),
        }
    )


def _block_fields(config: EngineConfig) -> dict[str, int]:
    digits = {"shift": shift_width(config.array)} if config.array.digits > 1 else {}
    return {**digits, "final": 1} if config.scaled else digits


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
            **_block_fields(config),
        }
    )


def _drain_fields(config: EngineConfig) -> dict[str, Any]:
    """What stage B has to know of the tile that completes a block.

    ``w_tile`` is the place of its weights' scales, ``unit`` the exponent of its sums apart from
    the scales' codes, ``small`` that scales have significands, ``fresh`` that it is the first
    block of its outputs. Where groups can be taller than a block, ``source`` is the row band whose
    sums are added to, and ``empty`` says that the tile has no rows for this block.
    """
    small = {"small": 1} if config.small_scales else {}
    chain = {"source": source_width(config), "empty": 1} if config.chained else {}
    return {
        "w_tile": config.scale_width,
        "unit": signed(EXPONENT_BITS),
        "fresh": 1,
        **small,
        **chain,
    }


def source_width(config: EngineConfig) -> int:
    """Bits of the number of a row band."""
    return max(1, ceil_log2(config.array.row_bands))


def drain_command(config: EngineConfig) -> data.StructLayout:
    """A tile that completes a block, at its rows in the accumulators of its first column tile.

    ``valid`` with each row, ``first`` with the first one and all other fields; ``last`` with the
    final row of the command. ``x_addr`` and ``addr`` are those of the first row.
    """
    command = y_command(config)
    names = ("valid", "first", "last", "addr", "cols", "reach", "slot")
    return PackedStruct(
        {
            **{name: command[name].shape for name in names},
            "x_addr": config.x_width,
            **_drain_fields(config),
        }
    )


def block_row(config: EngineConfig) -> data.StructLayout:
    """A row of block sums for stage B, with ``valid``, which is set in one cycle of ``U``.

    ``exponent`` is that of the row's scale and of the sums' unit, ``significand`` its scale's,
    ``nan`` says that its scale is none; ``top``, that it is row 0 of X.
    """
    command = drain_command(config)
    fields = {name: command[name].shape for name in ("addr", "cols", "reach", "slot", "w_tile")}
    if config.small_scales:
        fields |= {"small": 1, "significand": 4}
    if config.stochastic:
        fields["top"] = 1
    if config.chained:
        fields |= {"source": source_width(config), "empty": 1}
    return PackedStruct(
        {"valid": 1, "last": 1, **fields, "fresh": 1, "nan": 1, "exponent": signed(EXPONENT_BITS)}
    )
