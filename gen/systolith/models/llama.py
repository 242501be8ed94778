"""Float32 reference of a Llama-style decoder, in numpy.

Every step of the model is spelled out once, for any batch and any number of new tokens: a whole
sequence is one :meth:`Session.prefill`, a decode step is a prefill of one token. Shapes: ``B``
sequences, ``T`` new tokens each, ``S`` tokens in the cache, ``V`` vocabulary, ``D`` hidden.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.models.charlm.config import ModelConfig
from systolith.models.gemms import FloatGemms, Gemms
from systolith.models.ops import (
    FloatArray,
    log_softmax,
    matmul,
    rms_norm,
    rope,
    rope_table,
    softmax,
    swiglu,
)

__all__ = ["Model", "Session", "forward", "generate", "loss"]

TokenArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """Sizes and trained values.

    Parameters
    ----------
    config
        Sizes of the model.
    weights
        float32 tensors by name, with the shapes of ``config.tensors``.
    """

    config: ModelConfig
    weights: Mapping[str, FloatArray]

    @property
    def matrices(self) -> dict[str, FloatArray]:
        """Weight matrix [K, N] of every GEMM, in order of execution; ``lm_head`` is tied."""
        head = np.ascontiguousarray(self.weights["embed"].T)
        stored = {**self.weights, "lm_head": head}
        return {gemm.name: stored[gemm.name] for gemm in self.config.gemms}


class Session:
    """Sequences in progress: a key/value cache and the position they share.

    Parameters
    ----------
    model : Model
        What to run.
    gemms : Gemms
        Computes the weight GEMMs. By default in float32.

    Members
    -------
    length : int
        Tokens in the cache, the same for every sequence.
    """

    def __init__(self, model: Model, gemms: Gemms | None = None) -> None:
        self.model = model
        self.gemms = gemms or FloatGemms(model.matrices)
        self.length = 0
        config = model.config
        self._cosine, self._sine = rope_table(config.context, config.head_dim, config.rope_theta)
        self._keys: list[FloatArray] = []  # per layer [B, S, kv_heads, head_dim]
        self._values: list[FloatArray] = []

    def step(self, tokens: ArrayLike) -> FloatArray:
        """Append one token to each sequence: ids [B] to logits [B, V] of the token after it."""
        ids = np.asarray(tokens)
        if ids.ndim != 1:
            raise ValueError(f"Session.step: tokens must have shape [B], not {ids.shape}")
        return self.prefill(ids[:, None])[:, 0]

    def prefill(self, tokens: ArrayLike) -> FloatArray:
        """Append T tokens to each sequence: ids [B, T] to logits [B, T, V]."""
        ids = self._checked(np.asarray(tokens))
        config, weights = self.model.config, self.model.weights
        if not self._keys:
            empty = np.zeros((ids.shape[0], 0, config.kv_heads, config.head_dim), np.float32)
            self._keys = [empty] * config.layers
            self._values = [empty] * config.layers
        x = weights["embed"][ids]
        for layer in range(config.layers):
            name = f"layers.{layer}"
            h = rms_norm(x, weights[f"{name}.attention_norm"], config.norm_eps)
            x = x + self._attention(layer, h)
            h = rms_norm(x, weights[f"{name}.ffn_norm"], config.norm_eps)
            x = x + self._linear(f"{name}.down", swiglu(self._linear(f"{name}.gate_up", h)))
        self.length += ids.shape[1]
        return self._linear("lm_head", rms_norm(x, weights["norm"], config.norm_eps))

    def _checked(self, ids: NDArray[Any]) -> TokenArray:
        config = self.model.config
        if ids.ndim != 2 or 0 in ids.shape:
            raise ValueError(f"Session.prefill: tokens must have shape [B, T], not {ids.shape}")
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"Session.prefill: tokens must be integers, not {ids.dtype}")
        if not (ids.min() >= 0 and ids.max() < config.vocabulary):
            raise ValueError(
                f"Session.prefill: token ids must be in 0..{config.vocabulary - 1}, "
                f"not {ids.min()}..{ids.max()}"
            )
        if self._keys and self._keys[0].shape[0] != ids.shape[0]:
            raise ValueError(
                f"Session.prefill: this session runs {self._keys[0].shape[0]} sequences, "
                f"not {ids.shape[0]}; start a new Session"
            )
        if self.length + ids.shape[1] > config.context:
            raise ValueError(
                f"Session.prefill: {self.length} + {ids.shape[1]} tokens exceed the context of "
                f"{config.context}; start a new Session with the newest tokens"
            )
        return ids.astype(np.int64)

    def _linear(self, name: str, x: FloatArray) -> FloatArray:
        """Send ``x`` [B, T, K] through the GEMM ``name`` as [B T, K]; returns [B, T, N]."""
        y = self.gemms.linear(name, x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], -1)

    def _attention(self, layer: int, h: FloatArray) -> FloatArray:
        """Grouped-query attention of the new tokens [B, T, D] over the cache and themselves."""
        config = self.model.config
        batch, new, _ = h.shape
        rows = slice(self.length, self.length + new)
        turn = self._cosine[rows], self._sine[rows]

        fused = self._linear(f"layers.{layer}.qkv", h)
        q, k, v = np.split(fused, [config.query_width, config.query_width + config.kv_width], -1)
        heads = (batch, new, -1, config.head_dim)
        q, k, v = rope(q.reshape(heads), *turn), rope(k.reshape(heads), *turn), v.reshape(heads)
        self._keys[layer] = k = np.concatenate([self._keys[layer], k], axis=1)
        self._values[layer] = v = np.concatenate([self._values[layer], v], axis=1)

        # Query head h reads key/value head h // group: [B, kv_heads, group, T or S, head_dim].
        q = q.reshape(batch, new, config.kv_heads, -1, config.head_dim).transpose(0, 2, 3, 1, 4)
        k, v = k.transpose(0, 2, 1, 3)[:, :, None], v.transpose(0, 2, 1, 3)[:, :, None]
        scores = matmul(q, k.swapaxes(-1, -2)) * np.float32(config.head_dim**-0.5)
        query_at = np.arange(rows.start, rows.stop)[:, None]
        future = np.arange(rows.stop)[None, :] > query_at
        weights = softmax(np.where(future, np.float32(-np.inf), scores))
        mixed = matmul(weights, v).transpose(0, 3, 1, 2, 4)
        return self._linear(f"layers.{layer}.o", mixed.reshape(batch, new, config.query_width))


def forward(model: Model, tokens: ArrayLike, gemms: Gemms | None = None) -> FloatArray:
    """Return the logits [..., T, V] of whole sequences of ids [..., T], one context at most."""
    ids = np.asarray(tokens)
    if ids.ndim not in (1, 2):
        raise ValueError(f"forward: tokens must have shape [T] or [B, T], not {ids.shape}")
    logits = Session(model, gemms).prefill(np.atleast_2d(ids))
    return logits if ids.ndim == 2 else logits[0]


def loss(model: Model, tokens: ArrayLike, gemms: Gemms | None = None) -> float:
    """Return the mean negative log-likelihood of ``tokens`` [T], in nats per token.

    The text is cut into windows of one context; each token but the first is predicted once, from
    what precedes it in its window (half a context on average).
    """
    ids = np.asarray(tokens)
    context = model.config.context
    if ids.ndim != 1 or ids.size < 2:
        raise ValueError(f"loss: tokens must be a vector of at least 2 ids, not {ids.shape}")
    whole = (ids.size - 1) // context * context
    parts = [(ids[:whole].reshape(-1, context), ids[1 : whole + 1].reshape(-1, context))]
    parts.append((ids[whole:-1][None], ids[whole + 1 :][None]))
    total = 0.0
    for given, wanted in parts:
        for start in range(0, wanted.shape[0], 16):  # 16 windows at a time bound the memory
            rows = slice(start, start + 16)
            if wanted[rows].size:
                chance = log_softmax(forward(model, given[rows], gemms))
                total -= float(np.take_along_axis(chance, wanted[rows][..., None], -1).sum())
    return total / (ids.size - 1)


def generate(
    model: Model,
    prompt: ArrayLike,
    count: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    gemms: Gemms | None = None,
) -> TokenArray:
    """Continue the ids ``prompt`` [T], T >= 1, by ``count`` tokens; returns the new ids [count].

    When the context is full, the session starts again from the newest half of it.

    Parameters
    ----------
    temperature
        0 takes the likeliest token (the lowest id among equals); above 0 samples.
    seed
        Seed of the sampling.
    """
    if temperature < 0:
        raise ValueError(f"generate: temperature must be at least 0, not {temperature!r}")
    rng = np.random.default_rng(seed)
    text = [int(token) for token in np.asarray(prompt).ravel()]
    if not text:
        raise ValueError("generate: prompt must hold at least one token; start with a newline")
    first, context = len(text), model.config.context
    session, waiting = Session(model, gemms), text[-context:]
    for _ in range(count):
        if session.length + len(waiting) > context:
            session, waiting = Session(model, gemms), text[-(context // 2) :]
        logits = session.prefill([waiting])[0, -1]
        if temperature > 0:
            chance = np.exp(log_softmax(logits / np.float32(temperature)))
            token = int(rng.choice(chance.size, p=chance / chance.sum()))
        else:
            token = int(np.argmax(logits))
        text.append(token)
        waiting = [token]
    return np.array(text[first:], dtype=np.int64)
