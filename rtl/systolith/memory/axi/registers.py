"""A table of registers: what hardware, documentation and software are made from."""

from collections.abc import Sequence
from typing import Annotated, Literal

from amaranth.lib import data
from pydantic import Field as Limits
from pydantic import model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT
from systolith.array.packed import PackedStruct

__all__ = ["Access", "Field", "Register", "address_bits", "c_header", "check", "markdown"]

Access = Literal["rw", "ro", "w1c", "pulse", "counter"]
"""``rw``: kept here. ``ro``: from the hardware. ``w1c``: set by the hardware, cleared by writing
ones. ``pulse``: what is written is there for one cycle and reads as 0. ``counter``: counts cycles
of an input, stops at its end, cleared by writing anything."""

_Name = Annotated[str, Limits(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Field:
    """Some bits of a register.

    Parameters
    ----------
    name, bits, doc
        What they are called, how many, what they mean.
    reset
        Value after reset, of ``rw`` only.
    """

    name: _Name
    bits: Annotated[int, Limits(strict=True, ge=1, le=32)]
    doc: str = ""
    reset: Annotated[int, Limits(strict=True, ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> "Field":
        if self.reset >> self.bits:
            raise ValueError(f"{self.name}: reset must fit {self.bits} bits, not {self.reset}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Register:
    """A word of 32 bits.

    Parameters
    ----------
    name, offset, access, doc
        What it is called, its byte address, what can be done with it, what it means.
    fields
        From bit 0 on, without gaps.
    enable
        Of ``w1c``: the ``rw`` register whose bits decide which of these cause an interrupt.
    """

    name: _Name
    offset: Annotated[int, Limits(strict=True, ge=0, le=0xFFFC, multiple_of=4)]
    access: Access
    fields: tuple[Field, ...]
    doc: str = ""
    enable: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Register":
        names = [field.name for field in self.fields]
        if not names or len(names) != len(set(names)):
            raise ValueError(f"{self.name}: fields must be one or more, all different, not {names}")
        if self.bits > 32:
            raise ValueError(f"{self.name}: fields must fit 32 bits, not {self.bits}")
        if self.access != "rw" and self.reset:
            raise ValueError(f"{self.name}: reset must be 0 for access {self.access}")
        if self.enable is not None and self.access != "w1c":
            raise ValueError(f"{self.name}: enable is for w1c, not for access {self.access}")
        return self

    @property
    def bits(self) -> int:
        """That are used."""
        return sum(field.bits for field in self.fields)

    @property
    def layout(self) -> data.StructLayout:
        """Of its port."""
        return PackedStruct({field.name: field.bits for field in self.fields})

    @property
    def places(self) -> tuple[tuple[int, Field], ...]:
        """Lowest bit of each field."""
        found, at = [], 0
        for field in self.fields:
            found.append((at, field))
            at += field.bits
        return tuple(found)

    @property
    def reset(self) -> int:
        """Word after reset."""
        return sum(field.reset << at for at, field in self.places)


def check(table: Sequence[Register]) -> None:
    """Refuse a table with two registers of one name or place, or an ``enable`` that is not there.

    Raises
    ------
    ValueError
        Names the register.
    """
    if not table:
        raise ValueError("table must have at least one register")
    for what in ("name", "offset"):
        known: set[object] = set()
        for register in table:
            value = getattr(register, what)
            if value in known:
                raise ValueError(f"{register.name}: {what} must be of one register, not {value!r}")
            known.add(value)
    kept = {register.name: register for register in table if register.access == "rw"}
    for register in table:
        if register.enable is None:
            continue
        other = kept.get(register.enable)
        if other is None or other.bits != register.bits:
            raise ValueError(
                f"{register.name}: enable must name a rw register of {register.bits} bits, "
                f"not {register.enable!r}"
            )


def address_bits(table: Sequence[Register]) -> int:
    """Bits of a byte address that reach all registers."""
    return max(3, (max(register.offset for register in table) + 3).bit_length())


def markdown(table: Sequence[Register]) -> str:
    """Return the table for readers: a row for each field."""
    lines = [
        "| offset | register | bits | field | access | reset | meaning |",
        "|---|---|---|---|---|---|---|",
    ]
    for register in sorted(table, key=lambda r: r.offset):
        for n, (at, field) in enumerate(register.places):
            top = at + field.bits - 1
            where = f"{top}:{at}" if field.bits > 1 else f"{at}"
            head = (f"0x{register.offset:03x}", f"`{register.name}`") if not n else ("", "")
            meaning = " ".join(t for t in (register.doc if not n else "", field.doc) if t)
            cells = (*head, where, f"`{field.name}`", register.access, str(field.reset), meaning)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def c_header(table: Sequence[Register], prefix: str) -> str:
    """Return C macros: offset of each register, lowest bit and mask of each field."""
    up = prefix.upper()
    lines = [f"#ifndef {up}_REGISTERS_H", f"#define {up}_REGISTERS_H", ""]
    for register in sorted(table, key=lambda r: r.offset):
        name = f"{up}_{register.name.upper()}"
        lines.append(f"#define {name} 0x{register.offset:03x}u /* {register.access} */")
        for at, field in register.places:
            mask = ((1 << field.bits) - 1) << at
            lines.append(f"#define {name}_{field.name.upper()}_BIT {at}")
            lines.append(f"#define {name}_{field.name.upper()}_MASK 0x{mask:08x}u")
    return "\n".join([*lines, "", "#endif", ""])
