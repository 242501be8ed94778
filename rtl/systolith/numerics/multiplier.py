"""The multiplier of control logic: unsigned, one, and not on a data path."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = ["Multiplier"]


class Multiplier(Block):
    """Product of two unsigned numbers, two cycles after them.

    Operands and product are registered. A technology back end may replace the emitted module by
    one of the same name and ports, where the array leaves it a multiplier block.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the operands.

    Members
    -------
    a, b : In(a_width), In(b_width)
        Operands, new in every cycle.
    p : Out(a_width + b_width)
        Exact product, 2 cycles later.
    """

    a: Signal
    b: Signal
    p: Signal

    def __init__(self, *, a_width: int, b_width: int) -> None:
        self.a_width = a_width
        self.b_width = b_width
        super().__init__({"a": In(a_width), "b": In(b_width), "p": Out(a_width + b_width)})

    @property
    def module_name(self) -> str:
        return f"multiplier_{self.a_width}x{self.b_width}"

    @property
    def leaf(self) -> dict[str, Any]:
        return {"kind": "multiplier", "a_width": self.a_width, "b_width": self.b_width}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = Signal(self.a_width, name="a_registered", reset_less=True)
        b = Signal(self.b_width, name="b_registered", reset_less=True)
        product = Signal.like(self.p, reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        m.d.comb += self.p.eq(product)
        return m
