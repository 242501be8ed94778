"""One GEMM on the engine: placement of its operands, read-out of its results."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.compiler.split import ceil_div
from systolith.compiler.tiling import CapacityError, GemmTiling, Part, Payload
from systolith.numerics.formats import Format
from systolith.numerics.lfsr import start_state

__all__ = ["CapacityError", "GemmPlan", "Part"]

Codes = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class GemmPlan(GemmTiling):
    """A GEMM placed on the engine under one split.

    Operands are int8 arrays for plain integers; for block formats codes, one an item, uint8 or
    (formats of 16 bits) uint16, with scale codes for blocks along K. Every parameter is one of
    :class:`GemmTiling`.
    """

    def x_writes(self, x: Codes, *, pad: int = 0) -> Iterator[Payload]:
        """Payloads of ``x_write`` that place X[M, K]; ``pad`` fills words that cross K."""
        self._expect("x", x, (self.gemm.m, self.gemm.k), self.pair.x if self.pair else None)
        array = self.config.array
        masks: dict[tuple[int, int], tuple[int, int]] = {}  # (slot, K tile): bands that take it
        for part in self.parts:
            for slot, kt in enumerate(part.k_tiles):
                rows, cols = masks.get((slot, kt), (0, 0))
                masks[slot, kt] = (rows | 1 << part.group.row, cols | 1 << part.group.col)
        padded, bits = _padded(x, array.tile, pad), array.x_bits
        high = array.row_bands // self.split.row_groups
        for (slot, kt), (row_mask, col_mask) in masks.items():
            for p in range(high):
                for u in range(array.row_tiles):
                    k = kt * self.rows + p * array.band_rows + u * array.tile
                    if k >= self.gemm.k:
                        continue
                    for m in range(self.gemm.m):
                        yield {
                            "data": _pack(padded[m, k : k + array.tile], bits),
                            "addr": self.x_base + slot * self.gemm.m + m,
                            "tile": u,
                            "row_mask": row_mask << p,
                            "col_mask": col_mask,
                        }

    def w_writes(self, w: Codes, *, pad: int = 0) -> Iterator[Payload]:
        """Payloads of ``w_write`` that place W[K, N]; ``pad`` fills words that cross N."""
        self._expect("w", w, (self.gemm.k, self.gemm.n), self.pair.w if self.pair else None)
        array = self.config.array
        padded, bits = _padded(w, array.tile, pad), array.w_bits
        for part in self.parts:
            for tile, (kt, nt) in enumerate(self.order(part)):
                for i, j in part.group.members:
                    for row in range(array.band_rows):
                        k = kt * self.rows + (i - part.group.row) * array.band_rows + row
                        if k >= self.gemm.k:
                            continue
                        for t, n in self._columns(nt, j - part.group.col):
                            yield {
                                "data": _pack(padded[k, n : n + array.tile], bits),
                                "addr": self.w_base + tile * array.band_rows + row,
                                "tile": t,
                                "row_mask": 1 << i,
                                "col_mask": 1 << j,
                            }

    def x_scale_writes(self, scales: Codes) -> Iterator[Payload]:
        """Payloads of ``x_scale`` that place the scales [M, blocks] of X.

        A block's scale belongs to its last K tile, in the last row band of the block and the first
        column band of every group.
        """
        self._expect("x_scales", scales, (self.gemm.m, self.blocks))
        for block in range(self.blocks):
            row_mask = col_mask = 0
            for part in self.parts:
                row_mask |= 1 << self._last_band(part, block)
                col_mask |= 1 << part.group.col
            for m in range(self.gemm.m):
                yield {
                    "data": int(scales[m, block]),
                    "addr": self.x_base + self._last_tile(block) * self.gemm.m + m,
                    "row_mask": row_mask,
                    "col_mask": col_mask,
                }

    def w_scale_writes(self, scales: Codes, *, pad: int = 0) -> Iterator[Payload]:
        """Payloads of ``w_scale`` that place the scales [blocks, N] of W.

        They belong to the weight tile that ends the block, in the last row band of the block in
        every group; ``pad`` fills words that cross N.
        """
        self._expect("w_scales", scales, (self.blocks, self.gemm.n))
        array = self.config.array
        padded = _padded(scales, array.tile, pad)
        for part, tile, nt, block in self._block_ends():
            for q in range(part.group.col_bands):
                for t, n in self._columns(nt, q):
                    yield {
                        "data": _pack(padded[block, n : n + array.tile], 8),
                        "addr": self.w_base // array.band_rows + tile,
                        "tile": t,
                        "row_mask": 1 << self._last_band(part, block),
                        "col_mask": 1 << part.group.col + q,
                    }

    def w_random_writes(self) -> Iterator[Payload]:
        """Payloads of ``w_random`` that place the start states of stochastic rounding.

        They belong where the scales of W do, one for the columns of each stage B. They depend on
        seed, block and column alone, so results do not depend on the split.
        """
        config, array = self.config, self.config.array
        lanes = config.unit_lanes
        for part, tile, nt, block in self._block_ends():
            for q in range(part.group.col_bands):
                for stage in range(array.band_cols // lanes):
                    column = nt * self.cols + q * array.band_cols + stage * lanes
                    yield {
                        "data": start_state(self.seed + block, column),
                        "addr": self.w_base // array.band_rows + tile,
                        "tile": stage,
                        "row_mask": 1 << self._last_band(part, block),
                        "col_mask": 1 << part.group.col + q,
                    }

    def _block_ends(self) -> Iterator[tuple[Part, int, int, int]]:
        """Where blocks end: part, place of the weight tile, its N tile, number of the block."""
        ends: dict[int, list[int]] = {}  # by K tile
        for block in range(self.blocks):
            ends.setdefault(self._last_tile(block), []).append(block)
        for part in self.parts:
            for tile, (kt, nt) in enumerate(self.order(part)):
                for block in ends.get(kt, []):
                    yield part, tile, nt, block

    def y_requests(self) -> list[Payload]:
        """Payloads of ``y_request`` that read Y, in the order :meth:`y_gather` expects."""
        return [request for _, _, request in self._reads()]

    def y_gather(self, words: list[int]) -> NDArray[Any]:
        """Y[M, N] from the answers to :meth:`y_requests`: int32, or float32 of block formats."""
        tile, width = self.config.array.tile, self.config.acc_width
        kind = np.dtype(np.float32 if self.block else np.int32).newbyteorder("<")
        y = np.zeros((self.gemm.m, ceil_div(self.gemm.n, tile) * tile), dtype="<u4")
        for (m, n, _), word in zip(self._reads(), words, strict=True):
            raw = word.to_bytes(tile * width // 8, "little")
            y[m, n : n + tile] = np.frombuffer(raw, dtype="<u4")
        result: NDArray[Any] = y[:, : self.gemm.n].view(kind)
        return result

    def _reads(self) -> Iterator[tuple[int, int, Payload]]:
        array = self.config.array
        bottom = array.row_bands // self.split.row_groups - 1
        memory = {"scaled": int(self.block > 0)} if self.config.scaled else {}
        for part in self.parts:
            group = part.group
            if self.share == "k" and group.row:
                continue  # read together with the group at the top
            firsts = {p.group.row for p in self.parts} if self.share == "k" else {group.row}
            rows = sum(1 << (first + bottom) for first in firsts)
            for slot, nt in enumerate(part.n_tiles):
                for q in range(group.col_bands):
                    for t, n in self._columns(nt, q):
                        for m in range(self.gemm.m):
                            request = {
                                "addr": self.y_base + slot * self.gemm.m + m,
                                "tile": t,
                                "row_mask": rows,
                                "col": group.col + q,
                                **memory,
                            }
                            yield m, n, request

    def _columns(self, nt: int, q: int) -> Iterator[tuple[int, int]]:
        """Column tiles of column band ``q`` in N tile ``nt``: number and first column of W."""
        array = self.config.array
        for t in range(array.col_tiles):
            n = nt * self.cols + q * array.band_cols + t * array.tile
            if n < self.gemm.n:
                yield t, n

    def _last_tile(self, block: int) -> int:
        """K tile that ends ``block``."""
        k_tile = block // self.stacked  # if a block is not several of them
        return min((k_tile + 1) * self.passes, ceil_div(self.gemm.k, self.rows)) - 1

    def _last_band(self, part: Part, block: int) -> int:
        """Row band of the group of ``part`` that ends the segment of ``block``."""
        segment = block % self.stacked
        return part.group.row + (segment + 1) * (part.group.row_bands // self.stacked) - 1

    def _expect(
        self, name: str, value: Codes, shape: tuple[int, int], form: Format | None = None
    ) -> None:
        kind: np.dtype[Any] = np.dtype(np.int8)
        if self.block:
            kind = np.dtype(np.uint16 if form is not None and form.width > 8 else np.uint8)
        elif name.endswith("scales"):
            raise ValueError(f"{name} must not be given for plain integers, which have no scales")
        if value.shape != shape or value.dtype != kind:
            raise ValueError(
                f"{name} must be {kind} of shape {shape}, not {value.dtype} of shape {value.shape}"
            )
        if form is None or form.width == 8 * kind.itemsize:
            return
        low, high = 0, (1 << form.width) - 1
        if not self.block:
            low, high = -(1 << form.width - 1), (1 << form.width - 1) - 1
        for odd in (int(value.min()), int(value.max())):
            if not low <= odd <= high:
                raise ValueError(
                    f"{name} must hold codes of {form.name}, {low}..{high}, one an item, not {odd}"
                )


def _padded(values: Codes, step: int, pad: int) -> Codes:
    """Lengthen the rows to a multiple of ``step``; of ``pad``, as many bits as the items have."""
    size = 8 * values.dtype.itemsize
    fill = np.array(pad & (1 << size) - 1, dtype=f"u{size // 8}").view(values.dtype)
    return np.pad(values, [(0, 0), (0, -values.shape[1] % step)], constant_values=fill)


def _pack(values: Codes, width: int) -> int:
    if width == 8 * values.dtype.itemsize:
        return int.from_bytes(values.astype(values.dtype.newbyteorder("<")).tobytes(), "little")
    mask = (1 << width) - 1
    return sum((int(v) & mask) << (n * width) for n, v in enumerate(values))
