"""Error correction, bit-exact: words of a code and atoms of 32 bytes, many at a time."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.memory.ecc_code import AtomEcc, EccCode

__all__ = ["Atoms", "Words", "decode", "decode_atoms", "encode", "encode_atoms"]

_Bits = NDArray[np.uint8]
_GOOD, _BAD = -1, -2  # in place of the position of a single error


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a decoder makes of ``n`` words, or of any other shape.

    Parameters
    ----------
    data
        ``(n, data_bits)``, 0 or 1: corrected where one bit was wrong.
    corrected, uncorrectable
        ``(n,)``, bool, never both.
    syndrome
        ``(n,)``, 0 where nothing was wrong.
    """

    data: _Bits
    corrected: NDArray[np.bool_]
    uncorrectable: NDArray[np.bool_]
    syndrome: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Atoms:
    """What a decoder makes of ``n`` atoms.

    Parameters
    ----------
    data
        ``(n, 32)`` bytes.
    corrected, uncorrectable, poisoned
        ``(n,)``, bool. Poisoned atoms are uncorrectable; one word may be corrected and another not.
    syndrome
        ``(n, words)``.
    """

    data: NDArray[np.uint8]
    corrected: NDArray[np.bool_]
    uncorrectable: NDArray[np.bool_]
    poisoned: NDArray[np.bool_]
    syndrome: NDArray[np.int64]


@cache
def _matrix(code: EccCode) -> NDArray[np.float64]:
    """``(bits, check_bits)``: the syndrome of each bit of a word."""
    matrix = np.array(code.columns)[:, np.newaxis] >> np.arange(code.check_bits) & 1
    return matrix.astype(np.float64)


def _times(bits: _Bits, matrix: NDArray[np.float64]) -> _Bits:
    """Product over GF(2); in floating point, exactly, because numpy multiplies no integers fast."""
    return (bits.astype(np.float64) @ matrix % 2).astype(np.uint8)


def _inverted(code: EccCode) -> _Bits:
    return np.array([code.invert >> row & 1 for row in range(code.check_bits)], np.uint8)


def encode(code: EccCode, data: NDArray[Any]) -> _Bits:
    """Check bits, ``(..., check_bits)``, of words given as bits, ``(..., data_bits)``."""
    bits = np.asarray(data, np.uint8)
    return _times(bits, _matrix(code)[: code.data_bits]) ^ _inverted(code)


@cache
def _places(code: EccCode) -> NDArray[np.int64]:
    """Of each syndrome the bit that is wrong: by trying every single error."""
    places = np.full(1 << code.check_bits, _BAD)
    places[0] = _GOOD
    singles = np.eye(code.bits, dtype=np.uint8)
    places[_numbers(_times(singles, _matrix(code)))] = np.arange(code.bits)
    return places


def _numbers(bits: _Bits) -> NDArray[np.int64]:
    """Of little-endian bits in the last axis."""
    return bits.astype(np.int64) @ (1 << np.arange(bits.shape[-1]))


def decode(code: EccCode, stored: NDArray[Any], check: NDArray[Any]) -> Words:
    """Look at words, ``(..., data_bits)`` and ``(..., check_bits)``, that may have errors."""
    word = np.concatenate([stored, check ^ _inverted(code)], axis=-1).astype(np.uint8)
    syndrome = _numbers(_times(word, _matrix(code)))
    place = _places(code)[syndrome]
    corrected = place >= 0
    wrong = np.arange(code.bits) == place[..., np.newaxis]
    return Words(
        data=(word ^ wrong)[..., : code.data_bits],
        corrected=corrected,
        uncorrectable=place == _BAD,
        syndrome=syndrome,
    )


def encode_atoms(ecc: AtomEcc, data: NDArray[np.uint8], poison: NDArray[Any]) -> NDArray[np.int64]:
    """What is stored beside atoms.

    Parameters
    ----------
    ecc
        How.
    data
        ``(n, 32)`` bytes.
    poison
        ``(n,)``, which of them are bad data.

    Returns
    -------
    ``(n,)``, numbers of ``ecc.check_bits`` bits, the first word lowest, poison highest.
    """
    bits = _words(ecc, data)
    bad = np.broadcast_to(
        np.asarray(poison, np.uint8)[:, np.newaxis, np.newaxis], (*bits.shape[:2], 1)
    )
    if ecc.poison_bit:
        check = encode(ecc.code, np.concatenate([bits, bad], axis=-1))
        return _numbers(np.concatenate([check, bad], axis=-1)[:, 0])
    mark = np.array([ecc.mark >> row & 1 for row in range(ecc.code.check_bits)], np.uint8)
    return _numbers((encode(ecc.code, bits) ^ bad * mark).reshape(len(bits), -1))


def decode_atoms(ecc: AtomEcc, stored: NDArray[np.uint8], check: NDArray[np.int64]) -> Atoms:
    """Look at ``(n, 32)`` bytes and the ``(n,)`` numbers stored beside them."""
    code = ecc.code
    bits = _words(ecc, stored)
    beside = (check[:, np.newaxis] >> np.arange(ecc.check_bits) & 1).astype(np.uint8)
    if ecc.poison_bit:
        bits = np.concatenate([bits, beside[:, np.newaxis, -1:]], axis=-1)
        beside = beside[:, :-1]
    words = decode(code, bits, beside.reshape(len(bits), ecc.words, code.check_bits))
    if ecc.poison_bit:
        poisoned = (words.data[..., -1] == 1) & ~words.uncorrectable
        data = words.data[..., :-1]
    else:
        poisoned = words.syndrome == ecc.mark
        data = words.data
    return Atoms(
        data=np.packbits(data.reshape(len(bits), -1), axis=1, bitorder="little"),
        corrected=np.any(words.corrected, axis=1),
        uncorrectable=np.any(words.uncorrectable | poisoned, axis=1),
        poisoned=np.any(poisoned, axis=1),
        syndrome=words.syndrome,
    )


def _words(ecc: AtomEcc, data: NDArray[np.uint8]) -> _Bits:
    """Bits of atoms, ``(n, words, bits of data)``."""
    return np.unpackbits(data, axis=1, bitorder="little").reshape(len(data), ecc.words, -1)
