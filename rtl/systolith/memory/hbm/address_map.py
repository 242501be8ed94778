"""Address maps: which bank, row and column an address of the linear memory is."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amaranth.hdl import Cat, Const, Value
from amaranth.utils import ceil_log2

from systolith.memory.hbm.commands import Address
from systolith.memory.hbm.parts import Organisation

__all__ = ["FIELDS", "AddressMap", "default_maps"]

FIELDS = ("group", "column", "bank", "sid", "row")


@dataclass(frozen=True, kw_only=True)
class AddressMap:
    """Bits of an atom's address, lowest first, and what each of them is.

    The lowest bits are those of columns and bank groups; together they are a *block*, which lies
    in one row of one bank of every group. Bits of bank groups are side by side. A bit of a group,
    bank or stack may be exchanged for its exclusive or with bits of the row: that keeps the map
    bijective, because the row itself is stored as it is.

    Parameters
    ----------
    name
        By which it is chosen.
    organisation
        Shape of the memory.
    bits
        Field and number of every bit.
    hashed
        ``(field, bit, row bit)``: this bit is XORed with that bit of the row.

    Raises
    ------
    ValueError
        If a bit is missing or there twice, or the order is not one of those described.
    """

    name: str
    organisation: Organisation
    bits: tuple[tuple[str, int], ...]
    hashed: tuple[tuple[str, int, int], ...] = ()

    def __post_init__(self) -> None:
        wanted = {(f, n) for f, width in self.widths.items() for n in range(width)}
        for bit in self.bits:
            if bit not in wanted:
                raise ValueError(f"bits must name each address bit once, not {bit} here")
            wanted.remove(bit)
        if wanted:
            raise ValueError(f"bits must name each address bit once, {min(wanted)} is missing")
        low = [f for f, _ in self.bits[: self.block_bits]]
        if {*low} - {"group", "column"}:
            raise ValueError("bits must start with those of columns and bank groups")
        at = [n for n, f in enumerate(low) if f == "group"]
        fields = [self.bits[n][1] for n in at]
        if at != list(range(at[0], at[0] + len(at)) if at else []) or fields != sorted(fields):
            raise ValueError("bits must have those of bank groups side by side, in order")
        for field, number, row in self.hashed:
            if field not in ("group", "bank", "sid") or not 0 <= number < self.widths[field]:
                raise ValueError(f"hashed must name bits of groups, banks, stacks, not {field}")
            if not 0 <= row < self.widths["row"]:
                raise ValueError(f"hashed must name bits of the row, not {row}")

    @classmethod
    def ordered(
        cls,
        name: str,
        organisation: Organisation,
        *fields: tuple[str, int] | str,
        hashed: Iterable[tuple[str, int, int]] = (),
    ) -> "AddressMap":
        """Map that takes whole fields, or some more bits of one, ``("column", 1)``, in order."""
        widths = _widths(organisation)
        taken = dict.fromkeys(FIELDS, 0)
        bits = []
        for item in fields:
            field, count = (item, widths[item]) if isinstance(item, str) else item
            count = min(count, widths[field] - taken[field])
            bits += [(field, taken[field] + n) for n in range(count)]
            taken[field] += count
        return cls(name=name, organisation=organisation, bits=tuple(bits), hashed=tuple(hashed))

    @cached_property
    def widths(self) -> dict[str, int]:
        """Bits of each field."""
        return _widths(self.organisation)

    @property
    def block_bits(self) -> int:
        """Address bits within a block."""
        return self.widths["group"] + self.widths["column"]

    @cached_property
    def below(self) -> int:
        """Column bits below those of the bank groups."""
        at = [n for n, (field, _) in enumerate(self.bits) if field == "group"]
        return at[0] if at else self.widths["column"]

    def place(self, atom: int) -> Address:
        """Where the atom of a linear address is."""
        fields = dict.fromkeys(FIELDS, 0)
        for n, (field, bit) in enumerate(self.bits):
            fields[field] |= (atom >> n & 1) << bit
        for field, bit, row in self.hashed:
            fields[field] ^= (fields["row"] >> row & 1) << bit
        return Address(**fields)

    def atom(self, at: Address) -> int:
        """Return the linear address of a place: the inverse of :meth:`place`."""
        fields = {field: getattr(at, field) for field in FIELDS}
        for field, bit, row in self.hashed:
            fields[field] ^= (at.row >> row & 1) << bit
        return sum((fields[f] >> bit & 1) << n for n, (f, bit) in enumerate(self.bits))

    def decode(self, atom: Value) -> dict[str, Value]:
        """The fields of an address in hardware."""
        wires: dict[tuple[str, int], Any] = {bit: atom[n] for n, bit in enumerate(self.bits)}
        rows = {n: wires["row", n] for n in range(self.widths["row"])}
        for field, bit, row in self.hashed:
            wires[field, bit] = wires[field, bit] ^ rows[row]
        return {
            field: Cat(wires[field, n] for n in range(width)) if width else Const(0, 0)
            for field, width in self.widths.items()
        }


def _widths(shape: Organisation) -> dict[str, int]:
    return {
        "group": ceil_log2(shape.groups),
        "column": ceil_log2(shape.columns),
        "bank": ceil_log2(shape.banks),
        "sid": ceil_log2(shape.sids),
        "row": ceil_log2(shape.rows),
    }


def default_maps(shape: Organisation) -> tuple[AddressMap, ...]:
    """Maps that every controller has, the first of them from reset on.

    "groups-low" spreads neighbouring atoms over the bank groups, for streams. "pairs-low" keeps
    two neighbours together, for accesses of two atoms. "hashed" is the first with bank bits XORed
    with low bits of the row, against strides of powers of two.
    """
    rest = ("column", "bank", "sid", "row")
    banks = _widths(shape)["bank"]
    rows = _widths(shape)["row"]
    mixed = [("bank", n, n) for n in range(min(banks, rows))]
    return (
        AddressMap.ordered("groups-low", shape, "group", *rest),
        AddressMap.ordered("pairs-low", shape, ("column", 1), "group", *rest),
        AddressMap.ordered("hashed", shape, "group", *rest, hashed=mixed),
    )
