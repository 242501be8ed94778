"""A memory by its name, or from the file of a configuration with organisation and timing."""

from pathlib import Path

from systolith.config.errors import ConfigError
from systolith.config.files import load_any
from systolith.memory.hbm.parts import PARTS, Part
from systolith.memory.system.config import MemorySystemConfig

__all__ = ["load_part"]


def load_part(name: str) -> Part:
    """Part ``name``, or the memory of the TOML file at that path.

    The file is a configuration as ``systolith generate --config memory-hbm3`` writes it; of its
    controller only organisation and timing matter here. Times may be given in nanoseconds.

    Raises
    ------
    ConfigError
        If there is neither, or the file is not that of a memory, or not valid.
    """
    if name in PARTS:
        return PARTS[name]
    if not Path(name).is_file():
        raise ConfigError(f"--preset must be one of {', '.join(PARTS)}, or a file, not {name!r}")
    config = load_any(name)
    if not isinstance(config, MemorySystemConfig):
        raise ConfigError(f"--preset {name}: it has no memory controller")
    controller = config.controller
    return Part(name=config.name, organisation=controller.organisation, timing=controller.timing)
