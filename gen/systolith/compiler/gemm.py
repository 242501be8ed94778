"""One GEMM on the engine: commands, placement of its operands, read-out of its results."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import EngineConfig
from systolith.compiler.split import Gemm, Group, Split, ceil_div

__all__ = ["CapacityError", "GemmPlan", "Part"]

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
class GemmPlan:
    """A GEMM placed on the engine under one split.

    The N tiles are dealt out to the groups in turn. With ``share="k"`` the groups of one column
    share K instead, and the read-out adds their partial results, which is exact for int32.

    Parameters
    ----------
    config
        The engine.
    gemm, split
        What runs and how.
    share
        Dimension that is shared out between groups.
    n_inside
        Order of the tile loops.
    accumulate
        Add to what the accumulators hold.
    x_base, w_base, y_base
        First word used in every bank.
    """

    config: EngineConfig
    gemm: Gemm
    split: Split
    share: Literal["n", "k"] = "n"
    n_inside: bool = False
    accumulate: bool = False
    x_base: int = 0
    w_base: int = 0
    y_base: int = 0

    def __post_init__(self) -> None:
        memory, array = self.config.memory, self.config.array
        if ceil_div(self.gemm.k, self._rows) < self._ways:
            raise ValueError(
                f"share=k needs at least {self._ways} K tiles for split {self.split}: "
                f"k must be above {(self._ways - 1) * self._rows}, not {self.gemm.k}"
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

    @property
    def _ways(self) -> int:
        """Groups among which the K tiles are dealt out."""
        return self.split.row_groups if self.share == "k" else 1

    @property
    def _rows(self) -> int:
        return self.config.array.rows // self.split.row_groups

    @property
    def _cols(self) -> int:
        return self.config.array.cols // self.split.col_groups

    @cached_property
    def parts(self) -> list[Part]:
        """Shares of the groups that have work."""
        k_tiles = range(ceil_div(self.gemm.k, self._rows))
        n_tiles = range(ceil_div(self.gemm.n, self._cols))
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

    def commands(self, *, tag: int = 0, idle_only: bool = False) -> list[Payload]:
        """One batch: a command for each part, with successive tags."""
        tags = 1 << self.config.control.tag_width
        last_k = ceil_div(self.gemm.k, self._rows) - 1
        last_n = ceil_div(self.gemm.n, self._cols) - 1
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
                "k_last": self.gemm.k - last_k * self._rows
                if last_k in part.k_tiles
                else self._rows,
                "n_last": self.gemm.n - last_n * self._cols
                if last_n in part.n_tiles
                else self._cols,
                "x_base": self.x_base,
                "w_base": self.w_base,
                "y_base": self.y_base,
                "n_inside": int(self.n_inside),
                "accumulate": int(self.accumulate),
                "idle_only": int(idle_only),
                "follow": len(self.parts) - 1 - n,
            }
            for n, part in enumerate(self.parts)
        ]

    def x_writes(self, x: NDArray[np.int8], *, pad: int = 0) -> Iterator[Payload]:
        """Payloads of ``x_write`` that place X[M, K]; ``pad`` fills words that cross K."""
        self._expect("x", x, (self.gemm.m, self.gemm.k))
        array = self.config.array
        masks: dict[tuple[int, int], tuple[int, int]] = {}  # (slot, K tile): bands that take it
        for part in self.parts:
            for slot, kt in enumerate(part.k_tiles):
                rows, cols = masks.get((slot, kt), (0, 0))
                masks[slot, kt] = (rows | 1 << part.group.row, cols | 1 << part.group.col)
        padded = _padded(x, 1, array.tile, pad)
        high = array.row_bands // self.split.row_groups
        for (slot, kt), (row_mask, col_mask) in masks.items():
            for p in range(high):
                for u in range(array.row_tiles):
                    k = kt * self._rows + p * array.band_rows + u * array.tile
                    if k >= self.gemm.k:
                        continue
                    for m in range(self.gemm.m):
                        yield {
                            "data": _pack(padded[m, k : k + array.tile], array.act_width),
                            "addr": self.x_base + slot * self.gemm.m + m,
                            "tile": u,
                            "row_mask": row_mask << p,
                            "col_mask": col_mask,
                        }

    def w_writes(self, w: NDArray[np.int8], *, pad: int = 0) -> Iterator[Payload]:
        """Payloads of ``w_write`` that place W[K, N]; ``pad`` fills words that cross N."""
        self._expect("w", w, (self.gemm.k, self.gemm.n))
        array = self.config.array
        padded = _padded(w, 1, array.tile, pad)
        for part in self.parts:
            for tile, (kt, nt) in enumerate(self._order(part)):
                for (i, j), row in self._band_rows(part.group):
                    k = kt * self._rows + (i - part.group.row) * array.band_rows + row
                    if k >= self.gemm.k:
                        continue
                    for t in range(array.col_tiles):
                        n = nt * self._cols + (j - part.group.col) * array.band_cols
                        n += t * array.tile
                        if n >= self.gemm.n:
                            continue
                        yield {
                            "data": _pack(padded[k, n : n + array.tile], array.weight_width),
                            "addr": self.w_base + tile * array.band_rows + row,
                            "tile": t,
                            "row_mask": 1 << i,
                            "col_mask": 1 << j,
                        }

    def y_requests(self) -> list[Payload]:
        """Payloads of ``y_request`` that read Y, in the order :meth:`y_gather` expects."""
        return [request for _, _, request in self._reads()]

    def y_gather(self, words: list[int]) -> NDArray[np.int32]:
        """Y[M, N] from the answers to :meth:`y_requests`."""
        tile, width = self.config.array.tile, self.config.acc_width
        y = np.zeros((self.gemm.m, ceil_div(self.gemm.n, tile) * tile), dtype=np.int32)
        for (m, n, _), word in zip(self._reads(), words, strict=True):
            raw = word.to_bytes(tile * width // 8, "little")
            y[m, n : n + tile] = np.frombuffer(raw, dtype="<i4")
        return y[:, : self.gemm.n]

    def _reads(self) -> Iterator[tuple[int, int, Payload]]:
        array = self.config.array
        bottom = array.row_bands // self.split.row_groups - 1
        for part in self.parts:
            group = part.group
            if self.share == "k" and group.row:
                continue  # read together with the group at the top
            firsts = {p.group.row for p in self.parts} if self.share == "k" else {group.row}
            rows = sum(1 << (first + bottom) for first in firsts)
            for slot, nt in enumerate(part.n_tiles):
                for q in range(group.col_bands):
                    for t in range(array.col_tiles):
                        n = nt * self._cols + q * array.band_cols + t * array.tile
                        if n >= self.gemm.n:
                            continue
                        for m in range(self.gemm.m):
                            request = {
                                "addr": self.y_base + slot * self.gemm.m + m,
                                "tile": t,
                                "row_mask": rows,
                                "col": group.col + q,
                            }
                            yield m, n, request

    def _order(self, part: Part) -> list[tuple[int, int]]:
        if self.n_inside:
            return [(kt, nt) for kt in part.k_tiles for nt in part.n_tiles]
        return [(kt, nt) for nt in part.n_tiles for kt in part.k_tiles]

    def _band_rows(self, group: Group) -> Iterator[tuple[tuple[int, int], int]]:
        for band in group.members:
            for row in range(self.config.array.band_rows):
                yield band, row

    def _expect(self, name: str, value: NDArray[np.int8], shape: tuple[int, int]) -> None:
        if value.shape != shape or value.dtype != np.int8:
            raise ValueError(
                f"{name} must be int8 of shape {shape}, not {value.dtype} of shape {value.shape}"
            )


def _padded(values: NDArray[np.int8], axis: int, step: int, pad: int) -> NDArray[np.int8]:
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, -values.shape[axis] % step)
    return np.pad(values, widths, constant_values=pad)


def _pack(values: NDArray[np.int8], width: int) -> int:
    if width == 8:
        return int.from_bytes(values.tobytes(), "little")
    mask = (1 << width) - 1
    return sum((int(v) & mask) << (n * width) for n, v in enumerate(values))
