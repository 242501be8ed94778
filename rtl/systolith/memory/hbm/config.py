"""Sizes of a controller of one pseudo-channel, and every number that follows from them."""

from functools import cached_property
from typing import Annotated, Literal

from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.array.packed import PackedStruct
from systolith.memory.ecc_code import AtomEcc
from systolith.memory.hbm.address_map import AddressMap, default_maps
from systolith.memory.hbm.commands import Address
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Rule, Timing, rules

__all__ = ["LEAD", "ControllerConfig", "EccKind"]

EccKind = Literal["none", "sideband-72", "word-266-poison"]

LEAD = 3
"""Fabric clocks from a decision to its command at the boundary."""

_TURN = 16384  # bytes that a stream may move before another one has its turn


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ControllerConfig:
    """A controller of one pseudo-channel, or of an SDR memory.

    Parameters
    ----------
    name
        Prefix of every emitted module and file.
    organisation, timing
        The memory.
    slots
        Memory clocks in a clock of the controller: 1 or 4.
    streams
        Heads among which the column sequencer chooses.
    runs
        Runs that each stream can have waiting, a power of two.
    visits
        Visits to rows that each bank can have waiting beyond the first and the last.
    look_ahead
        Rows that are announced before they are needed; see :attr:`ahead`.
    debt
        Most that a refresh may be late, in intervals of refreshes (reset value).
    ecc
        What is stored beside each atom, of 32 bytes: one of
        :data:`~systolith.memory.ecc_code.ATOM_KINDS`, or none.
    alert
        HBM: most fabric clocks from a command at the boundary to the alert that tells of its bad
        parity; 0 if the memory has no parity. See :class:`~systolith.memory.hbm.retry.Retry`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "memory"
    organisation: Organisation
    timing: Timing
    slots: Literal[1, 4] = 1
    streams: Annotated[int, Field(strict=True, ge=1, le=64)] = 8
    runs: Annotated[int, Field(strict=True, ge=2, le=64)] = 4
    visits: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    look_ahead: Annotated[int, Field(strict=True, ge=1, le=64)] = 12
    debt: Annotated[int, Field(strict=True, ge=2, le=8)] = 4
    ecc: EccKind = "none"
    alert: Annotated[int, Field(strict=True, ge=0, le=32)] = 0

    @model_validator(mode="after")
    def _check(self) -> "ControllerConfig":
        power_of_two(self, "runs")
        shape = self.organisation
        for name in ("sids", "groups", "banks", "rows", "columns", "atom"):
            value = getattr(shape, name)
            if value < 1 or value & (value - 1):
                raise ValueError(f"organisation.{name} must be a power of two, not {value}")
        if self.slots > 1 and self.timing.generation == "sdr":
            raise ValueError(f"slots must be 1 for SDR, not {self.slots}")
        if self.slots > 1 and self.timing["ccd_s"] != 2:
            raise ValueError(f"slots must be 1 unless ccd_s is 2, not {self.slots}")
        if self.ecc != "none" and self.timing.generation == "sdr":
            raise ValueError(f"ecc must be none for SDR, which has no room for it, not {self.ecc}")
        if self.alert and self.timing.generation == "sdr":
            raise ValueError(f"alert must be 0 for SDR, which has no parity, not {self.alert}")
        read = self.slots - 1 + self.timing["cl"] + self.timing["burst"]
        most = -(-read // self.slots) - LEAD - 1
        if self.alert > max(most, 0):
            raise ValueError(
                f"alert must be at most {max(most, 0)}, so that no data is passed on before its "
                f"alert, not {self.alert}"
            )
        if self.ecc != "none" and shape.atom != 32:
            raise ValueError(f"ecc must be none for atoms of {shape.atom} bytes, not {self.ecc}")
        return self

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Of the timing."""
        return rules(self.timing)

    @cached_property
    def maps(self) -> tuple[AddressMap, ...]:
        """Address maps to choose from at run time."""
        return default_maps(self.organisation)

    @property
    def codec(self) -> AtomEcc | None:
        """Of the atoms, if there is one."""
        return None if self.ecc == "none" else AtomEcc(kind=self.ecc)

    @property
    def check_bits(self) -> int:
        """Stored beside each atom."""
        return self.codec.check_bits if self.codec else 0

    @property
    def managed(self) -> bool:
        """Whether the memory has refresh management."""
        return self.timing.generation == "hbm3"

    @property
    def merges(self) -> bool:
        """Whether an atom that is written in part has to be read first."""
        return self.codec is not None or not self.organisation.mask

    @property
    def banks(self) -> int:
        """Of the pseudo-channel, over all stacks and groups."""
        shape = self.organisation
        return shape.sids * shape.groups * shape.banks

    @property
    def ports(self) -> int:
        """Atoms that can move in a clock of the controller."""
        return max(1, self.slots // self.timing["ccd_s"])

    @property
    def atom_bits(self) -> int:
        """Bits of an atom's address."""
        shape = self.organisation
        return ceil_log2(self.banks * shape.rows * shape.columns)

    @property
    def turn(self) -> int:
        """Most atoms of a run."""
        return max(_TURN // self.organisation.atom, 1)

    @property
    def run_bits(self) -> int:
        """Bits of a number of atoms in a run."""
        return bits_for(self.turn)

    @property
    def row_bits(self) -> int:
        """Bits of a row's number."""
        return max(1, ceil_log2(self.organisation.rows))

    @property
    def stream_bits(self) -> int:
        """Bits of a stream's number."""
        return bits_for(self.streams - 1)

    @property
    def foresight(self) -> int:
        """Clocks from the choice of an access to its issue: registers between two accesses.

        None with several slots, where accesses follow each other in every clock. With one slot
        they are tCCDS apart, and the choice for the next one is made in between.
        """
        if self.slots > 1:
            return 0
        return 1 if self.timing["ccd_s"] < 4 else 3

    @property
    def row_foresight(self) -> int:
        """Clocks from the decision for a row command to its issue."""
        return min(self.foresight, 1)

    @property
    def most_left(self) -> int:
        """Most accesses of one visit: only one of less than a row is made longer, see BankQueue."""
        return 3 * self.organisation.columns - 1

    @property
    def turn_bits(self) -> int:
        """Bits of a turn's number, of which half are enough to compare two of them."""
        return max(8, ceil_log2(self.streams * self.runs) + 3)

    due_bits = 16
    """Bits of the count of atoms that tells which of two visits is due first."""

    @property
    def shadow(self) -> int:
        """Atoms that pass while a bank is refreshed and its next row opened."""
        t = self.timing
        busy = (t.rfc_pb or t["rfc"]) + t["rp"] + t["rcd_rd"]
        return -(-busy // t["ccd_s"])

    @property
    def ahead(self) -> int:
        """Atoms under way below which a stream may have its next run announced beside another.

        Less than :attr:`shadow` would leave rows closed when they are needed behind a refresh;
        much more lets runs that cannot move yet keep banks from those that can.
        """
        return self.look_ahead * self.organisation.columns

    @property
    def run(self) -> data.StructLayout:
        """A run: direction, address of its first atom, number of atoms.

        With :attr:`merges` also whether it is ``partial``: one atom of which some bytes are
        written. The mask of any other is full.
        """
        partial = {"partial": 1} if self.merges else {}
        return PackedStruct({"write": 1, "atom": self.atom_bits, "count": self.run_bits, **partial})

    @property
    def visit(self) -> data.StructLayout:
        """Accesses of one stream to one row of a bank."""
        return PackedStruct(
            {
                "row": self.row_bits,
                "owner": self.stream_bits,
                "left": bits_for(self.most_left),
                "due": self.due_bits,
            }
        )

    def bank_number(self, at: Address) -> int:
        """Number of a bank among all of the pseudo-channel: stack, group, bank."""
        shape = self.organisation
        return (at.sid * shape.groups + at.group) * shape.banks + at.bank

    def bank_fields(self, number: int) -> Address:
        """Stack, group and bank of a number."""
        shape = self.organisation
        rest, bank = divmod(number, shape.banks)
        sid, group = divmod(rest, shape.groups)
        return Address(sid=sid, group=group, bank=bank)
