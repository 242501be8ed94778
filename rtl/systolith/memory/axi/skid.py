"""Stages of a stream that cut the way of ``ready``, without a clock of delay or with one."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = ["Relay", "Skid"]


class _Stage(Block):
    put: stream.Interface
    out: stream.Interface

    def __init__(self, layout: data.StructLayout) -> None:
        self.layout = layout
        side = stream.Signature(layout)
        super().__init__({"put": In(side), "out": Out(side)})

    @property
    def module_name(self) -> str:
        return f"{type(self).__name__.lower()}_{self.layout.size}"


class Skid(_Stage):
    """Passes a stream on at once; ``ready`` comes from a register.

    What was taken and cannot go on waits here, for as long as nothing else is taken.

    Parameters
    ----------
    layout : StructLayout
        Of the stream.

    Members
    -------
    put : In(stream)
        What comes.
    out : Out(stream)
        The same.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        put, out = self.put, self.out
        full: Any = Signal()
        kept: Any = Signal(self.layout)
        m.d.comb += [
            put.ready.eq(~full),
            out.valid.eq(full | put.valid),
            out.payload.eq(Mux(full, kept, put.payload)),
        ]
        with m.If(out.ready):
            m.d.sync += full.eq(0)
        with m.Elif(put.valid):
            m.d.sync += full.eq(1)
        with m.If(~full):
            m.d.sync += kept.eq(put.payload)
        return m


class Relay(_Stage):
    """Passes a stream on a clock later: registers in both directions, no gap.

    Parameters
    ----------
    layout : StructLayout
        Of the stream.

    Members
    -------
    put : In(stream)
        What comes.
    out : Out(stream)
        The same.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        put, out = self.put, self.out
        full: Any = Signal()
        kept: Any = Signal(self.layout)
        m.d.comb += put.ready.eq(~full)
        with m.If(~out.valid | out.ready):
            m.d.sync += [
                out.valid.eq(full | put.valid),
                out.payload.eq(Mux(full, kept, put.payload)),
                full.eq(0),
            ]
        with m.Elif(put.valid):
            m.d.sync += full.eq(1)
        with m.If(~full):
            m.d.sync += kept.eq(put.payload)
        return m
