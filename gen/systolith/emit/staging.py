"""Files that are written all or none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Emitted", "OutputError", "write_files"]


class OutputError(ValueError):
    """The output directory cannot be written."""


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """Files of one design.

    Parameters
    ----------
    top
        Top module.
    directory
        Where they are.
    verilog
        The Verilog file's name.
    files
        Names of all files.
    modules, lines, bytes
        Size of the Verilog.
    seconds
        Time it took.
    """

    top: str
    directory: Path
    verilog: str
    files: tuple[str, ...]
    modules: int
    lines: int
    bytes: int
    seconds: float

    @classmethod
    def of(
        cls, top: str, directory: Path, texts: Mapping[str, str], verilog: str, begin: float
    ) -> "Emitted":
        """Describe files that were begun at this time of the performance counter."""
        text = texts[verilog]
        return cls(
            top=top,
            directory=directory,
            verilog=verilog,
            files=tuple(texts),
            modules=text.count("\nendmodule"),
            lines=text.count("\n"),
            bytes=len(text.encode()),
            seconds=time.perf_counter() - begin,
        )


def write_files(directory: Path, texts: Mapping[str, str]) -> None:
    """Write ``texts`` by name into ``directory``: all of them, or none.

    Raises
    ------
    OutputError
        If ``directory`` cannot be created or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staged = [
            (directory / f".{file}.part", directory / file, text) for file, text in texts.items()
        ]
        try:
            for part, _, text in staged:
                part.write_text(text, encoding="utf-8")
            for part, final, _ in staged:
                part.replace(final)
        finally:
            for part, _, _ in staged:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"output directory {directory}: {error.strerror}; choose one that can be written"
        ) from None
