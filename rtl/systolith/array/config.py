"""Sizes of the array and of its matrix engine, and every number that follows from them."""

from functools import cached_property
from math import isqrt
from typing import Annotated

from amaranth.utils import bits_for, ceil_log2
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.array.block_sizes import BlockSizes
from systolith.array.geometry import STRICT, ArrayConfig, FormatsConfig
from systolith.array.parts import ControlConfig, MemoryConfig

__all__ = ["ArrayConfig", "ControlConfig", "EngineConfig", "FormatsConfig", "MemoryConfig"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EngineConfig(BlockSizes):
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

    acc_width = 32  # bits of a result

    @property
    def pipeline_stages(self) -> dict[str, int]:
        """Cycles that the pipeline adds to the closed forms, by cause."""
        return {
            "weight bus registers": self.array.weight_lead - 1,
            "accumulator adder": self.sum_registers,
            "accumulator write": 1,
            **({"stage B": self.drain_cycles} if self.scaled else {}),
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
    def accumulate_gap(self) -> int:
        """Cycles by which a command that adds to stored results starts later.

        Its addresses may have been written in the very last cycle of the command before, under
        another column mask, so the memory itself must hold them.
        """
        gap = self.memory.latency + self.sum_registers
        return max(gap, self.loop_cycles + 1) if self.scaled else gap

    @property
    def longest_gap(self) -> int:
        """The same of a command on all rows: its first block needs what the lowest band wrote."""
        return self.accumulate_gap + self.chain_cycles

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
        if self.scaled:
            return bits_for(
                max(
                    self.max_m * self.unit_lanes,
                    self.array.band_rows,
                    self.loop_cycles + self.chain_cycles,
                )
            )
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
    def scale_width(self) -> int:
        """Bits of the address of a weight tile's scales."""
        return max(1, ceil_log2(self.max_tiles))

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
        return max(7 if self.scaled else 6, 3 + ceil_log2(self.array.bands))

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
        longest = max(min(volume, self.max_tiles * self.max_m), self.max_tiles * high)
        if not self.scaled:
            return longest
        # Every tile once for each pair of digits, at most U times as long, and the last drain.
        loop = self.loop_cycles + self.chain_cycles
        slow = max(longest * self.unit_lanes, self.max_tiles * loop)
        return slow * self.array.digits**2 + self.max_m * self.unit_lanes + self.chain_cycles

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
        ahead = (1 << self.backlog_log2) + self.longest_gap
        return bits_for(ahead + self.longest_command + 2 * self.max_skew)
