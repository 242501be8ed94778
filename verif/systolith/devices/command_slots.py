"""Command slots of a pseudo-channel whose neighbour uses all of its own."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Out

from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["CommandSlots"]


class CommandSlots(Block):
    """Offers what is left of the command buses of a channel.

    Two pseudo-channels share them. Of four clocks the first two of the row bus are this one's,
    enough for one activation; of the column bus every second clock is. SDR has the bus for itself.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots.
    alone : bool
        There is no neighbour: every slot is offered.

    Members
    -------
    row, long, column : Out(slots)
        See :class:`~systolith.memory.hbm.controller.Controller`.
    """

    row: Signal
    long: Signal
    column: Signal

    def __init__(self, config: ControllerConfig, *, alone: bool = False) -> None:
        self.config = config
        self.alone = alone or config.timing.generation == "sdr"
        bits = config.slots
        super().__init__({"row": Out(bits), "long": Out(bits), "column": Out(bits)})

    @property
    def clocked(self) -> bool:
        return self.config.slots < 4 and not self.alone

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slots = self.config.slots
        if self.alone:
            m.d.comb += [port.eq(-1) for port in (self.row, self.long, self.column)]
        elif slots == 4:
            m.d.comb += [self.row.eq(0b0011), self.long.eq(0b0001), self.column.eq(0b0101)]
        else:
            phase = Signal(2)
            m.d.sync += phase.eq(phase + 1)
            m.d.comb += [
                self.row.eq(phase < 2),
                self.long.eq(phase == 0),
                self.column.eq(phase[0]),
            ]
        return m
