"""ECC within a memory, against its golden model: data, counts, and all that is stored."""

import random

import numpy as np
import pytest
from inline_bench import InlineBench, Played, Program
from numerics_pipeline import refuses
from sdr_bench import config_of
from sdr_stack import stack

from systolith.devices.sdram_pins import DATA_SHEETS
from systolith.golden.inline_ecc import InlineMemory
from systolith.harness.script import Script
from systolith.memory.sdr.block_code import BlockEcc, InlineConfig

CONFIGS = {
    "x16": InlineConfig(atom=16, atoms=9 * 24 + 5, count_bits=8),
    "x32": InlineConfig(atom=32, atoms=9 * 14, count_bits=7),
}


@pytest.fixture(scope="module", params=["x16", pytest.param("x32", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> InlineBench:
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen") else base) / "models"
    return InlineBench(CONFIGS[request.param], folder)


def drawn(p: Program) -> tuple[int, int]:
    """First atom and number of atoms, often whole blocks."""
    size = p.bench.config.capacity
    count = min(p.draw.choice([1, 2, 8, 16, p.draw.randint(1, 60)]), size)
    atom = p.draw.randrange(size - count + 1)
    return (atom & ~7 if p.draw.random() < 0.4 else atom), count


def started(bench: InlineBench, seed: int, **control: int) -> Program:
    """A memory in some mood, filled."""
    p = Program(bench, seed=seed)
    pauses = p.draw.choice([0, 0, 2, 5])
    bench.manner(p.script, latency=p.draw.randint(1, 20), jitter=1, pauses=pauses)
    p.script.ready("read", p.draw.choice([0xFFFF_FFFF, 0x5A5A_1234, 0x1111_1111]))
    p.fill(hesitant=p.draw.randint(0, 1), **control)
    return p


def some(p: Program, number: int, *, poison: float = 0.0) -> None:
    for _ in range(number):
        atom, count = drawn(p)
        if p.draw.random() < 0.5:
            p.read(atom, count)
        else:
            whole = p.draw.choice([1, 1, 0.9, 0.3])
            p.write(atom, count, whole=whole, poison=p.draw.choice([0, poison]))


def finished(bench: InlineBench, p: Program) -> Played:
    p.quiet(3000)
    bench.look(p.script)
    return bench.play(p.script)


@pytest.mark.cosim
@pytest.mark.parametrize("seed", range(4))
def test_random_programs(bench: InlineBench, seed: int) -> None:
    p = started(bench, seed)
    some(p, 60, poison=0.1)
    assert p.check(finished(bench, p)) == []


@pytest.mark.cosim
@pytest.mark.parametrize("seed", range(4))
def test_flips_are_corrected_or_told(bench: InlineBench, seed: int) -> None:
    """One flip in a word, of data or check bits, is corrected and counted; two are an error."""
    p = started(bench, 100 + seed)
    config, size = bench.config, bench.config.atom
    some(p, 15)
    singles = doubles = 0
    for block in p.draw.sample(range(config.blocks), 6):
        p.quiet(2500)
        corrected, uncorrectable = p.model.corrected, p.model.uncorrectable
        index, word = p.draw.randrange(8), p.draw.randrange(size // 8)
        bits = [(1 + index, 1 << 64 * word + b) for b in range(64)]
        bits += [(0, 1 << size * index + 8 * word + b) for b in range(8)]
        number = p.draw.choice([1, 2])
        for atom, flip in p.draw.sample(bits, number):
            bench.touch(p.script, p.model, 9 * block + atom, flip)
        # All of it, a neighbour's part of it, and whatever comes.
        p.read(8 * block, 8)
        singles += p.model.corrected - corrected == 1
        doubles += p.model.uncorrectable - uncorrectable == 1
        some(p, 5)
    assert (singles, doubles) > (0, 0)
    assert singles + doubles == 6
    assert p.check(finished(bench, p)) == []


@pytest.mark.cosim
def test_every_bit_of_a_block_is_protected(bench: InlineBench) -> None:
    """Each is flipped once and read; nothing is ever seen of it but the count."""
    p = started(bench, 7)
    size = bench.config.atom
    p.write(8, 8, whole=1)
    some(p, 4)
    p.quiet(1500)
    for n in range(0, 9 * 8 * size, 5):
        atom, bit = divmod(n, 8 * size)
        bench.touch(p.script, p.model, 9 + atom, 1 << bit)
        p.read(8, 8)
        p.quiet(150)
        bench.touch(p.script, p.model, 9 + atom, 1 << bit)
    played = finished(bench, p)
    assert p.check(played) == []
    assert p.model.corrected == -(-9 * 8 * size // 5)
    assert played.status["uncorrectable"] == 0


@pytest.mark.cosim
def test_a_corrected_block_is_written_back(bench: InlineBench) -> None:
    p = started(bench, 3, scrub=1)
    some(p, 10)
    for n in range(4):
        p.quiet(2500)
        bench.touch(p.script, p.model, 9 * n + 1 + n, 1 << 17 * n)
        bench.touch(p.script, p.model, 9 * n + 5, 1 << 64)
        p.read(8 * n, 5)
        p.quiet(1000)
        p.model.scrub()
    played = finished(bench, p)
    assert p.check(played) == []
    assert played.status["scrubs"] == 4


@pytest.mark.cosim
def test_what_was_bad_stays_bad_until_it_is_written(bench: InlineBench) -> None:
    p = started(bench, 4)
    p.write(0, 16, whole=1)
    p.quiet(800)
    bench.touch(p.script, p.model, 3, 0b11)  # atom 2
    p.write(3, 1, whole=1)  # beside it: the block is read and written
    p.read(0, 16)
    bad = [e[1] for e in p.expected]
    assert bad == [n == 2 for n in range(16)]
    p.write(2, 1, whole=0)  # a part of it
    p.read(2, 1)
    p.write(2, 1, whole=1)
    p.read(0, 8)
    assert [e[1] for e in p.expected[16:]] == [True] + [False] * 8
    assert p.check(finished(bench, p)) == []


@pytest.mark.cosim
def test_errors_of_the_memory_are_errors(bench: InlineBench) -> None:
    """Of an atom that it lost: of data it is that one, of check bits all eight."""
    p = started(bench, 5)
    p.script.ready("read")
    for atom in (9, 9 * 3 + 4):
        data = int.from_bytes(p.model.stored[atom].tobytes(), "little")
        p.script.send("touch", bench.word("touch", write=1, address=atom, data=data, poison=1))
    p.request(False, 8, 24)
    played = bench.play(p.script.idle(1000))
    errors = [int(w.error) for w in played.reads]
    assert errors == [1] * 8 + [0] * 8 + [0, 0, 0, 1, 0, 0, 0, 0]
    assert played.status["uncorrectable"] == 9
    assert played.status["first"] == 8


@pytest.mark.cosim
def test_long_requests_have_no_gaps(bench: InlineBench) -> None:
    config = bench.config
    count = 8 * (min(config.capacity, (1 << config.count_bits) - 1) // 8)
    p = Program(bench, seed=1)
    bench.control(bench.manner(p.script, latency=4))
    p.fill()
    p.write(0, count, whole=1)
    p.quiet(100)
    for _ in range(3):
        p.read(0, count)
    p.quiet(1000)
    played = bench.play(p.script)
    assert p.check(played) == []
    reads = played.cycles["read"]
    assert reads[-1] - reads[0] == 3 * count * 9 // 8 - 2  # it begins and ends with data
    writes = [c for c, r in zip(played.cycles["asked"], played.asked, strict=True) if int(r.write)]
    steps = np.diff(writes[-count // 8 :])
    assert (steps == 9).all()


@pytest.mark.cosim
def test_without_ecc_all_atoms_are_there(bench: InlineBench) -> None:
    """Requests pass; the mode changes once what was asked for before is done."""
    config = bench.config
    p = started(bench, 6)
    some(p, 8)
    p.quiet(2500)
    p.read(3, 50)
    p.quiet(10)  # taken, and far from answered
    bench.control(p.script, bypass=1)
    plain = p.model.stored.copy()
    atoms = 9 * config.blocks
    most = min(40, (1 << config.count_bits) - 1)
    for n in range(40):
        count = p.draw.randint(1, most)
        atom = p.draw.randrange(atoms - count + 1)
        p.request(n % 2 == 0, atom, count)
        for k in range(count):
            if n % 2:
                value = int.from_bytes(plain[atom + k].tobytes(), "little")
                p.expected.append((value, False, k == count - 1))
                continue
            value = p.draw.getrandbits(8 * config.atom)
            mask = p.draw.choice([-1, p.draw.getrandbits(config.atom)]) & (1 << config.atom) - 1
            p.script.send("write", bench.word("write", data=value, mask=mask))
            keep = np.array([bool(mask >> b & 1) for b in range(config.atom)])
            raw = np.frombuffer(value.to_bytes(config.atom, "little"), np.uint8)
            plain[atom + k] = np.where(keep, raw, plain[atom + k])
        p.writes += 1 - n % 2
    p.model.stored[:] = plain
    played = finished(bench, p)
    assert played.status["bypassed"] == 1
    assert p.check(played) == []
    # And back: a block that is filled is good.
    bench.control(p.script)
    p.quiet(100)
    bench.control(p.script, fill=1, fill_block=2, fill_blocks=1)
    p.model.fill(2, 1)
    p.read(16, 8)
    p.quiet(500)
    played = bench.play(p.script)
    assert (played.status["bypassed"], [e[1] for e in p.expected[-8:]]) == (0, [False] * 8)
    assert int(played.reads[-1].data) == 0
    assert len(played.reads) == len(p.expected)


@pytest.mark.cosim
def test_fills(bench: InlineBench) -> None:
    config = bench.config
    p = started(bench, 8)
    some(p, 10)
    p.quiet(2500)
    bench.touch(p.script, p.model, 1, 3)
    p.read(0, 1)
    p.quiet(500)
    bench.control(p.script, clear=1)
    p.model.corrected = p.model.uncorrectable = 0
    p.model.first = None
    # Nothing, and more than there is: not done.
    bench.control(p.script, fill=1, fill_block=2, fill_blocks=0)
    p.quiet(100)
    bench.control(p.script, fill=1, fill_block=3, fill_blocks=config.blocks - 2)
    p.quiet(100)
    # Some, while requests wait.
    bench.control(p.script, fill=1, fill_block=1, fill_blocks=3)
    p.model.fill(1, 3)
    p.read(0, 40)
    some(p, 10)
    assert p.check(finished(bench, p)) == []


def test_the_model_is_the_code() -> None:
    """A block by hand: check bits of atom n at n / 8 of the first atom."""
    model = InlineMemory(ecc=BlockEcc(atom=16), stored=np.zeros((18, 16), np.uint8))
    model.fill(0, 2)
    data = np.arange(128, dtype=np.uint8).reshape(8, 16)
    whole = np.ones((8, 16), bool)
    model.write(8, data, whole, np.zeros(8, bool))
    assert (model.stored[10:18] == data).all()
    assert not model.stored[1:9].any()
    read, bad = model.read(8, 8)
    assert (read == data).all()
    assert not bad.any()
    model.stored[9, 2 * 5] ^= 4  # a check bit of atom 5
    model.stored[13, 0] ^= 1  # a bit of atom 3
    assert (model.read(8, 8)[0] == data).all()
    assert (model.corrected, model.uncorrectable) == (2, 0)
    model.stored[13, 1] ^= 1
    assert model.read(8, 8)[1].tolist() == [False] * 3 + [True] + [False] * 4


def test_a_memory_that_does_not_fit_is_refused() -> None:
    refuses(lambda: InlineConfig(atom=16, atoms=17), "atoms\n.*greater than or equal to 18")
    refuses(lambda: InlineConfig(atom=12, atoms=100), "atom\n.*8, 16 or 32")  # type: ignore[arg-type]
    refuses(lambda: InlineConfig(atom=16, atoms=100, count_bits=3), "count_bits\n")
    refuses(lambda: InlineConfig(atom=16, atoms=1 << 33), "atoms must be at most")
    config = InlineConfig(atom=16, atoms=1 << 21)
    assert (config.capacity, config.blocks) == (1864128 - 1864128 % 8, 233016)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("part", ["x16", "x32"])
def test_bandwidth_of_users_down_to_the_pins(
    part: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Long requests, with ECC 8/9 of those without; data is compared, nothing is forbidden."""
    name, sheet = {
        "x16": ("sdr-mt48lc16m16", "mt48lc16m16a2-75"),
        "x32": ("sdr-m12l64322a", "m12l64322a-5"),
    }[part]
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen") else base) / "models"
    config = config_of(name)
    shares: dict[tuple[bool, bool], float] = {}
    count, number = 2048, 4
    for ecc in (False, True):
        top, simulation = stack(config, DATA_SHEETS[sheet].quick(), folder, ecc=ecc)
        script = Script()
        draw = random.Random(1)
        words = [draw.getrandbits(8 * config.organisation.atom) for _ in range(count * number)]
        full = (1 << config.organisation.atom) - 1
        for write in (1, 0):
            for n in range(number):
                request = {"write": write, "atom": n * count, "count": count}
                layout = top.widths["request"]
                script.send("request", int(layout.const(request).as_value().value))
                for word in words[n * count : (n + 1) * count] if write else ():
                    value = top.widths["write"].const({"data": word, "mask": full, "poison": 0})
                    script.send("write", int(value.as_value().value))
            script.wait("done", number) if write else script.wait("read", count * number)
        result = simulation.run([script], deadline=20_000)
        reads = [top.widths["read"].from_bits(t.payload) for t in result.transfers["read"]]
        assert [int(r.data) for r in reads] == words
        assert not any(int(r.error) for r in reads)
        assert result.transfers["moved"][-1].payload >> 32 == 0
        # User's atoms in a window of the middle half, in words of the pins per clock.
        for write in (True, False):
            clocks = [t.cycle for t in result.transfers["write" if write else "read"]]
            first, last = len(clocks) // 8, len(clocks) * 7 // 8
            moved = (last - first) * config.timing["burst"]
            shares[ecc, write] = moved / (clocks[last] - clocks[first])
    print(part, shares)
    for write in (True, False):
        assert shares[False, write] > 0.96
        assert shares[True, write] > 0.96 * 8 / 9
