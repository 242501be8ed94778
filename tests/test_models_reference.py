"""The numpy reference of the character LLM, its GEMMs, and INT8."""

import hashlib
import math

import numpy as np
import pytest
from charlm_gemms import GEMMS

from systolith.models.accuracy import measure
from systolith.models.charlm import checkpoint
from systolith.models.charlm.files import DATA
from systolith.models.charlm.manifest import Manifest
from systolith.models.gemms import CaptureGemms, FloatGemms, Int8Gemms
from systolith.models.llama import Model, Session, forward, generate, loss
from systolith.models.ops import rms_norm, rope, rope_table, softmax, swiglu
from systolith.models.quantise import quantise
from systolith.models.workload import WeightGemm, weight_gemms


@pytest.fixture(scope="module")
def model() -> Model:
    return checkpoint.load()


@pytest.fixture(scope="module")
def heldout() -> np.ndarray:
    return checkpoint.load_heldout()


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
