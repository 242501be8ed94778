"""Configurations as TOML files."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, TypeVar, overload

import tomli_w
from pydantic import TypeAdapter, ValidationError

from systolith.array.config import EngineConfig
from systolith.config.errors import ConfigError, explain
from systolith.config.memory_presets import MEMORY_PRESETS
from systolith.config.presets import PRESETS
from systolith.memory.system.config import MemorySystemConfig

__all__ = ["Config", "from_dict", "load_any", "load_config", "to_dict", "to_toml"]

C = TypeVar("C")

Config = EngineConfig | MemorySystemConfig
"""What can be generated."""


@overload
def from_dict(values: dict[str, Any]) -> EngineConfig: ...
@overload
def from_dict(values: dict[str, Any], kind: type[C]) -> C: ...
def from_dict(values: dict[str, Any], kind: type[Any] = EngineConfig) -> Any:
    """Check nested ``values`` and build the configuration.

    Raises
    ------
    ConfigError
        With the dotted name of the field, its value and what is allowed.
    """
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        raise explain(error, kind) from None


def to_dict(config: Config) -> dict[str, Any]:
    """Nested dictionary of the fields, without derived values and parts that are left out."""

    def given(values: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in values if value is not None}

    return dataclasses.asdict(config, dict_factory=given)


def to_toml(config: Config) -> str:
    """TOML text that :func:`load_config` reads back to an equal configuration."""
    return tomli_w.dumps(to_dict(config))


def load_any(name: str) -> Config:
    """Preset ``name``, or the TOML file at that path: a memory if it has a ``controller``.

    Raises
    ------
    ConfigError
        If there is neither, or the file is not valid.
    """
    if name in PRESETS:
        return PRESETS[name].config
    if name in MEMORY_PRESETS:
        return MEMORY_PRESETS[name].config
    path = Path(name)
    if not path.is_file():
        known = ", ".join([*PRESETS, *MEMORY_PRESETS])
        raise ConfigError(f"config must be a preset ({known}) or a TOML file, not {name!r}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"config {name}: not readable as TOML: {error}") from None
    try:
        if "controller" in values:
            return from_dict(values, MemorySystemConfig)
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"config {name}: {error}") from None


def load_config(name: str) -> EngineConfig:
    """Engine of this name, see :func:`load_any`.

    Raises
    ------
    ConfigError
        Also if it is a memory.
    """
    if name not in PRESETS and name not in MEMORY_PRESETS and not Path(name).is_file():
        raise ConfigError(
            f"config must be a preset ({', '.join(PRESETS)}) or a TOML file, not {name!r}"
        )
    config = load_any(name)
    if not isinstance(config, EngineConfig):
        raise ConfigError(f"config {name} is a memory; here it must be an engine")
    return config
