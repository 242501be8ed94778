"""Cycle model: the max-plus program over bands, equal to the RTL in every cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.array.config import EngineConfig
from systolith.numerics.pairs import Pair

__all__ = [
    "BandClock",
    "Span",
    "block_tiles",
    "command_cycles",
    "command_pair",
    "command_tiles",
    "port_delay",
    "stacked_blocks",
    "tile_period",
]


def command_pair(config: EngineConfig, command: Mapping[str, int]) -> Pair | None:
    """Formats that a command selects; None in an array of plain integers of its own widths."""
    mac = config.array.mac
    if mac is None:
        return None
    return Pair(mac.x.formats[command["x_form"]], mac.w.formats[command["w_form"]])


def block_tiles(config: EngineConfig, command: Mapping[str, int], block: int) -> int:
    """K tiles of ``R_g`` rows that make a block of ``block`` elements along K."""
    return max(1, block // (config.array.band_rows << command["rows_log2"]))


def stacked_blocks(config: EngineConfig, command: Mapping[str, int], block: int) -> int:
    """Blocks that lie one below the other in the group, ``g``."""
    return max(1, (config.array.band_rows << command["rows_log2"]) // block)


def command_tiles(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Tiles that a command runs: each weight tile once for every pair of digits."""
    pair = command_pair(config, command)
    return command["k_tiles"] * command["n_tiles"] * (pair.passes if pair else 1)


def _floor2(value: int) -> int:
    """log2 of the largest power of two that is at most ``value``."""
    return value.bit_length() - 1


def tile_period(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Cycles from one tile of a command to the next.

    ``max(M, r, T)`` for plain integers. A unit of stage B serves ``U`` columns in turn: it takes
    ``U*M`` cycles for a tile that completes a block, and ``A`` cycles from a block of an output to
    its next one. Where ``g`` blocks of ``L`` rows lie one below the other, a sum passes through
    all of them before it returns to the first one, ``A + L*(g-1)`` cycles later. With block
    formats the period is also at least

    - ``ceil(U*M / 2^s)``, 2^s the largest power of two of tiles between two completed blocks: the
      passes of the last block, which may be short, or 1 with N tiles inside;
    - ``ceil((A + L*(g-1)) / 2^s)``, if a sum returns because there are more than ``g`` blocks,
      with the same s, or N tiles inside: the largest power of two of N tiles.
    """
    m = command["m"]
    period = max(m, config.array.band_rows, config.array.tile)
    pair = command_pair(config, command)
    if pair is None or not pair.block:
        return period
    if command["n_inside"]:
        drains, loop = 0, _floor2(command["n_tiles"])
        again = command["k_tiles"] > 1
    else:
        passes = block_tiles(config, command, pair.block)
        blocks = -(-command["k_tiles"] // passes)
        tail = command["k_tiles"] - (blocks - 1) * passes
        drains = loop = _floor2(tail) + _floor2(pair.passes)
        again = blocks > 1
    return max(
        period,
        -(-config.unit_lanes * m // (1 << drains)),
        -(-(config.loop_cycles + _descent(config, command)) // (1 << loop)) if again else 0,
    )


def _descent(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Cycles from a row's sums in the first block of a group to those in its last, ``L*(g-1)``."""
    pair = command_pair(config, command)
    if pair is None or not pair.block:
        return 0
    return pair.block * (stacked_blocks(config, command, pair.block) - 1)


def port_delay(config: EngineConfig) -> int:
    """Cycles from a command's start to its first weight row on the port of its leader."""
    return 2 + config.memory.latency


def command_cycles(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Cycles of one command that runs without waiting.

    From its first weight row on a port to its last accumulator write visible, inclusive:
    ``1 + (n-1)*period + M + D + R_g + (C_g - 1) + P`` for n tiles on R_g x C_g elements, and
    ``(U-1)*(M-1)`` more with block formats, whose rows leave stage B ``U`` cycles apart.
    """
    array, m = config.array, command["m"]
    tiles = command_tiles(config, command)
    rows = array.band_rows << command["rows_log2"]
    cols = array.band_cols << command["cols_log2"]
    form = 1 + (tiles - 1) * tile_period(config, command) + m
    pair = command_pair(config, command)
    if pair and pair.block:
        form += (config.unit_lanes - 1) * (m - 1)
    return form + array.multiply_cycles + rows + (cols - 1) + config.pipeline_cycles


def _occupancy(config: EngineConfig, command: Mapping[str, int]) -> int:
    """Cycles from a command's start to the earliest start of the next one on its bands.

    The last rows keep stage B busy for ``U`` cycles each. Each block of a group reads the sums of
    the one above it, so its results have to stay for as long as a row needs to get down.
    """
    period = tile_period(config, command)
    pair = command_pair(config, command)
    drain = config.unit_lanes * command["m"] if pair and pair.block else 0
    busy = command_tiles(config, command) * period + max(0, drain - period)
    return busy + _descent(config, command)


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
    advances A by its period, the last rows of a block by what stage B still needs for them, and
    blocks one below the other by the time that a sum takes from the first to the last of them;
    then ``F[i, j] = A + lag``.

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
            # The first block needs what the lowest band wrote, which is so far behind.
            start += self.config.accumulate_gap + _descent(self.config, command)
        start = max(start, earliest)
        end = start + _occupancy(self.config, command)
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
