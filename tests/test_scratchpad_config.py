"""Configurations of scratchpads: splits without conflicts, and what is refused."""

from typing import Any

import pytest
from numerics_pipeline import refuses
from pydantic import ValidationError

from systolith.array.geometry import ArrayConfig
from systolith.memory.scratchpad_config import ScratchpadConfig
from systolith.memory.scratchpad_modes import SplitMode, SubArray, bank_of_step, clash, split_modes

ARRAY = ArrayConfig(rows=4, cols=4, row_bands=2, col_bands=2, tile=1)
GEOMETRIES = [
    ArrayConfig(rows=r, cols=c, row_bands=b, col_bands=s, tile=t)
    for r, c, b, s, t in (
        (4, 4, 1, 1, 1),
        (4, 4, 4, 4, 1),
        (8, 4, 2, 2, 2),
        (16, 16, 4, 2, 4),
        (128, 128, 4, 4, 8),
    )
]


@pytest.mark.parametrize("array", GEOMETRIES, ids=lambda a: f"{a.rows}x{a.cols}-{a.bands}")
@pytest.mark.parametrize("edge", ["acts", "weights"])
@pytest.mark.parametrize("rotation", [False, True])
def test_no_split_of_an_array_has_a_conflict(array: ArrayConfig, edge: Any, rotation: bool) -> None:
    modes = split_modes(array, edge)
    assert len(modes) == array.row_bands.bit_length() * array.col_bands.bit_length()
    banks = array.bands * (array.row_tiles if edge == "acts" else array.col_tiles)
    for mode in modes:
        assert clash(mode, spacing=array.tile, rotation=rotation) is None
        # Every bank is of use in every split.
        assert sorted(b for part in mode.arrays for b in part.all_banks) == list(range(banks))
    config = ScratchpadConfig.of(array, edge, depth=16, rotation=rotation)
    assert config.banks == banks and config.groups == array.bands


def test_a_plain_rotation_would_not_do() -> None:
    """With lanes one cycle apart, ``(row + col) mod N`` sends all lane groups to one bank."""
    # In cycle 11, lane group n makes step 11 - n of a feed by rows.
    assert {(11 - n + n) % 8 for n in range(8)} == {3}
    for spacing in (1, 2, 4, 8):
        for turned in (False, True):
            for cycle in range(64, 80):
                used = {
                    bank_of_step(cycle - n * spacing, n, 8, spacing=spacing, turned=turned)
                    for n in range(8)
                }
                assert len(used) == 8


# -- configurations


def _sizes(**changes: Any) -> dict[str, Any]:
    return {"banks": 4, "chain": 2, "segment": 1, "depth": 8, "modes": _modes(), **changes}


def _modes(*parts: SubArray) -> tuple[SplitMode, ...]:
    own = tuple(SubArray(first=n, banks=((n,),)) for n in range(4))
    return (SplitMode(name="custom", arrays=parts or own),)


def _part(first: int, *banks: tuple[int, ...]) -> SubArray:
    return SubArray(first=first, banks=banks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bytes": 24}, "bytes must be a power of two"),
        ({"bytes": 4}, "ecc must be at most the bits of a word, 32, not 64"),
        ({"depth": 1}, "depth"),
        ({"ports": "2RW"}, "ports"),
        ({"ecc": 24}, "ecc"),
        ({"partial": "widen"}, "partial"),
        ({"chain": 3}, "chain must divide banks = 4, not 3"),
        ({"segment": 3}, "segment must divide chain = 2, not 3"),
        ({"modes": ()}, "modes must have at least one split"),
        ({"halves": 3}, "halves"),
        (
            {"modes": _modes(_part(0, (0,)), _part(1, (0,)))},
            "split 'custom': bank 0 is read by lane groups 0 and 1",
        ),
        ({"modes": _modes(_part(0, (0,), (0,)))}, "bank 0 is read by lane groups 0 and 1"),
        ({"modes": _modes(_part(0, (0, 1)), _part(1, (2, 1)))}, "bank 1 is read by"),
        ({"modes": _modes(_part(1, (1,), (2,)))}, "must stay in their chain"),
        ({"modes": _modes(_part(4, (1,)))}, "first must be the first lane group of a segment"),
        ({"modes": _modes(_part(0, (0,)), _part(0, (1,)))}, "must be fed once"),
        ({"modes": _modes(_part(0, (0, 1), (2,)))}, "as many banks as the others"),
        ({"modes": _modes(_part(0, (9,)))}, "banks must be below 4, not 9"),
        ({"depth": 6, "modes": _modes(_part(0, (0, 1)))}, "depth must be a power of two with 2"),
        (
            {"banks": 3, "chain": 3, "rotation": True, "modes": _modes(_part(0, (0,), (1,), (2,)))},
            "must be a power of two and aligned for rotation",
        ),
    ],
    ids=str,
)
def test_bad_configurations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ScratchpadConfig(**_sizes(**changes))


def test_bad_edges_are_refused() -> None:
    edge: Any = "results"
    refuses(
        lambda: ScratchpadConfig.of(ARRAY, edge, depth=8), "edge must be acts or weights, not 'res"
    )
