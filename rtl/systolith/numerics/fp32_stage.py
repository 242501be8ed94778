"""What the stages of a binary32 addition share."""

from amaranth.hdl import Cat, Signal, Value
from amaranth.lib import data

from systolith.numerics.fp32 import FRACTION_BITS

__all__ = ["LIMIT_BITS", "MARK_BITS", "SIGNIFICAND", "limit_mark", "register"]

SIGNIFICAND = FRACTION_BITS + 1

LIMIT_BITS = 5
"""A significand moves up by less than 32 places."""


MARK_BITS = SIGNIFICAND + 2
"""Top places of a sum that can hold its first one: only exact sums lose more than one place."""


def limit_mark(field: Value) -> Value:
    """Return a one at the place of a sum that may move to the top, and no further.

    It counts as the sum's first one if there is no other above it. Without it, a sum of small
    numbers would move beyond the place of field 1, where subnormals are.
    """
    return Cat(field == MARK_BITS - 1 - at for at in range(MARK_BITS))


def register(fields: dict[str, int], name: str) -> data.View:
    """The registers behind one stage. Data is written before it is read: no reset."""
    view: data.View = Signal(data.StructLayout(fields), name=name, reset_less=True)
    return view
