"""The training text: the English help topics that every CPython carries."""

import importlib
import platform
from dataclasses import dataclass

from systolith.models.charlm.config import Tokenizer
from systolith.models.charlm.files import sha256

__all__ = ["Corpus", "CorpusMismatch", "compare", "load"]

MODULE = "pydoc_data.topics"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Text to train and evaluate on.

    Parameters
    ----------
    text
        The whole text, newline and printable ASCII only.
    python
        Version of the CPython whose text it is, for example ``3.11.7``.
    """

    text: str
    python: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the ASCII bytes of the whole text."""
        return sha256(self.text.encode("ascii"))

    @property
    def cut(self) -> int:
        """Number of training characters: the first 95 %."""
        return len(self.text) * 95 // 100

    @property
    def train(self) -> str:
        """The text to train on."""
        return self.text[: self.cut]

    @property
    def heldout(self) -> str:
        """The last 5 %, never trained on."""
        return self.text[self.cut :]


@dataclass(frozen=True, slots=True)
class CorpusMismatch:
    """The text of the running interpreter is not the one that the model was trained on.

    Not an error: the committed weights and the committed held-out text still belong together. Only
    a new training run would give different weights.

    Parameters
    ----------
    expected, found
        SHA-256 of the training corpus and of the corpus of this interpreter.
    expected_python, found_python
        The CPython versions they come from.
    """

    expected: str
    found: str
    expected_python: str
    found_python: str

    def __str__(self) -> str:
        return (
            f"{MODULE} of CPython {self.found_python} (sha256 {self.found[:12]}) is not the text "
            f"of CPython {self.expected_python} (sha256 {self.expected[:12]}) that the model was "
            f"trained on: training again gives other weights; use CPython "
            f"{self.expected_python} to reproduce the committed ones"
        )


def load() -> Corpus:
    """Return this interpreter's help topics, sorted by name, joined and reduced to the alphabet.

    Raises ``ValueError`` where the interpreter was stripped of its help topics.
    """
    try:
        topics: dict[str, str] = importlib.import_module(MODULE).topics
    except (ImportError, AttributeError):
        raise ValueError(
            f"corpus: this Python {platform.python_version()} has no {MODULE}; "
            "install the complete standard library or use a python.org build"
        ) from None
    keep = set(Tokenizer().alphabet)
    text = "".join(topics[name] for name in sorted(topics))
    return Corpus("".join(c for c in text if c in keep), platform.python_version())


def compare(corpus: Corpus, *, sha256: str, python: str) -> CorpusMismatch | None:
    """Return None if ``corpus`` has the hash ``sha256``, else what to show as a warning."""
    if corpus.sha256 == sha256:
        return None
    return CorpusMismatch(sha256, corpus.sha256, python, corpus.python)
