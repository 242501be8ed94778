"""Error correction: the tables, the golden model, and the hardware against it."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from systolith.emit.verilog import emit_design
from systolith.golden.ecc import decode, decode_atoms, encode, encode_atoms
from systolith.harness.sim import simulate
from systolith.memory import ecc
from systolith.memory.ecc import AtomDecoder, EccDecoder, EccEncoder
from systolith.memory.ecc_code import ATOM_KINDS, AtomEcc, EccCode, hsiao
from systolith.proofs.substitute import Mutant, installed

CODES = [
    *(hsiao(bits) for bits in (4, 8, 16, 32, 64, 256)),
    *(hsiao(bits, inverted=True) for bits in (4, 16, 64, 257)),
]
ATOMS = [AtomEcc(kind=kind) for kind in ATOM_KINDS]
codes = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
atoms = pytest.mark.parametrize("atom", ATOMS, ids=ATOM_KINDS)

Bits = NDArray[Any]


def words(code: EccCode, count: int) -> Bits:
    """Encoded words: of zeros, of ones and random ones, ``(count, bits)``."""
    rng = np.random.default_rng(code.bits)
    data = rng.integers(0, 2, (count, code.data_bits), dtype=np.uint8)
    data[0], data[1] = 0, 1
    return np.concatenate([data, encode(code, data)], axis=1)


def split(code: EccCode, received: Bits) -> tuple[Bits, Bits]:
    return received[..., : code.data_bits], received[..., code.data_bits :]


# -- tables


@codes
def test_distance_is_4(code: EccCode) -> None:
    """No column is 0 or another one, and three odd ones never add up to 0."""
    assert len(code.columns) == len(set(code.columns)) == code.bits
    assert all(column.bit_count() % 2 for column in code.columns)
    assert all(column.bit_count() >= 3 for column in code.columns[: code.data_bits])
    assert code.columns[code.data_bits :] == tuple(1 << i for i in range(code.check_bits))


# The totals of ones for 16, 32 and 64 bits are the published ones of Hsiao's codes.
@pytest.mark.parametrize(
    ("data_bits", "check_bits", "ones", "low", "high"),
    [
        (4, 4, 16, 4, 4),
        (8, 5, 29, 5, 6),
        (16, 6, 54, 9, 9),
        (32, 7, 103, 14, 15),
        (64, 8, 216, 27, 27),
        (128, 9, 481, 53, 54),
        (256, 10, 1050, 105, 105),
        (257, 10, 1055, 105, 106),
    ],
)
def test_ones_are_few_and_balanced(
    data_bits: int, check_bits: int, ones: int, low: int, high: int
) -> None:
    code = hsiao(data_bits)
    assert code.check_bits == check_bits
    assert sum(column.bit_count() for column in code.columns) == sum(code.row_weights) == ones
    assert (min(code.row_weights), max(code.row_weights)) == (low, high)


def test_rows_are_the_columns_turned() -> None:
    code = hsiao(64)
    assert all(
        code.rows[row] >> bit & 1 == code.columns[bit] >> row & 1
        for row in range(8)
        for bit in range(64)
    )


def test_the_code_is_what_it_was() -> None:
    """What is stored must not change its meaning: first and last columns, by hand."""
    columns = hsiao(64).columns
    assert columns[:3] == (0b111, 0b111000, 0b11000001)
    assert hsiao(257).columns[:256] == hsiao(256).columns[:256]
    assert hsiao(5, 8).columns[:5] == columns[:5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hsiao(0), r"EccCode.data_bits must be in 1\.\.1 with 3 check bits, not 0"),
        (lambda: hsiao(64, 7), r"EccCode.data_bits must be in 1\.\.57 with 7 check bits, not 64"),
        (lambda: hsiao(1014), r"data_bits must be in 1\.\.1013 with 11 check bits, not 1014"),
        (lambda: hsiao(1, 2), r"EccCode.check_bits must be in 3\.\.11, not 2"),
        (lambda: hsiao(64, 12), r"EccCode.check_bits must be in 3\.\.11, not 12"),
        (
            lambda: hsiao(25, inverted=True),
            "EccCode.inverted must be False with 25 data bits and 6 check bits, not True",
        ),
        (
            lambda: AtomEcc(kind="parity"),
            "AtomEcc.kind must be one of sideband-72, word-266-poison, not 'parity'",
        ),
    ],
)
def test_bad_sizes(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# -- dead memories


def test_every_code_but_those_refused_has_a_mask() -> None:
    for check_bits in range(3, 9):
        most = 2 ** (check_bits - 1) - check_bits
        for data_bits in (n for n in range(1, most + 1) if n != most - 1):
            code = hsiao(data_bits, check_bits, inverted=True)
            dead = np.array([[0], [1]], np.uint8).repeat(code.bits, axis=1)
            result = decode(code, *split(code, dead))
            assert result.uncorrectable.all() and not result.corrected.any()


@pytest.mark.parametrize(
    ("bits", "mask"), [(16, 0b11), (32, 0b100001), (64, 0b11), (256, 0b11), (257, 0b11)]
)
def test_masks_are_two_bits(bits: int, mask: int) -> None:
    assert hsiao(bits, inverted=True).invert == mask
    code = hsiao(bits)
    assert code.invert == 0
    zeros = np.zeros((1, code.bits), np.uint8)
    assert decode(code, *split(code, zeros)).syndrome == 0  # the reason for the mask


# -- golden model


@codes
def test_every_single_error_is_corrected(code: EccCode) -> None:
    sent = words(code, 5)
    received = sent[:, np.newaxis] ^ np.eye(code.bits, dtype=np.uint8)
    result = decode(code, *split(code, received))
    assert (result.data == sent[:, np.newaxis, : code.data_bits]).all()
    assert result.corrected.all() and not result.uncorrectable.any()
    assert (result.syndrome == np.array(code.columns)).all()
    clean = decode(code, *split(code, sent))
    assert (clean.data == sent[:, : code.data_bits]).all()
    assert not (clean.corrected | clean.uncorrectable | clean.syndrome).any()


@codes
def test_every_double_error_is_reported(code: EccCode) -> None:
    first, second = np.triu_indices(code.bits, 1)
    assert len(first) == code.bits * (code.bits - 1) // 2
    for sent in words(code, 4):
        received = np.tile(sent, (len(first), 1))
        each = np.arange(len(first))
        received[each, first] ^= 1
        received[each, second] ^= 1
        result = decode(code, *split(code, received))
        assert result.uncorrectable.all() and not result.corrected.any()
        assert (result.data == received[:, : code.data_bits]).all()


def test_check_bits_by_hand() -> None:
    """Of (8,4): each check bit is the parity of three data bits."""
    code = hsiao(4)
    assert code.columns[:4] == (0b0111, 0b1011, 0b1101, 0b1110)
    assert encode(code, np.array([1, 0, 0, 0])).tolist() == [1, 1, 1, 0]
    assert encode(code, np.array([1, 1, 0, 0])).tolist() == [0, 0, 1, 1]


# -- hardware


def number(bits: Bits) -> int:
    return sum(1 << i for i, bit in enumerate(bits.tolist()) if bit)


def run(block: Any, inputs: list[dict[str, int]], *outputs: str) -> list[tuple[int, ...]]:
    """Outputs of a combinational block for each of the inputs, in the same cycle."""
    got: list[tuple[int, ...]] = []

    async def bench(ctx: Any) -> None:
        for row in inputs:
            for name, value in row.items():
                ctx.set(getattr(block, name), value)
            await ctx.delay(1e-9)
            got.append(tuple(ctx.get(getattr(block, name)) for name in outputs))

    simulate(block, bench)
    return got


def flipped(code: EccCode, count: int) -> tuple[Bits, Bits]:
    """Encoded words and the same with 0, 1, 2, 3 errors in turn."""
    rng = np.random.default_rng(1)
    sent = words(code, count)
    received = sent.copy()
    for n, word in enumerate(received):
        word[rng.choice(code.bits, n % 4, replace=False)] ^= 1
    return sent, received


def hardware(code: EccCode, received: Bits) -> list[tuple[int, ...]]:
    inputs = [
        {"stored": number(word[: code.data_bits]), "check": number(word[code.data_bits :])}
        for word in received
    ]
    return run(EccDecoder(code), inputs, "data", "corrected", "uncorrectable", "syndrome")


def model(code: EccCode, received: Bits) -> list[tuple[int, ...]]:
    result = decode(code, *split(code, received))
    columns = (result.corrected, result.uncorrectable, result.syndrome)
    return [
        (number(word), *map(int, row)) for word, *row in zip(result.data, *columns, strict=True)
    ]


@codes
def test_hardware_is_the_model(code: EccCode) -> None:
    sent, received = flipped(code, 200)
    inputs = [{"data": number(word[: code.data_bits])} for word in sent]
    got = run(EccEncoder(code), inputs, "check")
    assert got == [(number(word[code.data_bits :]),) for word in sent]
    assert hardware(code, received) == model(code, received)


@pytest.mark.parametrize("code", [hsiao(64), hsiao(257, inverted=True)], ids=lambda c: c.name)
def test_hardware_corrects_every_single_error(code: EccCode) -> None:
    received = words(code, 3)[2] ^ np.eye(code.bits, dtype=np.uint8)
    assert hardware(code, received) == model(code, received)


FAULTS = [
    (ecc._check_of, "if row >> i & 1)", "if row >> i & 1 and i != 5)"),
    (EccDecoder, "self.syndrome[half:] == n for", "self.syndrome[half + 1 :] == n >> 1 for"),
    (EccDecoder, "for column in code.columns:", "for column in code.columns[: code.data_bits]:"),
    (EccDecoder, "self.syndrome.any() & ~self.corrected", "0"),
    (EccDecoder, "self.check ^", "self.check[1:] ^"),
]


@pytest.mark.parametrize(("target", "old", "new"), FAULTS, ids=[f[1] for f in FAULTS])
def test_planted_faults_are_found(target: Any, old: str, new: str) -> None:
    code = hsiao(16, inverted=True)
    _, received = flipped(code, 200)
    with installed([Mutant(target, old, new)]):
        inputs = [{"stored": number(w[:16]), "check": number(w[16:])} for w in received]
        got = run(ecc.EccDecoder(code), inputs, "data", "corrected", "uncorrectable", "syndrome")
    assert got != model(code, received)


# -- atoms


def stored_atoms(atom: AtomEcc, count: int, poison: bool) -> Bits:
    """Bits of encoded atoms, ``(count, data and check bits)``."""
    rng = np.random.default_rng(2)
    data = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    check = encode_atoms(atom, data, np.full(count, poison))
    beside = check[:, np.newaxis] >> np.arange(atom.check_bits) & 1
    bits = np.unpackbits(data, axis=1, bitorder="little")
    return np.concatenate([bits, beside.astype(np.uint8)], axis=1)


def read_atoms(atom: AtomEcc, received: Bits) -> Any:
    data = np.packbits(received[:, :256], axis=1, bitorder="little")
    return decode_atoms(atom, data, received[:, 256:] @ (1 << np.arange(atom.check_bits)))


def data_of(atom: Bits) -> Bits:
    return np.packbits(atom[..., :256], axis=-1, bitorder="little")


def test_sizes_of_atoms() -> None:
    sizes = [(a.words, a.code.data_bits, a.data_bits, a.check_bits, a.poison_bit) for a in ATOMS]
    assert sizes == [(4, 64, 256, 32, False), (1, 257, 256, 11, True)]
    assert ATOMS[0].mark not in ATOMS[0].code.columns and ATOMS[0].mark.bit_count() % 2


@atoms
def test_atom_with_one_error(atom: AtomEcc) -> None:
    for sent in stored_atoms(atom, 3, poison=False):
        result = read_atoms(atom, sent ^ np.eye(len(sent), dtype=np.uint8))
        assert (result.data == data_of(sent)).all() and result.corrected.all()
        assert not (result.uncorrectable | result.poisoned).any()
    for sent in stored_atoms(atom, 3, poison=True):
        clean = read_atoms(atom, sent[np.newaxis])
        assert clean.uncorrectable and clean.poisoned and not clean.corrected
        result = read_atoms(atom, sent ^ np.eye(len(sent), dtype=np.uint8))
        assert result.uncorrectable.all() and result.poisoned.all()


@atoms
def test_atom_with_two_errors(atom: AtomEcc) -> None:
    """Wherever they are, the poison included: corrected if in two words, never believed in one."""
    (good,), (bad,) = (stored_atoms(atom, 1, poison=poison) for poison in (False, True))
    first, second = np.triu_indices(len(good), 1)
    errors = np.zeros((len(first), len(good)), np.uint8)
    errors[np.arange(len(first)), first] = errors[np.arange(len(first)), second] = 1
    place = np.arange(len(good))
    word = np.where(place < 256, place * atom.words // 256, (place - 256) * atom.words // 32)
    together = word[first] == word[second]
    result = read_atoms(atom, good ^ errors)
    assert (result.uncorrectable == together).all() and not result.poisoned.any()
    assert (result.data[~together] == data_of(good)).all()
    assert read_atoms(atom, bad ^ errors).uncorrectable.all()


@atoms
def test_dead_atoms(atom: AtomEcc) -> None:
    dead = np.array([[0], [1]], np.uint8).repeat(256 + atom.check_bits, axis=1)
    result = read_atoms(atom, dead)
    assert result.uncorrectable.all() and not result.poisoned.any()


def atom_runs(atom: AtomEcc) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Check bits of atoms, and what is read with 0 to 3 errors: hardware and model."""
    rng = np.random.default_rng(3)
    sent = np.concatenate([stored_atoms(atom, 60, poison=poison) for poison in (False, True)])
    received = sent.copy()
    for n, bits in enumerate(received):
        bits[rng.choice(len(bits), n % 4, replace=False)] ^= 1
    inputs = [{"data": number(b[:256]), "poison": int(n >= 60)} for n, b in enumerate(sent)]
    got = run(ecc.AtomEncoder(atom), inputs, "check")
    inputs = [{"stored": number(b[:256]), "check": number(b[256:])} for b in received]
    outputs = ("data", "corrected", "uncorrectable", "poisoned", "syndrome")
    got += run(ecc.AtomDecoder(atom), inputs, *outputs)
    result = read_atoms(atom, received)
    expected: list[tuple[int, ...]] = [(number(b[256:]),) for b in sent]
    syndromes = result.syndrome @ (1 << atom.code.check_bits * np.arange(atom.words))
    flags = (result.corrected, result.uncorrectable, result.poisoned, syndromes)
    expected += [
        (int.from_bytes(data.tobytes(), "little"), *map(int, row))
        for data, *row in zip(result.data, *flags, strict=True)
    ]
    return got, expected


@atoms
def test_atom_hardware_is_the_model(atom: AtomEcc) -> None:
    got, expected = atom_runs(atom)
    assert got == expected


ATOM_FAULTS = [
    (ATOMS[0], ecc.AtomEncoder, "Mux(self.poison, ecc.mark, 0)", "0"),
    (ATOMS[0], ecc.AtomDecoder, "word.syndrome == ecc.mark", "word.uncorrectable"),
    (
        ATOMS[0],
        ecc.AtomDecoder,
        "word.corrected for word in words",
        "word.corrected for word in words[1:]",
    ),
    (ATOMS[1], ecc.AtomEncoder, "Cat(data, self.poison)", "Cat(data, 0)"),
    (ATOMS[1], ecc.AtomDecoder, "word.data[-1] & ~word.uncorrectable", "stored[-1]"),
    (ATOMS[1], ecc.AtomDecoder, "| self.poisoned", ""),
]


@pytest.mark.parametrize(
    ("atom", "target", "old", "new"), ATOM_FAULTS, ids=[f[2] for f in ATOM_FAULTS]
)
def test_planted_faults_in_atoms_are_found(atom: AtomEcc, target: type, old: str, new: str) -> None:
    with installed([Mutant(target, old, new)]):
        got, expected = atom_runs(atom)
    assert got != expected


@atoms
def test_emitted_words_are_one_module(atom: AtomEcc) -> None:
    text = emit_design(AtomDecoder(atom), "dut").verilog()
    assert len(re.findall(r"^module ", text, re.MULTILINE)) == 2
    assert len(re.findall(rf"dut_ecc_decoder_{atom.code.name} \\?word_", text)) == atom.words
