"""What every verb has in common: tables for people, one JSON object for programs, exit codes."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

__all__ = ["FAILED", "MISTAKE", "emit_json", "mistakes", "notes", "table", "working"]

FAILED = 1  # a check failed
MISTAKE = 2  # the user's input cannot be used

notes = Console(stderr=True, highlight=False)


def emit_json(value: dict[str, Any]) -> None:
    """Print exactly one JSON object on standard output."""
    json.dump(value, sys.stdout)
    sys.stdout.write("\n")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table that fits a terminal; numbers are aligned right."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for n, column in enumerate(columns):
        numeric = bool(rows) and isinstance(rows[0][n], int | float)
        grid.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        grid.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console().print(grid)


@contextmanager
def mistakes() -> Iterator[None]:
    """Turn a user's mistake (any ``ValueError``) into its message alone and exit code 2."""
    try:
        yield
    except ValueError as error:
        notes.print(f"systolith: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(MISTAKE) from None


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Show that something goes on, on a terminal only; yields a way to say what."""
    with notes.status(text) as status:
        yield lambda stage: status.update(f"{text}: {stage}")
