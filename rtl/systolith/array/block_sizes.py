"""What block formats add to an engine's configuration: widths, and the pace of stage B."""

from functools import cached_property

from systolith.array.geometry import ArrayConfig
from systolith.array.parts import MemoryConfig
from systolith.numerics.formats import Format, lookup
from systolith.numerics.fp32_add import Fp32Add
from systolith.numerics.fp32_term import term_latency
from systolith.numerics.pairs import INTEGER_SUM_BITS, Pair

__all__ = ["BlockSizes"]


class BlockSizes:
    """Sizes that follow from the enabled formats; a base of the engine's configuration."""

    array: ArrayConfig
    memory: MemoryConfig

    @property
    def sum_registers(self) -> int:
        """Registers between the accumulators' adder and the memory.

        A memory with an output register belongs to a fast clock, and its adder to a cycle of its
        own; without one, the sum is written in the cycle in which it is formed.
        """
        return self.memory.latency - 1

    @property
    def block_pairs(self) -> tuple[Pair, ...]:
        """Enabled pairs with scales; their sums go through stage B."""
        return tuple(pair for pair in self.array.pairs if pair.block)

    @property
    def scaled(self) -> bool:
        """Whether there is a stage B."""
        return bool(self.block_pairs)

    @property
    def plain(self) -> bool:
        """Whether plain integers can be multiplied."""
        return len(self.block_pairs) < len(self.array.pairs) or not self.array.formats

    @cached_property
    def sum_width(self) -> int:
        """Bits of an exact accumulator: of all of K, or of a block."""
        blocks = [pair.block_bits for pair in self.block_pairs]
        return max([*blocks, INTEGER_SUM_BITS if self.plain else 0])

    @cached_property
    def scale_formats(self) -> tuple[Format, ...]:
        """Formats of the scales; powers of two come first."""
        names = {pair.x.scale for pair in self.block_pairs}
        return tuple(sorted(map(lookup, names), key=lambda form: form.fraction_bits))

    @property
    def small_scales(self) -> bool:
        """Whether a scale can have a significand of its own (NVFP4)."""
        return any(form.fraction_bits for form in self.scale_formats)

    @property
    def small_bits(self) -> int:
        """Bits of the widest block sum that is multiplied by significands of scales."""
        return max(
            pair.block_bits for pair in self.block_pairs if lookup(pair.x.scale).fraction_bits
        )

    @cached_property
    def term_width(self) -> int:
        """Bits of a block sum as stage B takes it, significands of the scales included."""
        return max(
            pair.block_bits + 2 * lookup(pair.x.scale).significand_bits * self._has_fraction(pair)
            for pair in self.block_pairs
        )

    @staticmethod
    def _has_fraction(pair: Pair) -> bool:
        return lookup(pair.x.scale).fraction_bits > 0

    @property
    def scale_cycles(self) -> int:
        """Cycles of stage B between its memories and its rounding: choice of the lane, products."""
        return 3 if self.small_scales else 1

    @property
    def max_passes(self) -> int:
        """Most K tiles of one block: those of a single row band."""
        return max(max(1, pair.block // self.array.band_rows) for pair in self.block_pairs)

    @cached_property
    def chain_cycles(self) -> int:
        """Most cycles by which the last of the blocks in a group's rows is behind the first one.

        ``L*(g-1)``, with ``g`` blocks of ``L`` elements one below the other in all rows.
        """
        rows = self.array.rows
        stacked = [
            rows - pair.block for pair in self.block_pairs if pair.block >= self.array.band_rows
        ]
        return max([0, *stacked])

    @property
    def chained(self) -> bool:
        """Whether a group can be taller than a block: its binary32 sums go from band to band."""
        return self.chain_cycles > 0

    @cached_property
    def unit_lanes(self) -> int:
        """Columns ``U`` that one unit of stage B serves in turn."""
        array, formats = self.array, self.array.formats
        if formats and formats.unit_lanes:
            return formats.unit_lanes
        # Passes between two complete blocks of a band that runs alone.
        passes = min(
            max(1, pair.block // array.band_rows) * pair.passes for pair in self.block_pairs
        )
        return max(array.tile, min(array.band_cols, 1 << passes.bit_length() - 1))

    @property
    def drain_lead(self) -> int:
        """Cycles from an accumulator's command to stage B's for the same row."""
        return self.memory.latency + self.sum_registers + 1

    @property
    def stochastic(self) -> bool:
        """Whether stage B rounds with random bits."""
        formats = self.array.formats
        return self.scaled and formats is not None and formats.rounding == "sr"

    @property
    def draw_cycles(self) -> int:
        """Cycles from stage B's row, past its first register, to the random bits of lane 0."""
        term = term_latency(self.term_width) + Fp32Add.random_lag
        return self.memory.latency + self.scale_cycles + term

    @property
    def drain_read(self) -> int:
        """Cycles from stage B's command to its accumulator's address, less the register there."""
        return 1 + self.scale_cycles + term_latency(self.term_width) - 2

    @property
    def drain_write(self) -> int:
        """Cycles from stage B's command to its write."""
        return self.drain_read + 2 + self.memory.latency + Fp32Add.latency

    @property
    def drain_cycles(self) -> int:
        """Cycles by which stage B's write of a row comes later than the exact accumulator's."""
        if not self.scaled:
            return 0
        return self.drain_lead + self.drain_write - (1 + self.memory.latency + self.sum_registers)

    @property
    def loop_cycles(self) -> int:
        """Fewest cycles between two blocks of one output, ``A_fp``; forwarded at that distance."""
        return Fp32Add.loop_cycles(self.memory.latency)
