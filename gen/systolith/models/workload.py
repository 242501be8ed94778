"""The weight GEMMs of one real decode step, as operands for the array."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.models.charlm import checkpoint
from systolith.models.gemms import CaptureGemms, FloatGemms
from systolith.models.llama import Model, Session
from systolith.models.ops import FloatArray
from systolith.models.quantise import quantise

__all__ = ["RealGemm", "WeightGemm", "real_gemms", "weight_gemms"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RealGemm:
    """One weight GEMM before any rounding.

    Parameters
    ----------
    name
        Name of the GEMM, for example ``layers.0.qkv``.
    x, w
        Activations [M, K] and weights [K, N], float32.
    """

    name: str
    x: FloatArray
    w: FloatArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class WeightGemm:
    """One weight GEMM: ``y[M, N] = (x @ w) * x_scale * w_scale``, the sum in int32 and exact.

    Parameters
    ----------
    name
        Name of the GEMM, for example ``layers.0.qkv``.
    m, n, k
        Rows (sequences of the batch), columns (outputs) and contraction.
    x
        Activations [M, K], int8 in -127..127, read-only.
    w
        Weights [K, N], int8 in -127..127, read-only.
    x_scale
        The scale of all activations: ``max|x| / 127`` in float32.
    w_scale
        The scale of each output channel [N], float32, read-only.
    """

    name: str
    m: int
    n: int
    k: int
    x: NDArray[np.int8]
    w: NDArray[np.int8]
    x_scale: float
    w_scale: FloatArray


def weight_gemms(model: Model, batch: int, text: ArrayLike | None = None) -> list[WeightGemm]:
    """Return :func:`real_gemms`, rounded to symmetric INT8."""
    return [_quantised(gemm.name, gemm.x, gemm.w) for gemm in real_gemms(model, batch, text)]


def real_gemms(model: Model, batch: int, text: ArrayLike | None = None) -> list[RealGemm]:
    """Return every weight GEMM of one decode step of ``batch`` sequences, in order of execution.

    Each sequence is prefilled with a different stretch of held-out text, one token short of the
    context; the decode step that follows is captured in float32. The same arguments give the same
    bytes.

    Parameters
    ----------
    model
        The model to run.
    batch
        Number of sequences, the M of every GEMM. At least 1, and few enough for all of them to
        start at different places of the text.
    text
        Token ids [T] to take the contexts from. By default the held-out text of the character
        model that comes with Systolith.
    """
    ids = checkpoint.load_heldout() if text is None else np.asarray(text)
    context = model.config.context
    places = ids.size - context + 1
    if not 1 <= batch <= places:
        raise ValueError(
            f"weight_gemms: batch must be in 1..{max(places, 1)} for a text of {ids.size} tokens "
            f"and a context of {context}, not {batch!r}"
        )
    starts = np.arange(batch) * places // batch
    rows = np.stack([ids[start : start + context] for start in starts])

    matrices = model.matrices
    session = Session(model, capture := CaptureGemms(FloatGemms(matrices)))
    session.prefill(rows[:, :-1])
    capture.calls.clear()
    session.step(rows[:, -1])
    return [RealGemm(name=call.name, x=call.x, w=matrices[call.name]) for call in capture.calls]


def _quantised(name: str, x: FloatArray, w: FloatArray) -> WeightGemm:
    left, right = quantise(x), quantise(w, axis=0)
    scale = right.scale[0]
    for array in (left.codes, right.codes, scale):
        array.setflags(write=False)
    return WeightGemm(
        name=name,
        m=x.shape[0],
        n=w.shape[1],
        k=w.shape[0],
        x=left.codes,
        w=right.codes,
        x_scale=float(left.scale.item()),
        w_scale=scale,
    )
