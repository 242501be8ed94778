"""Random codes and scales that meet the corners without drowning every sum in NaN."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from systolith.numerics.formats import Format, Specials

__all__ = ["random_codes", "random_scales"]

_SPECIAL = 1 / 8  # share of the codes that are NaN or infinity which stay


def random_codes(
    rng: np.random.Generator, forms: Iterable[Format], shape: tuple[int, ...]
) -> NDArray[np.uint16]:
    """Codes of any of ``forms``, as one memory word may be read in each of them.

    NaN and infinities are rare: a block of 32 products has one now and then.
    """
    enabled = tuple(forms)
    width = max(form.width for form in enabled)
    codes = rng.integers(0, 1 << width, shape).astype(np.uint16)
    for form in enabled:
        if form.specials is Specials.NONE:
            continue
        top = 1 << form.width - 1
        special = (codes & top - 1) > form.max_code
        tamed = special & (rng.random(shape) >= _SPECIAL)
        codes = np.where(tamed, codes ^ top >> 1, codes).astype(np.uint16)
    return codes


def random_scales(
    rng: np.random.Generator, formats: Iterable[str], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Codes of scales, mostly so close to each other that block sums overlap.

    Parameters
    ----------
    rng
        Source.
    formats
        Names of the scales' formats: ``e8m0``, ``e4m3``.
    shape
        Of the result.
    """
    # 1.0 is 127 in E8M0 and 56 in E4M3, whose codes are eight to the octave.
    near = {
        "e8m0": rng.integers(127 - 5, 127 + 6, shape),
        "e4m3": rng.integers(56 - 16, 56 + 16, shape),
    }
    choices = np.stack([near[name] for name in sorted(set(formats))])
    pick = rng.integers(0, len(choices), shape)
    codes = np.take_along_axis(choices, pick[None], axis=0)[0]
    # Now and then anything: sums that overflow, that vanish, and scales that are no numbers.
    anything = rng.integers(0, 256, shape)
    codes = np.where(rng.random(shape) < 0.03, anything, codes)
    codes = np.where(rng.random(shape) < 0.005, 0xFF, codes)
    return codes.astype(np.uint8)
