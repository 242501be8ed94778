"""The DMA engine and a host at AXI on one HBM controller and one scratchpad."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from axi_bench import models
from chip_bench import CONTROLLER, ChipPlayer, ChipPrograms, played, region_words, simulation
from numerics_pipeline import refuses

from systolith.array.geometry import ArrayConfig
from systolith.benches.chip_design import ChipDesign
from systolith.golden.dma import Code, Descriptor, Op, Region
from systolith.memory.dma.config import DmaConfig
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import PARTS
from systolith.memory.scratchpad_config import ScratchpadConfig

slow = pytest.mark.slow

CLEAN: dict[str, Any] = {"rules": [], "memory": {}, "faults": []}


def load(**fields: Any) -> Descriptor:
    return Descriptor(op=Op.LOAD, memory_region=0, local_region=1, **fields)


def store(**fields: Any) -> Descriptor:
    return Descriptor(op=Op.STORE, memory_region=0, local_region=1, **fields)


def everything(design: ChipDesign) -> str:
    """Regions of all atoms and of all words."""
    whole = [
        Region(limit=1 << design.dma.atom_bits),
        Region(local=True, limit=1 << design.dma.local_bits),
    ]
    return f"{region_words(design, whole):x}"


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> ChipPlayer:
    return ChipPlayer(models(tmp_path_factory))


def play(player: ChipPlayer, seed: int, number: int) -> ChipPrograms:
    programs = ChipPrograms(player, seed)
    for n in range(number):
        programs.add(n, wild=n % 5 == 4)
    wrong = programs.check(player.play(programs.scripts))
    assert not wrong, f"seed {seed}: {wrong[:8]}"
    return programs


@pytest.mark.cosim
def test_programs_beside_a_host(player: ChipPlayer) -> None:
    """Retirements, requests and both memories as in the model; the host reads what it wrote."""
    codes = {r.code for r in play(player, 1, 20).case.retired}
    assert {Code.OK, Code.POISONED, Code.REFUSED, Code.BAD_PAGE, Code.BAD_FETCH} <= codes
    assert player.found["carried"] > 100


@pytest.mark.cosim
@slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_more_programs_beside_a_host(player: ChipPlayer, seed: int) -> None:
    play(player, seed, 40)


@pytest.mark.cosim
@slow
def test_programs_with_four_slots_and_a_narrow_bus(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    player = ChipPlayer(models(tmp_path_factory), slots=4, data_bits=64)
    for seed in (20, 21):
        play(player, seed, 30)


def upset(player: ChipPlayer) -> dict[str, Any]:
    design, atom = player.design, player.config.atom
    token: Any = design.scratchpad.token
    found: dict[str, Any] = player.simulation.run(
        "chip_play",
        "upset",
        regions=everything(design),
        load=f"{load(count=(4, 1, 1)).encode():x}",
        store=f"{store(count=(4, 1, 1), memory_offset=100).encode():x}",
        token=f"{int(token.const({'groups': 1, 'half': 0}).as_value().value):x}",
        words=player.words,
        mask=f"{1 << 7 | 1 << 200:x}",
        atom=atom,
    )
    return found


@pytest.mark.cosim
def test_two_flips_are_poison_wherever_they_come(player: ChipPlayer) -> None:
    """From the memory to words, to other atoms, and to the host, until all of a word is written."""
    found = upset(player)
    assert {name: found[name] for name in CLEAN} == CLEAN
    atom = player.config.atom
    known = bytes.fromhex(found["known"])
    holed = known[:atom] + bytes(atom) + known[2 * atom :]
    assert found["flipped"] == 2
    for name in ("atoms", "words", "stored"):
        assert found[name] == [[0, 2, 0, 0], holed.hex()], name
    assert found["part"] == 2
    assert found["whole"] == [
        [0] * 4,
        (known[:atom] + b"\x66" * atom + known[2 * atom :]).hex(),
    ]
    assert found["healed"] == found["ours"] == [[0] * 4, known.hex()]
    retired = played(player.design, found).retired
    assert [(r.code, r.atoms) for r in retired] == [
        (Code.POISONED, 4),
        (Code.POISONED, 4),
        (Code.OK, 4),
        (Code.REFUSED, 0),
    ]
    # Words of the array: reads and writes are errors, and writes are counted.
    assert found["theirs"] == [[2] * 4, bytes(4 * atom).hex()]
    assert (found["write"], found["refused"]) == (2, 3)


def fast(**sizes: int) -> ChipDesign:
    """HBM3 with one slot, and an engine and words of the usual sizes."""
    known = PARTS["hbm3-6400"]
    controller = ControllerConfig(
        organisation=known.organisation, timing=known.timing, streams=3, visits=8
    )
    scratchpad = ScratchpadConfig.of(
        ArrayConfig(rows=2, cols=2, row_bands=2, col_bands=2, tile=1), "acts", depth=512, bytes=32
    )
    dma = DmaConfig(atom_bits=controller.atom_bits, local_bits=scratchpad.address_bits)
    return ChipDesign(controller, dma, scratchpad, **sizes)


def pace(
    design: ChipDesign,
    folder: Path,
    groups: list[list[Descriptor]],
    host: tuple[int, int] | None = None,
) -> tuple[dict[str, Any], list[list[int]]]:
    """What was found, and for each group the clocks of its begin and of its retirements."""
    found = simulation(design, folder).run(
        "chip_play",
        "pace",
        regions=everything(design),
        groups=[[f"{d.encode():x}" for d in group] for group in groups],
        host=host,
    )
    assert {name: found[name] for name in CLEAN} == CLEAN
    result, at, times = played(design, found), 0, []
    assert {r.code for r in result.retired} == {Code.OK}
    for group in groups:
        end = at + len(group)
        times.append([result.sent_at[at], *result.retired_at[at:end]])
        at = end
    return found, times


@pytest.mark.cosim
@slow
@pytest.mark.parametrize("sizes", [{"depth": 256, "share": 4}, {"depth": 512, "share": 4}], ids=str)
def test_long_moves_are_as_fast_as_the_memory(
    sizes: dict[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With one slot it moves an atom in two clocks at best; one move has its latency, too."""
    design, atoms = fast(**sizes), 2048
    groups = [
        [make(count=(atoms, 1, 1), memory_offset=n * atoms) for n in range(number)]
        for make, number in ((load, 1), (load, 1), (load, 6), (store, 1), (store, 6))
    ]
    _, times = pace(design, models(tmp_path_factory), groups)
    best = design.controller.timing["ccd_s"] * atoms
    for group in (times[1], times[3]):
        assert best < group[1] - group[0] < best + 250
    for group in (times[2], times[4]):
        assert group[-1] - group[1] < 1.01 * 5 * best


def test_wrong_sizes_are_refused() -> None:
    scratchpad = ScratchpadConfig.of(
        ArrayConfig(rows=2, cols=2, row_bands=2, col_bands=2, tile=1), "acts", depth=64, bytes=32
    )
    bad = replace(DmaConfig(), atom_bits=13)
    make: Callable[[], object] = lambda: ChipDesign(CONTROLLER, bad, scratchpad)  # noqa: E731
    refuses(make, "dma must have atom_bits 12 and local_bits 9, not 13 and 16")
