"""Refresh management: which banks have been activated so often that their rows need help."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import row_issue

__all__ = ["ACTIVATION_BITS", "Management"]

ACTIVATION_BITS = 10
"""Bits of a number of activations."""


class Management(Block):
    """Counts activations of each bank since it was last looked after.

    Rows beside one that is activated too often lose data. So each activation counts one, and each
    refresh or refresh management of the bank takes ``threshold`` off, down to zero; from the
    threshold on management is due, and from ``most`` on the bank may not be activated before it.
    (The rolling accumulated ACT count of JESD79-5 and JESD238: RAAIMT and RAAMMT.)

    Parameters
    ----------
    config : ControllerConfig
        Memory.

    Members
    -------
    threshold, most : In(10)
        Activations; a threshold of zero switches it off.
    row : In(row_issue)
        The row command of this cycle.
    due, blocked : Out(banks)
        Banks that should be managed; that must not be activated before. Two cycles behind.
    """

    threshold: Signal
    most: Signal
    row: data.View
    due: Signal
    blocked: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "threshold": In(ACTIVATION_BITS),
                "most": In(ACTIVATION_BITS),
                "row": In(row_issue(config)),
                "due": Out(config.banks),
                "blocked": Out(config.banks),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row = self.row
        helps = Signal()
        m.d.comb += helps.eq((row.op == Op.REFPB) | (row.op == Op.RFMPB))
        for b in range(self.config.banks):
            count = Signal(ACTIVATION_BITS, name=f"count_{b}")
            full = Signal(name=f"full_{b}")
            m.d.comb += full.eq((count >= self.most) & (count != 0))
            with m.If(row.valid & (row.op == Op.ACT) & row.banks[b]):
                m.d.sync += count.eq(Mux(count.all(), count, count + 1))
            with m.Elif(row.valid & ((row.op == Op.REFAB) | (helps & row.banks[b]))):
                m.d.sync += count.eq(Mux(count > self.threshold, count - self.threshold, 0))
            on = self.threshold != 0
            m.d.sync += [
                self.due[b].eq(on & (full | (count >= self.threshold))),
                self.blocked[b].eq(on & full),
            ]
        return m
