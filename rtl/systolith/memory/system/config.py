"""Sizes of a memory controller as a product."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, power_of_two
from systolith.memory.axi.signature import PAGE_BITS, AxiConfig
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.ports import MemoryPort
from systolith.memory.sdr.block_code import InlineConfig

__all__ = ["MemorySystemConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MemorySystemConfig:
    """A memory controller with an AXI4 port, registers, and ports for engines.

    Parameters
    ----------
    name
        Prefix of every emitted module and file.
    controller
        The controller. Its streams are, in this order: reads and writes of AXI (one stream with
        ``inline_ecc``), the native ports, the calibrator, and with ECC the scrubber; it may have
        more, which are idle.
    data_bits, id_bits, address_bits, outstanding
        Of AXI4, see :class:`~systolith.memory.axi.signature.AxiConfig`.
    depth
        Atoms that each port can keep of reads, and of writes.
    native
        Ports beside AXI, for engines: :class:`~systolith.memory.ports.MemoryPort`.
    inline_ecc
        SDR: every ninth atom holds check bits of eight. AXI is then the only user.
    fill_atoms
        Atoms that are filled at the start if there is ECC; all if 0.
    power_up_us
        SDR: microseconds before the first command.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = "memory"
    controller: ControllerConfig
    data_bits: Annotated[int, Field(strict=True, ge=32, le=512)] = 32
    id_bits: Annotated[int, Field(strict=True, ge=1, le=16)] = 4
    address_bits: Annotated[int, Field(strict=True, ge=13, le=64)] = 32
    outstanding: Annotated[int, Field(strict=True, ge=2, le=32)] = 8
    depth: Annotated[int, Field(strict=True, ge=64, le=4096)] = 64
    native: Annotated[int, Field(strict=True, ge=0, le=16)] = 0
    inline_ecc: bool = False
    fill_atoms: Annotated[int, Field(strict=True, ge=0)] = 0
    power_up_us: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 200

    @model_validator(mode="after")
    def _check(self) -> "MemorySystemConfig":
        power_of_two(self, "depth")
        if self.inline_ecc and not self.sdr:
            raise ValueError("inline_ecc must be false for HBM, which has room for check bits")
        if self.inline_ecc and self.native:
            raise ValueError(f"native must be 0 with inline_ecc, not {self.native}")
        if self.controller.streams < self.users:
            raise ValueError(
                f"controller.streams must be at least {self.users} for these ports, "
                f"not {self.controller.streams}"
            )
        if self.fill_atoms > 1 << self.controller.atom_bits:
            raise ValueError(
                f"fill_atoms must be at most {1 << self.controller.atom_bits}, "
                f"not {self.fill_atoms}"
            )
        _ = self.axi  # refuses what it cannot have
        return self

    @property
    def sdr(self) -> bool:
        """Whether the memory has the pins of an SDR SDRAM."""
        return self.controller.timing.generation == "sdr"

    @property
    def ecc(self) -> bool:
        """Whether the controller has check bits beside its data."""
        return self.controller.codec is not None

    @property
    def axi_streams(self) -> int:
        """Streams of AXI."""
        return 1 if self.inline_ecc else 2

    @property
    def calibrator(self) -> int:
        """Stream of the calibrator."""
        return self.axi_streams + self.native

    @property
    def scrubber(self) -> int:
        """Stream of the scrubber."""
        return self.calibrator + 1

    @property
    def users(self) -> int:
        """Streams that are used."""
        return self.calibrator + 1 + self.ecc

    @property
    def inline(self) -> InlineConfig:
        """Of the ECC within the memory."""
        return InlineConfig(
            atom=self.controller.organisation.atom,
            atoms=1 << self.controller.atom_bits,
            count_bits=self.axi_bits,
        )

    @property
    def axi_bits(self) -> int:
        """Bits of the number of atoms of an AXI burst."""
        return ((1 << PAGE_BITS) // self.controller.organisation.atom).bit_length()

    @property
    def bytes(self) -> int:
        """Of the memory, as AXI sees it: whole pages of 4 KB."""
        shape = self.controller.organisation
        total = self.inline.capacity * shape.atom if self.inline_ecc else shape.bytes
        return total >> PAGE_BITS << PAGE_BITS

    @property
    def axi(self) -> AxiConfig:
        """Of the AXI4 port."""
        return AxiConfig(
            data_bits=self.data_bits,
            id_bits=self.id_bits,
            address_bits=self.address_bits,
            outstanding=self.outstanding,
            atom=self.controller.organisation.atom,
            atom_bits=self.controller.atom_bits,
            pages=self.bytes >> PAGE_BITS,
        )

    @property
    def port(self) -> MemoryPort:
        """A native port."""
        config = self.controller
        return MemoryPort(
            atom=config.organisation.atom, atom_bits=config.atom_bits, count_bits=config.run_bits
        )
