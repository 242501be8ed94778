"""Sizes of the array and of its matrix engine, and every number that follows from them."""

from functools import cached_property
from math import isqrt
from typing import Annotated

from amaranth.utils import bits_for, ceil_log2
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

__all__ = ["ArrayConfig", "ControlConfig", "EngineConfig", "MemoryConfig"]

_STRICT = ConfigDict(extra="forbid")
_Count = Annotated[int, Field(strict=True, ge=1)]


def _power_of_two(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if value < 1 or value & (value - 1):
            raise ValueError(f"{name} must be a power of two, not {value}")


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ArrayConfig:
    """Geometry of the splittable weight-stationary array.

    Parameters
    ----------
    rows, cols
        Processing elements along K (``R``) and N (``C``).
    row_bands, col_bands
        Bands that can run alone (``b`` and ``s``); a band is ``r = R/b`` by ``c = C/s`` elements.
    tile
        Edge ``T`` of the square tiles that a band is built from: the lanes of one memory bank.
    act_width, weight_width
        Bits of the two's-complement operands.
    mac_latency
        Register stages between a multiplier's operands and its product.
    """

    rows: _Count
    cols: _Count
    row_bands: _Count = 1
    col_bands: _Count = 1
    tile: _Count = 1
    act_width: Annotated[int, Field(strict=True, ge=2, le=16)] = 8
    weight_width: Annotated[int, Field(strict=True, ge=2, le=16)] = 8
    mac_latency: Annotated[int, Field(strict=True, ge=0, le=4)] = 1

    @model_validator(mode="after")
    def _check(self) -> "ArrayConfig":
        _power_of_two(self, "rows", "cols", "row_bands", "col_bands", "tile")
        for bands, lanes in (("row_bands", "rows"), ("col_bands", "cols")):
            if getattr(self, bands) > getattr(self, lanes):
                raise ValueError(
                    f"{bands} must be at most {lanes} = {getattr(self, lanes)}, "
                    f"not {getattr(self, bands)}"
                )
        if self.tile > min(self.band_rows, self.band_cols):
            raise ValueError(
                f"tile must be at most the shorter side of a band, "
                f"{min(self.band_rows, self.band_cols)}, not {self.tile}"
            )
        return self

    @property
    def band_rows(self) -> int:
        """Rows of one band, ``r``."""
        return self.rows // self.row_bands

    @property
    def band_cols(self) -> int:
        """Columns of one band, ``c``."""
        return self.cols // self.col_bands

    @property
    def row_tiles(self) -> int:
        """Tiles down one band."""
        return self.band_rows // self.tile

    @property
    def col_tiles(self) -> int:
        """Tiles across one band."""
        return self.band_cols // self.tile

    @property
    def bands(self) -> int:
        """Bands in all."""
        return self.row_bands * self.col_bands

    @property
    def psum_width(self) -> int:
        """Bits of a partial sum: a whole column of extreme products cannot overflow it."""
        return self.act_width + self.weight_width + ceil_log2(self.rows)

    @property
    def weight_lead(self) -> int:
        """Cycles from weight row 0 on a band's port to its first activation at the array's edge.

        One cycle for the bus register of each tile row, one for the shadow register.
        """
        return 1 + self.row_tiles

    @property
    def multiply_cycles(self) -> int:
        """Cycles ``D`` from an activation at the edge to its product: operand register and MAC."""
        return 1 + self.mac_latency


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class MemoryConfig:
    """Words in each memory bank of the engine.

    Parameters
    ----------
    x_depth
        Words of ``tile`` activations per (row tile, column band).
    w_depth
        Words of ``tile`` weights per (row band, column tile).
    y_depth
        Words of ``tile`` int32 accumulators per (row band, column tile).
    latency
        Read latency in cycles: 2 uses the memory's output register.
    """

    x_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    w_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    y_depth: Annotated[int, Field(strict=True, ge=2, le=1 << 20)]
    latency: Annotated[int, Field(strict=True, ge=1, le=2)] = 2


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ControlConfig:
    """Queues of the engine.

    Parameters
    ----------
    queue_depth
        Commands that wait in the queue of one group (of its leading band).
    outstanding
        Commands that are accepted and not yet reported as complete, over all groups.
    tag_width
        Bits of the host's tag, returned in the completion.
    """

    queue_depth: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    outstanding: Annotated[int, Field(strict=True, ge=2, le=64)] = 16
    tag_width: Annotated[int, Field(strict=True, ge=1, le=32)] = 8

    @model_validator(mode="after")
    def _check(self) -> "ControlConfig":
        _power_of_two(self, "queue_depth", "outstanding")
        return self


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class EngineConfig:
    """A matrix engine: array, operand memories, accumulators and control.

    Parameters
    ----------
    name
        Prefix of every emitted module and file.
    array, memory, control
        The parts.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
    array: ArrayConfig
    memory: MemoryConfig
    control: ControlConfig = ControlConfig()

    @model_validator(mode="after")
    def _check(self) -> "EngineConfig":
        if self.array.band_rows < 2:
            raise ValueError(
                f"array.row_bands must leave 2 rows or more in a band of an engine, "
                f"not {self.array.band_rows}"
            )
        if self.memory.w_depth < self.array.band_rows:
            raise ValueError(
                f"memory.w_depth must hold one weight tile, {self.array.band_rows} words, "
                f"not {self.memory.w_depth}"
            )
        return self

    acc_width = 32  # bits of an accumulator

    @property
    def pipeline_stages(self) -> dict[str, int]:
        """Cycles that the pipeline adds to the closed forms, by cause."""
        return {
            "weight bus registers": self.array.weight_lead - 1,
            "accumulator adder": self.sum_registers,
            "accumulator write": 1,
        }

    @property
    def pipeline_cycles(self) -> int:
        """The one constant ``P`` of ``T_rtl = T_form + P``."""
        return sum(self.pipeline_stages.values())

    @property
    def forward_distances(self) -> range:
        """Read-modify-write distances, in cycles, that the accumulators must forward.

        One output of a command returns at the earliest after ``r`` cycles; the memory sees a write
        from distance ``latency + sum_registers + 1`` on.
        """
        return range(self.array.band_rows, self.memory.latency + self.sum_registers + 1)

    @property
    def sum_registers(self) -> int:
        """Registers between the accumulators' adder and the memory.

        A memory with an output register belongs to a fast clock, and its adder to a cycle of its
        own; without one, the sum is written in the cycle in which it is formed.
        """
        return self.memory.latency - 1

    @property
    def accumulate_gap(self) -> int:
        """Cycles by which a command that adds to stored results starts later.

        Its addresses may have been written in the very last cycle of the command before, under
        another column mask, so the memory itself must hold them.
        """
        return self.memory.latency + self.sum_registers

    @property
    def acc_delay(self) -> int:
        """Cycles from an activation's address to its result's command at the accumulators.

        The command is registered there before it reads the first lane's memory.
        """
        return self.array.band_rows + self.array.mac_latency

    # Widths ---------------------------------------------------------------------------------

    @property
    def max_m(self) -> int:
        """Most rows of one GEMM: one K tile of activations, one N tile of results."""
        return min(self.memory.x_depth, self.memory.y_depth)

    @property
    def max_tiles(self) -> int:
        """Most weight tiles of one command."""
        return self.memory.w_depth // self.array.band_rows

    @property
    def m_width(self) -> int:
        """Bits of a row count."""
        return bits_for(self.max_m)

    @property
    def tiles_width(self) -> int:
        """Bits of a tile count."""
        return bits_for(self.max_tiles)

    @property
    def period_width(self) -> int:
        """Bits of a tile period."""
        return bits_for(max(self.max_m, self.array.band_rows))

    @property
    def x_width(self) -> int:
        """Bits of an activation address."""
        return bits_for(self.memory.x_depth - 1)

    @property
    def w_width(self) -> int:
        """Bits of a weight address."""
        return bits_for(self.memory.w_depth - 1)

    @property
    def y_width(self) -> int:
        """Bits of an accumulator address."""
        return bits_for(self.memory.y_depth - 1)

    @property
    def max_skew(self) -> int:
        """Cycles by which the last band of the whole array lags behind the first."""
        a = self.array
        return (a.row_bands - 1) * a.band_rows + (a.col_bands - 1) * a.band_cols

    @property
    def dispatch_steps(self) -> int:
        """Steps of the dispatcher after it took a command: its multiplications, or the tree."""
        return max(6, 3 + ceil_log2(self.array.bands))

    @property
    def dispatch_cycles(self) -> int:
        """Cycles between two commands that are taken without waiting."""
        return self.dispatch_steps + 2

    @property
    def dispatch_lead(self) -> int:
        """Cycles from a command's scheduling to its earliest start: dispatch and queue."""
        return self.dispatch_steps + 3

    @property
    def batch_log2(self) -> int:
        """log2 of the cycles by which each command that follows delays the start of its batch."""
        return ceil_log2(self.dispatch_cycles)

    @cached_property
    def longest_command(self) -> int:
        """Most cycles of one command's tiles.

        With ``k`` by ``n`` tiles of ``m >= r`` rows, ``k*n``, ``k*m`` and ``n*m`` are bounded by
        the memories of W, X and Y, and ``k*n*m`` by the root of the product of the three bounds.
        """
        high = self.array.band_rows
        volume = isqrt(self.max_tiles * self.memory.x_depth * self.memory.y_depth)
        return max(min(volume, self.max_tiles * self.max_m), self.max_tiles * high)

    @property
    def backlog_log2(self) -> int:
        """log2 of the cycles of work ahead of a band from which on commands wait to be scheduled.

        At least the longest command, and far more than the time from a command's scheduling to its
        start: behind the one that runs there can always be another one.
        """
        return ceil_log2(max(self.longest_command, 2 * (self.max_skew + (1 << self.epoch_width))))

    @property
    def epoch_width(self) -> int:
        """Bits of the earliest start of a command, relative to its scheduling."""
        return bits_for(self.dispatch_lead + (self.array.bands << self.batch_log2))

    @cached_property
    def time_width(self) -> int:
        """Bits of the time, relative to now, at which a band is free of all its queued work."""
        ahead = (1 << self.backlog_log2) + self.accumulate_gap
        return bits_for(ahead + self.longest_command + 2 * self.max_skew)
