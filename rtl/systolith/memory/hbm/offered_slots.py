"""Commands of a controller into the slots that it is offered."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib import data

from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import LEAD
from systolith.memory.hbm.data_path import late
from systolith.memory.hbm.guard import Guard
from systolith.memory.hbm.picking import first_of
from systolith.memory.hbm.row_sequencer import RowSequencer

__all__ = ["send_columns", "send_row"]


def send_row(m: Module, edge: Any, guard: Guard, rows: RowSequencer) -> None:
    """The row command of this cycle, in the first slot that is offered."""
    config = edge.config
    at = first_of(m, edge.row_offer, "row_at")
    m.d.comb += [
        rows.offer.eq(edge.row_offer.any()),
        rows.offer_long.eq((edge.row_offer & edge.long_offer).bit_select(at, 1)),
    ]
    if config.slots > 1:
        m.d.comb += guard.row_at.eq(at)
    layout = row_command(config.organisation)
    command = Signal(layout)
    where = [config.bank_fields(b) for b in range(config.banks)]
    m.d.comb += [
        command.valid.eq(rows.issue.valid),
        command.op.eq(rows.issue.op),
        command.row.eq(rows.issue_row),
        *(
            command[f].eq(Array(getattr(w, f) for w in where)[rows.issue_bank])
            for f in ("sid", "group", "bank")
        ),
    ]
    for s in range(config.slots):
        word = Signal(layout, name=f"row_{s}")
        m.d.comb += word.eq(command)
        if config.slots > 1:
            m.d.comb += word.valid.eq(command.valid & (at == s))
        m.d.comb += edge.row[s].eq(late(m, word, f"row_{s}", LEAD))


def send_columns(m: Module, edge: Any, guard: Guard, columns: Any) -> None:
    """The column commands of this cycle, each in the first slot of its port's share."""
    config = edge.config
    share = config.slots // config.ports
    layout = column_command(config.organisation)
    for p in range(config.ports):
        offers = edge.column_offer[p * share : (p + 1) * share]
        at = Signal(range(max(2, config.slots)), name=f"column_at{p}")
        m.d.comb += at.eq(p * share)
        for s in reversed(range(share)):
            with m.If(offers[s]):
                m.d.comb += at.eq(p * share + s)
        if config.slots > 1:
            m.d.comb += getattr(guard, f"column_at{p}").eq(at)
        m.d.comb += getattr(columns, f"offer{p}").eq(offers.any())
        access = getattr(columns, f"access{p}")
        for s in range(p * share, (p + 1) * share):
            word = Signal(layout, name=f"column_{s}")
            m.d.comb += [
                word.valid.eq(access.valid & ((at == s) if config.slots > 1 else 1)),
                word.op.eq(_operation(access)),
                *(word[f].eq(access[f]) for f in ("sid", "group", "bank", "column")),
            ]
            m.d.comb += edge.column[s].eq(late(m, word, f"column_{s}", LEAD))


def _operation(access: data.View) -> Value:
    return Array([Op.RD, Op.RDA, Op.WR, Op.WRA])[Cat(access.auto, access.write)]
