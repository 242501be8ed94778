"""Registers of a memory controller."""

from systolith.memory.axi.registers import Field, Register
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.counters import COUNTER_BITS, COUNTERS
from systolith.memory.hbm.management import ACTIVATION_BITS
from systolith.memory.hbm.refresh import Refresh, RefreshMode
from systolith.memory.hbm.returns import MOST_LATENCY

__all__ = ["EVENTS", "memory_registers"]

EVENTS = ("corrected", "uncorrectable", "poisoned", "lost", "extra", "refused", "overdue")
EVENTS += ("recovered", "given_up")
"""What interrupts can tell of, from bit 0 on."""

_EVENT_DOCS = {
    "corrected": "an atom was corrected",
    "uncorrectable": "an atom is beyond correction",
    "poisoned": "an atom that was stored as bad data was read",
    "lost": "read data did not come when it was due",
    "extra": "read data came that nothing waited for",
    "refused": "a write could not be done as asked",
    "overdue": "a refresh is later than its bound",
    "recovered": "commands with bad parity were made good",
    "given_up": "they could not be: every read is lost until reset",
}
_ERROR_LOG, _COUNTERS = 0x40, 0x80


def memory_registers(config: ControllerConfig) -> tuple[Register, ...]:
    """Every register of a controller, at the same place in all of them.

    Those of errors are there with ECC only; what a controller has not is left out, so that reading
    it is SLVERR.
    """
    sdr = config.timing.generation == "sdr"
    age = Refresh.age_width(config)
    control = [
        Field(name="map", bits=2, doc="number of the address map; only while nothing is under way"),
        Field(
            name="mode",
            bits=2,
            reset=int(RefreshMode.ALL_BANK if sdr else RefreshMode.PER_BANK),
            doc="refresh: 0 off, 1 of single banks, 2 of all",
        ),
        Field(name="debt_bound", bits=4, reset=config.debt, doc="intervals a refresh may be late"),
        Field(name="hotter", bits=2, doc="refreshes are this power of two as frequent"),
        Field(name="sleep", bits=1, doc="self-refresh"),
        Field(name="correct", bits=1, reset=1, doc="errors are corrected, not only counted"),
    ]
    events = tuple(Field(name=n, bits=1, doc=_EVENT_DOCS[n]) for n in EVENTS)
    table = [
        Register(
            name="status",
            offset=0x00,
            access="ro",
            fields=(
                Field(name="ready", bits=1, doc="the memory is up"),
                Field(name="asleep", bits=1, doc="in self-refresh"),
            ),
        ),
        Register(name="control", offset=0x04, access="rw", fields=tuple(control)),
        Register(
            name="latency",
            offset=0x08,
            access="rw",
            fields=(
                Field(
                    name="clocks",
                    bits=MOST_LATENCY.bit_length(),
                    doc="from a read command at the boundary to its data",
                ),
            ),
        ),
        Register(
            name="clear",
            offset=0x0C,
            access="pulse",
            fields=(
                Field(name="counters", bits=1, doc="counters start again from zero"),
                Field(name="errors", bits=1, doc="so does the log of errors"),
            ),
        ),
        Register(
            name="debt_max",
            offset=0x10,
            access="ro",
            fields=(Field(name="clocks", bits=age, doc="most that a refresh was late"),),
        ),
        Register(
            name="balance",
            offset=0x14,
            access="ro",
            fields=(Field(name="clocks", bits=age + 1, doc="of refreshes, two's complement"),),
        ),
        Register(
            name="interrupt_status",
            offset=0x18,
            access="w1c",
            enable="interrupt_enable",
            fields=events,
        ),
        Register(name="interrupt_enable", offset=0x1C, access="rw", fields=events),
    ]
    if config.managed:
        table.append(
            Register(
                name="management",
                offset=0x20,
                access="rw",
                doc="Refresh management.",
                fields=(
                    Field(name="threshold", bits=ACTIVATION_BITS, doc="activations for one"),
                    Field(name="most", bits=ACTIVATION_BITS, doc="activations that are allowed"),
                ),
            )
        )
    if config.codec:
        table += _error_log(config)
    table += [
        Register(
            name=name,
            offset=_COUNTERS + 4 * n,
            access="ro",
            fields=(Field(name="count", bits=COUNTER_BITS),),
        )
        for n, name in enumerate(COUNTERS)
    ]
    return tuple(table)


def _error_log(config: ControllerConfig) -> list[Register]:
    counted = EVENTS[: EVENTS.index("overdue")]
    registers = [
        Register(
            name=f"errors_{name}",
            offset=_ERROR_LOG + 4 * n,
            access="ro",
            fields=(Field(name="count", bits=32),),
        )
        for n, name in enumerate(counted)
    ]
    where = (
        ("first_uncorrectable", "first atom beyond correction"),
        ("last_corrected", "last atom that was corrected"),
    )
    for n, (name, doc) in enumerate(where, start=len(counted)):
        registers.append(
            Register(
                name=name,
                offset=_ERROR_LOG + 4 * n,
                access="ro",
                fields=(
                    Field(name="atom", bits=config.atom_bits, doc=f"address of the {doc}"),
                    Field(name="valid", bits=1, doc="there was one"),
                ),
            )
        )
    return registers
