"""The random bits of stochastic rounding: period, indices, statistics."""

import numpy as np
import pytest

from systolith.golden.numerics import element_index, random_bits
from systolith.golden.numerics.lfsr import STEPS, TAPS, leap, start_state, step

IDENTITY = tuple(1 << i for i in range(32))


def test_period_is_maximal() -> None:
    """The order of one step is 2^32 - 1: it divides that, and no proper divisor."""
    whole = (1 << 32) - 1
    assert leap(whole) == IDENTITY
    for prime in (3, 5, 17, 257, 65537):
        assert whole % prime == 0
        assert leap(whole // prime) != IDENTITY
    assert whole % STEPS == 15  # coprime: skipping by 16 visits every state as well


def test_taps_are_the_documented_polynomial() -> None:
    assert sum(1 << i - 1 for i in (32, 22, 2, 1)) == TAPS


def test_bits_follow_from_single_steps() -> None:
    state = start_state(42)
    wanted = []
    for _ in range(300):
        wanted.append(state & 0xFFFF)
        for _ in range(STEPS):
            state = step(state)
    np.testing.assert_array_equal(random_bits(42, np.arange(300)), wanted)


def test_far_elements_need_no_near_ones() -> None:
    index = np.array([0, 1, 65535, 65536, (1 << 32) - 1, 123_456_789])
    together = random_bits(7, index)
    assert [int(random_bits(7, i)) for i in index] == together.tolist()
    assert (
        random_bits(7, np.arange(8)[::-1]).tolist() == random_bits(7, np.arange(8))[::-1].tolist()
    )
    assert random_bits(7, (1 << 32) - 1) == random_bits(7, 0)  # one whole period


def test_matrix_elements() -> None:
    index = element_index(np.arange(3)[:, None], np.arange(4)[None, :])
    assert index.tolist() == [[65536 * m + n for n in range(4)] for m in range(3)]
    assert element_index(65535, 65535) == (1 << 32) - 1
    assert random_bits(1, index).shape == (3, 4)


def test_bits_look_random() -> None:
    bits = random_bits(1, np.arange(1 << 16)).astype(np.int64)
    assert abs(bits.mean() / 65535 - 0.5) < 0.01
    ones = (bits[:, None] >> np.arange(16) & 1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 0.01
    assert abs(np.corrcoef(bits[:-1], bits[1:])[0, 1]) < 0.01
    other = random_bits(2, np.arange(1 << 16)).astype(np.int64)
    assert abs(np.corrcoef(bits, other)[0, 1]) < 0.01


def test_every_seed_has_a_state() -> None:
    assert start_state(0) == 1
    assert all(0 < start_state(seed) < 1 << 32 for seed in (-1, 1, 1 << 32, 1 << 40))


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="index must hold integers, not float64"):
        random_bits(1, [0.5])
    for index in ([-1], [1 << 32]):
        with pytest.raises(ValueError, match=r"index must be in 0\.\.2\^32-1"):
            random_bits(1, index)
