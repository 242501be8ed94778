"""Registers in a row."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data

__all__ = ["delayed", "taps"]


def delayed(
    m: Module, value: data.View, cycles: int, name: str, *, reset_less: bool = False
) -> data.View:
    """``value`` as it was ``cycles`` cycles ago, through registers called after ``name``."""
    for stage in range(cycles):
        late = Signal(value.shape(), name=f"{name}_{stage}", reset_less=reset_less)
        m.d.sync += late.eq(value)
        value = late
    return value


def taps(
    m: Module, value: Value, cycles: int, name: str, *, reset_less: bool = False
) -> list[Value]:
    """``value`` as it was 0, 1, ... ``cycles`` cycles ago."""
    values = [value]
    for stage in range(cycles):
        late = Signal(len(value), name=f"{name}_{stage}", reset_less=reset_less)
        m.d.sync += late.eq(values[-1])
        values.append(late)
    return values
