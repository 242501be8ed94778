"""The cache of rounded values, and that formats of 8 bits hardly cost the model anything."""

import json
import math
from pathlib import Path

import numerics_quality
import numpy as np
import pytest

from systolith.golden.numerics import dequantize, quantize
from systolith.models.cache import RoundedCache, step_loss
from systolith.models.charlm import checkpoint
from systolith.models.llama import Model, Session, loss
from systolith.models.ops import FloatArray


@pytest.fixture(scope="module")
def model() -> Model:
    return checkpoint.load()


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return checkpoint.load_heldout()[: 2 * 64 + 1]


def coarse(x: FloatArray) -> FloatArray:
    return dequantize(*quantize(x, "e2m1"), "e2m1").astype(np.float32)


def test_cache_without_rounding_changes_nothing(model: Model, ids: np.ndarray) -> None:
    session = RoundedCache(model, rounding=lambda x: x)
    windows = ids[:128].reshape(2, 64)
    np.testing.assert_allclose(
        session.prefill(windows), Session(model).prefill(windows), rtol=1e-5, atol=1e-4
    )
    stepped = step_loss(RoundedCache(model, rounding=lambda x: x), ids)
    assert math.isclose(stepped, loss(model, ids), rel_tol=1e-5)


def test_open_block_of_values_is_not_rounded(model: Model, ids: np.ndarray) -> None:
    session = RoundedCache(model, rounding=coarse)
    plain = Session(model)
    for at in range(40):
        session.step(ids[[at, at + 64]])
        plain.step(ids[[at, at + 64]])
    for ours, theirs in zip(session._keys, plain._keys, strict=True):
        assert ours.shape == theirs.shape
    values, exact = session._values[0], plain._values[0]  # layer 0 sees only the embedding
    np.testing.assert_array_equal(values[:, 32:], exact[:, 32:])
    rounded = coarse(np.moveaxis(exact[:, :32], 1, -1))
    np.testing.assert_array_equal(np.moveaxis(values[:, :32], 1, -1), rounded)
    np.testing.assert_array_equal(session._keys[0], coarse(plain._keys[0]))


def test_no_token_sees_a_later_one(model: Model, ids: np.ndarray) -> None:
    changed = ids.copy()
    changed[50] = (changed[50] + 1) % model.config.vocabulary
    logits = []
    for text in (ids, changed):
        session = RoundedCache(model, rounding=coarse)
        logits.append([session.step(text[at : at + 1]) for at in range(60)])
    for at in range(50):
        np.testing.assert_array_equal(logits[0][at], logits[1][at])
    assert (logits[0][50] != logits[1][50]).any()


def test_quality_of_formats(model: Model, ids: np.ndarray) -> None:
    measure = numerics_quality.measure
    base = measure(model, ids, None, None, None)
    for name in ("int8", "mxint8", "e4m3"):
        assert abs(measure(model, ids, name, name, name) - base) < 0.03
    assert measure(model, ids, "e2m1", "e2m1", "e2m1") > base + 0.03


def test_picture_is_reproducible(tmp_path: Path) -> None:
    parts = dict.fromkeys(numerics_quality.PARTS, 1.6)
    result = {"float32": 1.5, "formats": {"e4m3": parts, "e2m1": parts}}
    for name in ("a.svg", "b.svg"):
        numerics_quality.draw(result, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_bad_input(model: Model, ids: np.ndarray) -> None:
    with pytest.raises(ValueError, match="block must be at least 1, not 0"):
        RoundedCache(model, rounding=coarse, block=0)
    with pytest.raises(ValueError, match="tokens must be a vector of at least 65 ids"):
        step_loss(Session(model), ids[:64])


def test_documented_table_is_the_measured_one() -> None:
    docs = Path(__file__).parents[1] / "docs"
    result = json.loads((docs / "model_formats.json").read_text())
    text = (docs / "numerics.md").read_text()
    assert f"{result['characters']:,} characters, {result['float32']:.4f} bits" in text
    for row in result["formats"].values():
        cells = " | ".join(f"{row[part]:.4f}" for part in numerics_quality.PARTS)
        assert f"| {cells} |" in text
