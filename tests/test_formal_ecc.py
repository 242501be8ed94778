"""The proofs of error correction, that they are not empty, and that they find faults."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from systolith.harness.formal import prove
from systolith.memory import ecc
from systolith.memory.ecc_code import AtomEcc, hsiao
from systolith.proofs.ecc import decisive, linear, meaning, roundtrip
from systolith.proofs.substitute import Mutant

pytestmark = pytest.mark.formal

SHORT = hsiao(16)
SIDEBAND = AtomEcc(kind="sideband-72").code
LONG = hsiao(256)
POISON = AtomEcc(kind="word-266-poison").code

Build = Callable[[Iterable[Mutant]], str]


def _build(statement: Callable[..., str], *arguments: object) -> Build:
    return lambda mutants: statement(*arguments, mutants)


PROOFS: dict[str, Build] = {
    **{f"roundtrip-22-{errors}": _build(roundtrip, SHORT, errors) for errors in (1, 2)},
    "roundtrip-72-1": _build(roundtrip, SIDEBAND, 1),
    **{
        f"{statement.__name__}-{code.name}": _build(statement, code)
        for statement in (linear, decisive, meaning)
        for code in (SIDEBAND, LONG, POISON)
    },
    f"linear-{SHORT.name}": _build(linear, SHORT),
}
SLOW: dict[str, Build] = {"roundtrip-72-2": _build(roundtrip, SIDEBAND, 2)}
# Each statement once: its covers do not depend on the code.
COVERED = {name: build for name, build in (PROOFS | SLOW).items() if "-72" in name}

unbounded = partial(prove, top="top", mode="prove", engine="abc pdr", depth=1)

# proof, what the fault is, where it is planted, its source text and what replaces it
FAULTS = [
    (
        "roundtrip-72-1",
        "data bit 5 in no check bit",
        ecc._check_of,
        "if row >> i & 1)",
        "if row >> i & 1 and i != 5)",
    ),
    (
        "roundtrip-72-1",
        "comparison without a syndrome bit",
        ecc.EccDecoder,
        "self.syndrome[half:] == n for",
        "self.syndrome[half + 1 :] == n >> 1 for",
    ),
    (
        "roundtrip-22-1",
        "encoder alone without the mask",
        ecc.EccEncoder,
        "_check_of(self.code, self.data)",
        "_check_of(self.code, self.data) ^ 1",
    ),
    (
        "roundtrip-22-2",
        "two rows not looked at",
        ecc.EccDecoder,
        "self.syndrome.any() &",
        "self.syndrome[2:].any() &",
    ),
    (
        "linear-22_16",
        "last data bit in one check bit less",
        ecc._check_of,
        "if row >> i & 1)",
        "if row >> i & 1 and (i < code.data_bits - 1 or row != code.rows[-1]))",
    ),
    (
        "decisive-266_256",
        "a decoder that looks at the data",
        ecc.EccDecoder,
        "& ~self.corrected",
        "& ~(self.corrected & self.stored[0])",
    ),
    (
        "meaning-266_256",
        "last check bit not looked at",
        ecc.EccDecoder,
        "for column in code.columns:",
        "for column in code.columns[:-1]:",
    ),
    (
        "meaning-266_256",
        "every syndrome is corrected",
        ecc.EccDecoder,
        "self.syndrome.any() & ~self.corrected",
        "0",
    ),
]


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, marks=[] if name.endswith(("72_64", "-1")) else [pytest.mark.slow])
        for name, build in PROOFS.items()
    ],
    ids=PROOFS,
)
def test_holds(build: Build, tmp_path: Path) -> None:
    result = unbounded(build(()), work_dir=tmp_path, timeout_s=120)
    assert result.status == "pass", result.message


@pytest.mark.slow
@pytest.mark.parametrize("build", SLOW.values(), ids=SLOW)
def test_holds_of_two_errors_at_once(build: Build, tmp_path: Path) -> None:
    result = unbounded(build(()), work_dir=tmp_path, timeout_s=500)
    assert result.status == "pass", result.message


@pytest.mark.parametrize("build", COVERED.values(), ids=COVERED)
def test_is_not_empty(build: Build, tmp_path: Path) -> None:
    result = prove(build(()), "top", work_dir=tmp_path, mode="cover", depth=1, timeout_s=120)
    assert result.status == "pass", result.message


@pytest.mark.parametrize(
    ("name", "fault", "target", "old", "new"),
    FAULTS,
    ids=[f"{name}: {fault}".replace(" ", "-") for name, fault, *_ in FAULTS],
)
def test_finds(name: str, fault: str, target: type, old: str, new: str, tmp_path: Path) -> None:
    source = PROOFS[name]([Mutant(target, old, new)])
    # Not by reachability: its runs cannot always be turned into waveforms.
    result = prove(source, "top", work_dir=tmp_path, mode="bmc", depth=1, timeout_s=120)
    assert result.status == "fail", f"{fault}: {result.status}\n{result.message}"


def test_every_statement_has_a_fault() -> None:
    statements = {name.split("-")[0] for name in PROOFS | SLOW}
    assert statements == {name.split("-")[0] for name, *_ in FAULTS}
