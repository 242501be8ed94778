"""Serial receiver and transmitter: one start bit, eight data bits, one stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SHORTEST_BIT", "UartReceiver", "UartTransmitter"]

SHORTEST_BIT = 4
"""Fewest clock cycles per bit that leave a middle to sample."""


def _check(divisor: int) -> None:
    if divisor < SHORTEST_BIT:
        raise ValueError(
            f"divisor must be at least {SHORTEST_BIT} clock cycles per bit, not {divisor}; "
            "lower the baud rate or raise the clock"
        )


class UartReceiver(wiring.Component):
    """Bytes from a serial line.

    Each bit is sampled in its middle. A line that is low where a stop bit should be is a break.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    rx : In(1)
        Line, asynchronous, high when idle.
    data : Out(8)
        Byte, valid together with ``valid``.
    valid : Out(1)
        High for one cycle per byte. Nothing waits for the consumer.
    broken : Out(1)
        High for one cycle when a stop bit is missing.
    """

    rx: Signal
    data: Signal
    valid: Signal
    broken: Signal

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"rx": In(1), "data": Out(8), "valid": Out(1), "broken": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Two registers: the line changes at any time.
        early, line = Signal(init=1), Signal(init=1)
        m.d.sync += [early.eq(self.rx), line.eq(early)]

        timer = Signal(range(self.divisor))
        bits = Signal(range(10))
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self.divisor // 2 - 1), bits.eq(0)]
                with m.If(~line):
                    m.next = "BITS"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(self.divisor - 1), bits.eq(bits + 1)]
                    with m.If(bits == 9):
                        m.d.comb += [self.valid.eq(line), self.broken.eq(~line)]
                        m.next = "GAP"
                    with m.Elif((bits == 0) & line):
                        m.next = "IDLE"  # a glitch, not a start bit
                    with m.Else():
                        m.d.sync += self.data.eq(Cat(self.data[1:], line))
            with m.State("GAP"), m.If(line):
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to a serial line.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit, at least 4.

    Members
    -------
    i : In(stream of 8 bits)
        Bytes to send; ready while the line is idle.
    tx : Out(1)
        Line, high when idle.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, divisor: int) -> None:
        _check(divisor)
        self.divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        bits = Signal(range(11))
        shift = Signal(9, init=(1 << 9) - 1)
        line = Signal(init=1)
        m.d.comb += self.i.ready.eq(bits == 0)
        m.d.comb += self.tx.eq(line)
        m.d.sync += line.eq(shift[0])
        with m.If(self.i.ready & self.i.valid):
            start = Const(0, 1)
            m.d.sync += [shift.eq(Cat(start, self.i.payload)), bits.eq(10)]
            m.d.sync += timer.eq(self.divisor - 1)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(bits != 0):
            m.d.sync += [shift.eq(Cat(shift[1:], Const(1, 1))), bits.eq(bits - 1)]
            m.d.sync += timer.eq(self.divisor - 1)
        return m
