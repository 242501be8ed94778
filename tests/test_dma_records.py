"""Records and codes of the DMA engine: the RTL, the model and the docs say the same."""

import re
from pathlib import Path

import pytest
from numerics_pipeline import refuses

from systolith.golden import dma as golden
from systolith.golden.dma import Code, Descriptor, Model, Op, Region, Retired, Space
from systolith.memory.dma.codes import DmaCode, DmaOp
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import RECORD

DOCS = Path(__file__).parents[1] / "docs" / "dma.md"


def test_codes_are_those_of_the_model_and_of_the_docs() -> None:
    assert [(c.name, int(c)) for c in DmaCode] == [(c.name, int(c)) for c in Code]
    assert [(o.name, int(o)) for o in DmaOp] == [(o.name, int(o)) for o in Op]
    text = DOCS.read_text()
    for kind in (DmaCode, DmaOp):
        for member in kind:
            assert f"| {int(member)} | `{member.name}` | {member.meaning} |" in text
    rows = re.findall(r"^\| \d+ \| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert rows == [member.name for kind in (DmaOp, DmaCode) for member in kind]


def test_record_is_that_of_the_model_and_of_the_docs() -> None:
    assert RECORD.size == 512
    d = Descriptor(
        op=3, before=1, end=1, reserved=9, tag=0xABCD, memory_region=1, local_region=2,
        table_region=3, page_log2=4, memory_offset=5, local_offset=6, count=(7, 8, 9),
        memory_stride=(-1, 2, -3), local_stride=(4, -5, 6), table_offset=10, first=11, next=12,
    )  # fmt: skip
    assert Descriptor.decode(d.encode()) == d
    view = RECORD.from_bits(d.encode())
    for name in ("op", "before", "after", "end", "reserved", "tag", "page_log2", "first", "next"):
        assert int(view[name]) == getattr(d, name)
    for name in ("count", "memory_stride", "local_stride"):
        wanted = [value & 0xFFFF_FFFF for value in getattr(d, name)]
        assert [int(view[name][n]) for n in range(3)] == wanted
    text = DOCS.read_text()
    assert all(f"`{name}`" in text for name in dict(iter(RECORD)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atom": 24}, "atom must be a power of two, not 24"),
        ({"room": 256}, r"longest must be at most room \(256\), not 512"),
        ({"longest": 4, "room": 8}, r"table_room must be at most longest \(4\), not 8"),
        ({"atom_bits": 8}, "longest must be at most 256 with atom_bits 8, not 512"),
        (
            {"atom": 4, "longest": 8},
            "longest must be at least the 16 atoms of a descriptor, not 8",
        ),
        ({"reads": 3}, "reads must be a power of two, not 3"),
    ],
)
def test_bad_sizes(changes: dict[str, int], message: str) -> None:
    refuses(lambda: DmaConfig(**changes), message)  # type: ignore[arg-type]


def test_model_by_hand() -> None:
    """Two rows of two atoms; a poisoned one; a page of a sequence."""
    memory, local = Space(16, 4), Space(16, 4)
    memory.data[:, 0] = range(16)
    memory.poison[6] = True
    sizes = golden.Sizes(
        atom=4, atom_bits=4, local_bits=4, count_bits=4, token_bits=4, page_bits=2, regions=2,
        longest=4,
    )  # fmt: skip
    model = Model(sizes, memory, local, [Region(limit=16), Region(local=True, limit=16)])
    load = Descriptor(
        op=1, local_region=1, memory_offset=1, count=(2, 2, 1), memory_stride=(1, 4, 0),
        local_stride=(1, 8, 0),
    )  # fmt: skip
    assert model.run(load) == Retired(0, False, Code.POISONED, 4)
    assert local.data[[0, 1, 8, 9], 0].tolist() == [1, 2, 5, 6] and local.poison[9]
    local.data[4] = (3, 0, 0, 0)
    gather = Descriptor(
        op=3, local_region=1, table_region=1, table_offset=3, page_log2=2, first=1, count=(4, 1, 1),
        local_offset=12,
    )  # fmt: skip
    assert model.run(gather) == Retired(0, False, Code.OK, 4)
    assert local.data[12:16, 0].tolist() == [12, 13, 14, 15]
    assert [(r.atom, r.count) for r in model.requests] == [(1, 2), (5, 2), (12, 4)]
