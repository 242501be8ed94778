"""Unit tests of ``systolith.models``: the character LLM, its numpy reference and its GEMMs."""

import hashlib
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from systolith.models.accuracy import measure
from systolith.models.charlm import checkpoint, corpus, train
from systolith.models.charlm.config import ModelConfig, Tokenizer
from systolith.models.charlm.files import DATA, ModelFileError, sha256
from systolith.models.charlm.manifest import Manifest
from systolith.models.gemms import CaptureGemms, FloatGemms, Int8Gemms
from systolith.models.llama import Model, Session, forward, generate, loss
from systolith.models.ops import rms_norm, rope, rope_table, softmax, swiglu
from systolith.models.quantise import quantise
from systolith.models.workload import WeightGemm, weight_gemms

FILES = ("heldout.txt", "manifest.json", "tokenizer.json", "training_log.json", checkpoint.WEIGHTS)
GEMMS = [
    ("layers.0.qkv", 128, 256),
    ("layers.0.o", 128, 128),
    ("layers.0.gate_up", 128, 512),
    ("layers.0.down", 256, 128),
    ("layers.1.qkv", 128, 256),
    ("layers.1.o", 128, 128),
    ("layers.1.gate_up", 128, 512),
    ("layers.1.down", 256, 128),
    ("lm_head", 128, 96),
]


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


# The reference


def test_heldout_loss(model: Model, heldout: np.ndarray) -> None:
    assert heldout.size > 20_000
    value = loss(model, heldout)
    assert value <= 1.2
    assert value == pytest.approx(Manifest.load(DATA).heldout_loss, abs=1e-4)


def test_loss_counts_each_character_once(model: Model, heldout: np.ndarray) -> None:
    ids = heldout[: 64 + 6]
    total = 0.0
    for start, stop in ((0, 64), (64, 69)):
        logits = forward(model, ids[start:stop]).astype(np.float64)
        chance = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        total -= sum(math.log(row[i]) for row, i in zip(chance, ids[start + 1 :], strict=False))
    assert loss(model, ids) == pytest.approx(total / 69, rel=1e-6)


def test_prefill_equals_decode_steps(model: Model, heldout: np.ndarray) -> None:
    ids = heldout[: 3 * 64].reshape(3, 64)
    whole = forward(model, ids)
    session = Session(model)
    steps = [session.step(column) for column in ids.T]
    np.testing.assert_allclose(np.stack(steps, axis=1), whole, rtol=0, atol=1e-4)

    mixed = Session(model)
    head = mixed.prefill(ids[:, :40])
    tail = mixed.prefill(ids[:, 40:])
    np.testing.assert_allclose(np.concatenate([head, tail], axis=1), whole, rtol=0, atol=1e-4)


def test_sequences_do_not_mix(model: Model, heldout: np.ndarray) -> None:
    ids = heldout[: 3 * 64].reshape(3, 64)
    np.testing.assert_allclose(forward(model, ids)[1], forward(model, ids[1]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("change", [1, 31, 63])
def test_causality(model: Model, heldout: np.ndarray, change: int) -> None:
    ids = heldout[:64]
    other = ids.copy()
    other[change] = (other[change] + 1) % 96
    before, after = forward(model, ids), forward(model, other)
    assert before[:change].tobytes() == after[:change].tobytes()
    assert not np.array_equal(before[change], after[change])


def test_rope_sees_only_distances() -> None:
    rng = np.random.default_rng(1)
    q, k = rng.normal(size=(2, 1, 1, 1, 32)).astype(np.float32)
    cosine, sine = rope_table(64, 32, 10000.0)

    def at(x: np.ndarray, position: int) -> np.ndarray:
        rows = slice(position, position + 1)
        return rope(x, cosine[rows], sine[rows]).ravel()

    np.testing.assert_array_equal(at(q, 0), q.ravel())
    assert at(q, 10) @ at(k, 3) == pytest.approx(at(q, 60) @ at(k, 53), rel=1e-4)
    assert at(q, 10) @ at(k, 3) != pytest.approx(at(q, 10) @ at(k, 4), rel=1e-4)


def test_ops_by_hand() -> None:
    x = np.array([[3.0, -4.0]], np.float32)
    gain = np.array([1.0, 2.0], np.float32)
    root = math.sqrt(12.5)
    np.testing.assert_allclose(rms_norm(x, gain, 1e-12), [[3 / root, -8 / root]], rtol=1e-6)
    masked = np.array([0.0, math.log(3.0), -np.inf], np.float32)
    np.testing.assert_allclose(softmax(masked), [0.25, 0.75, 0.0], rtol=1e-6)
    gate_up = np.array([0.0, 1.0, 5.0, 2.0], np.float32)
    np.testing.assert_allclose(swiglu(gate_up), [0.0, 2 / (1 + math.exp(-1))], rtol=1e-6)


def test_generate(model: Model) -> None:
    tokenizer = checkpoint.load_tokenizer()
    prompt = tokenizer.encode('The "with" statement')
    greedy = generate(model, prompt, 100)  # past the context of 64
    np.testing.assert_array_equal(greedy, generate(model, prompt, 100))
    assert greedy[0] == np.argmax(forward(model, prompt)[-1])
    assert set(tokenizer.decode(greedy)) <= set(tokenizer.alphabet)
    sampled = [generate(model, prompt, 20, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(sampled[0], sampled[1])
    assert not np.array_equal(sampled[0], sampled[2])


def test_reference_rejects(model: Model) -> None:
    session = Session(model)
    session.prefill(np.zeros((2, 60), int))
    with pytest.raises(ValueError, match=r"60 \+ 5 tokens exceed the context of 64; start a new"):
        session.prefill(np.zeros((2, 5), int))
    with pytest.raises(ValueError, match="this session runs 2 sequences, not 3"):
        session.step([1, 2, 3])
    with pytest.raises(ValueError, match=r"must have shape \[B\], not \(1, 1\)"):
        session.step([[1]])
    with pytest.raises(ValueError, match=r"token ids must be in 0\.\.95, not 0\.\.96"):
        forward(model, [0, 96])
    with pytest.raises(ValueError, match="tokens must be integers, not float64"):
        forward(model, [0.5])
    with pytest.raises(ValueError, match=r"must have shape \[B, T\], not \(1, 0\)"):
        forward(model, np.zeros(0, int))
    with pytest.raises(ValueError, match="at least 2 ids"):
        loss(model, [1])
    with pytest.raises(ValueError, match="temperature must be at least 0, not -1"):
        generate(model, [1], 1, temperature=-1)
    with pytest.raises(ValueError, match="prompt must hold at least one token"):
        generate(model, [], 1)


# GEMMs and INT8


def test_every_gemm_is_captured(model: Model, heldout: np.ndarray) -> None:
    capture = CaptureGemms(FloatGemms(model.matrices))
    ids = heldout[: 2 * 16].reshape(2, 16)
    logits = forward(model, ids, capture)
    np.testing.assert_array_equal(logits, forward(model, ids))
    shapes = [(call.name, call.x.shape) for call in capture.calls]
    assert shapes == [(name, (32, k)) for name, k, _ in GEMMS]
    last = FloatGemms(model.matrices).linear("lm_head", capture.calls[-1].x)
    np.testing.assert_array_equal(last.reshape(2, 16, 96), logits)


def test_quantise() -> None:
    x = np.array([[127.0, 0.5, 1.5, -2.5], [-12.7, 0.04, 12.7, 0.0]], np.float32)
    whole = quantise(x)
    assert whole.codes.dtype == np.int8 and whole.scale.dtype == np.float32
    np.testing.assert_array_equal(whole.codes, [[127, 0, 2, -2], [-13, 0, 13, 0]])  # ties to even
    rows = quantise(x, axis=1)
    np.testing.assert_array_equal(rows.codes, [[127, 0, 2, -2], [-127, 0, 127, 0]])
    np.testing.assert_allclose(rows.scale, [[1.0], [0.1]], rtol=1e-6)
    for tiny in (0.0, 1e-45):
        zero = quantise(np.full((2, 2), tiny, np.float32))
        assert not zero.codes.any() and zero.scale.item() == 1.0


def test_int8_rows_are_causal(model: Model, heldout: np.ndarray) -> None:
    ids = heldout[:64]
    other = ids.copy()
    other[40] = (other[40] + 1) % 96
    gemms = Int8Gemms(model.matrices, per_row=True)
    before, after = forward(model, ids, gemms), forward(model, other, gemms)
    np.testing.assert_array_equal(before[:40], after[:40])


@pytest.mark.parametrize("per_row", [False, True])
def test_int8_loss(model: Model, heldout: np.ndarray, per_row: bool) -> None:
    result = measure(model, heldout[-4097:], per_row=per_row)
    assert result.characters == 4096
    assert result.int8 != result.float32
    assert abs(result.cost) < 0.05
    assert result.float32_bits == pytest.approx(result.float32 / 0.693147, rel=1e-5)
    assert result.int8_bits - result.float32_bits == pytest.approx(result.cost / math.log(2))


def _digest(gemms: list[WeightGemm]) -> str:
    digest = hashlib.sha256()
    for gemm in gemms:
        digest.update(f"{gemm.name} {gemm.m} {gemm.n} {gemm.k} {gemm.x_scale!r}".encode())
        for array in (gemm.x, gemm.w, gemm.w_scale):
            digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_workload(model: Model, batch: int) -> None:
    gemms = weight_gemms(model, batch)
    assert [(g.name, g.m, g.k, g.n) for g in gemms] == [(n, batch, k, c) for n, k, c in GEMMS]
    for gemm in gemms:
        assert gemm.x.dtype == gemm.w.dtype == np.int8
        assert gemm.x.shape == (gemm.m, gemm.k) and gemm.w.shape == (gemm.k, gemm.n)
        assert np.abs(gemm.x).max() == 127
        np.testing.assert_array_equal(np.abs(gemm.w).max(axis=0), 127)
        error = gemm.w * gemm.w_scale - model.matrices[gemm.name]
        assert np.all(np.abs(error) <= 0.501 * gemm.w_scale)
        assert not (gemm.x.flags.writeable or gemm.w.flags.writeable)
        rows = {row.tobytes() for row in gemm.x}
        assert gemm.name == "layers.0.qkv" or len(rows) == batch, "contexts must differ"
    assert _digest(gemms) == _digest(weight_gemms(model, batch))


def test_workload_close_to_float(model: Model, heldout: np.ndarray) -> None:
    """At batch 1 the INT8 ``lm_head`` still tells the character that float32 does."""
    last = weight_gemms(model, 1)[-1]
    logits = (last.x.astype(np.int32) @ last.w.astype(np.int32)) * last.x_scale * last.w_scale
    wanted = forward(model, heldout[:64])[-1]
    assert np.argmax(logits) == np.argmax(wanted)
    np.testing.assert_allclose(logits[0], wanted, atol=0.05 * np.abs(wanted).max())


@pytest.mark.parametrize("batch", [0, 38])
def test_workload_rejects_batch(model: Model, heldout: np.ndarray, batch: int) -> None:
    assert len(weight_gemms(model, 37, heldout[:100])) == len(GEMMS)
    with pytest.raises(ValueError, match=rf"batch must be in 1\.\.37 .* not {batch}"):
        weight_gemms(model, batch, heldout[:100])
