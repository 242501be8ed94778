"""Proofs of the ECC within an SDR memory, and the faults that they notice."""

from pathlib import Path
from typing import Any

import pytest

from systolith.harness.formal import prove
from systolith.memory.sdr import block_control, block_reader
from systolith.proofs.inline_ecc import answers_of_blocks, requests_of_blocks
from systolith.proofs.substitute import Mutant

CONTROL, READER = block_control.BlockControl, block_reader.BlockReader
FAULTS: dict[str, tuple[Any, type, str, str]] = {
    "a partial block is taken as whole": (
        requests_of_blocks,
        CONTROL,
        "with m.If(whole & self.write_whole):",
        "with m.If(self.write_whole):",
    ),
    "reads are an atom long": (
        requests_of_blocks,
        CONTROL,
        "reach + (reach >> 3) + 2",
        "reach + (reach >> 3) + 3",
    ),
    "done with every block": (
        requests_of_blocks,
        CONTROL,
        "(left == 0) & ~filling & ~scrubbing",
        "1",
    ),
    "a block is read while another leaves": (
        requests_of_blocks,
        CONTROL,
        "ask.valid.eq(self.room & ~self.sending)",
        "ask.valid.eq(self.room)",
    ),
    "requests are taken while it is held": (
        requests_of_blocks,
        CONTROL,
        "with m.If(self.hold):",
        "with m.If(self.hold & self.dirty):",
    ),
    "check bits of another atom": (
        answers_of_blocks,
        READER,
        "checks >> config.ecc.check_bits",
        "checks",
    ),
    "atoms that nobody wants": (
        answers_of_blocks,
        READER,
        "(~first | (index >= asked.skip))",
        "(~first | first)",
    ),
    "lost check bits are used": (
        answers_of_blocks,
        READER,
        "self.raw.p.error | checks_bad",
        "self.raw.p.error",
    ),
    "idle too early": (
        answers_of_blocks,
        READER,
        "~queue.valid & ~raw_valid & ~self.read.valid",
        "~queue.valid & ~self.read.valid",
    ),
}


@pytest.mark.formal
def test_requests_of_blocks_are_proved(tmp_path: Path) -> None:
    result = prove(
        requests_of_blocks(), "top", work_dir=tmp_path / "all", mode="prove", engine="abc pdr"
    )
    assert result, result.message
    cover = prove(requests_of_blocks(), "top", work_dir=tmp_path / "some", mode="cover", depth=30)
    assert cover, cover.message


@pytest.mark.formal
@pytest.mark.slow
def test_answers_of_blocks_are_right_for_a_while(tmp_path: Path) -> None:
    result = prove(answers_of_blocks(), "top", work_dir=tmp_path / "bounded", depth=10)
    assert result, result.message
    cover = prove(answers_of_blocks(), "top", work_dir=tmp_path / "some", mode="cover", depth=14)
    assert cover, cover.message


@pytest.mark.formal
@pytest.mark.parametrize(
    "fault",
    [
        n if n == "done with every block" else pytest.param(n, marks=pytest.mark.slow)
        for n in FAULTS
    ],
)
def test_proofs_notice_planted_faults(fault: str, tmp_path: Path) -> None:
    build, target, old, new = FAULTS[fault]
    source = build(mutants=[Mutant(target, old, new)])
    depth = 14 if build is answers_of_blocks else 30
    assert prove(source, "top", work_dir=tmp_path / "fault", depth=depth).status == "fail"
