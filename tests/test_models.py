"""Unit tests of ``systolith.models``: the character LLM, its numpy reference and its GEMMs."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from charlm_gemms import GEMMS

from systolith.models.charlm import checkpoint, corpus, train
from systolith.models.charlm.config import ModelConfig, Tokenizer
from systolith.models.charlm.files import DATA, ModelFileError, sha256
from systolith.models.charlm.manifest import Manifest
from systolith.models.llama import Model

FILES = ("heldout.txt", "manifest.json", "tokenizer.json", "training_log.json", checkpoint.WEIGHTS)


@pytest.fixture(scope="module")
def model() -> Model:
    return checkpoint.load()


@pytest.fixture(scope="module")
def heldout() -> np.ndarray:
    return checkpoint.load_heldout()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the committed model that a test may damage."""
    for name in FILES:
        shutil.copyfile(DATA / name, tmp_path / name)
    return tmp_path


# Sizes and files


def test_sizes(model: Model) -> None:
    config = model.config
    assert config == ModelConfig()
    assert config.parameters == sum(w.size for w in model.weights.values()) == 307_840
    assert [(gemm.name, gemm.k, gemm.n) for gemm in config.gemms] == GEMMS
    assert {name: matrix.shape for name, matrix in model.matrices.items()} == {
        name: (k, n) for name, k, n in GEMMS
    }
    np.testing.assert_array_equal(model.matrices["lm_head"], model.weights["embed"].T)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden", 100, "hidden must be a positive multiple of 32, not 100"),
        ("ffn", 0, "ffn must be a positive multiple of 32, not 0"),
        ("vocabulary", 94, "vocabulary must be a positive multiple of 32, not 94"),
        ("layers", 0, "layers must be at least 1, not 0"),
        ("heads", 3, "heads must be a multiple of kv_heads, not 3"),
        ("context", 1.5, r"context must be at least 2, not 1\.5"),
        ("rope_theta", 1.0, r"rope_theta must be a float above 1, not 1\.0"),
        ("norm_eps", 0.0, r"norm_eps must be a float above 0, not 0\.0"),
    ],
)
def test_config_rejects(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=rf"ModelConfig\.{message}"):
        ModelConfig(**{field: value})  # type: ignore[arg-type]


def test_config_round_trip() -> None:
    config = ModelConfig(layers=3, ffn=512)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="look at: layer, layers"):
        ModelConfig.from_dict(
            {k.replace("layers", "layer"): v for k, v in config.to_dict().items()}
        )


def test_committed_files_agree() -> None:
    manifest = Manifest.load(DATA)
    content = (DATA / checkpoint.WEIGHTS).read_bytes()
    assert len(content) < 2_000_000
    assert (manifest.weights_bytes, manifest.weights_sha256) == (len(content), sha256(content))
    assert manifest.parameters == manifest.model.parameters
    assert manifest.heldout_characters == (DATA / "heldout.txt").stat().st_size
    log = json.loads((DATA / "training_log.json").read_text())["entries"]
    assert log[-1]["step"] == manifest.recipe["steps"]
    assert log[-1]["heldout_loss"] == pytest.approx(manifest.heldout_loss, abs=0.01)


@pytest.mark.parametrize("name", ["heldout.txt", "manifest.json", "tokenizer.json", "weights"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "corrupt"])
def test_damaged_file_is_one_clear_error(folder: Path, name: str, damage: str) -> None:
    path = folder / (checkpoint.WEIGHTS if name == "weights" else name)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        checkpoint.load(folder)
        checkpoint.load_heldout(folder)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "restore the file from the repository, or train again" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda t: t.pop("layers.1.o"), "lacks the tensor `layers.1.o`"),
        (lambda t: t.update(bias=t["norm"]), "has the unknown tensor `bias`"),
        (lambda t: t.update(norm=t["norm"][:64]), r"`norm` has shape \(64,\), not \(128,\)"),
        (lambda t: t.update(norm=t["norm"].astype(np.float16)), "`norm` is float16, not float32"),
        (lambda t: t.update(norm=t["norm"] * np.float32("nan")), "`norm` holds values that are"),
    ],
)
def test_tensor_that_does_not_fit(folder: Path, change: object, problem: str) -> None:
    tensors = safetensors.numpy.load_file(folder / checkpoint.WEIGHTS)
    change(tensors)  # type: ignore[operator]
    _replace_weights(folder, safetensors.numpy.save(tensors))
    with pytest.raises(ModelFileError, match=problem):
        checkpoint.load(folder)


def test_not_a_safetensors_file(folder: Path) -> None:
    _replace_weights(folder, b"not tensors, but the manifest vouches for the bytes")
    with pytest.raises(ModelFileError, match=r"weights\.safetensors: is not a safetensors file"):
        checkpoint.load(folder)


def _replace_weights(folder: Path, content: bytes) -> None:
    """Write other weights with a manifest that agrees on size and hash."""
    (folder / checkpoint.WEIGHTS).write_bytes(content)
    manifest = Manifest.load(folder)
    replace(manifest, weights_bytes=len(content), weights_sha256=sha256(content)).save(folder)


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("model", {"hidden": 128}, "field `model` is invalid"),
        ("weights_bytes", "1", "field `weights_bytes` is '1', of the wrong type"),
        ("surplus", 1, "must have exactly the manifest's fields; look at: surplus"),
    ],
)
def test_bad_manifest(folder: Path, field: str, value: object, problem: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ModelFileError, match=problem):
        checkpoint.load(folder)


# Tokenizer and corpus


def test_tokenizer_round_trip(tmp_path: Path) -> None:
    tokenizer = checkpoint.load_tokenizer()
    text = (DATA / "heldout.txt").read_text() + tokenizer.alphabet
    ids = tokenizer.encode(text)
    assert tokenizer.size == ModelConfig().vocabulary == 96
    assert (ids.min(), ids.max(), tokenizer.decode(ids)) == (0, 95, text)
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == tokenizer == Tokenizer()


def test_tokenizer_rejects() -> None:
    with pytest.raises(ValueError, match="'é' is not in the alphabet; use newline and printable"):
        Tokenizer().encode("café")
    with pytest.raises(ValueError, match=r"ids must be in 0\.\.95"):
        Tokenizer().decode([96])
    with pytest.raises(ValueError, match="each character once"):
        Tokenizer("aa")


def test_corpus_of_this_interpreter() -> None:
    text = corpus.load()
    assert text.train + text.heldout == text.text
    assert set(text.text) <= set(Tokenizer().alphabet)
    manifest = Manifest.load(DATA)
    mismatch = corpus.compare(text, sha256=manifest.corpus_sha256, python=manifest.corpus_python)
    if mismatch is None:
        assert text.heldout == (DATA / "heldout.txt").read_text()
    else:  # another CPython: a note, never a failure
        assert mismatch.found == text.sha256


def test_other_corpus_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = corpus.Corpus("other words, " * 100, "3.99.0")
    manifest = Manifest.load(DATA)
    mismatch = corpus.compare(other, sha256=manifest.corpus_sha256, python=manifest.corpus_python)
    assert mismatch is not None
    assert "pydoc_data.topics of CPython 3.99.0" in str(mismatch)
    assert corpus.compare(other, sha256=other.sha256, python="") is None

    # The training script warns, goes on, and stops only for want of PyTorch.
    monkeypatch.setattr(corpus, "load", lambda: other)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert train.main(["--out", str(tmp_path / "new")]) == 2
    warning, error = capsys.readouterr().err.splitlines()
    assert warning == f"warning: {mismatch}"
    assert error == "error: train: PyTorch is not installed; run `pip install 'systolith[train]'`"
    assert not (tmp_path / "new").exists()
