"""Descriptors as software writes them, and what becomes of them on the way through the engine."""

from amaranth.lib import data

from systolith.array.packed import PackedArray, PackedStruct
from systolith.memory.dma.config import DmaConfig

__all__ = [
    "RECORD",
    "item_layout",
    "list_layout",
    "move_layout",
    "plan_layout",
    "region_layout",
    "retired_layout",
    "token_layout",
]

RECORD = PackedStruct(
    {
        "op": 8,
        "before": 1,
        "after": 1,
        "end": 1,
        "reserved": 5,
        "tag": 16,
        "memory_region": 8,
        "local_region": 8,
        "table_region": 8,
        "page_log2": 8,
        "memory_offset": 32,
        "local_offset": 32,
        "count": PackedArray(32, 3),
        "memory_stride": PackedArray(32, 3),
        "local_stride": PackedArray(32, 3),
        "table_offset": 32,
        "first": 32,
        "next": 32,
    }
)
"""Sixteen words of 32 bits, the first field lowest. All offsets and strides count atoms.

``op``: see :class:`~systolith.memory.dma.codes.DmaOp`; ``before``: it waits until all earlier ones
have retired, ``after``: later ones wait until it has; ``end``: last of its list, else ``next`` is
the offset of the next one in the region of lists. ``count``, innermost first, all at least 1;
strides are signed. Paged operations move tokens ``first`` to ``first + count[1] - 1`` of
``count[0]`` atoms each, ``count[2]`` being 1, from or to pages of ``2 ** page_log2`` atoms of the
memory's region; their numbers, 32 bits each, begin at ``table_offset``. ``first`` of a fill is the
word.
"""


def region_layout(config: DmaConfig) -> data.StructLayout:
    """A region: which space, rights, first address, and the first one behind it."""
    bits = config.space_bits
    return PackedStruct({"local": 1, "read": 1, "write": 1, "base": bits, "limit": bits + 1})


def list_layout() -> data.StructLayout:
    """A list to be carried out: tag of its end, offset of its first descriptor."""
    return PackedStruct({"tag": 16, "offset": 32})


def item_layout(config: DmaConfig) -> data.StructLayout:
    """A descriptor, or the end of a list with its code and number of descriptors."""
    return PackedStruct(
        {"record": RECORD, "listed": 1, "code": config.code_bits, "number": config.count_bits}
    )


def plan_layout(config: DmaConfig) -> data.StructLayout:
    """A checked descriptor; all addresses are absolute. With a code it is only to be retired."""
    position = config.count_bits + config.token_bits + 1
    return PackedStruct(
        {
            "code": config.code_bits,
            "op": 3,
            "before": 1,
            "after": 1,
            "memory": config.atom_bits,
            "row": config.count_bits,
            "last": PackedArray(config.count_bits, 3),  # count - 1
            "stride": PackedArray(config.atom_bits + 1, 3),
            "table": config.space_bits,
            "table_local": 1,
            "table_atoms": position,
            "entry": max(1, config.entries_log2),  # the first one, within its atom
            "position": config.count_bits + config.token_bits,
            "total": 2 * config.count_bits,
            "page_log2": 4,
            "size": config.atom_bits + 1,  # of the region with the pages
            "move": move_layout(config),
        }
    )


def move_layout(config: DmaConfig) -> data.StructLayout:
    """What the mover has to know of a descriptor."""
    return PackedStruct(
        {
            "tag": 16,
            "listed": 1,
            "number": config.count_bits,
            "word": 32,
            "local": config.local_bits,
            "last": PackedArray(config.count_bits, 3),
            "stride": PackedArray(config.local_bits + 1, 3),
        }
    )


def token_layout(config: DmaConfig) -> data.StructLayout:
    """Atoms to be moved next, in order, or the end of a descriptor, or both.

    ``mark``: writes that had been asked for by then. ``address`` of a table's part.
    """
    return PackedStruct(
        {
            "kind": 2,
            "count": config.run_bits,
            "last": 1,
            "code": config.code_bits,
            "mark": config.mark_bits,
            "address": config.local_bits,
        }
    )


def retired_layout(config: DmaConfig) -> data.StructLayout:
    """A descriptor that is done with, or the end of a list: then ``atoms`` counts descriptors."""
    return PackedStruct(
        {"tag": 16, "listed": 1, "code": config.code_bits, "atoms": config.total_bits}
    )
