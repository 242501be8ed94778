"""Binary32 words in hardware."""

from amaranth.lib import data

__all__ = ["BIAS", "FIELD_BITS", "FRACTION_BITS", "INFINITY", "NAN", "fp32"]

FRACTION_BITS = 23
FIELD_BITS = 8
BIAS = 127

INFINITY = 0x7F800000
NAN = 0x7FC00000
"""The only NaN that any block here produces."""

fp32 = data.StructLayout({"fraction": FRACTION_BITS, "field": FIELD_BITS, "sign": 1})
"""Layout of a word; the lowest bit of the fraction is bit 0."""
