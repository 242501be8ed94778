"""Decoders at the edge of the array, one for each lane of a bank."""

from amaranth.hdl import Module, ValueLike
from amaranth.lib import data

from systolith.numerics.element import ElementDecode

__all__ = ["decoded"]


def decoded(
    m: Module, decode: ElementDecode, code: ValueLike, command: data.View, element: data.View
) -> None:
    """Decode ``code`` into ``element``, in the format and digit that ``command`` names."""
    config = decode.config
    m.d.comb += [decode.code.eq(code), element.eq(decode.element)]
    if len(config.formats) > 1:
        m.d.comb += decode.select.eq(command.form)
    if config.digits > 1:
        m.d.comb += decode.digit.eq(command.digit)
