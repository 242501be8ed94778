"""What the stages of a binary32 addition share."""

from amaranth.hdl import Signal
from amaranth.lib import data

from systolith.numerics.fp32 import FRACTION_BITS

__all__ = ["LIMIT_BITS", "SIGNIFICAND", "register"]

SIGNIFICAND = FRACTION_BITS + 1

LIMIT_BITS = 5
"""A significand moves up by less than 32 places."""


def register(fields: dict[str, int], name: str) -> data.View:
    """The registers behind one stage. Data is written before it is read: no reset."""
    view: data.View = Signal(data.StructLayout(fields), name=name, reset_less=True)
    return view
