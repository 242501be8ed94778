"""Blocks of eight atoms with their check bits in a ninth: sizes, addresses, and the code."""

from dataclasses import dataclass
from typing import Annotated, Literal

from amaranth.lib import wiring
from amaranth.utils import bits_for
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as config_dataclass

from systolith.array.geometry import STRICT
from systolith.memory.ecc_code import AtomEcc
from systolith.memory.ports import MemoryPort

__all__ = ["BLOCK", "STRIDE", "BlockEcc", "InlineConfig", "by_members"]

BLOCK = 8
"""Atoms of data in a block."""

STRIDE = BLOCK + 1
"""Atoms of a block: the one with the check bits comes first, so that reads need no buffer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockEcc(AtomEcc):
    """Check bits of an atom of ``atom`` bytes: a word of (72,64) for every eight of them.

    An eighth of the atom, so that those of eight atoms fill one. A poisoned atom has all its
    words marked, see :class:`~systolith.memory.ecc_code.AtomEcc`.
    """

    atom: int = 16

    @property
    def data_bits(self) -> int:
        """Of an atom."""
        return 8 * self.atom

    @property
    def words(self) -> int:
        """Code words of an atom."""
        return self.atom // 8


@config_dataclass(frozen=True, kw_only=True, config=STRICT)
class InlineConfig:
    """ECC within a memory that has no room beside its data.

    Parameters
    ----------
    atom
        Bytes of an atom.
    atoms
        Of the memory; 8 of 9 remain.
    count_bits
        Bits of the number of atoms of a request.
    """

    atom: Literal[8, 16, 32]
    atoms: Annotated[int, Field(strict=True, ge=2 * STRIDE)]
    count_bits: Annotated[int, Field(strict=True, ge=4, le=30)] = 11

    @model_validator(mode="after")
    def _check(self) -> "InlineConfig":
        most = 1 << 32
        if self.atoms > most:
            raise ValueError(f"atoms must be at most {most}, not {self.atoms}")
        return self

    @property
    def tag(self) -> str:
        """Part of the names of modules."""
        return f"{self.atom}x{self.atoms}_c{self.count_bits}"

    @property
    def ecc(self) -> BlockEcc:
        """Of every atom."""
        return BlockEcc(atom=self.atom)

    @property
    def blocks(self) -> int:
        """That fit the memory; the atoms behind the last one are not used."""
        return self.atoms // STRIDE

    @property
    def capacity(self) -> int:
        """Atoms that users have."""
        return BLOCK * self.blocks

    @property
    def block_bits(self) -> int:
        """Bits of a block's number."""
        return bits_for(self.blocks - 1)

    @property
    def user(self) -> MemoryPort:
        """Port of who asks."""
        # Without ECC all atoms of the memory have an address.
        return MemoryPort(
            atom=self.atom, atom_bits=bits_for(self.atoms - 1), count_bits=self.count_bits
        )

    @property
    def memory(self) -> MemoryPort:
        """Port of the memory: requests are longer by an eighth."""
        return MemoryPort(
            atom=self.atom, atom_bits=bits_for(self.atoms - 1), count_bits=self.count_bits + 1
        )


def by_members(port: MemoryPort) -> wiring.Signature:
    """The same port as an unnamed signature: those are equal if their members are."""
    return wiring.Signature(port.members)
