"""What a run of the stimulus player leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from systolith.devices.streams import StreamPort
from systolith.harness.errors import SimulationFailed

__all__ = ["RunResult", "Segment", "Transfer", "read_log"]


class Transfer(NamedTuple):
    """One payload that was accepted in clock cycle ``cycle``, counted from the end of reset."""

    cycle: int
    payload: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Extent of one script of a run, or of the part of it up to a mark.

    Parameters
    ----------
    cycles
        Clock cycles it took.
    seconds
        Wall-clock time the simulator took for them.
    """

    cycles: int
    seconds: float

    @property
    def cycles_per_second(self) -> float:
        """Speed of the simulation."""
        return self.cycles / self.seconds


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A finished run.

    Parameters
    ----------
    transfers
        Transfers of every stream, inputs and outputs, in order of time.
    segments
        One per script, more if scripts have marks of their own.
    seconds
        Wall-clock time of the simulator process, with its start.
    """

    transfers: dict[str, list[Transfer]]
    segments: tuple[Segment, ...]
    seconds: float


def read_log(
    log: Path, inputs: Sequence[StreamPort], outputs: Sequence[StreamPort]
) -> dict[str, list[Transfer]]:
    """Transfers in a log file by the name of the stream.

    Raises
    ------
    SimulationFailed
        If the file is missing or a payload is undefined.
    """
    if not log.is_file():
        raise SimulationFailed(f"the simulation left no log of transfers ({log.name})")
    names = [port.name for port in (*inputs, *outputs)]
    lists: list[list[Transfer]] = [[] for _ in names]
    with log.open() as lines:
        for line in lines:
            cycle, stream, payload = line.split()
            try:
                lists[int(stream)].append(Transfer(int(cycle), int(payload, 16)))
            except ValueError:
                raise SimulationFailed(
                    f"stream {names[int(stream)]!r} carried the undefined payload {payload} "
                    f"in cycle {cycle}"
                ) from None
    return dict(zip(names, lists, strict=True))
