"""The result of a self-test as a line of text, again and again."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.host.uart import UartTransmitter

__all__ = ["ResultLine"]


class ResultLine(wiring.Component):
    """Sends ``pass errors=0000 first=000000 ...`` on a serial line.

    The first word is ``run`` (with a blank), ``pass`` or ``FAIL``; numbers are hexadecimal.

    Parameters
    ----------
    divisor : int
        Clock cycles per bit.
    fields : Mapping[str, int]
        Numbers and their bits, in order.
    pause : int
        Clock cycles between two lines.

    Members
    -------
    passed, failed : In(1)
        The verdict, if there is one.
    <field> : In
        Numbers.
    tx : Out(1)
        Line.
    """

    passed: Signal
    failed: Signal
    tx: Signal

    def __init__(self, divisor: int, fields: Mapping[str, int], *, pause: int) -> None:
        self.divisor, self.fields, self.pause = divisor, dict(fields), pause
        numbers = {name: In(bits) for name, bits in self.fields.items()}
        super().__init__({"passed": In(1), "failed": In(1), "tx": Out(1), **numbers})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.transmitter = transmitter = UartTransmitter(self.divisor)
        verdict = [
            Mux(self.failed, bad, Mux(self.passed, good, so_far))
            for bad, good, so_far in zip(b"FAIL", b"pass", b"run ", strict=True)
        ]
        text: list[tuple[Any, Any]] = [(letter, None) for letter in verdict]  # letters, or digits
        for name, bits in self.fields.items():
            text += [(c, None) for c in f" {name}=".encode()]
            number = getattr(self, name)
            text += [(0, number[4 * n : 4 * n + 4]) for n in reversed(range(-(-bits // 4)))]
        text += [(c, None) for c in b"\r\n"]

        at, timer = Signal(range(len(text))), Signal(range(self.pause))
        letter, digit, numeric, payload = Signal(8), Signal(4), Signal(), Signal(8)
        ready = Signal(3)  # what is sent has followed ``at``
        out = transmitter.i
        m.d.sync += [
            letter.eq(Array(one for one, _ in text)[at]),
            digit.eq(Array(0 if one is None else one for _, one in text)[at]),
            numeric.eq(Array(one is not None for _, one in text)[at]),
            payload.eq(Mux(numeric, _digit(digit), letter)),
            ready.eq(Cat(timer == 0, ready)),
        ]
        m.d.comb += [
            self.tx.eq(transmitter.tx),
            out.payload.eq(payload),
            out.valid.eq(ready.all()),
        ]
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.If(out.ready & out.valid):
            m.d.sync += [ready.eq(0), at.eq(at + 1)]
            with m.If(at == len(text) - 1):
                m.d.sync += [at.eq(0), timer.eq(self.pause - 1)]
        return m


def _digit(value: Value) -> Value:
    return Mux(value < 10, ord("0") + value, ord("a") - 10 + value)
