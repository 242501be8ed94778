"""The device of dynamic memory: stores, forgets, complains, and injects faults."""

from dataclasses import replace
from pathlib import Path

import pytest
from dram_bench import Bench, Play
from dram_scenarios import (
    AGE,
    CHECK,
    FRAMES,
    PART,
    RETENTION,
    SDR_PART,
    Atom,
    Place,
    again,
    atoms,
    clean,
    fill,
    one_row,
    random_accesses,
    reads,
    refresh,
    untouched,
    written,
)
from dram_traces import SDR_SHAPE
from numerics_pipeline import refuses

from systolith.devices.dram import DramDevice
from systolith.devices.timing_checker import Illegal
from systolith.harness.cosim import SimulationFailed
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation, Part, hbm3_6400
from systolith.memory.hbm.timing import rules

pytestmark = pytest.mark.cosim


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    return shared / "models"


@pytest.fixture(scope="module")
def bench(cache: Path) -> Bench:
    return Bench(DramDevice(PART, slots=4, check_bits=CHECK, frames=FRAMES, **AGE), cache)


@pytest.fixture(scope="module")
def unwritten(bench: Bench) -> dict[Place, Atom]:
    """What row 1 and 2 of every bank hold if nobody writes."""
    return untouched(bench)


@pytest.mark.parametrize("delay", [0, 5, 15])
def test_reads_and_masked_writes(bench: Bench, unwritten: dict[Place, Atom], delay: int) -> None:
    assert bench.device.latency == -(-(3 + PART.timing["cl"] + PART.timing["burst"]) // 4)
    random_accesses(bench, unwritten, seed=delay, delay=delay)


def test_what_was_never_written_is_a_hash(bench: Bench, unwritten: dict[Place, Atom]) -> None:
    """Of the address alone: another order, and writes next to it, change nothing."""
    words = {data >> 32 * n & 0xFFFFFFFF for data, _ in unwritten.values() for n in range(8)}
    words |= {check for _, check in unwritten.values()}
    assert len(words) == 9 * len(unwritten)
    play = Play(bench)
    wanted = []
    for bank in (3, 0, 2, 1):
        play.do(Op.ACT, to=bank, row=2)
        play.write(0, to=bank, column=1)
        for column in (3, 0, 2, 0):
            play.do(Op.RD, to=bank, column=column)
            wanted.append(unwritten[bank, 2, column])
    assert clean(play) == wanted


def test_frames_run_out(bench: Bench) -> None:
    play = Play(bench)
    fill(play, FRAMES)
    play.do(Op.ACT, to=0, row=7)
    play.do(Op.RD, to=0, column=28 % 3)
    play.do(Op.ACT, to=1, row=15)  # reading takes no frame
    play.do(Op.RD, to=1, column=0)
    assert clean(play)[0] == (29, 0)
    play = Play(bench)
    fill(play, FRAMES + 1)
    with pytest.raises(SimulationFailed, match="no frame is free"):
        play.run()


@pytest.mark.parametrize("mask", [1, 1 << 255, 1 << 256, 1 << 287, 0x8001 << 250])
def test_flips(bench: Bench, mask: int) -> None:
    """A flip takes the next beat, once; a persistent one stays until the atom is written."""
    flipped = (0x11 ^ mask % (1 << 256), 0x11 ^ mask >> 256)
    play = one_row(bench)
    clock = reads(play, 1)[0]
    play.fault(clock, flip=mask)
    reads(play, 2)
    play.wait(40)
    clock = reads(play, 1)[0]
    play.fault(clock, persist=mask)
    play.wait(40)
    reads(play, 1)
    reads(play, 1, column=1)
    play.write(0x22, check=0x22, to=0, column=0)
    reads(play, 1)
    good = (0x11, 0x11)
    wanted = [flipped, good, good, flipped, flipped, (0x12, 0x12), (0x22, 0x22)]
    assert clean(play) == wanted


def test_a_persistent_flip_of_what_was_never_written(
    bench: Bench, unwritten: dict[Place, Atom]
) -> None:
    play = Play(bench)
    play.do(Op.ACT, to=0, row=1)
    play.fault(reads(play, 1, column=3)[0], persist=6)
    play.wait(40)
    reads(play, 1, column=3)
    reads(play, 1, column=2)
    data, check = unwritten[0, 1, 3]
    assert clean(play) == [(data ^ 6, check), (data ^ 6, check), unwritten[0, 1, 2]]


def test_lost_and_added_beats(bench: Bench) -> None:
    play = one_row(bench)
    first = reads(play, 1)[0]
    play.fault(first, lose=1, flip=4)
    second = reads(play, 2, column=1)
    play.fault(second[1] + 60, extra=1)
    seen = play.run()
    assert atoms(seen)[:2] == [(0x12 ^ 4, 0x12), (0x12, 0x12)]  # a lost beat takes no flip
    assert len(seen.beats) == 3
    added = seen.beats[2]
    assert (added.cycle, added.port) == ((second[1] + 60) // 4, 0)
    assert added.data not in (0, 0x11, 0x12)


def test_an_added_beat_waits_for_a_free_port(bench: Bench) -> None:
    play = Play(bench)
    for bank in (0, 2):
        play.do(Op.ACT, to=bank, row=1)
    clocks = [play.do(Op.RD, to=2 * (n % 2), column=n // 2 % 4) for n in range(12)]
    busy = next(c for c in clocks if c % 4 < 2 and c + 2 in clocks) // 4 + bench.device.latency
    play.fault(4 * busy, extra=1)
    seen = play.run()
    wanted: dict[int, int] = {}
    for clock in clocks:
        cycle = clock // 4 + bench.device.latency
        wanted[cycle] = wanted.get(cycle, 0) + 1
    free = next(c for c in range(busy, busy + 20) if wanted.get(c, 0) < 2)
    assert free > busy
    wanted[free] = wanted.get(free, 0) + 1
    found: dict[int, int] = {}
    for beat in seen.beats:
        found[beat.cycle] = found.get(beat.cycle, 0) + 1
    assert found == wanted


def test_noise_without_data(bench: Bench, unwritten: dict[Place, Atom]) -> None:
    """Ports without a beat never repeat themselves; reads of a closed bank give noise, too."""
    play = Play(bench)
    clocks = [play.do(Op.RD, to=0, column=0) for _ in range(3)]
    for n in range(20):
        play.fault(clocks[-1] + 100 + 4 * n, probe=1)
    seen = play.run()
    layout = bench.device.read.shape().elem_shape
    shown = [probe["read"] >> layout.size * port for probe in seen.probes for port in (0, 1)]
    words = [word % (1 << layout.size) for word in shown]
    assert not any(word & 1 for word in words)
    parts = [word >> 1 + 32 * n & 0xFFFFFFFF for word in words for n in range(9)]
    assert len(set(parts)) == len(parts) and 0 not in parts
    closed = len(rules(PART.timing)) + Illegal.BANK_CLOSED
    assert [v["rule"] for v in seen.violations] == [closed] * 3
    assert len(set(atoms(seen))) == 3
    assert not set(atoms(seen)) & set(unwritten.values())


def test_violations_are_told(bench: Bench) -> None:
    play = Play(bench)
    play.do(Op.ACT, to=0, row=1)
    early = play.do(Op.RD, to=0, early=1)
    play.wait(20)
    play.do(Op.PRE, to=0)
    seen = play.run()
    names = [rule.name for rule in rules(PART.timing)]
    assert seen.violations == [{"rule": names.index("tRCDRD"), "op": int(Op.RD), "second": early}]
    assert seen.probes[-1]["violations"] == 1


# Refresh ---------------------------------------------------------------------------------------


def test_rows_decay_without_refresh(bench: Bench, unwritten: dict[Place, Atom]) -> None:
    play = written(bench)
    play.until(RETENTION)  # just in time
    again(play, 0)
    again(play, 1, (0, 1))
    atoms = clean(play, decayed=1)
    assert atoms[0] == (0x1000, 0)
    for seen, was in zip(atoms[1:], [(0x1001, 1), unwritten[1, 1, 1]], strict=True):
        for n in range(8):
            assert (seen[0] ^ was[0]) >> 32 * n & 0xFFFFFFFF
        assert seen[1] != was[1]


def test_writing_heals_what_is_written(bench: Bench) -> None:
    play = written(bench)
    play.wait(RETENTION)
    again(play, 0)
    play.write(0x77, check=7, mask=1, to=0, column=0)
    play.write(0x88, check=8, to=0, column=1)
    for column in (0, 1):
        play.do(Op.RD, to=0, column=column)
    play.do(Op.PRE, to=0)
    again(play, 0)  # an activation is no refresh: it decays once more, in another way
    atoms = clean(play, decayed=2)
    rotten = atoms[0][0]
    assert atoms[1:3] == [(rotten >> 8 << 8 | 0x77, 7), (0x88, 8)]
    assert len({data >> 8 for data, _ in (*atoms[1:2], atoms[3], (0x1000, 0))}) == 3


def test_rows_stay_with_refresh(bench: Bench) -> None:
    play = written(bench)
    refresh(play, 14, Op.REFAB)
    for bank in (0, 1):
        again(play, bank)
    assert clean(play) == [(0x1000, 0), (0x1001, 1)]


def test_refresh_of_another_bank_does_not_help(bench: Bench) -> None:
    play = written(bench)
    refresh(play, 6, Op.REFPB, to=1)
    for bank in (0, 1):
        again(play, bank)
    atoms = clean(play, decayed=1)
    assert atoms[0] != (0x1000, 0)
    assert atoms[1] == (0x1001, 1)


def test_late_refreshes_are_counted(bench: Bench) -> None:
    play = written(bench)
    play.wait(RETENTION)
    play.do(Op.REFAB)  # of all four banks
    play.do(Op.REFPB, to=2)
    assert clean(play, late=5) == []


def test_self_refresh_keeps_data(bench: Bench) -> None:
    play = written(bench)
    play.do(Op.SRE)
    play.wait(3 * RETENTION)
    play.do(Op.SRX)
    for bank in (0, 1):
        again(play, bank)
    assert clean(play) == [(0x1000, 0), (0x1001, 1)]


def test_refresh_management_is_no_refresh(bench: Bench) -> None:
    play = written(bench)
    refresh(play, 6, Op.RFMAB)
    again(play, 0)
    assert clean(play, decayed=1) != [(0x1000, 0)]


STACKS = Organisation(sids=2, groups=2, banks=1, rows=16, columns=4, atom=32)
UNMASKED = replace(SDR_SHAPE, mask=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "slots", "check_bits"),
    [
        (replace(PART, organisation=STACKS), 1, 16),
        (replace(PART, organisation=STACKS), 2, 0),
        (replace(SDR_PART, organisation=UNMASKED), 1, 0),
        (hbm3_6400, 2, 32),
    ],
    ids=["stacks", "two slots", "no masks", "hbm3-6400"],
)
def test_other_shapes(cache: Path, part: Part, slots: int, check_bits: int) -> None:
    bench = Bench(DramDevice(part, slots=slots, check_bits=check_bits), cache)
    random_accesses(bench, untouched(bench), seed=3, delay=1)


def test_bad_parameters() -> None:
    for wrong, message in (
        ({"slots": 3}, "slots must be 1 to 2 or a multiple of it, not 3"),
        ({"slots": 8}, "slots must be at most rcd_rd and rcd_wr, not 8"),
        ({"check_bits": -1}, "check_bits must be 0 or more, not -1"),
        ({"frames": 48}, "frames must be a power of two, not 48"),
        ({"delay_bits": 0}, "delay_bits must be 1 or more, not 0"),
        ({"ref_groups": 0}, "ref_groups must be 1 or more, not 0"),
        ({"debt": -1}, "debt must be 0 or more, not -1"),
    ):
        refuses(lambda wrong=wrong: DramDevice(PART, **wrong), message)  # type: ignore[misc]
