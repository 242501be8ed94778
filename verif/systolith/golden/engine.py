"""The matrix engine as its host sees it: memories, commands, codes. No time, no pipeline."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig

__all__ = ["EngineModel"]


class EngineModel:
    """Executes commands on images of the engine's memories.

    Written from the interface's definition, not from the planner: a wrong placement shows as a
    wrong product, a wrong address in the RTL as a difference to these images.

    Parameters
    ----------
    config
        The engine.

    Members
    -------
    x : int8 [row bands, col bands, row tiles, x_depth, T]
    w : int8 [row bands, col bands, col tiles, w_depth, T]
    y : int32 [row bands, col bands, col tiles, y_depth, T]
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        a, memory = config.array, config.memory
        bands = (a.row_bands, a.col_bands)
        self.x = np.zeros((*bands, a.row_tiles, memory.x_depth, a.tile), dtype=np.int8)
        self.w = np.zeros((*bands, a.col_tiles, memory.w_depth, a.tile), dtype=np.int8)
        self.y = np.zeros((*bands, a.col_tiles, memory.y_depth, a.tile), dtype=np.int32)

    def write(self, bank: NDArray[np.int8], payload: Mapping[str, int]) -> None:
        """Apply an ``x_write`` (``w_write``) to :attr:`x` (:attr:`w`)."""
        raw = payload["data"].to_bytes(self.config.array.tile, "little")
        word = np.frombuffer(raw, dtype=np.int8)
        for i in range(self.config.array.row_bands):
            for j in range(self.config.array.col_bands):
                if payload["row_mask"] >> i & 1 and payload["col_mask"] >> j & 1:
                    bank[i, j, payload["tile"], payload["addr"]] = word

    def read(self, payload: Mapping[str, int]) -> NDArray[np.int32]:
        """T sums for a ``y_request``."""
        a = self.config.array
        words = [
            self.y[i, payload["col"], payload["tile"], payload["addr"]]
            for i in range(a.row_bands)
            if payload["row_mask"] >> i & 1
        ]
        total: NDArray[np.int64] = np.sum(words, axis=0, dtype=np.int64)
        return total.astype(np.int32)

    def check(self, command: Mapping[str, int]) -> Code:
        """Outcome of ``command``, leaving aside ``idle_only``, which depends on time."""
        a, memory = self.config.array, self.config.memory
        high, wide = 1 << command["rows_log2"], 1 << command["cols_log2"]
        m, tiles = command["m"], command["k_tiles"] * command["n_tiles"]
        if (
            high > a.row_bands
            or wide > a.col_bands
            or command["row"] % high
            or command["col"] % wide
            or command["row"] >= a.row_bands
            or command["col"] >= a.col_bands
        ):
            return Code.BAD_GROUP
        if (
            not (m and tiles and command["k_last"] and command["n_last"])
            or command["k_last"] > high * a.band_rows
            or command["n_last"] > wide * a.band_cols
        ):
            return Code.BAD_SHAPE
        if command["x_base"] + command["k_tiles"] * m > memory.x_depth:
            return Code.X_RANGE
        if command["w_base"] + tiles * a.band_rows > memory.w_depth:
            return Code.W_RANGE
        if command["y_base"] + command["n_tiles"] * m > memory.y_depth:
            return Code.Y_RANGE
        return Code.OK

    def run(self, command: Mapping[str, int]) -> Code:
        """Execute ``command`` on the images; a refused one changes nothing."""
        code = self.check(command)
        if code is not Code.OK:
            return code
        order = [(kt, nt) for nt in range(command["n_tiles"]) for kt in range(command["k_tiles"])]
        if command["n_inside"]:
            order.sort()
        for tile, (kt, nt) in enumerate(order):
            k_used = self.config.array.rows
            if kt == command["k_tiles"] - 1:
                k_used = command["k_last"]
            n_used = self.config.array.cols
            if nt == command["n_tiles"] - 1:
                n_used = command["n_last"]
            self._tile(command, tile, kt, nt, k_used, n_used)
        return code

    def _tile(
        self, command: Mapping[str, int], tile: int, kt: int, nt: int, k_used: int, n_used: int
    ) -> None:
        a, m = self.config.array, command["m"]
        row, col = command["row"], command["col"]
        high, wide = 1 << command["rows_log2"], 1 << command["cols_log2"]
        x_at = command["x_base"] + kt * m
        w_at = command["w_base"] + tile * a.band_rows
        y_at = command["y_base"] + nt * m

        x = np.concatenate(
            [
                self.x[row + p, col, u, x_at : x_at + m]
                for p in range(high)
                for u in range(a.row_tiles)
            ],
            axis=1,
        )[:, :k_used].astype(np.int64)
        for q in range(wide):
            for t in range(a.col_tiles):
                left = q * a.band_cols + t * a.tile
                used = max(0, min(a.tile, n_used - left))
                w = np.concatenate(
                    [self.w[row + p, col + q, t, w_at : w_at + a.band_rows] for p in range(high)]
                )[:k_used].astype(np.int64)
                out = self.y[row + high - 1, col + q, t, y_at : y_at + m, :used]
                old = out.astype(np.int64) if kt or command["accumulate"] else 0
                out[:] = (old + (x @ w)[:, :used]).astype(np.int32)
