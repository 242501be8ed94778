"""Which channel an atom of an interleaved memory lies in, and where there."""

from functools import cached_property
from typing import Annotated, Literal

from amaranth.hdl import Cat, Value
from amaranth.lib import wiring
from amaranth.utils import ceil_log2
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.memory.ports import MemoryPort

__all__ = ["InterleaveConfig"]

_POLYNOMIALS = {1: 0b11, 2: 0b111, 3: 0b1011, 4: 0b10011, 5: 0b100101}
"""Irreducible, one of each degree."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InterleaveConfig:
    """Sizes of an interleaved memory, and its map.

    Granule ``q`` of the memory lies in channel ``q mod channels``; as many as there are channels
    are a *round*, and the granule's place in its channel is the number of its round. With
    ``hashed``, the channel is ``q`` modulo an irreducible polynomial instead, bits taken as
    coefficients. Either way

    - a round has one granule in every channel, so the map is bijective, and the first rounds of
      the memory are the first granules of every channel: a memory of whole rounds needs no power
      of two;
    - consecutive atoms are consecutive in each of their channels, however they begin and end: of
      a round between the first and the last each channel has all its granule, of the first one a
      rest or nothing, of the last one a beginning or nothing.

    Hashed, also an aligned group of ``channels`` granules with a stride of any power of two meets
    every channel once. Some other strides still meet few: the polynomial itself and what is
    divisible by it without carries, for example 7 granules with 4 channels.

    Parameters
    ----------
    channels
        Channels, a power of two.
    granule
        Consecutive atoms of one channel, a power of two; with one for every bank group, short
        requests keep all of them busy. More than a page of the memory is of no use.
    hashed
        Whether powers of two as strides are spread.
    atom
        Bytes of an atom, a power of two.
    atom_bits
        Bits of an atom's address in a channel.
    count_bits
        Bits of the number of atoms of a request of the user.
    channel_count_bits
        Bits of the number of atoms of a request to a channel.
    outstanding
        Reads under way, and as many writes, a power of two. Short reads come at full speed while
        there are as many as the latency of the slowest channel has clocks.
    ahead
        Requests that wait for each channel, a power of two.
    """

    channels: Literal[2, 4, 8, 16, 32]
    granule: Annotated[int, Field(strict=True, ge=1, le=1 << 16)] = 4
    hashed: Annotated[bool, Field(strict=True)] = True
    atom: Literal[1, 2, 4, 8, 16, 32, 64, 128] = 32
    atom_bits: Annotated[int, Field(strict=True, ge=2, le=48)]
    count_bits: Annotated[int, Field(strict=True, ge=1, le=32)]
    channel_count_bits: Annotated[int, Field(strict=True, ge=1, le=32)]
    outstanding: Literal[2, 4, 8, 16, 32, 64] = 64
    ahead: Literal[2, 4, 8, 16, 32, 64] = 16

    @model_validator(mode="after")
    def _check(self) -> "InterleaveConfig":
        power_of_two(self, "granule")
        if self.granule_bits >= self.atom_bits:
            raise ValueError(
                f"granule must be less than a channel of {1 << self.atom_bits} atoms, "
                f"not {self.granule}"
            )
        # A hashed window of so many rounds may meet a channel in one round more.
        least = self.granule_bits + (2 if self.hashed else 1)
        if self.channel_count_bits < least:
            raise ValueError(
                f"channel_count_bits must be at least {least} with granules of {self.granule} "
                f"atoms, not {self.channel_count_bits}"
            )
        return self

    @property
    def granule_bits(self) -> int:
        """Bits of an atom's place in its granule."""
        return ceil_log2(self.granule)

    @property
    def channel_bits(self) -> int:
        """Bits of a channel's number."""
        return ceil_log2(self.channels)

    @property
    def round_bits(self) -> int:
        """Bits of a round's number."""
        return self.atom_bits - self.granule_bits

    @property
    def address_bits(self) -> int:
        """Bits of an atom's address at the user."""
        return self.atom_bits + self.channel_bits

    @property
    def longest(self) -> int:
        """Most atoms of one request to every channel, a power of two."""
        return self.channels << (self.channel_count_bits - 1)

    @property
    def cuts(self) -> bool:
        """Whether there are requests that are longer."""
        return (1 << self.count_bits) > self.longest + 1

    @property
    def near_bits(self) -> int:
        """Low bits of an address that tell apart all granules of one piece, and its atoms."""
        piece = min(ceil_log2(self.longest), self.count_bits)
        # One bit more: a piece that begins within a granule touches one more of them.
        return min(self.address_bits, max(piece + 1, self.granule_bits + self.channel_bits))

    @property
    def user(self) -> wiring.Signature:
        """Port of the user."""
        return _by_members(
            MemoryPort(atom=self.atom, atom_bits=self.address_bits, count_bits=self.count_bits)
        )

    @property
    def channel(self) -> wiring.Signature:
        """Port of each channel."""
        return _by_members(
            MemoryPort(atom=self.atom, atom_bits=self.atom_bits, count_bits=self.channel_count_bits)
        )

    @property
    def key(self) -> str:
        """For names of modules: what tells two of these apart."""
        kind = "h" if self.hashed else "p"
        return (
            f"{self.channels}{kind}{self.granule}_a{self.atom}x{self.atom_bits}"
            f"_c{self.count_bits}_{self.channel_count_bits}_o{self.outstanding}_{self.ahead}"
        )

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """For every bit of a granule's number, what it adds to the channel."""
        top, polynomial = self.channels, _POLYNOMIALS[self.channel_bits]
        columns, power = [], 1
        for bit in range(self.round_bits + self.channel_bits):
            columns.append(power if self.hashed or bit < self.channel_bits else 0)
            power <<= 1
            power ^= polynomial if power & top else 0
        return tuple(columns)

    def hash(self, round: Value) -> Value:
        """Channel of the first granule of a round; that of granule ``n`` is this XOR ``n``."""
        columns = self.columns[self.channel_bits :]
        return Cat(
            Cat(round[s] for s, c in enumerate(columns) if c >> bit & 1).xor()
            for bit in range(self.channel_bits)
        )

    def channel_of(self, granule: Value) -> Value:
        """Channel of a granule, of whose number only low bits may be given unless hashed."""
        low = granule[: self.channel_bits]
        return low ^ self.hash(granule[self.channel_bits :]) if self.hashed else low

    def place(self, atom: int) -> tuple[int, int]:
        """Channel of an atom, and its address there."""
        granule, offset = divmod(atom, self.granule)
        channel = 0
        for bit, column in enumerate(self.columns):
            channel ^= column if granule >> bit & 1 else 0
        return channel, granule // self.channels * self.granule + offset


def _by_members(port: MemoryPort) -> wiring.Signature:
    # Named signatures are equal only to themselves, and blocks of one configuration are alike.
    return wiring.Signature(port.members)
