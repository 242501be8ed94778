"""The operations of a Llama layer on float32 arrays.

Values are float32 wherever they rest; inside an operation numpy computes in float64 and rounds
once. A float32 sum or exponential depends on the vector width of the processor and of its BLAS, and
so would every quantised tensor made from it; the rounded float64 result does not, except when it
falls within 1e-15 of a rounding boundary.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FloatArray",
    "log_softmax",
    "matmul",
    "rms_norm",
    "rope",
    "rope_table",
    "softmax",
    "swiglu",
]

FloatArray = NDArray[np.float32]


def _wide(x: NDArray[Any]) -> NDArray[np.float64]:
    return x.astype(np.float64)


def matmul(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return ``a @ b``, each sum rounded once."""
    return (_wide(a) @ _wide(b)).astype(np.float32)


def rms_norm(x: FloatArray, gain: FloatArray, eps: float) -> FloatArray:
    """Scale the last axis of ``x`` to a root mean square of one, times ``gain`` [D]."""
    wide = _wide(x)
    scale = 1.0 / np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + eps)
    result: FloatArray = (wide * scale * gain).astype(np.float32)
    return result


def rope_table(context: int, head_dim: int, theta: float) -> tuple[FloatArray, FloatArray]:
    """Return cosine and sine [context, head_dim / 2] of every position and pair."""
    frequency = theta ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    angle = np.arange(context, dtype=np.float64)[:, None] * frequency
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def rope(x: FloatArray, cosine: FloatArray, sine: FloatArray) -> FloatArray:
    """Rotate the pairs of each head: element ``i`` with element ``i + head_dim / 2``.

    ``x`` is [B, T, heads, head_dim]; ``cosine`` and ``sine`` are the table rows of the T positions.
    """
    first, second = np.split(_wide(x), 2, axis=-1)
    c, s = _wide(cosine)[:, None, :], _wide(sine)[:, None, :]
    turned = np.concatenate([first * c - second * s, second * c + first * s], axis=-1)
    return turned.astype(np.float32)


def softmax(x: FloatArray) -> FloatArray:
    """Return the softmax over the last axis; minus infinity becomes exactly zero."""
    return np.exp(log_softmax(x)).astype(np.float32)


def log_softmax(x: FloatArray) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis, in float64 for exact losses."""
    shifted = _wide(x) - _wide(x).max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def swiglu(gate_up: FloatArray) -> FloatArray:
    """Return ``silu(gate) * up`` [..., F] of a fused GEMM result [..., 2 F], gate first."""
    gate, up = np.split(_wide(gate_up), 2, axis=-1)
    return (gate / (1.0 + np.exp(-gate)) * up).astype(np.float32)
