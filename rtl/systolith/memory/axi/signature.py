"""AXI4 and AXI4-Lite as wiring signatures, and under their usual names on emitted modules."""

from types import SimpleNamespace
from typing import Annotated

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.array.packed import PackedStruct
from systolith.memory.ports import MemoryPort

__all__ = [
    "DECERR",
    "INCR",
    "OKAY",
    "PAGE_BITS",
    "SLVERR",
    "WRAP",
    "Axi4",
    "AxiConfig",
    "AxiLiteBus",
    "flat",
    "pins",
]

OKAY, SLVERR, DECERR = 0b00, 0b10, 0b11
INCR, WRAP = 0b01, 0b10

PAGE_BITS = 12
"""Bits of an address within 4 KB, which no burst crosses."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AxiConfig:
    """An AXI4 port, and the memory behind it.

    Parameters
    ----------
    data_bits, id_bits, address_bits
        Widths of the bus; 32 to 512 bits of data, a power of two.
    outstanding
        Bursts of each direction that can be under way, a power of two.
    atom
        Bytes of an atom of the memory, a power of two.
    atom_bits
        Bits of an atom's address. The memory has at least 4 KB.
    pages
        4 KB that there are, the others are beyond the memory; all if 0.
    """

    data_bits: Annotated[int, Field(strict=True, ge=32, le=512)] = 32
    id_bits: Annotated[int, Field(strict=True, ge=1, le=16)] = 4
    address_bits: Annotated[int, Field(strict=True, ge=13, le=64)] = 32
    outstanding: Annotated[int, Field(strict=True, ge=2, le=32)] = 8
    atom: Annotated[int, Field(strict=True, ge=1, le=512)]
    atom_bits: Annotated[int, Field(strict=True, ge=3, le=48)]
    pages: Annotated[int, Field(strict=True, ge=0)] = 0

    @model_validator(mode="after")
    def _check(self) -> "AxiConfig":
        for name in ("data_bits", "outstanding", "atom"):
            power_of_two(self, name)
        if self.capacity_bits < PAGE_BITS:
            raise ValueError(
                f"atom_bits must be at least {PAGE_BITS - bits_for(self.atom - 1)}: the memory "
                f"has to hold {1 << PAGE_BITS} bytes, not {1 << self.capacity_bits}"
            )
        most = 1 << (self.capacity_bits - PAGE_BITS)
        if self.pages > most:
            raise ValueError(f"pages must be at most {most}, not {self.pages}")
        if self.address_bits < self.capacity_bits:
            raise ValueError(
                f"address_bits must be at least {self.capacity_bits} to reach all of the memory, "
                f"not {self.address_bits}"
            )
        return self

    @property
    def bytes(self) -> int:
        """Of a beat."""
        return self.data_bits // 8

    @property
    def word(self) -> int:
        """Bytes of what is moved at a time inside: an atom or a beat, whichever is longer."""
        return max(self.atom, self.bytes)

    @property
    def atoms(self) -> int:
        """Atoms of a word."""
        return self.word // self.atom

    @property
    def capacity_bits(self) -> int:
        """Bits of the address of a byte that is there."""
        return self.atom_bits + (self.atom - 1).bit_length()

    @property
    def count_bits(self) -> int:
        """Bits of the number of atoms of a burst."""
        return bits_for((1 << PAGE_BITS) // self.atom)

    @property
    def memory(self) -> MemoryPort:
        """Port to the memory."""
        return MemoryPort(
            atom=self.atom, atom_bits=self.atom_bits, count_bits=max(self.count_bits, 1)
        )

    @property
    def address(self) -> data.StructLayout:
        """What is used of an address channel."""
        return PackedStruct(
            {"id": self.id_bits, "addr": self.address_bits, "len": 8, "size": 3, "burst": 2}
        )

    @property
    def burst(self) -> data.StructLayout:
        """A burst that was checked.

        ``low``: first address within its 4 KB; ``wrap``: bits of the address that count, all
        but for WRAP; ``size``: bytes of a beat, one-hot; ``resp``: OKAY if it is carried out;
        ``two``: by two requests.
        """
        return PackedStruct(
            {
                "id": self.id_bits,
                "low": PAGE_BITS,
                "wrap": PAGE_BITS,
                "len": 8,
                "size": bits_for(self.bytes),
                "resp": 2,
                "two": 1,
            }
        )


class Axi4(wiring.Signature):
    """AXI4, seen from the manager.

    Parameters
    ----------
    config : AxiConfig
        Widths.
    """

    def __init__(self, config: AxiConfig) -> None:
        address = {
            "id": config.id_bits,
            "addr": config.address_bits,
            "len": 8,
            "size": 3,
            "burst": 2,
            "lock": 1,
            "cache": 4,
            "prot": 3,
            "qos": 4,
        }
        super().__init__(
            {
                **_channel("aw", Out, address),
                **_channel("w", Out, {"data": config.data_bits, "strb": config.bytes, "last": 1}),
                **_channel("b", In, {"id": config.id_bits, "resp": 2}),
                **_channel("ar", Out, address),
                **_channel(
                    "r", In, {"id": config.id_bits, "data": config.data_bits, "resp": 2, "last": 1}
                ),
            }
        )


class AxiLiteBus(wiring.Signature):
    """AXI4-Lite with 32 bits of data, seen from the manager.

    Parameters
    ----------
    address_bits : int
        Bits of a byte address.
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {
                **_channel("aw", Out, {"addr": address_bits, "prot": 3}),
                **_channel("w", Out, {"data": 32, "strb": 4}),
                **_channel("b", In, {"resp": 2}),
                **_channel("ar", Out, {"addr": address_bits, "prot": 3}),
                **_channel("r", In, {"data": 32, "resp": 2}),
            }
        )


def _channel(name: str, flow: wiring.Flow, payload: dict[str, int]) -> dict[str, wiring.Member]:
    members = {f"{name}{field}": flow(width) for field, width in payload.items()}
    return members | {f"{name}valid": flow(1), f"{name}ready": flow.flip()(1)}


def flat(prefix: str, signature: wiring.Signature) -> dict[str, wiring.Member]:
    """Members of a subordinate's bus as ports ``prefix_awaddr`` and so on."""
    return {f"{prefix}_{name}": member.flip() for name, member in signature.members.items()}


def pins(block: object, prefix: str, signature: wiring.Signature) -> SimpleNamespace:
    """The signals of such ports by their names without the prefix."""
    return SimpleNamespace(**{n: getattr(block, f"{prefix}_{n}") for n in signature.members})
