"""Constants and values of the format that is selected at run time."""

from collections.abc import Sequence

from amaranth.hdl import Mux, Value

__all__ = ["pick"]


def pick(select: Value, choices: Sequence[Value | int]) -> Value:
    """The selected one of ``choices``; beyond the last one, the last."""
    value = Value.cast(choices[-1])
    for index in reversed(range(len(choices) - 1)):
        value = Mux(select == index, choices[index], value)
    return value
