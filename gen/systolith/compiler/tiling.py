"""One GEMM in tiles: what each group runs, the commands that say so, the memory it takes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from systolith.array.config import EngineConfig
from systolith.compiler.split import Gemm, Group, Split, ceil_div
from systolith.numerics.pairs import Pair

__all__ = ["CapacityError", "GemmTiling", "Part", "Payload"]

Payload = dict[str, int]


class CapacityError(ValueError):
    """A GEMM does not fit the engine's memories."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one group does of a GEMM.

    Parameters
    ----------
    group
        Its bands.
    k_tiles, n_tiles
        Indices of its tiles along K and N, ascending.
    """

    group: Group
    k_tiles: tuple[int, ...]
    n_tiles: tuple[int, ...]

    @property
    def tiles(self) -> int:
        """Weight tiles that the group runs."""
        return len(self.k_tiles) * len(self.n_tiles)


@dataclass(frozen=True, kw_only=True)
class GemmTiling:
    """A GEMM on the engine under one split.

    The N tiles are dealt out to the groups in turn. With ``share="k"`` the groups of one column
    share K instead, and the read-out adds their partial results, which is exact for int32 and
    refused for block formats, whose sums are rounded in the order of K.

    A block takes several K tiles of a low group, one of a group as tall as itself. In a taller
    group a K tile holds several blocks, one below the other: each adds its sum to that of the
    block above it, so that the order of K stays.

    Parameters
    ----------
    config
        The engine.
    gemm, split
        What runs and how.
    pair
        Formats of X and W: one of ``config.array.pairs``; None in an array without formats.
    share
        Dimension that is shared out between groups.
    n_inside
        Order of the tile loops: N tiles in the inner one. None chooses: N tiles inside where
        stage B would otherwise hold the array up, because no block takes several tiles.
    accumulate
        Add to what the accumulators hold.
    seed
        Of stochastic rounding, in engines that have it: that of the first block, any integer; each
        further block takes the next one.
    x_base, w_base, y_base
        First word used in every bank; ``w_base`` a multiple of ``r`` for block formats.
    """

    config: EngineConfig
    gemm: Gemm
    split: Split
    pair: Pair | None = None
    share: Literal["n", "k"] = "n"
    n_inside: bool | None = None
    accumulate: bool = False
    seed: int = 0
    x_base: int = 0
    w_base: int = 0
    y_base: int = 0

    def __post_init__(self) -> None:
        self._check_pair()
        if self.block:
            self._check_block(self.block)
        memory, array = self.config.memory, self.config.array
        if ceil_div(self.gemm.k, self.rows) < self._ways:
            raise ValueError(
                f"share=k needs at least {self._ways} K tiles for split {self.split}: "
                f"k must be above {(self._ways - 1) * self.rows}, not {self.gemm.k}"
            )
        for bank, base, need, supply in (
            ("x_depth", self.x_base, self.x_words, memory.x_depth),
            ("w_depth", self.w_base, self.w_words, memory.w_depth),
            ("y_depth", self.y_base, self.y_words, memory.y_depth),
        ):
            if base + need > supply:
                raise CapacityError(
                    f"gemm {self.gemm} under split {self.split} needs {base + need} words of "
                    f"memory.{bank} ({array.tile} lanes each), the config has {supply}"
                )

    def _check_pair(self) -> None:
        enabled = self.config.array.pairs
        if not enabled:
            if self.pair is not None:
                raise ValueError(
                    f"pair must be None on {self.config.name}, whose array has no formats, "
                    f"not {self.pair.name}"
                )
        elif self.pair not in enabled:
            raise ValueError(
                f"pair must be one of {', '.join(pair.name for pair in enabled)} on "
                f"{self.config.name}, not {self.pair.name if self.pair else None}"
            )
        elif self.pair.max_k is not None and self.gemm.k > self.pair.max_k:
            raise ValueError(
                f"gemm: k must be at most {self.pair.max_k} for {self.pair.name}, "
                f"not {self.gemm.k}: a longer sum can overflow int32"
            )

    def _check_block(self, block: int) -> None:
        array = self.config.array
        name = self.pair.name if self.pair else ""
        if array.band_rows > block:
            raise ValueError(
                f"array.row_bands must be {array.rows // block} or more for {name}, not "
                f"{array.row_bands}: a band of {array.band_rows} rows is taller than a block of "
                f"{block} elements"
            )
        if self.share == "k":
            raise ValueError(f"share must be n for {name}: block formats never share K, not k")
        if self.n_inside and self.passes * self.digits > 1:
            raise ValueError(
                f"n_inside must not be set for {name} under split {self.split}: a block takes "
                f"{self.passes} tiles of {self.rows} rows and {self.digits} passes each, not one"
            )
        if self.w_base % array.band_rows:
            raise ValueError(
                f"w_base must be a multiple of {array.band_rows} for {name}, not {self.w_base}"
            )

    # Sizes ----------------------------------------------------------------------------------

    @property
    def block(self) -> int:
        """Elements along K that share a scale; 0 for plain integers."""
        return self.pair.block if self.pair else 0

    @property
    def digits(self) -> int:
        """Times that each weight tile runs: pairs of digits of the elements."""
        return self.pair.passes if self.pair else 1

    @property
    def passes(self) -> int:
        """K tiles that make a block."""
        return max(1, self.block // self.rows)

    @property
    def stacked(self) -> int:
        """Blocks that lie one below the other in a group, ``g``: each a segment of the group."""
        return max(1, self.rows // self.block) if self.block else 1

    @property
    def rows(self) -> int:
        """Array rows of a group, ``R_g``."""
        return self.config.array.rows // self.split.row_groups

    @property
    def cols(self) -> int:
        """Array columns of a group, ``C_g``."""
        return self.config.array.cols // self.split.col_groups

    @property
    def blocks(self) -> int:
        """Blocks along K; 0 for plain integers."""
        return ceil_div(self.gemm.k, self.block) if self.block else 0

    @property
    def _ways(self) -> int:
        """Groups among which the K tiles are dealt out."""
        return self.split.row_groups if self.share == "k" else 1

    @cached_property
    def parts(self) -> list[Part]:
        """Shares of the groups that have work."""
        k_tiles = range(ceil_div(self.gemm.k, self.rows))
        n_tiles = range(ceil_div(self.gemm.n, self.cols))
        parts = []
        high, wide = self.split.row_groups, self.split.col_groups
        for turn, group in enumerate(self.split.groups(self.config.array)):
            if self.share == "k":
                ks, ns = k_tiles[turn // wide :: high], n_tiles[turn % wide :: wide]
            else:
                ks, ns = k_tiles, n_tiles[turn :: high * wide]
            if ns:
                parts.append(Part(group=group, k_tiles=tuple(ks), n_tiles=tuple(ns)))
        return parts

    @property
    def x_words(self) -> int:
        """Words of each activation bank."""
        return max(len(part.k_tiles) for part in self.parts) * self.gemm.m

    @property
    def w_words(self) -> int:
        """Words of each weight bank."""
        return max(part.tiles for part in self.parts) * self.config.array.band_rows

    @property
    def y_words(self) -> int:
        """Words of each accumulator bank."""
        return max(len(part.n_tiles) for part in self.parts) * self.gemm.m

    # Order ----------------------------------------------------------------------------------

    @cached_property
    def n_inner(self) -> bool:
        """Whether N tiles are in the inner loop: ``n_inside``, or what it leaves open."""
        if self.n_inside is not None:
            return self.n_inside
        if not self.block or self.passes * self.digits > 1:
            return False
        # An output returns to stage B's adder after one tile, or after all N tiles. The way takes
        # A cycles, and those that a row needs from the first segment's sums to the last one's.
        config, m = self.config, self.gemm.m
        loop = config.loop_cycles + self.block * (self.stacked - 1)
        held_up = loop > max(config.array.band_rows, config.unit_lanes * m)
        several = max(len(part.n_tiles) for part in self.parts) > 1
        return held_up and several and self.blocks > self.stacked

    def order(self, part: Part) -> list[tuple[int, int]]:
        """Tiles (along K, along N) of ``part`` as they run."""
        if self.n_inner:
            return [(kt, nt) for kt in part.k_tiles for nt in part.n_tiles]
        return [(kt, nt) for nt in part.n_tiles for kt in part.k_tiles]

    def commands(self, *, tag: int = 0, idle_only: bool = False) -> list[Payload]:
        """One batch: a command for each part, with successive tags."""
        tags = 1 << self.config.control.tag_width
        last_k = ceil_div(self.gemm.k, self.rows) - 1
        last_n = ceil_div(self.gemm.n, self.cols) - 1
        return [
            {
                "tag": (tag + n) % tags,
                "row": part.group.row,
                "col": part.group.col,
                "rows_log2": part.group.row_bands.bit_length() - 1,
                "cols_log2": part.group.col_bands.bit_length() - 1,
                "m": self.gemm.m,
                "k_tiles": len(part.k_tiles),
                "n_tiles": len(part.n_tiles),
                "k_last": self.gemm.k - last_k * self.rows if last_k in part.k_tiles else self.rows,
                "n_last": self.gemm.n - last_n * self.cols if last_n in part.n_tiles else self.cols,
                "x_base": self.x_base,
                "w_base": self.w_base,
                "y_base": self.y_base,
                "n_inside": int(self.n_inner),
                "accumulate": int(self.accumulate),
                "idle_only": int(idle_only),
                "follow": len(self.parts) - 1 - n,
                **self._forms,
            }
            for n, part in enumerate(self.parts)
        ]

    @cached_property
    def _forms(self) -> Payload:
        """Selectors of the formats, in an array that has them."""
        mac = self.config.array.mac
        if mac is None or self.pair is None:
            return {}
        return {
            "x_form": mac.x.formats.index(self.pair.x),
            "w_form": mac.w.formats.index(self.pair.w),
        }
