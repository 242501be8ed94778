"""What tests do with a device of dynamic memory, and two memories small enough for it."""

import random
from dataclasses import replace

from dram_bench import Bench, Play, Seen
from dram_traces import SDR, SDR_SHAPE, TIGHT

from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation, Part

__all__ = [
    "AGE",
    "CHECK",
    "FRAMES",
    "PART",
    "REFI",
    "RETENTION",
    "SDR_PART",
    "SHAPE",
    "Atom",
    "Place",
    "again",
    "atoms",
    "clean",
    "fill",
    "masked",
    "one_row",
    "random_accesses",
    "reads",
    "refresh",
    "untouched",
    "written",
]

CHECK, FRAMES = 32, 32
REFI = 200
AGE = {"ref_groups": 4, "debt": 1}
RETENTION = (4 + 1) * REFI
SHAPE = Organisation(sids=1, groups=2, banks=2, rows=16, columns=4, atom=32)
PART = Part(name="tight", organisation=SHAPE, timing=replace(TIGHT, refi=REFI))
SDR_PART = Part(name="sdr", organisation=SDR_SHAPE, timing=replace(SDR, refi=REFI))
Place = tuple[int, int, int]  # bank, row, column
Atom = tuple[int, int]  # data, check bits


def untouched(bench: Bench) -> dict[Place, Atom]:
    play = Play(bench)
    places = []
    for row in (1, 2):
        for bank in range(4):
            play.do(Op.ACT, to=bank, row=row)
            for column in range(4):
                play.do(Op.RD, to=bank, column=column)
                places.append((bank, row, column))
        play.do(Op.PREA)
    return dict(zip(places, clean(play), strict=True))


def atoms(seen: Seen) -> list[Atom]:
    return [(beat.data, beat.check) for beat in seen.beats]


def clean(play: Play, *, delay: int = 0, decayed: int = 0, late: int = 0) -> list[Atom]:
    """Play what breaks no rule."""
    seen = play.run(delay=delay)
    assert seen.violations == []
    last = seen.probes[-1]
    assert (last["violations"], last["overflow"]) == (0, 0)
    assert (last["decayed"], last["late"]) == (decayed, late)
    return atoms(seen)


def masked(new: Atom, old: Atom, mask: int) -> Atom:
    bits = sum(0xFF << 8 * byte for byte in range(32) if mask >> byte & 1)
    return ((new[0] & bits) | (old[0] & ~bits), new[1] if mask else old[1])


def random_accesses(bench: Bench, known: dict[Place, Atom], *, seed: int, delay: int) -> None:
    """Reads and masked writes of four open rows; data, order and time of every beat."""
    draw, play, device = random.Random(seed), Play(bench), bench.device
    atom, check_bits = device.part.organisation.atom, device.check_bits
    known = dict(known)
    wanted: list[Atom] = []
    times: list[tuple[int, int]] = []
    for bank in range(4):
        play.do(Op.ACT, to=bank, row=1)
    writing = False
    for n in range(150):
        if n % 8 == 0:
            writing = draw.random() < 0.5
        bank, column = (2 * n + draw.randrange(2)) % 4, draw.randrange(4)
        where = (bank, 1, column)
        if writing:
            mask = draw.choice([-1, 0, draw.getrandbits(atom)]) % (1 << atom)
            mask = mask if device.part.organisation.mask else (1 << atom) - 1
            new = draw.getrandbits(8 * atom), draw.getrandbits(check_bits) if check_bits else 0
            play.write(new[0], check=new[1], mask=mask, to=bank, column=column)
            known[where] = masked(new, known[where], mask)
        else:
            clock = play.do(Op.RD, to=bank, column=column)
            wanted.append(known[where])
            per_port = device.slots // device.ports
            cycle = clock // device.slots + device.latency + delay
            times.append((cycle, clock % device.slots // per_port))
    seen = play.run(delay=delay)
    assert seen.violations == []
    assert atoms(seen) == wanted
    assert [(beat.cycle, beat.port) for beat in seen.beats] == times
    cycles = [cycle for cycle, _ in times]
    assert device.ports == 1 or len(cycles) > len(set(cycles))  # two in a cycle


def fill(play: Play, rows: int) -> None:
    for n in range(rows):
        bank, row = n % 4, n // 4
        play.do(Op.ACT, to=bank, row=row)
        play.write(n + 1, to=bank, column=n % 3)
        play.do(Op.PRE, to=bank)


def one_row(bench: Bench, write: int = 0x11) -> Play:
    """A row open, its first two atoms written."""
    play = Play(bench)
    play.do(Op.ACT, to=0, row=1)
    for column in (0, 1):
        play.write(write + column, check=write + column, to=0, column=column)
    return play


def reads(play: Play, count: int, *, column: int = 0) -> list[int]:
    return [play.do(Op.RD, to=0, column=column) for _ in range(count)]


def written(bench: Bench, banks: tuple[int, ...] = (0, 1)) -> Play:
    """Rows 1 of some banks written and closed."""
    play = Play(bench)
    for bank in banks:
        play.do(Op.ACT, to=bank, row=1)
        play.write(0x1000 + bank, check=bank, to=bank, column=0)
        play.do(Op.PRE, to=bank)
    return play


def again(play: Play, bank: int, columns: tuple[int, ...] = (0,)) -> None:
    play.do(Op.ACT, to=bank, row=1)
    for column in columns:
        play.do(Op.RD, to=bank, column=column)


def refresh(play: Play, times: int, op: Op, **at: int) -> None:
    for n in range(times):
        play.until((n + 1) * REFI)
        play.do(op, **at)
