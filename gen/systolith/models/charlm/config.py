"""Sizes of the model, and its tokenizer."""

import dataclasses
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from systolith.models.charlm.files import ModelFileError, read_json, write_json

__all__ = ["GemmShape", "ModelConfig", "Tokenizer"]

BLOCK = 32
"""Every contraction is a multiple of this: one MX block, and a whole number of array tiles."""

LETTERS = string.digits + string.ascii_letters + string.punctuation + " "
"""The 95 printable ASCII characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GemmShape:
    """One weight matrix as the array sees it: ``y[M, n] = x[M, k] @ w[k, n]``.

    Parameters
    ----------
    name
        Name of the GEMM, for example ``layers.0.qkv``.
    k, n
        Rows (inputs) and columns (outputs) of the weight matrix.
    """

    name: str
    k: int
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes of a Llama-style decoder with RMSNorm, RoPE, GQA, SwiGLU and a tied embedding.

    Parameters
    ----------
    vocabulary
        Number of token ids. A multiple of 32.
    hidden
        Width of the residual stream. A multiple of 32.
    layers
        Number of decoder layers. At least 1.
    heads, kv_heads
        Query heads, and key/value heads that they share. ``heads`` is a multiple of ``kv_heads``.
    head_dim
        Width of one head. A multiple of 32.
    ffn
        Width of the gated feed-forward layer. A multiple of 32.
    context
        Longest sequence, in tokens. At least 2.
    rope_theta
        Base of the rotary frequencies. Above 1.
    norm_eps
        Added to the mean square in RMSNorm. Above 0.
    """

    vocabulary: int = 96
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    ffn: int = 256
    context: int = 64
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("vocabulary", "hidden", "head_dim", "ffn"):
            self._check(name, f"a positive multiple of {BLOCK}", lambda v: v > 0 and v % BLOCK == 0)
        for name in ("layers", "heads", "kv_heads"):
            self._check(name, "at least 1", lambda v: v >= 1)
        self._check("heads", "a multiple of kv_heads", lambda v: v % self.kv_heads == 0)
        self._check("context", "at least 2", lambda v: v >= 2)
        if not (isinstance(self.rope_theta, float) and self.rope_theta > 1):
            raise ValueError(
                f"ModelConfig.rope_theta must be a float above 1, not {self.rope_theta!r}"
            )
        if not (isinstance(self.norm_eps, float) and self.norm_eps > 0):
            raise ValueError(f"ModelConfig.norm_eps must be a float above 0, not {self.norm_eps!r}")

    def _check(self, name: str, rule: str, holds: Any) -> None:
        value = getattr(self, name)
        if type(value) is not int or not holds(value):
            raise ValueError(f"ModelConfig.{name} must be {rule}, not {value!r}")

    @property
    def query_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.kv_heads * self.head_dim

    @property
    def gemms(self) -> tuple[GemmShape, ...]:
        """Every weight GEMM of one token, in the order of execution.

        Query, key and value share one GEMM, and so do gate and up: columns in that order.
        """
        shapes = []
        for layer in range(self.layers):
            shapes += [
                (f"layers.{layer}.qkv", self.hidden, self.query_width + 2 * self.kv_width),
                (f"layers.{layer}.o", self.query_width, self.hidden),
                (f"layers.{layer}.gate_up", self.hidden, 2 * self.ffn),
                (f"layers.{layer}.down", self.ffn, self.hidden),
            ]
        shapes.append(("lm_head", self.hidden, self.vocabulary))
        return tuple(GemmShape(name=name, k=k, n=n) for name, k, n in shapes)

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every stored tensor; ``lm_head`` is the transposed ``embed``."""
        shapes: dict[str, tuple[int, ...]] = {"embed": (self.vocabulary, self.hidden)}
        for layer in range(self.layers):
            shapes[f"layers.{layer}.attention_norm"] = (self.hidden,)
            shapes[f"layers.{layer}.ffn_norm"] = (self.hidden,)
        shapes["norm"] = (self.hidden,)
        shapes |= {gemm.name: (gemm.k, gemm.n) for gemm in self.gemms if gemm.name != "lm_head"}
        return shapes

    @property
    def parameters(self) -> int:
        """Number of trained values."""
        return sum(int(np.prod(shape)) for shape in self.tensors.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Build a config from the output of :meth:`to_dict`; raises ``ValueError``."""
        known = {field.name for field in dataclasses.fields(cls)}
        if known != set(fields):
            odd = ", ".join(sorted(known ^ set(fields)))
            raise ValueError(f"ModelConfig must have exactly its own fields; look at: {odd}")
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """One token per character; the id is the position in the alphabet.

    The default alphabet, newline and the 95 printable ASCII characters in code order, has the
    96 entries of the padded vocabulary, so every ASCII prompt can be encoded. It does not depend
    on which characters the corpus happens to use.

    Parameters
    ----------
    alphabet
        The characters, each once.
    """

    alphabet: str = "\n" + "".join(sorted(LETTERS))

    def __post_init__(self) -> None:
        if not self.alphabet or len(set(self.alphabet)) != len(self.alphabet):
            raise ValueError(
                f"Tokenizer.alphabet must hold each character once, not {self.alphabet!r}"
            )

    @property
    def size(self) -> int:
        """Number of token ids."""
        return len(self.alphabet)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of ``text`` [T]; raises ``ValueError`` for an unknown character."""
        ids = {character: index for index, character in enumerate(self.alphabet)}
        unknown = sorted(set(text) - ids.keys())
        if unknown:
            raise ValueError(
                f"Tokenizer.encode: {unknown[0]!r} is not in the alphabet; "
                "use newline and printable ASCII only"
            )
        return np.array([ids[character] for character in text], dtype=np.int64)

    def decode(self, tokens: ArrayLike) -> str:
        """Return the text of the ids ``tokens`` [T]; raises ``ValueError`` for an unknown id."""
        ids = np.asarray(tokens, dtype=np.int64).ravel()
        if ids.size and not (ids.min() >= 0 and ids.max() < self.size):
            raise ValueError(f"Tokenizer.decode: ids must be in 0..{self.size - 1}, not {ids}")
        return "".join(self.alphabet[index] for index in ids)

    def save(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        write_json(path, {"kind": "character", "alphabet": self.alphabet})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a tokenizer written by :meth:`save`; raises :class:`ModelFileError`."""
        fields = read_json(path)
        alphabet = fields.get("alphabet")
        if fields.get("kind") != "character" or not isinstance(alphabet, str):
            raise ModelFileError(path, "is not a character tokenizer with a string `alphabet`")
        try:
            return cls(alphabet)
        except ValueError as error:
            raise ModelFileError(path, str(error)) from None
