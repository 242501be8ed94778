"""What goes in and out of a player of memory runs."""

from amaranth.lib import data

from systolith.array.packed import PackedStruct
from systolith.devices.dram_beats import flip_layout
from systolith.devices.parity_link import Unknown
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import write_layout
from systolith.memory.hbm.error_log import ERROR_BITS
from systolith.memory.hbm.management import ACTIVATION_BITS
from systolith.memory.hbm.scrubber import INTERVAL_BITS

__all__ = [
    "control_layout",
    "event_layout",
    "flip_of",
    "play_run_layout",
    "status_layout",
    "users",
    "written_layout",
]


def control_layout(config: ControllerConfig) -> data.StructLayout:
    """Registers, and faults that strike once."""
    return PackedStruct(
        {
            "map": range(max(2, len(config.maps))),
            "mode": 2,
            "debt_bound": 4,
            "hotter": 2,
            "sleep": 1,
            "masked": config.streams,  # those that leave out bytes of writes at random
            "random_slots": 1,
            "no_slots": 1,
            "threshold": ACTIVATION_BITS,
            "most": ACTIVATION_BITS,
            "raw": 1,  # no correction
            "fill": 1,
            "repair": 1,
            "interval": INTERVAL_BITS,  # of the patrol
            "lose": 1,
            "extra": 1,
            "strike": 1,  # bad parity, see ParityLink
            "kind": Unknown,
            "column_bus": 1,
            "delay": 8,
        }
    )


def play_run_layout(config: ControllerConfig) -> data.StructLayout:
    """A run, and the stream it is for."""
    return PackedStruct({"stream": config.stream_bits, "run": config.run})


def users(config: ControllerConfig) -> int:
    """Streams that runs are for; with ECC the last one is the scrubber's."""
    return config.streams - (config.codec is not None)


def flip_of(config: ControllerConfig) -> data.StructLayout:
    """Bits to flip, of data and behind them check bits."""
    return flip_layout(8 * config.organisation.atom + config.check_bits)


def event_layout() -> data.StructLayout:
    """What went wrong in a clock, see :class:`~systolith.memory.hbm.controller.Controller`."""
    return PackedStruct({"lost": 1, "extra": 1, "refused": 1, "overdue": 1, "recovered": 1})


def written_layout(config: ControllerConfig) -> data.StructLayout:
    """An atom that is written."""
    return PackedStruct({"stream": config.stream_bits, "write": write_layout(config)})


def status_layout(config: ControllerConfig) -> data.StructLayout:
    """Counts of the memory, told whenever one of them changes."""
    return PackedStruct(
        {
            "violations": 32,
            "late": 32,
            "decayed": 32,
            "extra": 1,
            "broken": 32,
            "worst": ACTIVATION_BITS + 1,
            "refused": 1,
            "filled": 1,
            "corrected": ERROR_BITS,
            "uncorrectable": ERROR_BITS,
            "poisoned": ERROR_BITS,
            "first": config.atom_bits,
            "asleep": 1,
            "ready": 1,
            "recovered": 16,
            "failed": 1,
        }
    )
