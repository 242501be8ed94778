"""A bit for each of a few things under way, in order."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = ["Marks"]


class Marks(Block):
    """Ring of bits with one in and up to ``ports`` out per clock.

    Parameters
    ----------
    size, ports : int
        Bits, a power of two; bits that can leave in a clock: 1 or 2.

    Members
    -------
    put, mark, space : In(1), In(1), Out(1)
        A bit that comes; only while there is space.
    take, out : In(ports), Out(ports)
        Bits that leave, that of port 0 first; only bits that came before this clock.
    """

    put: Signal
    mark: Signal
    space: Signal
    take: Signal
    out: Signal

    def __init__(self, *, size: int, ports: int) -> None:
        self.size, self.ports = size, ports
        super().__init__(
            {
                "put": In(1),
                "mark": In(1),
                "space": Out(1),
                "take": In(ports),
                "out": Out(ports),
            }
        )

    @property
    def module_name(self) -> str:
        return f"marks_{self.size}_p{self.ports}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = Signal(self.size)
        head, tail = Signal(range(2 * self.size)), Signal(range(2 * self.size))
        m.d.comb += self.space.eq((tail ^ head) != self.size)
        with m.If(self.put):
            m.d.sync += bits.bit_select(tail[:-1], 1).eq(self.mark)
        m.d.sync += [tail.eq(tail + self.put), head.eq(head + sum(self.take))]
        for p in range(self.ports):
            at = Signal(range(self.size), name=f"at_{p}")
            m.d.comb += [
                at.eq(head + sum(self.take[:p])),
                self.out[p].eq(bits.bit_select(at, 1)),
            ]
        return m
