"""Faults to plant in the memory controller, each of which its proofs have to find."""

from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.bank_queue import BankQueue
from systolith.memory.hbm.column_sequencer import ColumnSequencer
from systolith.memory.hbm.maintenance import Maintenance
from systolith.memory.hbm.refresh import Refresh
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
        "any_ready & self.offer_long & ~self.hold",
        "any_ready & self.offer_long",
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
        "refresh of a bank that is not pending",
        RowSequencer,
        "self.pending & ~self.open & self.refpb_ok",
        "~self.open & self.refpb_ok",
    ),
    ("banks-1", "owner ignored", ColumnSequencer, " & (owner == stream)", ""),
    ("banks-1", "direction ignored", ColumnSequencer, " & (writes[n] == writing)", ""),
    (
        "banks-1",
        "open banks while all are refreshed",
        Maintenance,
        "with m.If(~self.open):",
        "with m.If(1):",
    ),
    (
        "banks-4-groups",
        "second access in the same bank group",
        ColumnSequencer,
        "(other.group != places[n].group) & (other.sid == places[n].sid)",
        "(other.sid == places[n].sid)",
    ),
    (
        "banks-4",
        "second access in another stack",
        ColumnSequencer,
        "(other.group != places[n].group) & (other.sid == places[n].sid)",
        "(other.group != places[n].group)",
    ),
    ("visits-1", "merge across owners", BankQueue, "& (last.owner == self.visit.owner)", ""),
    ("visits-1", "merge across rows", BankQueue, "& (self.first.row == self.visit.row)", ""),
    ("visits-1", "final off by one", BankQueue, "self.first.left == 1", "self.first.left == 2"),
    ("visits-1", "too many in a visit", BankQueue, " & (sum_last <= config.most_left)", ""),
    (
        "visits-1",
        "last one overtakes",
        BankQueue,
        "gone & (count == 0) & last_valid",
        "gone & last_valid",
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
    ("debt-4", "round before its time", Refresh, "~busy & (age >= interval)", "~busy"),
    (
        "debt-4",
        "refresh forgotten",
        Refresh,
        "self.pending & ~self.done)",
        "self.pending & ~self.done.any())",
    ),
    ("debt-4-late", "forced without a margin", Refresh, " - forced_margin(config)", ""),
    (
        "answer-4",
        "forced banks are not closed",
        RowSequencer,
        "Mux(self.forced, self.pending, 0)",
        "Mux(0, self.pending, 0)",
    ),
    ("whole", "reads of the next atom", RunQueue, "self.head.atom + self.moved", "self.head.atom"),
    ("map-small", "hash forgets the bit", AddressMap, "wires[field, bit] ^ rows[row]", "rows[row]"),
]
