"""Configurations as TOML files."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import TypeAdapter, ValidationError

from systolith.array.config import EngineConfig
from systolith.config.errors import ConfigError, explain
from systolith.config.presets import PRESETS

__all__ = ["from_dict", "load_config", "to_dict", "to_toml"]

_ADAPTER = TypeAdapter(EngineConfig)


def from_dict(values: dict[str, Any]) -> EngineConfig:
    """Check nested ``values`` and build the configuration.

    Raises
    ------
    ConfigError
        With the dotted name of the field, its value and what is allowed.
    """
    try:
        return _ADAPTER.validate_python(values)
    except ValidationError as error:
        raise explain(error, EngineConfig) from None


def to_dict(config: EngineConfig) -> dict[str, Any]:
    """Nested dictionary of the fields, without derived values and parts that are left out."""

    def given(values: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in values if value is not None}

    return dataclasses.asdict(config, dict_factory=given)


def to_toml(config: EngineConfig) -> str:
    """TOML text that :func:`load_config` reads back to an equal configuration."""
    return tomli_w.dumps(to_dict(config))


def load_config(name: str) -> EngineConfig:
    """Preset ``name``, or the TOML file at that path.

    Raises
    ------
    ConfigError
        If there is neither, or the file is not valid.
    """
    if name in PRESETS:
        return PRESETS[name].config
    path = Path(name)
    if not path.is_file():
        raise ConfigError(
            f"config must be a preset ({', '.join(PRESETS)}) or a TOML file, not {name!r}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"config {name}: not readable as TOML: {error}") from None
    try:
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"config {name}: {error}") from None
