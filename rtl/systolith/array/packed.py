"""Layouts that show as one vector in waveforms and emitted modules."""

from amaranth.hdl import Format
from amaranth.lib import data

__all__ = ["PackedArray", "PackedStruct"]


class PackedStruct(data.StructLayout):
    """Struct without a named wire for each field: wide ports would otherwise swamp the output."""

    def format(self, value: data.View, format_spec: str) -> Format:
        """Format as one number."""
        return Format("{}", value.as_value())


class PackedArray(data.ArrayLayout):
    """Array without a named wire for each element."""

    def format(self, value: data.View, format_spec: str) -> Format:
        """Format as one number."""
        return Format("{}", value.as_value())
