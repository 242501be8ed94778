"""A link to a memory that checks the parity of commands; for simulation."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import PER_BANK, Op
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["ParityLink", "Unknown"]


class Unknown(IntEnum):
    """What becomes of commands from one with bad parity on, until the alert."""

    NONE_DONE = 0
    BANK_SKIPPED = 1  # that one is not done, nor what follows for its bank; all else is
    ALL_DONE = 2


class ParityLink(Block):
    """Passes commands on, but for a parity error now and then, of which it alerts.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots; ``alert`` bounds ``delay``.

    Members
    -------
    strike, kind, column_bus, delay : In(1), In(Unknown), In(1), In
        The next command of the row bus, or of the column bus, gets bad parity; its alert comes
        ``delay`` clocks behind it, at least 1. One that still waits is replaced.
    row, column : In
        Commands.
    row_done, column_done : Out
        Those that the memory does.
    alert : Out(1)
        A command of the last ``delay`` clocks had bad parity.
    """

    strike: Signal
    kind: Signal
    column_bus: Signal
    delay: Signal
    row: data.View
    column: data.View
    row_done: data.View
    column_done: data.View
    alert: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        rows = PackedArray(row_command(config.organisation), config.slots)
        columns = PackedArray(column_command(config.organisation), config.slots)
        super().__init__(
            {
                "strike": In(1),
                "kind": In(Unknown),
                "column_bus": In(1),
                "delay": In(range(config.alert + 1)),
                "row": In(rows),
                "column": In(columns),
                "row_done": Out(rows),
                "column_done": Out(columns),
                "alert": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slots = range(self.config.slots)
        rows: list[Any] = [self.row[s] for s in slots]
        columns: list[Any] = [self.column[s] for s in slots]
        armed, bus, kind = Signal(), Signal(), Signal(Unknown)
        left = Signal(range(self.config.alert + 2))  # clocks until the alert has come
        delay = Signal.like(self.delay)
        bank = Signal(self._number(rows[0]).shape())
        every = Signal()  # no command is done any more

        hit = Signal()
        at_row, at_column = Cat(r.valid for r in rows).any(), Cat(c.valid for c in columns).any()
        m.d.comb += [hit.eq(armed & (left == 0) & Mux(bus, at_column, at_row))]
        with m.If(self.strike):
            m.d.sync += [armed.eq(1), bus.eq(self.column_bus), kind.eq(self.kind)]
            m.d.sync += delay.eq(self.delay)
        with m.Elif(hit):
            m.d.sync += armed.eq(0)

        struck_bank, struck_all = Signal.like(bank), Signal()  # as of this clock
        m.d.comb += [struck_bank.eq(bank), struck_all.eq(every)]
        for command in reversed([*rows, *columns]):
            mine = bus if any(command is c for c in columns) else ~bus
            with m.If(hit & mine & command.valid):
                m.d.comb += struck_bank.eq(self._number(command))
                m.d.comb += struck_all.eq(~_per_bank(command) | (kind == Unknown.NONE_DONE))
        away = hit | (left != 0)
        more = Signal()  # a command to all banks is dropped: what follows may need it
        for given, done in ((self.row, self.row_done), (self.column, self.column_done)):
            for s in slots:
                drops = struck_all | ~_per_bank(given[s])
                drops = drops | (self._number(given[s]) == struck_bank)
                drops = drops & away & (kind != Unknown.ALL_DONE)
                m.d.comb += [done[s].eq(given[s]), done[s].valid.eq(given[s].valid & ~drops)]
                with m.If(given[s].valid & drops & ~_per_bank(given[s])):
                    m.d.comb += more.eq(1)
        m.d.sync += [bank.eq(struck_bank), every.eq(away & (struck_all | more))]
        with m.If(hit):
            m.d.sync += left.eq(delay)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        m.d.comb += self.alert.eq(left == 1)
        return m

    def _number(self, command: Any) -> Value:
        return Cat(command.bank, command.group, command.sid)


def _per_bank(command: Any) -> Value:
    return Cat(command.op == op for op in Op if op in PER_BANK).any()
