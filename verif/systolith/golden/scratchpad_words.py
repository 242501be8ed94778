"""Words of a scratchpad: data, poison, and bits that are not what was written."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from systolith.golden.ecc import decode, encode
from systolith.memory.ecc_code import EccCode
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig

__all__ = ["Found", "Words"]

_Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """What a read finds; all but ``data`` are sets of code words, as masks."""

    data: int
    corrected: int
    error: int
    lost: int


class Words:
    """All words, of undefined contents until they are filled.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        shape = (config.banks, HALVES, config.depth)
        self.data = np.full((*shape, config.bytes), 0xA5, np.uint8)
        self.poison = np.zeros((*shape, config.lanes), np.bool_)
        self.flips: dict[_Place, int] = {}

    def fill(self, word: int) -> None:
        """Zero this word of every half."""
        self.data[:, :, word] = 0
        self.poison[:, :, word] = False
        self.flips = {place: bits for place, bits in self.flips.items() if place[2] != word}

    def write(self, place: _Place, mask: int, data: int, poison: int) -> None:
        """Write all code words that have a byte in ``mask``."""
        size = self.config.lane_bytes
        wide = np.frombuffer(data.to_bytes(self.config.bytes, "little"), np.uint8)
        for lane in range(self.config.lanes):
            if mask >> size * lane & (1 << size) - 1:
                part = slice(size * lane, size * (lane + 1))
                self.data[place][part] = wide[part]
                self.poison[place][lane] = bool(poison >> lane & 1)
                self._clean(place, lane)

    def flip(self, place: _Place, bits: int) -> None:
        """Flip stored bits."""
        self.flips[place] = self.flips.get(place, 0) ^ bits

    def repair(self, place: _Place, found: Found) -> None:
        """Write back the code words that were corrected, as they were read."""
        size = self.config.lane_bytes
        mask = sum(
            ((1 << size) - 1) << size * lane
            for lane in range(self.config.lanes)
            if found.corrected >> lane & 1
        )
        self.write(place, mask, found.data, 0)

    def read(self, place: _Place) -> Found:
        """What a reader gets."""
        config = self.config
        size, flips = config.lane_bytes, self.flips.get(place, 0)
        data = int.from_bytes(self.data[place].tobytes(), "little")
        error = sum(1 << lane for lane in np.flatnonzero(self.poison[place]).tolist())
        if not flips:
            return Found(data=data, corrected=0, error=error, lost=0)
        corrected = lost = 0
        whole = (1 << 8 * size) - 1
        for lane in range(config.lanes):
            wrong = flips >> config.lane_bits * lane & (1 << config.lane_bits) - 1
            if not wrong:
                continue
            word, poisoned = data >> 8 * size * lane & whole, bool(error >> lane & 1)
            if config.code is None:
                word, bad, put_right, beyond = word ^ wrong & 255, poisoned ^ wrong >> 8, 0, 0
            else:
                mark = config.mark if poisoned else 0
                word, put_right, beyond, known = _decoded(
                    config.code, word, mark, wrong, config.mark
                )
                bad, beyond = beyond, beyond and not known
            data = data & ~(whole << 8 * size * lane) | word << 8 * size * lane
            error = error & ~(1 << lane) | int(bad) << lane
            corrected |= int(put_right) << lane
            lost |= int(beyond) << lane
        return Found(data=data, corrected=corrected, error=error, lost=lost)

    def stored(self, place: _Place) -> int:
        """The bits in memory."""
        config = self.config
        size, value = 8 * config.lane_bytes, self.flips.get(place, 0)
        data = int.from_bytes(self.data[place].tobytes(), "little")
        for lane in range(config.lanes):
            word, poison = data >> size * lane & (1 << size) - 1, bool(self.poison[place][lane])
            if config.code is None:
                beside = int(poison)
            else:
                beside = _check(config.code, word) ^ (config.mark if poison else 0)
            value ^= (word | beside << size) << config.lane_bits * lane
        return value

    def _clean(self, place: _Place, lane: int) -> None:
        if place in self.flips:
            width = self.config.lane_bits
            left = self.flips[place] & ~(((1 << width) - 1) << width * lane)
            if left:
                self.flips[place] = left
            else:
                del self.flips[place]


def _bits(value: int, count: int) -> np.ndarray:
    return np.array([value >> i & 1 for i in range(count)], np.uint8)


def _number(bits: np.ndarray) -> int:
    return sum(int(bit) << i for i, bit in enumerate(bits))


@cache
def _check(code: EccCode, word: int) -> int:
    return _number(encode(code, _bits(word, code.data_bits)))


@cache
def _decoded(
    code: EccCode, word: int, beside: int, wrong: int, mark: int
) -> tuple[int, bool, bool, bool]:
    """Data, whether corrected, whether beyond correction, and whether marked as poisoned."""
    stored = word ^ wrong & (1 << code.data_bits) - 1
    check = _check(code, word) ^ beside ^ wrong >> code.data_bits
    told = decode(code, _bits(stored, code.data_bits), _bits(check, code.check_bits))
    return (
        _number(told.data),
        bool(told.corrected),
        bool(told.uncorrectable),
        int(told.syndrome) == mark,
    )
