"""What can go wrong while a simulation is built or runs."""

from pathlib import Path

__all__ = ["Deadline", "SimulationFailed", "tail"]


class SimulationFailed(Exception):
    """The simulation could not be built, died, or left no usable result."""


class Deadline(SimulationFailed):
    """The simulation made no progress for longer than it was allowed to."""


def tail(log: Path, lines: int = 25) -> str:
    """Last lines of a log file, as the end of an error message."""
    if not log.is_file():
        return "(it printed nothing)"
    kept = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join(["its last lines were:", *(f"  {line}" for line in kept)])
