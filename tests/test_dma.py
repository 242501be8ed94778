"""The DMA engine between two memories: programs against the golden model, time, and trouble."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dma_bench import LOCAL, MEMORY, NARROW, SMALL, DmaPlayer, Played, fresh_model
from dma_programs import DATA, POOL, REGIONS, SINK, TABLE, TABLES, WORD_TABLE, WORDS, Programs

from systolith.golden.dma import Code, Descriptor, Model, Op, Retired
from systolith.harness.script import Script
from systolith.memory.dma.config import DmaConfig

CHECK = 23  # clocks of a load besides its atoms and the latency of the memory


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    return shared / "models"


@pytest.fixture(scope="module")
def player(models: Path) -> DmaPlayer:
    return DmaPlayer(SMALL, models)


def play_programs(player: DmaPlayer, seed: int, number: int) -> Programs:
    programs = Programs(player, seed)
    for n in range(number):
        programs.add(n, wild=n % 5 == 4)
    wrong = programs.check(player.play(programs.scripts))
    assert not wrong, f"seed {seed}: {wrong[:8]}"
    return programs


@pytest.mark.cosim
def test_random_programs(player: DmaPlayer) -> None:
    codes: set[Code] = set()
    for seed in (1, 3, 9):
        codes |= {r.code for r in play_programs(player, seed, 30).case.retired}
    assert codes == set(Code) - {Code.STOPPED, Code.TIMEOUT, Code.DISORDER}


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, NARROW], ids=lambda c: c.name)
def test_many_random_programs(config: DmaConfig, models: Path) -> None:
    player = DmaPlayer(config, models, flat=False)
    for seed in range(100, 160):
        play_programs(player, seed, 40)


def load(**fields: Any) -> Descriptor:
    return Descriptor(op=Op.LOAD, memory_region=DATA, local_region=WORDS, **fields)


def store(**fields: Any) -> Descriptor:
    return Descriptor(op=Op.STORE, memory_region=DATA, local_region=WORDS, **fields)


def begin(player: DmaPlayer, **control: Any) -> tuple[Script, Model]:
    """Memories without poison, and page numbers up to 8 in the tables."""
    rng = np.random.default_rng(5)
    model = fresh_model(player.config, rng, REGIONS)
    for space, at in ((model.memory, TABLES), (model.local, 200)):
        space.poison[:] = False
        words = player.config.atom // 4
        pages = np.arange(8 * words, dtype="<u4") * 7 % 9  # none follows on the one before
        space.data[at : at + 8] = pages.reshape(8, words).view(np.uint8)
    script = Script()
    player.control(script, **control)
    player.regions(script, REGIONS)
    player.poke(script, model.memory, range(MEMORY), local=False)
    player.poke(script, model.local, range(LOCAL), local=True)
    return script, model


def run(player: DmaPlayer, script: Script, descriptors: list[Descriptor], *, apart: bool) -> Played:
    for n, d in enumerate(descriptors):
        script.send("descriptors", d.encode())
        if apart:
            script.wait("retired", n + 1).idle(3)
    script.wait("retired", len(descriptors)).idle(5)
    return player.play(script)


def spent(played: Played) -> list[int]:
    """Clocks of each descriptor less its atoms."""
    return [
        end - start - r.atoms
        for start, end, r in zip(played.sent_at, played.retired_at, played.retired, strict=True)
    ]


@pytest.mark.cosim
@pytest.mark.parametrize("latency", [1, 10])
def test_time_is_atoms_and_a_constant(player: DmaPlayer, latency: int) -> None:
    rows = [((1, 50), 3), ((2, 30), 5), ((8, 10), 9), ((3, 30), 4), ((16, 8), 18), ((15, 8), 16)]
    loads = [load(count=(n, 1, 1)) for n in (1, 2, 15, 16, 17, 32, 33, 100, 127)]
    loads += [
        load(count=(*count, 1), memory_stride=(1, step, 0), local_stride=(1, count[0], 0))
        for count, step in rows
        if count[0] * player.config.reads >= latency + 3  # else there are too few requests
    ]
    quick = {"memory": {"latency": latency}}
    played = run(player, begin(player, **quick)[0], loads, apart=True)
    assert spent(played) == [CHECK + latency] * len(loads)
    gathers = [
        Descriptor(
            op=Op.GATHER, memory_region=POOL, local_region=WORDS, table_region=TABLE,
            page_log2=log2, count=(1, n, 1), first=first,
        )
        for log2 in (2, 3, 4)
        for n, first in ((1, 0), (16, 0), (40, 3), (100, 0), (127, 0))
    ]  # fmt: skip
    played = run(player, begin(player, **quick)[0], gathers, apart=True)
    # The table is read before; its atom for page 8, 16, ... comes while pages are being read.
    assert [r.code for r in played.retired] == [Code.OK] * len(gathers)
    assert spent(played) == [CHECK + 7 + 2 * latency] * len(gathers)


@pytest.mark.cosim
def test_descriptors_follow_without_a_gap(player: DmaPlayer) -> None:
    """Loads of 16 atoms and more end exactly their atoms apart; so do stores."""
    for make in (load, store):
        descriptors = [make(count=(n, 1, 1)) for n in (60, 60, 16, 16, 16, 33, 20, 60)]
        played = run(player, begin(player)[0], descriptors, apart=False)
        gaps = np.diff(played.retired_at).tolist()
        assert gaps == [r.atoms for r in played.retired[1:]]


@pytest.mark.cosim
def test_a_store_retires_when_it_is_visible(player: DmaPlayer) -> None:
    stores = [store(count=(n, 1, 1)) for n in (1, 5, 16, 60)]
    for latency in (1, 10, 40):
        script, _ = begin(player, memory={"latency": latency})
        played = run(player, script, stores, apart=True)
        assert spent(played) == [CHECK - 1 + latency] * len(stores)


@pytest.mark.cosim
def test_barriers_hold_back_what_follows(player: DmaPlayer) -> None:
    script, _ = begin(player, memory={"latency": 20})
    descriptors = [
        load(count=(16, 1, 1)),
        load(count=(8, 1, 1), memory_offset=100),
        load(count=(8, 1, 1), before=1),
        load(count=(8, 1, 1), after=1),
        load(count=(8, 1, 1)),
        Descriptor(op=Op.FENCE),
        load(count=(8, 1, 1)),
    ]
    played = run(player, script, descriptors, apart=False)
    asked, done = played.asked_at, played.retired_at
    assert asked[1] < done[0]
    assert asked[2] > done[1] and asked[3] < done[2]
    assert asked[4] > done[3] and asked[5] > done[5]


@pytest.mark.cosim
def test_every_box_at_the_edge(player: DmaPlayer) -> None:
    """The last box inside of a region and the first one outside, on all sides."""
    cases = []
    for make, size, name in ((load, 256, "memory"), (store, 192, "local")):
        for offset in (0, 1, 6, 7, size - 7, size - 6, size - 1, size):
            for stride in ((1, 3, 0), (-1, -3, 0), (1, -3, 0), (0, 0, 0), (2, 0, 4095)):
                other = "local" if name == "memory" else "memory"
                fields = {f"{name}_offset": offset, f"{name}_stride": stride}
                fields |= {f"{other}_offset": 50, f"{other}_stride": (1, 3, 0)}
                cases.append(make(count=(4, 2, 1), **fields))
    script, model = begin(player)
    played = run(player, script, cases, apart=False)
    assert played.retired == [model.run(d) for d in cases]
    assert played.requests == model.requests and not played.status["beyond"]


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("side", "held"),
    [
        *(("memory", held) for held in ("no_request", "no_write", "no_answer", "no_done")),
        *(("local", held) for held in ("no_request", "no_answer")),
    ],
)
def test_silence_stops_and_restart_goes_on(player: DmaPlayer, side: str, held: str) -> None:
    """Everything retires once, in order, and what follows the restart is as ever."""
    work = [
        load(tag=0, count=(40, 1, 1)),
        store(tag=1, count=(20, 2, 1), memory_stride=(1, 30, 0), memory_offset=100),
        Descriptor(tag=2, op=Op.GATHER, memory_region=POOL, local_region=WORDS,
                   table_region=TABLE, page_log2=2, count=(2, 9, 1)),
        Descriptor(tag=3, op=Op.APPEND, memory_region=POOL, local_region=WORDS,
                   table_region=WORD_TABLE, page_log2=2, count=(2, 3, 1)),
        Descriptor(tag=4, op=0),
        load(tag=5, count=(16, 2, 1), before=1),
        Descriptor(tag=6, op=Op.FENCE),
        store(tag=7, count=(9, 1, 1)),
    ]  # fmt: skip
    kinds = {"memory": {"latency": 3}, "local": {"latency": 2}}
    silent = {**kinds, side: {**kinds[side], held: 1}}
    scripts = []
    count = 0
    for wait in (0, 14, 25, 31, 40, 60, 77):
        script, model = begin(player, watchdog=100, **kinds)
        for d in work[:3]:
            script.send("descriptors", d.encode())
        script.idle(wait)
        player.control(script, watchdog=100, **silent)
        for d in work[3:]:
            script.send("descriptors", d.encode())
        player.send(script, "lists", tag=8, offset=1)
        count += len(work) + 1
        script.wait("retired", count).idle(150)
        player.control(script, watchdog=100, **kinds)  # what is late may still come
        script.idle(100)
        player.control(script, watchdog=100, forget=1, restart=1, **kinds)
        script.idle(20)
        script.send("descriptors", load(tag=9, count=(20, 1, 1), memory_offset=200).encode())
        script.send("descriptors", store(tag=10, count=(20, 1, 1)).encode())
        count += 2
        script.wait("retired", count).idle(20)
        player.dump(script)
        scripts.append(script)
    played = player.play(scripts)
    stops = 0
    for n in range(len(scripts)):
        got = played.retired[11 * n : 11 * n + 11]
        assert [r.tag for r in got] == list(range(11)), got
        codes = [r.code for r in got]
        assert codes[4] == Code.BAD_OP and codes[9:] == [Code.OK, Code.OK]
        assert codes[8] in (Code.MISALIGNED, Code.STOPPED)
        # Done, then given up, then not begun.
        order = [c for k, c in enumerate(codes[:8]) if k != 4]
        rank = {Code.OK: 0, Code.TIMEOUT: 1, Code.STOPPED: 2}
        assert [rank[c] for c in order] == sorted(rank[c] for c in order), codes
        stops += Code.TIMEOUT in order
        (memory, _), (local, _) = played.images[2 * n : 2 * n + 2]
        touched = {*range(100, 150), *range(0, 20), *range(256, TABLES)}
        for at in range(MEMORY):
            assert at in touched or (memory[at] == model.memory.data[at]).all(), at
        assert (local[8:28] == model.memory.data[200:220]).all()
        assert (memory[0:20] == local[8:28]).all()
        assert (local[120:] == model.local.data[120:]).all()
    assert stops >= 4
    assert not any(played.status[n] for n in ("beyond", "overflow", "unstable", "stopped"))


@pytest.mark.cosim
@pytest.mark.parametrize("event", ["lose", "extra"])
def test_atoms_too_few_and_too_many(player: DmaPlayer, event: str) -> None:
    """Never taken for those of the next request: the engine stops, or drops what is too much."""
    found = []
    scripts, count = [], 0
    for wait in range(0, 90, 7):
        script, _ = begin(player, watchdog=100, memory={"latency": 4, "pauses": 3})
        for tag in range(3):
            d = load(tag=tag, count=(16, 2, 1), memory_stride=(1, 17, 0), local_stride=(1, 16, 0))
            script.send("descriptors", d.encode())
        script.idle(wait)
        player.control(script, watchdog=100, memory={"latency": 4, "pauses": 3}, **{event: 1})
        count += 3
        script.wait("retired", count).idle(150)
        player.control(script, watchdog=100, forget=1, restart=1)
        script.idle(10).send("descriptors", load(tag=3, count=(5, 1, 1)).encode())
        count += 1
        script.wait("retired", count).idle(10)
        player.dump(script)
        scripts.append(script)
    played = player.play(scripts)
    for n in range(len(scripts)):
        got = played.retired[4 * n : 4 * n + 4]
        assert [r.tag for r in got] == [0, 1, 2, 3] and got[3].code == Code.OK
        found.append({r.code for r in got[:3]})
    stopped = [codes for codes in found if codes & {Code.DISORDER, Code.TIMEOUT}]
    assert len(stopped) >= 6
    assert any(Code.DISORDER in codes for codes in stopped)


@pytest.mark.cosim
def test_reset_at_any_time(player: DmaPlayer) -> None:
    """After a reset of all of it, work is done as ever, and only that."""
    scripts = []
    for n, wait in enumerate((5, 18, 26, 33, 41, 52, 70, 95)):
        script, _ = begin(player, memory={"latency": 4, "pauses": 2})
        script.ready("retired", 0)
        for d in (load(count=(40, 1, 1)), store(count=(40, 1, 1))):
            script.send("descriptors", d.encode())
        script.idle(wait).reset(2).ready("retired")
        player.control(script)
        player.regions(script, REGIONS)
        d = load(tag=wait, count=(30, 1, 1), memory_offset=90, local_offset=60)
        script.send("descriptors", d.encode())
        script.wait("retired", n + 1).idle(50)
        player.dump(script)
        scripts.append(script)
    played = player.play(scripts)
    assert [(r.tag, r.code, r.atoms) for r in played.retired] == [
        (wait, Code.OK, 30) for wait in (5, 18, 26, 33, 41, 52, 70, 95)
    ]
    for n in range(len(scripts)):
        memory, local = (image for image, _ in played.images[2 * n : 2 * n + 2])
        assert (local[68:98] == memory[90:120]).all()


@pytest.mark.cosim
def test_lists_that_loop(player: DmaPlayer) -> None:
    """Each ends with its code after the most descriptors; none goes on."""
    parts = player.config.record_atoms
    script, model = begin(player, most=5, list_region=TABLE)
    at = 48  # offset in the region, behind the tables
    ring = [at + parts * n for n in range(3)]
    loops = {"itself": [at], "three": ring}
    count = 0
    expected: list[Retired] = []
    for tag, chain in enumerate(loops.values()):
        for n, offset in enumerate(chain):
            d = load(tag=20 + n, count=(3, 1, 1), next=chain[(n + 1) % len(chain)])
            rows = range(TABLES + offset, TABLES + offset + parts)
            record = np.frombuffer(d.encode().to_bytes(64, "little"), np.uint8)
            model.memory.data[rows] = record.reshape(parts, -1)
            player.poke(script, model.memory, rows, local=False)
        player.send(script, "lists", tag=tag, offset=chain[0])
        expected += model.run_list(tag, chain[0], region=TABLE, most=5)
        count = len(expected)
        script.wait("retired", count).idle(5)
    played = player.play(script)
    assert played.retired == expected
    assert [r.code for r in expected if r.listed] == [Code.TOO_LONG] * 2
    assert len(REGIONS) > SINK
