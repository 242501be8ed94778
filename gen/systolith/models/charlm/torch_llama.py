"""The same model in PyTorch, for training only.

PyTorch is loaded on demand and never needed to run the model; every function takes the module.
"""

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.models.charlm.config import ModelConfig
from systolith.models.ops import rope_table

__all__ = ["initial_weights", "load_torch", "logits"]


def load_torch() -> Any:
    """Return the ``torch`` module; raises ``ValueError`` with the remedy if it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise ValueError(
            "train: PyTorch is not installed; run `pip install 'systolith[train]'`"
        ) from None


def initial_weights(config: ModelConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return the untrained tensors: gains of one, normal matrices scaled to keep the variance.

    The matrices that write to the residual stream start smaller, by the square root of their
    number, so that the stream does not grow with depth.
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.tensors.items():
        if len(shape) == 1:
            tensors[name] = np.ones(shape, np.float32)
            continue
        spread = 0.02 if name == "embed" else shape[0] ** -0.5
        if name.endswith((".o", ".down")):
            spread /= (2 * config.layers) ** 0.5
        tensors[name] = rng.normal(0.0, spread, shape).astype(np.float32)
    return tensors


def logits(torch: Any, config: ModelConfig, weights: dict[str, Any], tokens: Any) -> Any:
    """Return the logits [B, T, V] of the ids ``tokens`` [B, T], differentiable in ``weights``."""
    batch, length = tokens.shape
    tables = rope_table(length, config.head_dim, config.rope_theta)
    cosine, sine = (torch.from_numpy(table)[:, None, :] for table in tables)

    def norm(x: Any, gain: Any) -> Any:
        return torch.nn.functional.rms_norm(x, (config.hidden,), gain, config.norm_eps)

    def turn(x: Any) -> Any:
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)

    def heads(x: Any) -> Any:
        return x.reshape(batch, length, -1, config.head_dim)

    widths = [config.query_width, config.kv_width, config.kv_width]
    x = weights["embed"][tokens]
    for layer in range(config.layers):
        name = f"layers.{layer}"
        h = norm(x, weights[f"{name}.attention_norm"])
        q, k, v = (heads(part) for part in (h @ weights[f"{name}.qkv"]).split(widths, dim=-1))
        mixed = torch.nn.functional.scaled_dot_product_attention(
            turn(q).transpose(1, 2),
            turn(k).transpose(1, 2),
            v.transpose(1, 2),
            is_causal=True,
            enable_gqa=True,
        )
        x = x + mixed.transpose(1, 2).reshape(batch, length, -1) @ weights[f"{name}.o"]
        h = norm(x, weights[f"{name}.ffn_norm"])
        gate, up = (h @ weights[f"{name}.gate_up"]).chunk(2, dim=-1)
        x = x + (torch.nn.functional.silu(gate) * up) @ weights[f"{name}.down"]
    return norm(x, weights["norm"]) @ weights["embed"].T
