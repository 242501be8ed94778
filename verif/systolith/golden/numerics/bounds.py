"""How far the contract may be from the exact product."""

import numpy as np

from systolith.golden.numerics.arrays import Float64Array
from systolith.golden.numerics.matmul import Segment, block_terms

__all__ = ["error_bound"]

_UNIT = 2.0**-24


def error_bound(segment: Segment) -> Float64Array:
    """Return a bound [M, N] on ``|matmul - exact|`` for binary32 accumulation, to nearest.

    Each of B additions rounds by at most u = 2^-24 of the sum so far, which gives
    ``B / (1 - B u) * u * sum |S_b|`` over the scaled block sums S_b; one rounding more where block
    sums are too wide for binary32. Valid without overflow and underflow; float64 is enough.
    """
    sizes = np.zeros((segment.shape[0], segment.shape[2]))
    blocks = 0
    for term in block_terms(segment):
        sizes += np.abs(term.astype(np.float64))
        blocks += 1
    roundings = blocks if segment.pair.exact_in_fp32 else blocks + 1
    # The terms themselves are rounded already: by at most u, once more.
    slack = 1.0 + 2.0 * _UNIT
    result: Float64Array = roundings / (1.0 - roundings * _UNIT) * _UNIT * sizes * slack
    return result
