"""The multiplier of a processing element, behind the interface that technologies replace."""

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = ["MacCell"]


class MacCell(Block):
    """Signed product of two operands after a fixed number of register stages.

    Only the multiplier is behind this interface: the adder of the partial sum stays in the
    processing element, so that its one-cycle chain does not depend on the latency here.
    A technology back end replaces the emitted module by one of the same name and ports.

    Parameters
    ----------
    a_width, b_width : int
        Bits of the two's-complement operands.
    latency : int
        Cycles from the operands to the product; 0 is combinational.

    Members
    -------
    a, b : In(signed(a_width)), In(signed(b_width))
        Operands, new in every cycle.
    p : Out(signed(a_width + b_width))
        Exact product, ``latency`` cycles later.
    """

    a: Signal
    b: Signal
    p: Signal

    def __init__(self, *, a_width: int, b_width: int, latency: int) -> None:
        self.a_width = a_width
        self.b_width = b_width
        self.latency = latency
        super().__init__(
            {
                "a": In(signed(a_width)),
                "b": In(signed(b_width)),
                "p": Out(signed(a_width + b_width)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"mac_{self.a_width}x{self.b_width}_l{self.latency}"

    @property
    def leaf(self) -> dict[str, Any]:
        return {
            "kind": "mac",
            "a_width": self.a_width,
            "b_width": self.b_width,
            "latency": self.latency,
        }

    @property
    def clocked(self) -> bool:
        return self.latency > 0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two stages: operands and product are registered. The first stage is the product's.
        a, b = self.a, self.b
        for stage in range(self.latency - 1):
            late_a = Signal.like(self.a, name=f"a_{stage}", reset_less=True)
            late_b = Signal.like(self.b, name=f"b_{stage}", reset_less=True)
            m.d.sync += [late_a.eq(a), late_b.eq(b)]
            a, b = late_a, late_b
        if self.latency:
            product = Signal.like(self.p, reset_less=True)
            m.d.sync += product.eq(a * b)
            m.d.comb += self.p.eq(product)
        else:
            m.d.comb += self.p.eq(a * b)
        return m
