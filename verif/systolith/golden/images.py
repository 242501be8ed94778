"""Images of the engine's memories, and what its ports write to and read from them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import EngineConfig

__all__ = ["Images", "Lanes"]

Lanes = NDArray[Any]


class Images:
    """Contents of all memories.

    Parameters
    ----------
    config
        The engine.

    Members
    -------
    x, w : [row bands, col bands, row (column) tiles, words, T]
        Operands: int8, or with formats unsigned codes.
    x_scale : uint8 [row bands, col bands, x_depth]
        Scales of rows of X.
    w_scale : uint8 [row bands, col bands, col tiles, weight tiles, T]
        Scales of columns of W.
    w_random : uint32 [row bands, col bands, stages B of a band, weight tiles]
        Start states of random bits, with stochastic rounding.
    y : int32 [row bands, col bands, col tiles, y_depth, T]
        Sums of plain integers.
    ys : uint32, same shape
        Words of the binary32 sums of block formats.
    known : bool, same shape
        Words of ``y`` that mean something: the exact sums of blocks go through the same memory.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        a, memory = config.array, config.memory
        bands = (a.row_bands, a.col_bands)
        self._bits = {"x_write": a.x_bits, "w_write": a.w_bits, "x_scale": 8, "w_scale": 8}
        stages = a.band_cols // config.unit_lanes if config.stochastic else 1
        self.w_random = np.zeros((*bands, stages, config.max_tiles), dtype=np.uint32)
        x_kind, w_kind = (self._kind(self._bits[stream]) for stream in ("x_write", "w_write"))
        self.x: Lanes = np.zeros((*bands, a.row_tiles, memory.x_depth, a.tile), dtype=x_kind)
        self.w: Lanes = np.zeros((*bands, a.col_tiles, memory.w_depth, a.tile), dtype=w_kind)
        self.x_scale = np.zeros((*bands, memory.x_depth), dtype=np.uint8)
        self.w_scale = np.zeros((*bands, a.col_tiles, config.max_tiles, a.tile), dtype=np.uint8)
        sums = (*bands, a.col_tiles, memory.y_depth, a.tile)
        self.y = np.zeros(sums, dtype=np.int32)
        self.ys = np.zeros(sums, dtype=np.uint32)
        self.known = np.ones(sums, dtype=np.bool_)

    def _kind(self, bits: int) -> Any:
        if self.config.array.mac is None:
            return np.int8
        return np.uint8 if bits <= 8 else np.uint16

    def write(self, stream: str, payload: Mapping[str, int]) -> None:
        """Apply a payload of a stream that writes operands, scales or states."""
        a = self.config.array
        bank: Lanes = {
            "x_write": self.x,
            "w_write": self.w,
            "x_scale": self.x_scale,
            "w_scale": self.w_scale,
            "w_random": self.w_random,
        }[stream]
        address: tuple[int, ...] = (payload["addr"],)
        word: Any = payload["data"]
        if stream != "x_scale":
            address = (payload["tile"], *address)
        if stream in ("x_write", "w_write", "w_scale"):
            word = self._lanes(payload["data"], self._bits[stream], bank.dtype)
        for i in range(a.row_bands):
            for j in range(a.col_bands):
                if payload["row_mask"] >> i & 1 and payload["col_mask"] >> j & 1:
                    bank[(i, j, *address)] = word

    def _lanes(self, data: int, bits: int, kind: Any) -> Lanes:
        tile = self.config.array.tile
        if bits == 8:
            return np.frombuffer(data.to_bytes(tile, "little"), dtype=kind)
        return np.array([data >> n * bits & (1 << bits) - 1 for n in range(tile)], dtype=kind)

    def read(self, payload: Mapping[str, int]) -> NDArray[np.uint32]:
        """T words for a ``y_request``: bits of an int32 sum over row bands, or of binary32."""
        words = self._words(self.ys if payload.get("scaled") else self.y, payload)
        if payload.get("scaled") and len(words) != 1:
            raise ValueError(
                f"row_mask must have one bit of a read of binary32, not {payload['row_mask']:#x}"
            )
        total: NDArray[np.int64] = np.sum(words, axis=0, dtype=np.int64)
        return total.astype(np.uint32)

    def meaningful(self, payload: Mapping[str, int]) -> NDArray[np.bool_]:
        """Which of the T words of :meth:`read` the interface defines."""
        if payload.get("scaled"):
            return np.ones(self.config.array.tile, dtype=np.bool_)
        result: NDArray[np.bool_] = np.all(self._words(self.known, payload), axis=0)
        return result

    def _words(self, image: Lanes, payload: Mapping[str, int]) -> list[Lanes]:
        return [
            image[i, payload["col"], payload["tile"], payload["addr"]]
            for i in range(self.config.array.row_bands)
            if payload["row_mask"] >> i & 1
        ]
