"""Several channels as one memory: map, data and order, throughput, planted faults."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from interleave_bench import InterleaveBench, Played, Program, where
from pydantic import ValidationError

from systolith.emit.verilog import emit_design
from systolith.harness.errors import Deadline
from systolith.memory import (
    interleave,
    interleave_closing,
    interleave_map,
    interleave_parts,
    interleave_pieces,
    interleave_turns,
)
from systolith.memory.interleave_map import InterleaveConfig
from systolith.proofs.substitute import Mutant, installed

SIZES = {
    # Requests are cut, and a part of one may be one round longer than its share.
    "hashed": InterleaveConfig(
        channels=4, granule=4, atom=4, atom_bits=7, count_bits=7, channel_count_bits=5
    ),
    "plain": InterleaveConfig(
        channels=2,
        granule=1,
        hashed=False,
        atom=2,
        atom_bits=6,
        count_bits=5,
        channel_count_bits=6,
        outstanding=4,
        ahead=2,
    ),
    "hashed, shortest parts": InterleaveConfig(
        channels=8,
        granule=2,
        atom=1,
        atom_bits=5,
        count_bits=8,
        channel_count_bits=3,
        outstanding=8,
        ahead=2,
    ),
    "plain, shortest parts": InterleaveConfig(
        channels=4,
        granule=8,
        hashed=False,
        atom=1,
        atom_bits=6,
        count_bits=8,
        channel_count_bits=4,
        outstanding=2,
        ahead=2,
    ),
    "hashed, many": InterleaveConfig(
        channels=32, granule=1, atom=1, atom_bits=3, count_bits=8, channel_count_bits=3
    ),
}
LATENCIES = (30, 3, 22, 11)
REST = 8  # clocks beyond the latency that any number of requests may take in all

Bench = Callable[[str], InterleaveBench]


def _folder(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return (base.parent if base.name.startswith("popen") else base) / "models"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    benches: dict[str, InterleaveBench] = {}

    def get(name: str) -> InterleaveBench:
        if name not in benches:
            benches[name] = InterleaveBench(SIZES[name], _folder(tmp_path_factory))
        return benches[name]

    return get


# Map.


@pytest.mark.parametrize("config", SIZES.values(), ids=SIZES)
def test_every_atom_has_a_place_of_its_own(config: InterleaveConfig) -> None:
    atoms = range(1 << config.address_bits)
    places = [config.place(atom) for atom in atoms]
    assert len(set(places)) == len(atoms)
    assert places == [where(config, atom) for atom in atoms]
    assert {local >> config.atom_bits for _, local in places} == {0}


@pytest.mark.parametrize("channels", [2, 4, 8, 16, 32])
def test_whole_rounds_of_a_memory_fill_as_much_of_every_channel(channels: int) -> None:
    config = InterleaveConfig(
        channels=channels, granule=2, atom_bits=9, count_bits=8, channel_count_bits=8
    )
    size = 6  # atoms of a channel, no power of two
    places = {config.place(atom) for atom in range(channels * size)}
    assert places == {(c, a) for c in range(channels) for a in range(size)}


@pytest.mark.parametrize("channels", [2, 4, 8, 16, 32])
def test_strides_of_powers_of_two_meet_every_channel(channels: int) -> None:
    config = InterleaveConfig(channels=channels, atom_bits=24, count_bits=8, channel_count_bits=8)
    bits = config.address_bits - config.granule_bits
    for shift in range(bits - config.channel_bits + 1):
        for group in (0, 5 % (1 << bits - config.channel_bits - shift)):
            first = group << shift + config.channel_bits
            met = {
                config.place((first + (n << shift)) * config.granule)[0] for n in range(channels)
            }
            assert len(met) == channels, shift


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 3}, "channels"),
        ({"granule": 3}, "granule must be a power of two"),
        ({"granule": 256, "atom_bits": 8}, "granule must be less than a channel of 256 atoms"),
        ({"channel_count_bits": 3}, "channel_count_bits must be at least 4 with granules of 4"),
        ({"hashed": False, "channel_count_bits": 2}, "channel_count_bits must be at least 3"),
        ({"outstanding": 3}, "outstanding"),
        ({"atom": 24}, "atom"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    sizes: dict[str, Any] = {
        "channels": 4,
        "atom_bits": 10,
        "count_bits": 8,
        "channel_count_bits": 8,
    }
    with pytest.raises(ValidationError, match=message):
        InterleaveConfig(**{**sizes, **fields})


def test_two_of_one_design_are_one_module_if_they_are_alike() -> None:
    kinds = [
        emit_design(interleave.Interleave(config), "x").modules
        for config in (SIZES["plain"], SIZES["plain"], SIZES["plain, shortest parts"])
    ]
    assert kinds[0] == kinds[1]
    assert not {n for n in kinds[0] if "interleave" in n} & {*kinds[2]}


# Data and order.


def _run(program: Program, *, deadline: int = 6000) -> Played:
    program.settle()
    program.look()
    return program.bench.play(program.script, deadline=deadline)


def _mixed(bench: InterleaveBench, *, seed: int, number: int) -> Program:
    program = Program(bench, seed=seed)
    most = min((1 << bench.config.count_bits) - 1, program.atoms)
    program.fill(most)
    for part in range(6):
        for channel in range(bench.config.channels):
            program.manner(
                channel,
                latency=program.draw.choice([1, 2, 9, 30]),
                jitter=program.draw.randrange(2),
                pauses=program.draw.choice([0, 0, 3, 6]),
            )
        program.gates(
            request=part % 2, write=program.draw.randrange(2), read=program.draw.randrange(2)
        )
        program.mixed(number // 6, most, whole=0.7, poison=0.1)
    return program


@pytest.mark.cosim
@pytest.mark.parametrize(
    "name", ["hashed", *(pytest.param(n, marks=pytest.mark.slow) for n in [*SIZES][1:])]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_one_memory(bench: Bench, name: str, seed: int) -> None:
    program = _mixed(bench(name), seed=seed, number=240)
    assert program.check(_run(program, deadline=20_000)) == []


@pytest.mark.cosim
def test_reads_that_nobody_takes_hold_up_nothing_for_good(bench: Bench) -> None:
    program = Program(bench("hashed"), seed=5)
    program.fill(64)
    program.settle()
    program.gates(read=3)
    for _ in range(12):
        program.read(program.draw.randrange(400), 100)
        program.write(program.draw.randrange(400), 3)
    program.script.idle(600)
    program.gates(read=0)
    assert program.check(_run(program)) == []


@pytest.mark.cosim
def test_late_write_data_hold_up_nothing_for_good(bench: Bench) -> None:
    program = Program(bench("hashed"), seed=6)
    program.fill(64)
    program.settle()
    program.gates(write=3)
    for _ in range(40):
        program.write(program.draw.randrange(400), 9)
        program.read(program.draw.randrange(400), 20)
    program.script.idle(600)
    program.gates(write=0)
    assert program.check(_run(program)) == []


# Throughput.


def _loaded(bench: InterleaveBench, *, latencies: tuple[int, ...] = LATENCIES) -> Program:
    """Everything that follows waits until it is let go."""
    program = Program(bench, seed=3)
    program.fill(64)
    program.settle()
    for channel in range(bench.config.channels):
        program.manner(channel, latency=latencies[channel % len(latencies)])
    program.gates(request=3, write=3)
    return program


def _go(program: Program) -> Played:
    program.gates()
    played = _run(program)
    assert program.check(played) == []
    return played


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("number", "count"), [(1, 16), (1, 100), (6, 127), (400, 1), (200, 2), (90, 5)]
)
@pytest.mark.parametrize("write", [False, True], ids=["reads", "writes"])
def test_an_atom_a_clock(bench: Bench, number: int, count: int, write: bool) -> None:
    program = _loaded(bench("hashed"))
    for _ in range(number):
        atom = program.draw.randrange(program.atoms - count)
        (program.write if write else program.read)(atom, count)
    played = _go(program)
    started = played.cycles["taken"][-number]
    ended = played.cycles["done" if write else "read"][-1]
    rest = ended - started - number * count
    assert 0 < rest <= max(LATENCIES) + REST, rest


@pytest.mark.cosim
@pytest.mark.parametrize("count", [1, 3, 4, 16, 64])
def test_time_grows_by_an_atom_a_clock_exactly(bench: Bench, count: int) -> None:
    spans = []
    for number in (64 // count, 512 // count):
        program = _loaded(bench("hashed"), latencies=(9,))
        for n in range(number):
            program.read(n * count, count)
        played = _go(program)
        spans.append(played.cycles["read"][-1] - played.cycles["taken"][-number])
    assert spans[1] - spans[0] == (512 // count - 64 // count) * count


@pytest.mark.cosim
def test_a_channel_that_is_late_leaves_the_others_at_work(bench: Bench) -> None:
    program = _loaded(bench("hashed"))
    before = [len(asked) for asked in program.asked]
    for _ in range(60):
        program.read(program.draw.randrange(program.atoms), 1)
    program.manner(0, no_request=1, no_answer=1)
    program.gates()
    program.script.idle(150)
    program.manner(0)
    played = _go(program)
    released = played.cycles["manner"][-1]
    assert len(program.asked[0]) - before[0] >= 8
    assert min(played.cycles["asked0"][before[0] :]) > released
    for channel in (1, 2, 3):
        asked = played.cycles[f"asked{channel}"][before[channel] :]
        assert len(asked) >= 8
        assert max(asked) < released - 50


@pytest.mark.cosim
def test_time_to_the_first_request_and_to_done(bench: Bench) -> None:
    program = _loaded(bench("hashed"))
    program.write(0, 64)
    played = _go(program)
    taken = played.cycles["taken"][-1]
    channels = range(4)
    asked = sorted(played.cycles[f"asked{n}"][-1] for n in channels)
    assert asked == [taken + 4 + n for n in channels]
    assert played.cycles["done"][-1] == max(played.cycles[f"told{n}"][-1] for n in channels) + 2


# Planted faults.

FAULTS: dict[str, tuple[str, Any, str, str]] = {
    "atoms are taken from channels without the hash": (
        "hashed",
        interleave_turns.InterleaveTurns,
        "config.channel_of(piece.atom[config.granule_bits :])",
        "piece.atom[config.granule_bits :]",
    ),
    "a part ends an atom early": (
        "hashed",
        interleave_parts.InterleaveParts,
        "end[:low] + 1",
        "end[:low]",
    ),
    "places in the last round are compared unhashed": (
        "hashed",
        interleave_parts.InterleaveParts,
        "channel ^ ending ^ final_place",
        "channel",
    ),
    "channels stay asked": ("hashed", interleave_parts.InterleaveParts, "asked.eq(0),", ""),
    "every channel is asked": (
        "hashed",
        interleave_parts.InterleaveParts,
        "(at[: near - low] == end[low:near]) | ",
        "",
    ),
    "the last granule is taken for the first": (
        "hashed",
        interleave_map.InterleaveConfig,
        "max(piece + 1,",
        "max(piece,",
    ),
    "parts begin at their granule": (
        "hashed",
        interleave_parts.InterleaveParts,
        "offset.eq(piece.p.atom[:low])",
        "offset.eq(0)",
    ),
    "queues overflow": (
        "plain",
        interleave_parts.InterleaveParts,
        "(self.space & one).any()",
        "1",
    ),
    "pieces beyond the longest": (
        "hashed",
        interleave_pieces.InterleavePieces,
        "final.eq(left <= longest)",
        "final.eq(left <= longest + 8)",
    ),
    "every piece is a last one": (
        "hashed",
        interleave_turns.InterleaveTurns,
        "ends & piece.final",
        "ends",
    ),
    "a write is done without its first channel": (
        "hashed",
        interleave_closing.InterleaveClosing,
        "(head.channels & missing).any()",
        "(head.channels & missing)[1:].any()",
    ),
    "two events in one clock count as one": (
        "hashed",
        interleave_closing.InterleaveClosing,
        "ahead + self.told[n]",
        "ahead + (self.told[n] & ~take)",
    ),
    "errors are lost": ("hashed", interleave.Interleave, "come.error", "0"),
    "reads are forgotten while too many are under way": (
        "plain",
        interleave.Interleave,
        "Mux(piece.p.write, writes.space, reads.space)",
        "writes.space",
    ),
}


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    name, *plant = FAULTS[fault]
    with installed([Mutant(*plant)]):
        config = interleave_map.InterleaveConfig(**asdict(SIZES[name]))
        # Compiled much faster, for one short run each.
        bench = InterleaveBench(config, _folder(tmp_path_factory), simulator="icarus")
        try:
            program = _mixed(bench, seed=1, number=60)
            played = _run(program)
        except (Deadline, AssertionError):
            return
    assert program.check(played)
