"""Named memory controllers."""

from dataclasses import dataclass
from typing import Any

from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS, Part, sdr_parts
from systolith.memory.system.config import MemorySystemConfig

__all__ = ["MEMORY_PRESETS", "MemoryPreset", "memory_hbm3", "memory_ulx3s"]


@dataclass(frozen=True, kw_only=True)
class MemoryPreset:
    """A configuration with its purpose, in one line."""

    config: MemorySystemConfig
    purpose: str


def _controller(part: Part, **sizes: Any) -> ControllerConfig:
    return ControllerConfig(
        name="memory", organisation=part.organisation, timing=part.timing, **sizes
    )


memory_hbm3 = MemorySystemConfig(
    name="memory_hbm3",
    controller=_controller(
        PARTS["hbm3-6400"],
        slots=4,
        streams=8,
        runs=8,
        visits=8,
        ecc="word-266-poison",
        alert=3,
    ),
    data_bits=256,
    native=4,
    depth=512,
)

memory_ulx3s = MemorySystemConfig(
    name="memory_ulx3s",
    controller=_controller(sdr_parts(100)["sdr-mt48lc16m16"], streams=3, runs=2, visits=2),
)

MEMORY_PRESETS: dict[str, MemoryPreset] = {
    "memory-hbm3": MemoryPreset(
        config=memory_hbm3, purpose="HBM3 pseudo-channel, 4 slots, ECC: AXI4 and four engine ports"
    ),
    "memory-ulx3s": MemoryPreset(
        config=memory_ulx3s, purpose="SDR SDRAM of the ULX3S, 32 MB x16 at 100 MHz: AXI4"
    ),
}
