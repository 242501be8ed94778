"""The committed model, checked against its manifest before a single value is used."""

from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from systolith.models.charlm.config import ModelConfig, Tokenizer
from systolith.models.charlm.files import DATA, ModelFileError, read_bytes, sha256
from systolith.models.charlm.manifest import Manifest
from systolith.models.llama import Model

__all__ = ["HELDOUT", "TOKENIZER", "WEIGHTS", "load", "load_heldout", "load_tokenizer"]

WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
HELDOUT = "heldout.txt"


def load(directory: Path = DATA) -> Model:
    """Return the trained model in ``directory``; by default the one that comes with Systolith.

    Size and SHA-256 of the file, and every tensor's name, shape, element type and finiteness are
    checked. Any difference raises :class:`ModelFileError` naming the file and the remedy.
    """
    manifest = Manifest.load(directory)
    path = directory / WEIGHTS
    content = read_bytes(path)
    if len(content) != manifest.weights_bytes:
        raise ModelFileError(
            path, f"has {len(content)} bytes where the manifest says {manifest.weights_bytes}"
        )
    _check_hash(path, content, manifest.weights_sha256)
    try:
        tensors = safetensors.numpy.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelFileError(path, f"is not a safetensors file ({error})") from None
    _check_tensors(path, tensors, manifest.model)
    return Model(manifest.model, tensors)


def load_tokenizer(directory: Path = DATA) -> Tokenizer:
    """Return the tokenizer that belongs to the model in ``directory``."""
    manifest = Manifest.load(directory)
    path = directory / TOKENIZER
    _check_hash(path, read_bytes(path), manifest.tokenizer_sha256)
    tokenizer = Tokenizer.load(path)
    if tokenizer.size != manifest.model.vocabulary:
        raise ModelFileError(
            path,
            f"has {tokenizer.size} characters for a vocabulary of {manifest.model.vocabulary}",
        )
    return tokenizer


def load_heldout(directory: Path = DATA) -> NDArray[np.int64]:
    """Return the token ids [T] of the held-out text that belongs to the model in ``directory``."""
    path = directory / HELDOUT
    content = read_bytes(path)
    _check_hash(path, content, Manifest.load(directory).heldout_sha256)
    return load_tokenizer(directory).encode(content.decode("ascii"))


def _check_hash(path: Path, content: bytes, expected: str) -> None:
    found = sha256(content)
    if found != expected:
        raise ModelFileError(
            path, f"has sha256 {found[:16]}... where the manifest says {expected[:16]}..."
        )


def _check_tensors(path: Path, tensors: dict[str, NDArray[np.float32]], model: ModelConfig) -> None:
    missing, extra = model.tensors.keys() - tensors.keys(), tensors.keys() - model.tensors.keys()
    if missing:
        raise ModelFileError(path, f"lacks the tensor `{min(missing)}`")
    if extra:
        raise ModelFileError(path, f"has the unknown tensor `{min(extra)}`")
    for name, shape in model.tensors.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise ModelFileError(path, f"tensor `{name}` has shape {tensor.shape}, not {shape}")
        if tensor.dtype != np.float32:
            raise ModelFileError(path, f"tensor `{name}` is {tensor.dtype}, not float32")
        if not np.isfinite(tensor).all():
            raise ModelFileError(path, f"tensor `{name}` holds values that are not finite")
