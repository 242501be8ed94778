"""ECC within a memory, bit-exact: what is stored, what is read, what is counted."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.golden.ecc import decode_atoms, encode_atoms
from systolith.memory.ecc_code import AtomEcc

__all__ = ["InlineMemory"]

_BLOCK, _STRIDE = 8, 9
_Bytes = NDArray[np.uint8]


@dataclass
class InlineMemory:
    """A memory of atoms in blocks of eight, each behind an atom of check bits.

    Parameters
    ----------
    ecc
        Of an atom; its check bits are an eighth of it.
    stored
        ``(atoms, bytes)``, what the memory holds; may be changed from outside.
    corrected, uncorrectable, first
        Counts, and the first atom that was uncorrectable.
    dirty
        Block that a scrub would write back.
    """

    ecc: AtomEcc
    stored: _Bytes
    corrected: int = 0
    uncorrectable: int = 0
    first: int | None = None
    dirty: int | None = None
    scrubs: int = 0
    _zeros: _Bytes = field(init=False)

    def __post_init__(self) -> None:
        self._zeros = np.zeros((_BLOCK, self.stored.shape[1]), np.uint8)

    @property
    def blocks(self) -> int:
        """That there are."""
        return len(self.stored) // _STRIDE

    def fill(self, first: int, number: int) -> None:
        """Blocks of zeros."""
        for block in range(first, first + number):
            self._write_block(block, self._zeros, np.zeros(_BLOCK, bool))

    def read(self, atom: int, count: int) -> tuple[_Bytes, NDArray[np.bool_]]:
        """Data and errors of ``count`` atoms from ``atom`` on."""
        data, bad = np.empty((count, self.stored.shape[1]), np.uint8), np.empty(count, bool)
        for n in range(count):
            block, index = divmod(atom + n, _BLOCK)
            words, wrong, corrected = self._read_block(block)
            data[n], bad[n] = words[index], wrong[index]
            self._count(atom + n, bool(wrong[index]), bool(corrected[index]))
            if corrected[index] and self.dirty is None:
                self.dirty = block
        return data, bad

    def write(
        self, atom: int, data: _Bytes, mask: NDArray[np.bool_], poison: NDArray[np.bool_]
    ) -> None:
        """Atoms from ``atom`` on: ``(n, bytes)`` data and mask, ``(n,)`` whether they are bad."""
        at = 0
        while at < len(data):
            block, index = divmod(atom + at, _BLOCK)
            here = min(_BLOCK - index, len(data) - at)
            part = slice(at, at + here)
            self._write_part(block, index, data[part], mask[part], poison[part])
            at += here

    def scrub(self) -> None:
        """Write the dirty block back."""
        if self.dirty is not None:
            data, bad, _ = self._read_block(self.dirty)
            self._write_block(self.dirty, data, bad)
            self.scrubs += 1
            self.dirty = None

    def _write_part(
        self,
        block: int,
        index: int,
        data: _Bytes,
        mask: NDArray[np.bool_],
        poison: NDArray[np.bool_],
    ) -> None:
        here = slice(index, index + len(data))
        if len(data) == _BLOCK and mask.all():
            self._write_block(block, data, poison)
            return
        new, bad, corrected = self._read_block(block)
        for n in range(_BLOCK):
            self._count(_BLOCK * block + n, bool(bad[n]), bool(corrected[n]))
        new[here] = np.where(mask, data, new[here])
        bad[here] = (mask.any(axis=1) & poison) | (bad[here] & ~mask.all(axis=1))
        self._write_block(block, new, bad)

    def _read_block(self, block: int) -> tuple[_Bytes, NDArray[np.bool_], NDArray[np.bool_]]:
        atoms = self.stored[_STRIDE * block :][:_STRIDE]
        size = self.stored.shape[1] // _BLOCK
        checks = atoms[0].reshape(_BLOCK, size).astype(np.int64) @ (1 << 8 * np.arange(size))
        found: Any = decode_atoms(self.ecc, atoms[1:], checks)
        return found.data, found.uncorrectable, found.corrected & ~found.uncorrectable

    def _write_block(self, block: int, data: _Bytes, bad: NDArray[np.bool_]) -> None:
        size = self.stored.shape[1] // _BLOCK
        checks = encode_atoms(self.ecc, data, bad)
        at = _STRIDE * block
        self.stored[at] = (checks[:, np.newaxis] >> 8 * np.arange(size)).astype(np.uint8).ravel()
        self.stored[at + 1 : at + _STRIDE] = data

    def _count(self, atom: int, bad: bool, corrected: bool) -> None:
        self.corrected += corrected
        self.uncorrectable += bad
        if bad and self.first is None:
            self.first = atom
