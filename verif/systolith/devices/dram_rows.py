"""Which row is open in every bank of a memory: what a column command reads or writes."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedArray, PackedStruct
from systolith.devices.refresh_age import bank_bits, bank_number
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation

__all__ = ["OpenRows", "access_layout", "place_layout"]


def place_layout(shape: Organisation) -> data.StructLayout:
    """Where an atom is, if ``usable``: in an open row. ``key`` is the row, above it the bank."""
    key = max(1, ceil_log2(shape.rows)) + bank_bits(shape)
    atom = max(1, ceil_log2(shape.columns))
    return PackedStruct({"usable": 1, "key": key, "atom": atom})


def access_layout(shape: Organisation) -> data.StructLayout:
    """A read or a write, or neither."""
    return PackedStruct({"reads": 1, "writes": 1, "at": place_layout(shape)})


class OpenRows(Block):
    """Puts rows to column commands, in the same cycle.

    The slots are shared out among the ports, in order; of several column commands for a port the
    last one counts. Within a slot the column command is the earlier one. A row can be used from
    the cycle after its activation on.

    Parameters
    ----------
    shape : Organisation
        Of the pseudo-channel.
    slots : int
        Device clocks in a cycle, a multiple of ``ports``.
    ports : int
        Accesses in a cycle.

    Members
    -------
    row, column : In(row_command), In(column_command) per slot
        Commands of this cycle.
    access : Out(access_layout) per port
        Accesses of this cycle.
    """

    row: data.View
    column: data.View
    access: data.View

    def __init__(self, shape: Organisation, *, slots: int = 1, ports: int = 1) -> None:
        if ports < 1 or slots < 1 or slots % ports:
            raise ValueError(f"slots must be a multiple of {ports} ports, not {slots}")
        self.shape, self.slots, self.ports = shape, slots, ports
        super().__init__(
            {
                "row": In(PackedArray(row_command(shape), slots)),
                "column": In(PackedArray(column_command(shape), slots)),
                "access": Out(PackedArray(access_layout(shape), ports)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        banks = 1 << bank_bits(self.shape)
        row_bits = max(1, ceil_log2(self.shape.rows))
        rows: Any = Memory(shape=row_bits, depth=banks, init=[])
        m.submodules.rows = rows
        stored = Signal(banks)
        usable: Value = stored  # open since an earlier cycle, and still
        is_open: Value = stored
        for p, access in enumerate(self.access):
            look = rows.read_port(domain="comb")
            for slot in range(p * self.slots // self.ports, (p + 1) * self.slots // self.ports):
                column, row = self.column[slot], self.row[slot]
                self._access(m, access, column, usable, look.addr)
                closed, opened = self._changes(m, column, row, slot)
                usable = usable & ~closed
                is_open = (is_open & ~closed) | opened
                store = rows.write_port()
                m.d.comb += [
                    store.en.eq(row.valid & (row.op == Op.ACT)),
                    store.addr.eq(bank_number(row)),
                    store.data.eq(row.row),
                ]
            m.d.comb += access.at.key.eq(Cat(look.data, look.addr))
        m.d.sync += stored.eq(is_open)
        return m

    @staticmethod
    def _access(
        m: Module, access: data.View, column: data.View, usable: Value, bank: Signal
    ) -> None:
        with m.If(column.valid):
            m.d.comb += [
                access.reads.eq((column.op == Op.RD) | (column.op == Op.RDA)),
                access.writes.eq((column.op == Op.WR) | (column.op == Op.WRA)),
                access.at.usable.eq((usable >> bank_number(column))[0]),
                access.at.atom.eq(column.column),
                bank.eq(bank_number(column)),
            ]

    def _changes(
        self, m: Module, column: data.View, row: data.View, slot: int
    ) -> tuple[Value, Value]:
        """Banks that a slot closes, and one that it opens."""
        banks = 1 << bank_bits(self.shape)
        closed, opened = (Signal(banks, name=f"{n}_{slot}") for n in ("closed", "opened"))
        by_column = column.valid & ((column.op == Op.RDA) | (column.op == Op.WRA))
        by_row, all_rows = row.valid & (row.op == Op.PRE), row.valid & (row.op == Op.PREA)
        m.d.comb += [
            closed.eq(
                Mux(by_column, 1 << bank_number(column), 0)
                | Mux(by_row, 1 << bank_number(row), 0)
                | all_rows.replicate(banks)
            ),
            opened.eq(Mux(row.valid & (row.op == Op.ACT), 1 << bank_number(row), 0)),
        ]
        return closed, opened
