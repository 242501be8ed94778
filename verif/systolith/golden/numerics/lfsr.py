"""Random bits of stochastic rounding: a function of the element's index, never of time.

A 32-bit Galois register of the primitive polynomial x^32 + x^22 + x^2 + x + 1 takes 16 steps per
element and hands out its low 16 bits. Stepping is linear over GF(2), so the state of any element is
a matrix power times the start state: hardware that skips from element to element multiplies by a
constant matrix, and a stall changes nothing.
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "STEPS",
    "TAPS",
    "bits_after",
    "element_index",
    "leap",
    "random_bits",
    "start_state",
    "step",
]

TAPS = 0x80200003
"""The polynomial without its constant term, x^i at bit i - 1, for a right-shifting register."""

STEPS = 16
"""Steps per element: as many as bits are taken, so that no bit is used twice."""

_SPREAD = 0x9E3779B1
"""An odd constant: neighbouring seeds get unrelated start states."""


def step(state: int) -> int:
    """Return the register's next state."""
    return state >> 1 ^ (TAPS if state & 1 else 0)


def start_state(seed: int) -> int:
    """Return the state of element 0 for a user's ``seed`` (modulo 2^32); never zero."""
    return (seed * _SPREAD & 0xFFFFFFFF) or 1


def element_index(row: ArrayLike, column: ArrayLike) -> NDArray[np.int64]:
    """Return the index of an output element: 2^16 * row + column, modulo 2^32.

    The row pitch is a constant, so that a lane that serves every n-th column and steps from row to
    row needs constant matrices only, whatever the shape of the output.
    """
    index: NDArray[np.int64] = (
        np.left_shift(np.asarray(row, np.int64), 16) + np.asarray(column, np.int64)
    ) & 0xFFFFFFFF
    return index


def leap(count: int) -> tuple[int, ...]:
    """Return the matrix of ``count`` steps: entry i is the image of the state with only bit i."""
    power = tuple(1 << i for i in range(32))
    square = tuple(step(1 << i) for i in range(32))
    while count:
        if count & 1:
            power = _compose(square, power)
        square = _compose(square, square)
        count >>= 1
    return power


def random_bits(seed: int, index: ArrayLike) -> NDArray[np.uint16]:
    """Return 16 bits per element.

    Parameters
    ----------
    seed
        Chosen by the user; any integer.
    index
        Element indices in 0..2^32-1, any shape; :func:`element_index` makes them for a matrix.
    """
    wanted = np.asarray(index)
    if wanted.dtype.kind not in "iu":
        raise ValueError(f"random_bits: index must hold integers, not {wanted.dtype}")
    left = wanted.astype(np.uint64)
    if wanted.size and (wanted.min() < 0 or int(wanted.max()) >> 32):
        raise ValueError("random_bits: index must be in 0..2^32-1")
    return bits_after(np.full(wanted.shape, start_state(seed), dtype=np.uint32), left)


def bits_after(state: NDArray[np.uint32], left: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return 16 bits of the elements that come ``left`` elements after those of ``state``."""
    for bit in range(int(left.max()).bit_length() if left.size else 0):
        state = np.where(left >> np.uint64(bit) & np.uint64(1), _apply(bit, state), state)
    return state.astype(np.uint16)


def _apply(bit: int, state: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Multiply states by the matrix of ``STEPS * 2^bit`` steps, a byte at a time."""
    tables = _byte_tables(bit)
    result: NDArray[np.uint32] = tables[0][state & 0xFF]
    for byte in range(1, 4):
        result = result ^ tables[byte][state >> np.uint32(8 * byte) & 0xFF]
    return result


@cache
def _byte_tables(bit: int) -> NDArray[np.uint32]:
    matrix = leap(STEPS << bit)
    return np.array(
        [[_image(matrix, value << 8 * byte) for value in range(256)] for byte in range(4)],
        dtype=np.uint32,
    )


def _image(matrix: tuple[int, ...], state: int) -> int:
    result = 0
    while state:
        low = state & -state
        result ^= matrix[low.bit_length() - 1]
        state ^= low
    return result


def _compose(after: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_image(after, column) for column in before)
