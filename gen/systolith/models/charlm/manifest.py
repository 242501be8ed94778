"""What the committed weights are: sizes, hashes, recipe and result of the training run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from systolith.models.charlm.config import ModelConfig
from systolith.models.charlm.files import ModelFileError, read_json, write_json

__all__ = ["MANIFEST", "Manifest"]

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """Provenance of one training run.

    Parameters
    ----------
    model
        Sizes of the model.
    parameters
        Number of trained values.
    weights_bytes, weights_sha256
        Size and hash of ``weights.safetensors``.
    tokenizer_sha256
        Hash of ``tokenizer.json``.
    corpus_characters, corpus_sha256, corpus_python
        Size and hash of the whole corpus, and the CPython version it comes from.
    heldout_characters, heldout_sha256
        Size and hash of ``heldout.txt``.
    heldout_loss
        Loss of the numpy reference on the whole of ``heldout.txt``, in nats per character.
    recipe
        The settings of the run: optimiser, steps, seed, threads, version of PyTorch.
    """

    model: ModelConfig
    parameters: int
    weights_bytes: int
    weights_sha256: str
    tokenizer_sha256: str
    corpus_characters: int
    corpus_sha256: str
    corpus_python: str
    heldout_characters: int
    heldout_sha256: str
    heldout_loss: float
    recipe: dict[str, Any]

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` in ``directory``."""
        write_json(directory / MANIFEST, dataclasses.asdict(self))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read ``manifest.json`` in ``directory``; raises :class:`ModelFileError`."""
        path = directory / MANIFEST
        fields = read_json(path)
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        if set(fields) != set(types):
            odd = ", ".join(sorted(set(fields) ^ set(types)))
            raise ModelFileError(path, f"must have exactly the manifest's fields; look at: {odd}")
        try:
            fields["model"] = ModelConfig.from_dict(fields["model"])
        except (TypeError, ValueError) as error:
            raise ModelFileError(path, f"field `model` is invalid ({error})") from None
        for name, kind in types.items():
            if kind in (int, float, str) and type(fields[name]) is not kind:
                raise ModelFileError(path, f"field `{name}` is {fields[name]!r}, of the wrong type")
        return cls(**fields)
