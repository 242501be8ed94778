"""One message for a wrong configuration: the dotted field, the value and what is allowed."""

import dataclasses
from collections.abc import Sequence
from typing import Any, get_type_hints

from pydantic import ValidationError

__all__ = ["ConfigError", "explain"]


class ConfigError(ValueError):
    """A configuration that cannot be used."""


def _fields(config: type, path: Sequence[int | str]) -> str:
    for part in path:
        config = get_type_hints(config)[str(part)]
    return ", ".join(field.name for field in dataclasses.fields(config))


def explain(error: ValidationError, config: type) -> ConfigError:
    """Turn the first problem of ``error`` into one line."""
    problem: Any = error.errors()[0]
    path, given = problem["loc"], problem["input"]
    name = ".".join(map(str, path))
    match problem["type"]:
        case "unexpected_keyword_argument":
            text = f"{name} is not a field; allowed here: {_fields(config, path[:-1])}"
        case "missing" | "missing_keyword_only_argument":
            text = f"{name} is missing"
        case "value_error":  # from a check of ours: it starts with the field's own name
            text = ".".join(filter(None, (name, str(problem["ctx"]["error"]))))
        case _:
            message = problem["msg"][0].lower() + problem["msg"][1:]
            text = f"{name}: {message}, not {given!r}"
    return ConfigError(text)
