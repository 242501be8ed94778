"""Reading and writing the model's files with one kind of error and reproducible bytes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["DATA", "ModelFileError", "read_bytes", "read_json", "sha256", "write_json"]

DATA = Path(__file__).resolve().parent
"""Folder of the committed model: the package itself."""


class ModelFileError(ValueError):
    """A file of the model is missing, damaged or does not fit the others.

    Parameters
    ----------
    path
        The file at fault.
    problem
        What is wrong with it, in a few words.
    """

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(
            f"{path}: {problem}; restore the file from the repository, or train again with "
            f"`python -m systolith.models.charlm.train --out {path.parent}`"
        )


def read_bytes(path: Path) -> bytes:
    """Return the content of ``path``; a missing or unreadable file is a :class:`ModelFileError`."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(path, "the file does not exist") from None
    except OSError as error:
        raise ModelFileError(path, f"cannot be read ({error.strerror})") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``."""
    try:
        value = json.loads(read_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFileError(path, f"is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ModelFileError(path, f"must hold a JSON object, not a {type(value).__name__}")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented ASCII JSON: the same value gives the same bytes."""
    path.write_bytes((json.dumps(value, indent=2) + "\n").encode("ascii"))


def sha256(content: bytes) -> str:
    """Return the SHA-256 of ``content`` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
