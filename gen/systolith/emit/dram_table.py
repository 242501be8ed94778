"""Timing of a memory as a table for others: in the words of Ramulator 2.1."""

from typing import Any

from systolith.memory.hbm.commands import Op, Scope
from systolith.memory.hbm.parts import Part
from systolith.memory.hbm.timing import rules

__all__ = ["dram_table"]

_LEVELS = {
    Scope.CHANNEL: "Channel",
    Scope.PC: "PseudoChannel",
    Scope.SID: "Sid",
    Scope.GROUP: "BankGroup",
    Scope.BANK: "Bank",
}
_COMMANDS = {Op.PRE: "PREpb", Op.PREA: "PREab", Op.REFAB: "REFab", Op.REFPB: "REFpb"}
_COMMANDS |= {Op.RFMAB: "RFMab", Op.RFMPB: "RFMpb"}


def dram_table(part: Part) -> dict[str, Any]:
    """Organisation, clock and every rule of ``part`` with its latency in cycles, for JSON.

    ``constraints`` has the fields of Ramulator's ``TimingConstraint``: level, preceding, following,
    latency, window, sibling; and ``name``, the parameters that a rule comes from.
    """
    o, t = part.organisation, part.timing
    return {
        "name": part.name,
        "standard": t.generation,
        "source": t.source,
        "tCK_ps": t.tck_ps,
        "organisation": {
            "sid": o.sids,
            "bankgroup": o.groups,
            "bank": o.banks,
            "row": o.rows,
            "column": o.columns,
            "atom_bytes": o.atom,
        },
        "constraints": [
            {
                "name": rule.name,
                "level": _LEVELS[rule.scope],
                "preceding": [_COMMANDS.get(op, op.name) for op in sorted(rule.first)],
                "following": [_COMMANDS.get(op, op.name) for op in sorted(rule.then)],
                "latency": rule.latency,
                "window": rule.window,
                "sibling": rule.apart,
            }
            for rule in rules(t)
        ],
    }
