"""Commands of a dynamic memory, and where in it they act."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

__all__ = ["COLUMN", "PER_BANK", "ROW", "Address", "Command", "Op", "Scope"]


class Op(IntEnum):
    """What a command does, on the row or the column bus."""

    ACT = 0
    PRE = 1  # one bank
    PREA = 2  # all banks
    RD = 3
    RDA = 4  # with auto-precharge
    WR = 5
    WRA = 6
    REFAB = 7  # refresh of all banks
    REFPB = 8  # refresh of one bank
    RFMAB = 9  # refresh management
    RFMPB = 10
    MRS = 11  # mode register
    SRE = 12  # self-refresh, entry and exit
    SRX = 13


COLUMN = frozenset({Op.RD, Op.RDA, Op.WR, Op.WRA})
ROW = frozenset(Op) - COLUMN
PER_BANK = frozenset({Op.ACT, Op.PRE, Op.REFPB, Op.RFMPB}) | COLUMN
"""Commands to one bank; the others go to all banks of their pseudo-channel."""


class Scope(StrEnum):
    """Part of a memory that two commands must have in common for a rule to hold between them."""

    CHANNEL = "channel"  # the command buses
    PC = "pseudo-channel"
    SID = "stack"
    GROUP = "bank group"
    BANK = "bank"


@dataclass(frozen=True, kw_only=True)
class Address:
    """A bank, and what of it; commands to all banks leave the lower parts at zero."""

    sid: int = 0
    group: int = 0
    bank: int = 0
    row: int = 0
    column: int = 0


@dataclass(frozen=True)
class Command:
    """A command in its clock cycle."""

    clock: int
    op: Op
    at: Address = Address()

    def __str__(self) -> str:
        if self.op not in PER_BANK:
            return f"{self.op.name} at {self.clock}"
        a = self.at
        place = f"{self.op.name} {a.sid}.{a.group}.{a.bank}"
        detail = f" row {a.row}" if self.op is Op.ACT else ""
        detail = f" column {a.column}" if self.op in COLUMN else detail
        return f"{place}{detail} at {self.clock}"
