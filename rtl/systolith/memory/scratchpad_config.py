"""Sizes of a scratchpad, and every number that follows from them."""

from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, ArrayConfig, power_of_two
from systolith.array.packed import PackedStruct
from systolith.memory.ecc_code import EccCode, hsiao
from systolith.memory.scratchpad_modes import Edge, SplitMode, clash, split_modes

__all__ = ["HALVES", "ScratchpadConfig"]

HALVES = 2
"""Of every bank, each with an owner and a memory of its own."""

_Count = Annotated[int, Field(strict=True, ge=1)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScratchpadConfig:
    """A scratchpad at one edge of an array: one bank per lane group.

    Parameters
    ----------
    name
        Prefix of every emitted module and file.
    banks
        As many as there are lane groups.
    chain, segment
        Lane groups along which a step may march, and those of one band: their banks pass between
        DMA and array together.
    spacing
        Cycles by which a lane group lags behind the one before it: lanes of a group.
    modes
        Splits that can be chosen at run time.
    depth
        Words in a half of a bank; a power of two if a split gives a lane group several banks.
    bytes
        Of a word, a power of two.
    ports
        ``"1RW"``: a half is read or written in a cycle. ``"1R1W"``: a word may be repaired while
        the array reads another one of the same half.
    ecc
        Data bits of a code word, each with check bits of its own; 0: none, and instead a bit of
        poison beside every byte.
    partial
        Writes of a part of a code word: ``"rmw"`` reads first, ``"refuse"`` refuses.
    rotation
        Lane groups can read tiles by columns as well, see
        :func:`~systolith.memory.scratchpad_modes.bank_of_step`.
    latency
        Of the memories, 1, or 2 with an output register.
    interval_bits, counter_bits
        Bits of the interval of scrubbing, and of every counter.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "scratchpad"
    banks: _Count
    chain: _Count
    segment: _Count
    spacing: _Count = 1
    modes: tuple[SplitMode, ...]
    depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    bytes: Annotated[int, Field(strict=True, ge=1, le=128)] = 32
    ports: Literal["1RW", "1R1W"] = "1RW"
    ecc: Literal[0, 8, 16, 32, 64] = 64
    partial: Literal["rmw", "refuse"] = "rmw"
    rotation: bool = False
    latency: Annotated[int, Field(strict=True, ge=1, le=2)] = 2
    interval_bits: Annotated[int, Field(strict=True, ge=1, le=32)] = 16
    counter_bits: Annotated[int, Field(strict=True, ge=1, le=32)] = 16

    @classmethod
    def of(cls, array: ArrayConfig, edge: Edge, **sizes: Any) -> Self:
        """For an edge of ``array``, with all of its splits.

        Parameters
        ----------
        array
            Its geometry.
        edge
            ``"acts"`` or ``"weights"``.
        sizes
            The other parameters.

        Raises
        ------
        ValueError
            If a parameter is wrong.
        """
        if edge not in ("acts", "weights"):
            raise ValueError(f"edge must be acts or weights, not {edge!r}")
        acts = edge == "acts"
        lanes, chains = (array.rows, array.col_bands) if acts else (array.cols, array.row_bands)
        return cls(
            banks=chains * lanes // array.tile,
            chain=lanes // array.tile,
            segment=array.row_tiles if acts else array.col_tiles,
            spacing=array.tile,
            modes=split_modes(array, edge),
            **sizes,
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        power_of_two(self, "bytes")
        if self.ecc > 8 * self.bytes:
            raise ValueError(
                f"ecc must be at most the bits of a word, {8 * self.bytes}, not {self.ecc}"
            )
        for name, whole in (("chain", "banks"), ("segment", "chain")):
            if getattr(self, whole) % getattr(self, name):
                raise ValueError(
                    f"{name} must divide {whole} = {getattr(self, whole)}, "
                    f"not {getattr(self, name)}"
                )
        if not self.modes:
            raise ValueError("modes must have at least one split, not ()")
        for mode in self.modes:
            if problem := self._problem(mode):
                raise ValueError(f"modes: split {mode.name!r}: {problem}")
        return self

    def _problem(self, mode: SplitMode) -> str | None:
        """What is wrong with a split, or None."""
        fed: set[int] = set()
        for part in mode.arrays:
            first, count = part.first, len(part.banks)
            if first >= self.banks or first % self.segment:
                return f"first must be the first lane group of a segment, not {first}"
            if not 1 <= count <= self.chain - first % self.chain:
                return f"lane groups from {first} on must stay in their chain, not be {count}"
            if fed & set(part.lanes):
                return f"lane group {min(fed & set(part.lanes))} must be fed once, not twice"
            fed |= set(part.lanes)
            for lane, banks in zip(part.lanes, part.banks, strict=True):
                if len(banks) != part.pool or not banks or len(banks) & (len(banks) - 1):
                    return (
                        f"lane group {lane} must have as many banks as the others and a power of "
                        f"two, not {len(banks)}"
                    )
                if max(banks) >= self.banks:
                    return f"banks must be below {self.banks}, not {max(banks)}"
            if part.pool > 1 and self.depth & (self.depth - 1):
                return f"depth must be a power of two with {part.pool} banks, not {self.depth}"
            if self.rotation and (count & (count - 1) or first % count):
                return (
                    f"lane groups must be a power of two and aligned for rotation, not {count} "
                    f"from {first} on"
                )
        return clash(mode, spacing=self.spacing, rotation=self.rotation)

    # Words ----------------------------------------------------------------------------------

    @property
    def lane_bytes(self) -> int:
        """Bytes that are written together: of a code word, or one."""
        return max(1, self.ecc // 8)

    @property
    def lanes(self) -> int:
        """Code words of a word, each with its write enable."""
        return self.bytes // self.lane_bytes

    @cached_property
    def code(self) -> EccCode | None:
        """Of each code word. Inverted: a dead memory is never taken for data."""
        return hsiao(self.ecc, inverted=True) if self.ecc else None

    @cached_property
    def mark(self) -> int:
        """Syndrome of poisoned code words: odd, and that of no single error."""
        if self.code is None:
            return 0
        odd = (s for s in range(1 << self.code.check_bits) if s.bit_count() & 1)
        return next(s for s in odd if s not in self.code.columns)

    @property
    def lane_bits(self) -> int:
        """Stored bits of a code word."""
        return self.code.bits if self.code else 9

    @property
    def stored_bits(self) -> int:
        """Stored bits of a word."""
        return self.lanes * self.lane_bits

    # Addresses ------------------------------------------------------------------------------

    @property
    def groups(self) -> int:
        """Sets of banks that have one owner, a bit for each in a token."""
        return self.banks // self.segment

    @property
    def offset_bits(self) -> int:
        """Bits of a word's place in its half."""
        return bits_for(self.depth - 1)

    @property
    def bank_bits(self) -> int:
        """Bits of a bank's number."""
        return bits_for(self.banks - 1)

    @property
    def address_bits(self) -> int:
        """Bits of an address: bank, half, place, lowest last."""
        return self.bank_bits + 1 + self.offset_bits

    def address(self, bank: int, half: int, offset: int) -> int:
        """Address of a word on the DMA's port."""
        return (bank * HALVES + half) << self.offset_bits | offset

    @property
    def place(self) -> data.StructLayout:
        """Parts of an address, which is the same bits."""
        return PackedStruct({"offset": self.offset_bits, "half": 1, "bank": self.bank_bits})

    @property
    def most_pool(self) -> int:
        """Most banks of a lane group."""
        return max(part.pool for mode in self.modes for part in mode.arrays)

    @property
    def step_bits(self) -> int:
        """Bits of an address within the banks of a lane group."""
        return self.offset_bits + ceil_log2(self.most_pool)

    @property
    def count_bits(self) -> int:
        """Bits of a number of steps."""
        return bits_for(self.depth * self.most_pool)

    @property
    def turn_bits(self) -> int:
        """Bits of a lane group's number in its sub-array."""
        most = max(len(part.banks) for mode in self.modes for part in mode.arrays)
        return max(1, ceil_log2(most))

    @property
    def mode_bits(self) -> int:
        """Bits of a split's number."""
        return bits_for(len(self.modes) - 1)

    @property
    def command(self) -> data.StructLayout:
        """Command to a head: ``count`` steps from ``base`` on, in one half of its banks.

        With ``rotate``, in rotated tiles by rows, or by columns if ``turned``.
        """
        return PackedStruct(
            {
                "base": self.step_bits,
                "half": 1,
                "count": self.count_bits,
                **({"rotate": 1, "turned": 1} if self.rotation else {}),
            }
        )

    @property
    def token(self) -> data.StructLayout:
        """Halves that change hands: one of each of these groups."""
        return PackedStruct({"groups": self.groups, "half": 1})

    # Time -----------------------------------------------------------------------------------

    @property
    def init_cycles(self) -> int:
        """Cycles after reset in which every word is written and nothing is accepted."""
        return self.depth

    @property
    def response_cycles(self) -> int:
        """From the acceptance of a request to its response."""
        return self.latency + 3

    @property
    def rmw_cycles(self) -> int:
        """Clocks of the port that a write takes that has to read first; any other takes one."""
        return self.latency + 3

    @property
    def read_cycles(self) -> int:
        """From a command's acceptance to its first word at the head; further ones one apart."""
        return self.latency + 3

    @property
    def ident(self) -> str:
        """As part of the name of a module that depends on words and memories only."""
        kind = f"e{self.ecc}" if self.ecc else "plain"
        return f"{self.depth}x{self.bytes}_{kind}_{self.ports.lower()}_l{self.latency}"

    @cached_property
    def digest(self) -> str:
        """As part of any other module's name: no two configurations share it."""
        text = repr(replace(self, name="scratchpad")).encode()
        return f"{self.banks}x{self.depth}x{self.bytes}_{sha256(text).hexdigest()[:8]}"
