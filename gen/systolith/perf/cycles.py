"""Cycle model: the max-plus program over bands, equal to the RTL in every cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.array.config import EngineConfig

__all__ = ["BandClock", "Span", "command_cycles", "port_delay", "tile_period"]


def tile_period(config: EngineConfig, m: int) -> int:
    """Cycles from one tile of a group to the next: ``max(M, r, T)``."""
    return max(m, config.array.band_rows, config.array.tile)


def port_delay(config: EngineConfig) -> int:
    """Cycles from a command's start to its first weight row on the port of its leader."""
    return 2 + config.memory.latency


def command_cycles(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Cycles of one command that runs without waiting.

    From its first weight row on a port to its last accumulator write visible, inclusive:
    ``1 + (n-1)*max(M, r, T) + M + D + R_g + (C_g - 1) + P`` for n tiles on R_g x C_g elements.
    """
    array = config.array
    tiles = command["k_tiles"] * command["n_tiles"]
    rows = array.band_rows << command["rows_log2"]
    cols = array.band_cols << command["cols_log2"]
    form = 1 + (tiles - 1) * tile_period(config, command["m"]) + command["m"]
    return form + array.multiply_cycles + rows + (cols - 1) + config.pipeline_cycles


@dataclass(frozen=True, kw_only=True)
class Span:
    """When a command runs, in cycles of one common clock.

    Parameters
    ----------
    start
        First weight row on the leader's port.
    done
        Last result visible in the accumulators.
    """

    start: int
    done: int

    @property
    def cycles(self) -> int:
        """Length, both ends included."""
        return self.done - self.start + 1


class BandClock:
    """Next start of every band, advanced command by command.

    ``F[i, j]`` is the next start of band (i, j) in its own frame. A group starts at
    ``A = max(F[i, j] - lag)`` over its members, ``lag`` being how far a member runs behind the
    leader (``r`` a row band, ``c`` a column band), and not before it was dispatched. Each tile
    advances A by ``max(M, r, T)``; then ``F[i, j] = A + lag``.

    Parameters
    ----------
    config
        The engine.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        self.free = {
            (i, j): -config.max_skew for i in range(array.row_bands) for j in range(array.col_bands)
        }

    def run(self, command: Mapping[str, int], *, earliest: int) -> Span:
        """Schedule the next command in program order."""
        array = self.config.array
        lags = {
            (command["row"] + p, command["col"] + q): p * array.band_rows + q * array.band_cols
            for p in range(1 << command["rows_log2"])
            for q in range(1 << command["cols_log2"])
        }
        start = max(self.free[band] - lag for band, lag in lags.items())
        if command["accumulate"]:
            start += self.config.accumulate_gap
        start = max(start, earliest)
        tiles = command["k_tiles"] * command["n_tiles"]
        end = start + tiles * tile_period(self.config, command["m"])
        for band, lag in lags.items():
            self.free[band] = end + lag
        port = start + port_delay(self.config)
        return Span(start=port, done=port + command_cycles(self.config, command) - 1)

    def program(
        self,
        commands: Sequence[Mapping[str, int]],
        snapshots: Sequence[int],
        accepted: Sequence[bool] | None = None,
    ) -> list[Span]:
        """Schedule commands, given the cycle of each one's scheduling; spans of the accepted ones.

        The commands of a batch (``follow``) share their earliest start, set by the first of them.
        """
        spans = []
        lead, batch = self.config.dispatch_lead, self.config.batch_log2
        epoch, joined = 0, False
        for n, (command, snapshot) in enumerate(zip(commands, snapshots, strict=True)):
            if not joined:
                epoch = snapshot + lead + (command["follow"] << batch)
            joined = command["follow"] != 0
            if accepted is None or accepted[n]:
                spans.append(self.run(command, earliest=max(epoch, snapshot + lead)))
        return spans
