"""What INT8 costs: loss of the model with float32 and with INT8 weight GEMMs."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from systolith.models.gemms import Int8Gemms
from systolith.models.llama import Model, loss

__all__ = ["Accuracy", "measure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Losses on the same text, in nats per character.

    Parameters
    ----------
    characters
        Number of characters predicted.
    float32
        Loss of the float32 reference.
    int8
        Loss with every weight GEMM in symmetric INT8.
    """

    characters: int
    float32: float
    int8: float

    @property
    def float32_bits(self) -> float:
        """Loss of the float32 reference in bits per character."""
        return self.float32 / math.log(2)

    @property
    def int8_bits(self) -> float:
        """Loss with INT8 GEMMs in bits per character."""
        return self.int8 / math.log(2)

    @property
    def cost(self) -> float:
        """What INT8 adds, in nats per character; negative if it helps by chance."""
        return self.int8 - self.float32


def measure(model: Model, tokens: ArrayLike, *, per_row: bool = False) -> Accuracy:
    """Compare both arithmetics on the ids ``tokens`` [T]; ``per_row`` as in :class:`Int8Gemms`.

    Only the weight GEMMs change: attention, norms, SwiGLU and the cache stay in float32.
    """
    gemms = Int8Gemms(model.matrices, per_row=per_row)
    ids = np.asarray(tokens)
    return Accuracy(characters=ids.size - 1, float32=loss(model, ids), int8=loss(model, ids, gemms))
