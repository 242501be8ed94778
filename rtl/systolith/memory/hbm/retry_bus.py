"""The boundary of a memory with alerts: from the controller, or from its recovery."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.command_log import access_entry
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.data_path import late, sent_layout
from systolith.memory.hbm.picking import first_of

__all__ = ["RetryBus"]


class RetryBus(Block):
    """Passes the controller's commands, or sends one of a recovery in a slot that is offered.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots.

    Members
    -------
    passes : In(1)
        The controller has the boundary.
    given_row, given_column, given_data0, ... : In
        Its commands and data.
    send, goes : In(1), Out(1)
        A command is to be sent; it leaves ``LEAD`` cycles after this one. It is held until then.
    command : In(row_command)
        The command; RDA and WRA are sent as ``access`` on its ``port``.
    access, port : In(access_entry), In
        An access and its data.
    row, column, data0, ..., row_offer, long_offer, column_offer : Out, Out, Out, In
        The boundary at the memory.
    """

    passes: Signal
    given_row: data.View
    given_column: data.View
    send: Signal
    goes: Signal
    command: data.View
    access: data.View
    port: Signal
    row: data.View
    column: data.View
    row_offer: Signal
    long_offer: Signal
    column_offer: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        slots, shape, ports = config.slots, config.organisation, range(config.ports)
        rows = PackedArray(row_command(shape), slots)
        columns = PackedArray(column_command(shape), slots)
        super().__init__(
            {
                "passes": In(1),
                "given_row": In(rows),
                "given_column": In(columns),
                **{f"given_data{p}": In(sent_layout(config)) for p in ports},
                "send": In(1),
                "goes": Out(1),
                "command": In(row_command(shape)),
                "access": In(access_entry(config)),
                "port": In(range(max(2, config.ports))),
                "row": Out(rows),
                "column": Out(columns),
                **{f"data{p}": Out(sent_layout(config)) for p in ports},
                **{f"{kind}_offer": In(slots) for kind in ("row", "long", "column")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        accesses = (self.command.op == Op.RDA) | (self.command.op == Op.WRA)
        row = self._row(m, self.send & ~accesses)
        column = self._columns(m, self.send & accesses)
        m.d.comb += self.goes.eq(row | column)
        return m

    def _row(self, m: Module, send: Value) -> Value:
        slots, command = self.config.slots, self.command
        at, slot = first_of(m, self.row_offer, "row_at"), Signal(range(max(2, slots)))
        long = (self.row_offer & self.long_offer).bit_select(at, 1)
        goes = Signal(name="row_goes")
        m.d.comb += goes.eq(send & Mux(command.op == Op.ACT, long, self.row_offer.any()))
        with m.If(goes):
            m.d.sync += slot.eq(at)
        due = late(m, goes, "row", LEAD)
        for s in range(slots):
            given = self.given_row[s]
            m.d.comb += [
                self.row[s].eq(Mux(self.passes, given, command)),
                self.row[s].valid.eq(Mux(self.passes, given.valid, due & (slot == s))),
            ]
        return goes

    def _columns(self, m: Module, send: Value) -> Value:
        config, access = self.config, self.access
        share = config.slots // config.ports
        goes = Signal(config.ports)
        for p in range(config.ports):
            offers = self.column_offer[p * share : (p + 1) * share]
            at, slot = first_of(m, offers, f"column_at_{p}"), Signal(range(max(2, share)))
            m.d.comb += goes[p].eq(send & (self.port == p) & offers.any())
            with m.If(goes[p]):
                m.d.sync += slot.eq(at)
            due = late(m, goes[p], f"column_{p}", LEAD)
            given: Any = getattr(self, f"given_data{p}")
            m.d.comb += getattr(self, f"data{p}").eq(Mux(self.passes, given, access.sent))
            for n in range(share):
                out = self.column[p * share + n]
                m.d.comb += out.eq(self.given_column[p * share + n])
                with m.If(~self.passes):
                    m.d.comb += [
                        out.valid.eq(due & (slot == n)),
                        out.op.eq(self.command.op),
                        *(out[f].eq(access[f]) for f in ("sid", "group", "bank", "column")),
                    ]
        return goes.any()
