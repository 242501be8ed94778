"""The matrix engine as its host sees it: memories, commands, codes. No time, no pipeline."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.golden.gemm import accumulator_of
from systolith.golden.images import Images, Lanes
from systolith.golden.numerics.accumulate import Accumulator, canonical
from systolith.golden.numerics.decode import decode
from systolith.golden.numerics.lfsr import bits_after, element_index
from systolith.golden.numerics.matmul import Segment, block_terms
from systolith.numerics.formats import Format
from systolith.numerics.pairs import Pair

__all__ = ["EngineModel"]

Command = Mapping[str, int]
Spot = tuple[int, int, int, slice, slice]  # accumulators: row band, column band, tile, words, lanes


class EngineModel(Images):
    """Executes commands on images of the engine's memories.

    Written from the interface's definition, not from the planner: a wrong placement shows as a
    wrong product, a wrong address in the RTL as a difference to these images.

    Parameters
    ----------
    config
        The engine.
    """

    def check(self, command: Command) -> Code:
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
        if self._bad_format(command):
            return Code.BAD_FORMAT
        if command["x_base"] + command["k_tiles"] * m > memory.x_depth:
            return Code.X_RANGE
        if command["w_base"] + tiles * a.band_rows > memory.w_depth:
            return Code.W_RANGE
        if command["y_base"] + command["n_tiles"] * m > memory.y_depth:
            return Code.Y_RANGE
        return Code.OK

    def _bad_format(self, command: Command) -> bool:
        a = self.config.array
        if a.mac is None:
            return False
        try:
            pair = self._pair(command)
        except IndexError:
            return True
        if pair not in a.pairs:
            return True
        rows = a.band_rows << command["rows_log2"]
        return pair.block > 0 and (
            a.band_rows > pair.block
            or (command["n_inside"] != 0 and (rows < pair.block or pair.passes > 1))
        )

    def _pair(self, command: Command) -> Pair:
        x_forms, w_forms = self._forms
        return Pair(x_forms[command["x_form"]], w_forms[command["w_form"]])

    @cached_property
    def _forms(self) -> tuple[tuple[Format, ...], tuple[Format, ...]]:
        """Formats of X and of W in the order of their selectors."""
        mac = self.config.array.mac
        if mac is None:
            raise ValueError(f"{self.config.name} has no formats to choose from")
        return mac.x.formats, mac.w.formats

    def run(self, command: Command) -> Code:
        """Execute ``command`` on the images; a refused one changes nothing."""
        code = self.check(command)
        if code is not Code.OK:
            return code
        pair = self._pair(command) if self.config.array.mac else None
        rows = self.config.array.band_rows << command["rows_log2"]
        together = max(1, pair.block // rows) if pair and pair.block else 1
        for start in range(0, command["k_tiles"], together):
            k_tiles = range(start, min(start + together, command["k_tiles"]))
            for nt in range(command["n_tiles"]):
                if pair and pair.block:
                    for part in range(max(1, rows // pair.block)):
                        self._block(command, pair, k_tiles, nt, part)
                else:
                    self._plain(command, pair, start, nt)
        return code

    def _plain(self, command: Command, pair: Pair | None, kt: int, nt: int) -> None:
        """Add the exact product of one tile."""
        x = self._numbers(self._x(command, [kt]), pair.x if pair else None)
        for spot, columns in self._columns(command, nt, self._below(command) - 1):
            w = self._numbers(self._w(command, [kt], nt, spot), pair.w if pair else None)
            spot = (*spot[:4], columns)
            old = self.y[spot].astype(np.int64)
            known = self.known[spot]
            if not (kt or command["accumulate"]):
                old, known = np.zeros_like(old), np.ones_like(known)
            self.y[spot] = (old + (x @ w)[:, columns]).astype(np.int32)
            self.known[spot] = known

    def _block(self, command: Command, pair: Pair, k_tiles: range, nt: int, part: int) -> None:
        """Add the scaled sum of one block, whose products are in ``k_tiles``.

        The group's rows hold as many blocks, one below the other, as they are taller than one;
        this is number ``part``. It adds to the results of the block above; the first one, which
        continues K tile by K tile, to those of the last.
        """
        parts = max(1, (self.config.array.band_rows << command["rows_log2"]) // pair.block)
        high = (1 << command["rows_log2"]) // parts
        band, above = (
            command["row"] + n % parts * high + high - 1 for n in (part, part + parts - 1)
        )
        along = slice(part * pair.block, (part + 1) * pair.block)
        x = self._x(command, k_tiles)[:, along] & (1 << pair.x.width) - 1
        last = k_tiles[-1]
        at = command["x_base"] + last * command["m"]
        x_scales = self.x_scale[band, command["col"], at : at + command["m"], None]
        tile = command["w_base"] // self.config.array.band_rows + self._turn(command, last, nt)
        for spot, columns in self._columns(command, nt, band):
            own, from_above = (*spot[:4], columns), (above, *spot[1:4], columns)
            old = self.ys[from_above].view(np.float32)
            if k_tiles[0] == 0 and part == 0 and not command["accumulate"]:
                old = np.zeros_like(old)
            if x.size:
                w = self._w(command, k_tiles, nt, spot)[along] & (1 << pair.w.width) - 1
                w_scales = self.w_scale[(*spot[:3], tile)][None, :]
                segment = Segment(x, x_scales, w, w_scales, pair.x.name, pair.w.name)
                (term,) = block_terms(segment)
                accumulator = Accumulator(old.shape, accumulator_of(self.config))
                accumulator.value = old
                accumulator.add(term[:, columns], self._random(spot, tile, old.shape))
                old = canonical(accumulator.value)
            self.ys[own] = old.view(np.uint32)  # unchanged if K ends above, whatever the scales
            self.known[own] = False  # the exact sums of blocks are formed there

    def _random(self, spot: Spot, tile: int, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Random bits of the outputs at ``spot`` for the block that weight tile ``tile`` ends."""
        if not self.config.stochastic:
            return None
        stage, first = divmod(spot[2] * self.config.array.tile, self.config.unit_lanes)
        start = np.full(shape, self.w_random[spot[0], spot[1], stage, tile], np.uint32)
        index = element_index(np.arange(shape[0])[:, None], first + np.arange(shape[1])[None, :])
        return bits_after(start, index.astype(np.uint64)).astype(np.int64)

    # Operands -------------------------------------------------------------------------------

    def _x(self, command: Command, k_tiles: range | list[int]) -> Lanes:
        """Rows of X along ``k_tiles``, as far as K goes."""
        m, parts = command["m"], []
        for kt in k_tiles:
            at = command["x_base"] + kt * m
            banks = self.x[command["row"] : self._below(command), command["col"], :, at : at + m]
            # [row bands, row tiles, m, T] to [m, rows of the group]
            rows = banks.transpose(2, 0, 1, 3).reshape(m, -1)
            parts.append(rows[:, : self._used(command, kt)])
        return np.concatenate(parts, axis=1)

    def _w(self, command: Command, k_tiles: range | list[int], nt: int, spot: Spot) -> Lanes:
        """Rows of W along ``k_tiles`` in one column tile."""
        r, parts = self.config.array.band_rows, []
        for kt in k_tiles:
            at = command["w_base"] + self._turn(command, kt, nt) * r
            bank = self.w[command["row"] : self._below(command), spot[1], spot[2], at : at + r]
            parts.append(bank.reshape(-1, bank.shape[-1])[: self._used(command, kt)])
        return np.concatenate(parts)

    def _columns(self, command: Command, nt: int, band: int) -> Iterator[tuple[Spot, slice]]:
        """Column tiles of an N tile: their results in row band ``band``, the columns written."""
        a, m = self.config.array, command["m"]
        used = command["n_last"] if nt == command["n_tiles"] - 1 else a.cols
        at = command["y_base"] + nt * m
        for q in range(1 << command["cols_log2"]):
            for t in range(a.col_tiles):
                left = q * a.band_cols + t * a.tile
                columns = slice(0, max(0, min(a.tile, used - left)))
                yield (band, command["col"] + q, t, slice(at, at + m), slice(None)), columns

    @staticmethod
    def _below(command: Command) -> int:
        """Row band below the group."""
        return command["row"] + (1 << command["rows_log2"])

    def _used(self, command: Command, kt: int) -> int:
        """Rows of the group that K tile ``kt`` uses."""
        return command["k_last"] if kt == command["k_tiles"] - 1 else self.config.array.rows

    @staticmethod
    def _turn(command: Command, kt: int, nt: int) -> int:
        """Place of a weight tile in running order."""
        if command["n_inside"]:
            return kt * command["n_tiles"] + nt
        return nt * command["k_tiles"] + kt

    @staticmethod
    def _numbers(lanes: Lanes, form: Format | None) -> NDArray[np.int64]:
        """Plain integers of memory lanes: int8 as they are, or codes of a format."""
        if form is None:
            return lanes.astype(np.int64)
        return decode(lanes & (1 << form.width) - 1, form.name).astype(np.int64)
