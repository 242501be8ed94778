"""Configurations: what is legal, what is refused and how."""

import copy
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from systolith.compiler.gemm import GemmPlan
from systolith.compiler.split import Gemm, Split, legal_splits
from systolith.config.errors import ConfigError
from systolith.config.files import from_dict, load_config, to_dict, to_toml
from systolith.config.presets import PRESETS, demo16, tiny


def _formats(acts: str, weights: str) -> dict[str, Any]:
    return {"acts": [acts], "weights": [weights]}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_toml(name: str) -> None:
    config = PRESETS[name].config
    assert from_dict(tomllib.loads(to_toml(config))) == config
    assert load_config(name) is config


def test_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(tiny))
    assert load_config(str(path)) == tiny


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("array.rows", 3, "array.rows must be a power of two, not 3"),
        ("array.rows", "4", "array.rows: input should be a valid integer, not '4'"),
        ("array.rows", True, "array.rows: input should be a valid integer, not True"),
        ("array.rows", 0, "array.rows: input should be greater than or equal to 1, not 0"),
        ("array.tile", 4, "array.tile must be at most the shorter side of a band, 2, not 4"),
        ("array.row_bands", 8, "array.row_bands must be at most rows = 4, not 8"),
        ("array.heads", 1, "array.heads is not a field; allowed here: rows, cols, row_bands"),
        ("memory.latency", 3, "memory.latency: input should be less than or equal to 2, not 3"),
        ("memory.w_depth", 1, "memory.w_depth: input should be greater than or equal to 2"),
        ("control.queue_depth", 3, "control.queue_depth must be a power of two, not 3"),
        ("name", "9x", "name: string should match pattern"),
        ("array.formats", {"acts": ["e4m3"]}, "array.formats.weights"),
        ("array.formats", _formats("e4m4", "e4m3"), "array.formats.acts must be among int8, int4"),
        ("array.formats", _formats("e8m0", "e8m0"), "array.formats.acts must be among int8, int4"),
        (
            "array.formats",
            _formats("int8", "e2m1"),
            "array.formats.acts: 'int8' has no partner of its",
        ),
        (
            "array.formats",
            _formats("e4m3", "e4m3") | {"limit": 41},
            "array.formats.limit must be at least 42 bits, the exact sum of a block of e4m3xe4m3",
        ),
        (
            "array.formats",
            _formats("e2m1", "e2m1") | {"unit_lanes": 4},
            "array.formats.unit_lanes must be a power of two from tile = 2 to the columns of a",
        ),
        ("speed", 9, "speed is not a field; allowed here: name, array, memory, control"),
    ],
)
def test_refusals_name_the_field(path: str, value: Any, message: str) -> None:
    values = copy.deepcopy(to_dict(tiny))
    *parents, last = path.split(".")
    target = values
    for parent in parents:
        target = target[parent]
    target[last] = value
    with pytest.raises(ConfigError) as error:
        from_dict(values)
    assert str(error.value).startswith(message)


def test_missing_field() -> None:
    values = copy.deepcopy(to_dict(tiny))
    del values["array"]["rows"]
    with pytest.raises(ConfigError, match=r"^array\.rows is missing$"):
        from_dict(values)


def test_not_toml(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = ")
    with pytest.raises(ConfigError, match="not readable as TOML"):
        load_config(str(path))
    with pytest.raises(ConfigError, match="must be a preset"):
        load_config("nothing")


def test_derived_sizes() -> None:
    array = demo16.array
    assert (array.band_rows, array.band_cols, array.row_tiles, array.col_tiles) == (4, 8, 1, 2)
    assert array.psum_width == 20  # 16 * (-128 * -128) = 2**18 needs a sign above it
    assert demo16.pipeline_cycles == sum(demo16.pipeline_stages.values()) == 3
    assert list(demo16.forward_distances) == []
    assert list(tiny.forward_distances) == []
    two = replace(tiny, memory=replace(tiny.memory, latency=2))
    assert list(two.forward_distances) == [2, 3]  # r = 2 returns before the memory has it


@pytest.mark.parametrize("split", legal_splits(demo16.array), ids=str)
def test_demo16_holds_a_layer_under_every_split(split: Split) -> None:
    GemmPlan(config=demo16, gemm=Gemm(m=64, n=256, k=256), split=split)
