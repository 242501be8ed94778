"""The last commands of the boundary with the data of their writes, and what they left open."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.data_path import sent_layout
from systolith.memory.hbm.picking import one_of
from systolith.memory.sram import RegisterFile

__all__ = ["CommandLog", "access_entry", "log_depth"]


def log_depth(config: ControllerConfig) -> int:
    """Clocks that are logged.

    The commands that an alert may mean, and those that were decided when it came.
    """
    return config.alert + 1 + LEAD


def access_entry(config: ControllerConfig) -> data.StructLayout:
    """A column command with the row that was open for it, and its data if it writes."""
    column = dict(column_command(config.organisation).members)
    return PackedStruct({**column, "row": config.row_bits, "sent": sent_layout(config)})


class CommandLog(Block):
    """Keeps what the controller asked for, whether or not the memory did it.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    record : In(1)
        This clock is logged, and the oldest one forgotten.
    row, column, data0, ... : In
        The boundary of this clock.
    at : In
        A clock of the log; 0 is the oldest one.
    entry_row, entry0, ... : Out(row_command), Out(access_entry)
        Its commands, one of each port.
    open : Out(banks)
        Banks that are open after the last command.
    bank, bank_row : In, Out
        A bank, and the row that is open in it.
    """

    record: Signal
    row: data.View
    column: data.View
    at: Signal
    entry_row: data.View
    open: Signal
    bank: Signal
    bank_row: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        shape, ports = config.organisation, range(config.ports)
        super().__init__(
            {
                "record": In(1),
                "row": In(PackedArray(row_command(shape), config.slots)),
                "column": In(PackedArray(column_command(shape), config.slots)),
                **{f"data{p}": In(sent_layout(config)) for p in ports},
                "at": In(range(log_depth(config))),
                "entry_row": Out(row_command(shape)),
                **{f"entry{p}": Out(access_entry(config)) for p in ports},
                "open": Out(config.banks),
                "bank": In(range(config.banks)),
                "bank_row": Out(config.row_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, depth = self.config, log_depth(self.config)
        share = config.slots // config.ports
        row: Any = Signal(row_command(config.organisation))
        m.d.comb += row.eq(_merged([self.row[s] for s in range(config.slots)]))
        accesses: list[Any] = []
        for p in range(config.ports):
            access: Any = Signal(access_entry(config), name=f"access_{p}")
            command: Any = Signal(column_command(config.organisation), name=f"command_{p}")
            m.d.comb += [
                command.eq(_merged([self.column[s] for s in range(p * share, (p + 1) * share)])),
                *(access[name].eq(command[name]) for name in dict(iter(command.shape()))),
                access.sent.eq(getattr(self, f"data{p}")),
            ]
            accesses.append(access)
        self._rows(m, platform, row, accesses)

        # What is valid is kept in registers, the rest in memories that nothing clears.
        now = Signal(range(1 << (depth - 1).bit_length()))
        with m.If(self.record):
            m.d.sync += now.eq(now + 1)
        for name, word, entry in (
            ("row", row, self.entry_row),
            *((f"access_{p}", a, getattr(self, f"entry{p}")) for p, a in enumerate(accesses)),
        ):
            kept: Any = RegisterFile(depth=1 << len(now), width=word.shape().size)
            m.submodules[f"kept_{name}"] = place(kept, platform)
            valid = Signal(depth, name=f"valid_{name}")
            with m.If(self.record):
                m.d.sync += valid.eq(Cat(valid[1:], word.valid))
            m.d.comb += [
                kept.w_en.eq(self.record),
                kept.w_addr.eq(now),
                kept.w_data.eq(word),
                kept.r_addr.eq(now - depth + self.at),
                entry.eq(data.View(entry.shape(), kept.r_data)),
                entry.valid.eq(valid.bit_select(self.at, 1)),
            ]
        return m

    def _rows(self, m: Module, platform: object, row: Any, accesses: list[Any]) -> None:
        """Follow which rows are open."""
        config = self.config
        opens = Signal(config.banks)
        closes = Signal(config.banks)
        m.d.comb += [
            opens.eq((row.valid & (row.op == Op.ACT)) << self._number(row)),
            closes.eq(
                Mux(row.valid & (row.op == Op.PREA), -1, 0)
                | ((row.valid & (row.op == Op.PRE)) << self._number(row))
                | _any((a.valid & _auto(a)) << self._number(a) for a in accesses)
            ),
        ]
        with m.If(self.record):
            m.d.sync += self.open.eq((self.open | opens) & ~closes)
        for p, access in enumerate(accesses):
            rows: Any = RegisterFile(depth=config.banks, width=config.row_bits)
            m.submodules[f"rows_{p}"] = place(rows, platform)
            m.d.comb += [
                rows.w_en.eq(self.record & opens.any()),
                rows.w_addr.eq(self._number(row)),
                rows.w_data.eq(row.row),
                rows.r_addr.eq(self._number(access)),
                access.row.eq(rows.r_data),
            ]
            if p == 0:  # looked up only while nothing is logged
                m.d.comb += self.bank_row.eq(rows.r_data)
                with m.If(~self.record):
                    m.d.comb += rows.r_addr.eq(self.bank)

    def _number(self, command: Any) -> Value:
        """Number of a command's bank."""
        return Cat(command.bank, command.group, command.sid)


def _auto(access: Any) -> Value:
    return (access.op == Op.RDA) | (access.op == Op.WRA)


def _any(masks: Any) -> Value:
    result: Any = 0
    for mask in masks:
        result = result | mask
    return Value.cast(result)


def _merged(words: list[Any]) -> Value:
    """Return the one of them that is valid."""
    return one_of(Cat(w.valid for w in words), [w.as_value() for w in words])
