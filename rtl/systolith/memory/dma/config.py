"""Sizes of a DMA engine, and every number that follows from them."""

from typing import Annotated

from amaranth.utils import bits_for, ceil_log2
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.memory.dma.codes import DmaCode

__all__ = ["RECORD_BYTES", "DmaConfig"]

RECORD_BYTES = 64
"""Of a descriptor: 16 words of 32 bits."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DmaConfig:
    """A DMA engine.

    Parameters
    ----------
    name
        Prefix of every emitted module and file.
    atom
        Bytes of an atom and of a word of the scratchpad, a power of two.
    atom_bits, local_bits
        Bits of the address of an atom, and of a word.
    count_bits
        Bits of each of the three counts.
    token_bits
        Bits of the number of a token.
    page_bits
        Log2 of the most atoms of a page.
    regions
        In the table of regions.
    longest
        Most atoms of a request, a power of two.
    room
        Atoms of read data that there is room for, a power of two. With twice ``longest`` reads
        never pause if the memory answers within ``room - longest`` clocks.
    reads, writes
        Requests to the memory that can be under way in each direction, powers of two.
    write_room
        Atoms on their way from the scratchpad to the memory, a power of two, more than the
        scratchpad's latency.
    answers
        Requests to the scratchpad that can be under way, a power of two.
    descriptors
        That can be under way, until they are taken as retired; a power of two.
    table_room
        Atoms of page tables that there is room for, a power of two.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "dma"
    atom: Annotated[int, Field(strict=True, ge=4, le=64)] = 32
    atom_bits: Annotated[int, Field(strict=True, ge=3, le=31)] = 25
    local_bits: Annotated[int, Field(strict=True, ge=3, le=31)] = 16
    count_bits: Annotated[int, Field(strict=True, ge=2, le=20)] = 16
    token_bits: Annotated[int, Field(strict=True, ge=2, le=24)] = 20
    page_bits: Annotated[int, Field(strict=True, ge=1, le=15)] = 12
    regions: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    longest: Annotated[int, Field(strict=True, ge=2, le=4096)] = 512
    room: Annotated[int, Field(strict=True, ge=4, le=65536)] = 1024
    reads: Annotated[int, Field(strict=True, ge=2, le=64)] = 16
    writes: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    write_room: Annotated[int, Field(strict=True, ge=2, le=64)] = 16
    answers: Annotated[int, Field(strict=True, ge=2, le=64)] = 16
    descriptors: Annotated[int, Field(strict=True, ge=2, le=64)] = 8
    table_room: Annotated[int, Field(strict=True, ge=2, le=64)] = 8

    @model_validator(mode="after")
    def _check(self) -> "DmaConfig":
        power_of_two(self, "atom", "longest", "room", "reads", "writes", "write_room", "answers")
        power_of_two(self, "descriptors", "table_room")
        if self.longest > self.room:
            raise ValueError(f"longest must be at most room ({self.room}), not {self.longest}")
        if self.table_room > self.longest:
            raise ValueError(
                f"table_room must be at most longest ({self.longest}), not {self.table_room}"
            )
        if self.longest > 1 << self.atom_bits:
            raise ValueError(
                f"longest must be at most {1 << self.atom_bits} with atom_bits {self.atom_bits}, "
                f"not {self.longest}"
            )
        if self.record_atoms > self.longest:
            raise ValueError(
                f"longest must be at least the {self.record_atoms} atoms of a descriptor, "
                f"not {self.longest}"
            )
        return self

    @property
    def data_bits(self) -> int:
        """Bits of an atom."""
        return 8 * self.atom

    @property
    def run_bits(self) -> int:
        """Bits of the number of atoms of a request."""
        return bits_for(self.longest)

    @property
    def record_atoms(self) -> int:
        """Atoms of a descriptor in large memory."""
        return max(1, RECORD_BYTES // self.atom)

    @property
    def entries_log2(self) -> int:
        """Log2 of the page numbers in an atom; they have 32 bits each."""
        return ceil_log2(self.atom // 4)

    @property
    def space_bits(self) -> int:
        """Bits of an address of either space."""
        return max(self.atom_bits, self.local_bits)

    @property
    def total_bits(self) -> int:
        """Bits of the number of atoms of a descriptor."""
        return 3 * self.count_bits

    @property
    def mark_bits(self) -> int:
        """Bits of a count of writes, of which half are enough to compare two of them."""
        return bits_for(2 * max(self.writes, self.descriptors)) + 2

    @property
    def index_bits(self) -> int:
        """Bits of the number of a region."""
        return bits_for(self.regions - 1)

    @property
    def code_bits(self) -> int:
        """Bits of a code."""
        return bits_for(max(DmaCode))
