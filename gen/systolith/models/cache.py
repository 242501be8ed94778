"""A key/value cache that holds rounded values, as a chip's memory does."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.models.gemms import Gemms
from systolith.models.llama import Model, Session
from systolith.models.ops import FloatArray, log_softmax

__all__ = ["Round", "RoundedCache", "step_loss"]

Round = Callable[[FloatArray], FloatArray]
"""Rounds values [..., K] in blocks along the last axis."""


class RoundedCache(Session):
    """A session whose cache is rounded once its entries are no longer the newest.

    Keys are contracted over the width of a head, so each token's key is rounded by itself. Values
    are contracted over tokens: they are rounded in blocks of tokens, and a block only when it is
    complete. Until then its values stay as they are, so that no token ever depends on a later one.

    Parameters
    ----------
    model, gemms
        As for :class:`Session`.
    rounding : Round
        What the number format of the cache does to a vector.
    block : int
        Tokens of a block of values.
    """

    def __init__(
        self, model: Model, gemms: Gemms | None = None, *, rounding: Round, block: int = 32
    ) -> None:
        if block < 1:
            raise ValueError(f"RoundedCache: block must be at least 1, not {block!r}")
        super().__init__(model, gemms)
        self.rounding = rounding
        self.block = block

    def prefill(self, tokens: ArrayLike) -> FloatArray:
        """Append T tokens and round what they complete; the new tokens see each other unrounded."""
        before = self.length
        logits = super().prefill(tokens)
        start = before // self.block * self.block
        stop = self.length // self.block * self.block
        for layer in range(self.model.config.layers):
            keys, values = self._keys[layer], self._values[layer]
            self._keys[layer] = np.concatenate(
                [keys[:, :before], self.rounding(keys[:, before:])], axis=1
            )
            if stop > start:
                whole = np.moveaxis(values[:, start:stop], 1, -1)
                done = np.moveaxis(self.rounding(whole), -1, 1)
                self._values[layer] = np.concatenate(
                    [values[:, :start], done, values[:, stop:]], axis=1
                )
        return logits


def step_loss(session: Session, tokens: NDArray[np.int64]) -> float:
    """Return the mean negative log-likelihood of text [T], in nats, decoding token by token.

    The text is cut into whole windows of one context, which run side by side as the sequences of
    ``session``; characters after the last whole window are left out.

    Parameters
    ----------
    session
        A fresh session.
    tokens
        Ids; at least one context and one more.
    """
    context = session.model.config.context
    count = (tokens.size - 1) // context
    if tokens.ndim != 1 or count < 1:
        raise ValueError(
            f"step_loss: tokens must be a vector of at least {context + 1} ids, "
            f"not of shape {tokens.shape}"
        )
    given = tokens[: count * context].reshape(count, context)
    wanted = tokens[1 : count * context + 1].reshape(count, context)
    total = 0.0
    for at in range(context):
        chance = log_softmax(session.step(given[:, at]))
        total -= float(np.take_along_axis(chance, wanted[:, at, None], -1).sum())
    return total / wanted.size
