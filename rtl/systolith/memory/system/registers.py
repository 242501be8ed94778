"""Registers of a memory controller as a product."""

from systolith.memory.axi.memory_registers import memory_registers
from systolith.memory.axi.registers import Access, Field, Register
from systolith.memory.system.config import MemorySystemConfig

__all__ = ["system_registers"]

_START, _SCRUB, _INLINE = 0x100, 0x120, 0x140


def system_registers(config: MemorySystemConfig) -> tuple[Register, ...]:
    """Those of the controller, and of what is around it; the latency is found by calibration."""
    atom_bits = config.controller.atom_bits
    table = [
        register
        if register.name != "latency"
        else _one("latency", register.offset, "ro", *register.fields)
        for register in memory_registers(config.controller)
    ]
    table.append(
        _one(
            "start",
            _START,
            "ro",
            Field(name="up", bits=1, doc="requests are carried out"),
            Field(name="calibrated", bits=1, doc="the latency of read data is known"),
            Field(name="failed", bits=1, doc="no read came back right: nothing is carried out"),
            Field(name="filling", bits=1, doc="the memory is being filled"),
            Field(name="setting", bits=4, doc="of the adapter, found by calibration"),
        )
    )
    if config.ecc:
        table += [
            _one(
                "scrub",
                _SCRUB,
                "rw",
                Field(name="repair", bits=1, reset=1, doc="corrected reads are written back"),
            ),
            _one(
                "scrub_interval",
                _SCRUB + 4,
                "rw",
                Field(name="clocks", bits=32, doc="between two atoms of the patrol; 0: none"),
            ),
            _one("scrub_at", _SCRUB + 8, "ro", Field(name="atom", bits=atom_bits, doc="is next")),
            _one(
                "fill",
                _SCRUB + 12,
                "pulse",
                Field(name="all", bits=1, doc="write zeros to all of the memory that is used"),
            ),
        ]
    if config.inline_ecc:
        first_bits = config.inline.block_bits + 3
        table += [
            _one(
                "inline",
                _INLINE,
                "rw",
                Field(name="bypass", bits=1, doc="no ECC; contents are not converted"),
                Field(name="scrub", bits=1, reset=1, doc="corrected blocks are written back"),
            ),
            *(
                _one(f"inline_{name}", _INLINE + 4 * n, "ro", Field(name="count", bits=32))
                for n, name in enumerate(("corrected", "uncorrectable", "scrubs"), start=1)
            ),
            _one(
                "inline_first",
                _INLINE + 16,
                "ro",
                Field(name="atom", bits=first_bits, doc="first one beyond correction"),
                Field(name="valid", bits=1, doc="there was one"),
            ),
        ]
    return tuple(table)


def _one(name: str, offset: int, access: Access, *fields: Field) -> Register:
    return Register(name=name, offset=offset, access=access, fields=fields)
