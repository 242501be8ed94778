"""Faults to plant in the memory controller, each of which its proofs have to find."""

from systolith.memory.hbm import column_sequencer
from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.bank_queue import BankQueue
from systolith.memory.hbm.column_pipeline import ColumnPipeline
from systolith.memory.hbm.column_sequencer import ColumnSequencer
from systolith.memory.hbm.data_path import DataPath
from systolith.memory.hbm.maintenance import Maintenance
from systolith.memory.hbm.refresh import Refresh
from systolith.memory.hbm.returns import Returns
from systolith.memory.hbm.row_sequencer import RowSequencer
from systolith.memory.hbm.run_queue import RunQueue

__all__ = ["FAULTS"]

# proof, what the fault is, where it is planted, its source text and what replaces it
FAULTS: list[tuple[str, str, type, str, str]] = [
    (
        "banks-1",
        "rows that are being closed are accessed",
        RowSequencer,
        "self.open & ~closing & ~",
        "self.open & ~",
    ),
    (
        "banks-1",
        "activation while held",
        RowSequencer,
        "decision.asked | ~(self.hold | held)",
        "decision.asked | ~held",
    ),
    (
        "banks-1",
        "refresh of an open bank",
        RowSequencer,
        "self.pending & ~self.open & self.refpb_ok",
        "self.pending & self.refpb_ok",
    ),
    (
        "banks-1",
        "decision that an earlier command spoils",
        RowSequencer,
        "there & ~self.issue.valid",
        "there",
    ),
    (
        "banks-1",
        "row closed under an access on its way",
        RowSequencer,
        "Op.PRE: left & self.open & self.pre_ok",
        "Op.PRE: self.open & self.pre_ok",
    ),
    (
        "banks-sdr",
        "choice that an access spoils",
        ColumnPipeline,
        "now & ~issued if deep else now",
        "now",
    ),
    (
        "banks-sdr",
        "refresh of all does not wait for accesses",
        Maintenance,
        "drain.eq(self.config.foresight)",
        "drain.eq(0)",
    ),
    (
        "banks-1",
        "refresh of a bank that is not pending",
        RowSequencer,
        "self.pending & ~self.open & self.refpb_ok",
        "~self.open & self.refpb_ok",
    ),
    ("banks-1", "owner ignored", ColumnPipeline, "self.owner[b] == n", "self.owner[b] == 0"),
    (
        "banks-1",
        "timing of the other direction",
        ColumnPipeline,
        "able[1], able[0]",
        "able[0], able[0]",
    ),
    ("banks-4", "owner ignored", ColumnSequencer, " & (self.owner[b] == stream)", ""),
    ("banks-4", "direction ignored", ColumnSequencer, " & (writes[n] == writing)", ""),
    ("banks-1", "open banks while all are refreshed", Maintenance, "m.If(self.open)", "m.If(0)"),
    (
        "banks-4-groups",
        "second access in the same bank group",
        column_sequencer._Atom,
        "(here.group != there.group) & (here.sid == there.sid)",
        "(here.sid == there.sid)",
    ),
    (
        "banks-4",
        "second access in another stack",
        column_sequencer._Atom,
        "(here.group != there.group) & (here.sid == there.sid)",
        "(here.group != there.group)",
    ),
    (
        "visits-long",
        "another one joins the last",
        BankQueue,
        "self.push & self.same & last",
        "self.push & last",
    ),
    ("visits-long", "another one joins the first", BankQueue, "                & self.same\n", ""),
    (
        "visits-long",
        "final off by one",
        BankQueue,
        "self.access, self.first.left == 2",
        "self.access, self.first.left == 3",
    ),
    (
        "visits-long",
        "not final although one was added as the last one went",
        BankQueue,
        "Mux(adding, swap, one)",
        "(one & ~adding)",
    ),
    (
        "visits-long",
        "final although one was added",
        BankQueue,
        "Mux(adding, swap, one) & ~to_first",
        "Mux(adding, swap, one)",
    ),
    ("visits-long", "too many in a visit", BankQueue, " & ~last.left[row:].any()", ""),
    (
        "visits-long",
        "last one overtakes",
        BankQueue,
        "~self.valid & (count == 0) & last_valid",
        "~self.valid & last_valid",
    ),
    ("runs-1", "one run too many", RunQueue, "== config.runs", "== config.runs + 1"),
    ("runs-1", "moved before it is walked", RunQueue, "(head != walked)", "(head != tail)"),
    ("runs-1", "turn of another run", RunQueue, "turns.r_addr.eq(head)", "turns.r_addr.eq(walked)"),
    (
        "runs-4",
        "run of two ends early",
        RunQueue,
        "self.head.count == self.moved",
        "self.head.count <= self.moved + 1",
    ),
    (
        "debt-4",
        "round before its time",
        Refresh,
        "due & ~owing & self.running",
        "~owing & self.running",
    ),
    (
        "debt-4",
        "refresh forgotten",
        Refresh,
        "self.pending & ~self.done)",
        "self.pending & ~self.done.any())",
    ),
    ("debt-4-late", "forced without a margin", Refresh, ", forced_margin(self.config)", ", 0"),
    (
        "answer-4",
        "forced banks are not closed",
        RowSequencer,
        "Mux(self.forced, self.pending, 0)",
        "Mux(0, self.pending, 0)",
    ),
    (
        "responses",
        "one clock too late",
        Returns,
        "ring.r_addr.eq(now - self.latency)",
        "ring.r_addr.eq(now - self.latency - 1)",
    ),
    (
        "responses",
        "lost data is told as good",
        DataPath,
        "come.lost.eq(line.lost)",
        "come.lost.eq(0)",
    ),
    ("map-small", "hash forgets the bit", AddressMap, "wires[field, bit] ^ rows[row]", "rows[row]"),
]
