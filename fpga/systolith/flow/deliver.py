"""Handing a file over: checked before the work, complete or not there after it."""

import shutil
from pathlib import Path

from systolith.flow.errors import FlowError

__all__ = ["check_target", "deliver"]


def check_target(path: Path) -> None:
    """Refuse early a file that :func:`deliver` could not write; its folder is made if missing.

    Raises
    ------
    FlowError
        Naming the file and the reason.
    """
    if path.exists() and not path.is_file():
        raise _refusal(path, "not a regular file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _staged(path).touch()
        _staged(path).unlink()
    except OSError as error:
        raise _refusal(path, error.strerror) from None


def deliver(source: Path, path: Path) -> None:
    """Copy ``source`` to ``path`` in one step: readers see the old file or all of the new one.

    Raises
    ------
    FlowError
        Naming the file and the reason; then ``path`` is as it was.
    """
    staged = _staged(path)
    try:
        try:
            shutil.copyfile(source, staged)
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise _refusal(path, error.strerror) from None


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _refusal(path: Path, reason: str | None) -> FlowError:
    return FlowError(f"output file {path}: {reason}; choose one that can be written")
