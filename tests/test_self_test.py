"""The self-test of an SDR memory: a good one passes, one with a planted fault does not."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from numerics_pipeline import refuses
from self_test_bench import BANK, CELL, Fault, SelfTestBench, small

from systolith.boards.table import BOARDS
from systolith.emit.verilog import emit_design
from systolith.harness.errors import Deadline
from systolith.harness.sim import simulate
from systolith.host.pads import READ_DELAY
from systolith.host.result_line import ResultLine
from systolith.host.self_test import SELF_TEST, self_test_config, self_test_verilog
from systolith.host.uart import UartReceiver
from systolith.memory.hbm.parts import PARTS
from systolith.memory.sdr.known_data import KnownData
from systolith.memory.sdr.self_test import SelfTest
from systolith.proofs.substitute import Mutant, installed

PARTS_OF = {
    "x16": ("sdr-mt48lc16m16", "mt48lc16m16a2-75"),
    "x32": ("sdr-m12l64322a", "m12l64322a-5"),
}
ATOMS = 64 * 4 * 4
ROW = 4 * 4  # atoms of a row of all banks
SEED = 0x5EED1234


def known(atom: int, seed: int, size: int) -> int:
    """Data of an atom of ``size`` bytes."""
    full = 0xFFFFFFFF
    x = atom ^ seed
    x ^= x << 13 & full
    x ^= x >> 17
    x ^= x << 5 & full
    value = 0
    for k in range(size // 4):
        turn = (0, 19, 7, 26, 11, 30, 3, 22)[k]
        word = (x << turn | x >> (32 - turn)) & full
        value |= (word ^ 0x9E3779B9 * k & full) << 32 * k
    return value


def _models(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return (base.parent if base.name.startswith("popen") else base) / "models"


@pytest.fixture(scope="module", params=["x16", pytest.param("x32", marks=pytest.mark.slow)])
def bench(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SelfTestBench:
    return SelfTestBench(*small(*PARTS_OF[request.param]), _models(tmp_path_factory))


@pytest.mark.cosim
@pytest.mark.parametrize("far", [0, 1])
def test_a_good_memory_passes(bench: SelfTestBench, far: int) -> None:
    result = bench.run(Fault.NONE, far=far)
    good = {"passed": 1, "failed": 0, "calibrated": 1, "errors": 0, "bits": 0, "violations": 0}
    assert result.ended == {**result.ended, **good}
    assert result.found_in is None
    passes = bench.config.passes
    assert result.ended["number"] == len(passes) - 1
    # Every atom of every run takes a burst.
    burst = bench.config.controller.timing["burst"]
    least = sum(p.runs * p.count * burst + p.rest * bench.config.rest_cycles for p in passes)
    assert least < result.cycles < 1.3 * least + 10_000


@pytest.mark.cosim
def test_a_stuck_data_pin_fails_the_calibration(bench: SelfTestBench) -> None:
    told = bench.run(Fault.DATA_PIN, pin=6).ended
    assert (told["calibrated"], told["passed"], told["failed"]) == (0, 0, 1)


@pytest.mark.cosim
@pytest.mark.parametrize("pin", [0, -1])
def test_a_stuck_data_line_of_a_bank(bench: SelfTestBench, pin: int) -> None:
    size = bench.config.controller.organisation.atom
    pins = 8 * size // 8
    result = bench.run(Fault.DATA_LINE, pin=pin % pins, far=1)
    ones = [
        atom
        for atom in range(ATOMS)
        if atom // 4 % 4 == BANK
        and any(known(atom, SEED, size) >> pins * w + pin % pins & 1 for w in range(8))
    ]
    told = result.ended
    assert (told["passed"], told["failed"], result.found_in) == (0, 1, 1)
    assert (told["first"], told["bits"]) == (ones[0], 1 << pin % pins)
    assert told["errors"] > len(ones)


LOSES = [
    (Fault.ROW_PIN, 0, ATOMS // 2),  # half of the rows are overwritten by the other half
    (Fault.DECODER, 5 * ROW, ROW),
    (Fault.CELL, CELL.row * ROW + CELL.bank * 4 + CELL.column // 8, 1),
    (Fault.REFRESH, None, ATOMS // 2),
]


@pytest.mark.cosim
@pytest.mark.parametrize(
    ("fault", "first", "least"),
    LOSES,
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_a_memory_that_does_not_keep_its_data(
    bench: SelfTestBench, fault: Fault, first: int | None, least: int
) -> None:
    result = bench.run(fault)
    told = result.ended
    assert (told["calibrated"], told["passed"], told["failed"]) == (1, 0, 1)
    assert result.found_in == 1, "by the first pass that reads"
    assert first in (None, told["first"])
    assert told["errors"] >= least
    if fault is Fault.CELL:
        assert told["bits"] == 1 << CELL.bit


@pytest.mark.cosim
def test_only_mixed_traffic_finds_a_bad_turn_of_the_bus(bench: SelfTestBench) -> None:
    result = bench.run(Fault.TURN)
    told = result.ended
    assert (told["passed"], told["failed"], told["bits"]) == (0, 1, 1 << CELL.bit)
    assert bench.config.passes[result.found_in or 0].random


def test_mistakes() -> None:
    config, _ = small(*PARTS_OF["x16"])
    refuses(lambda: replace(config, run=3), "run must be a power of two, not 3")
    controller = replace(config.controller, streams=1)
    refuses(
        lambda: replace(config, controller=controller),
        "controller.streams must be at least 2, not 1",
    )
    tiny = replace(controller.organisation, rows=2, columns=1, banks=2)
    few = replace(config.controller, organisation=tiny)
    refuses(lambda: replace(config, controller=few), "run must be at most 4, not 8")
    refuses(lambda: KnownData(config.controller, word=48), "word must divide the 128 bits")
    hbm = PARTS["hbm3-6400"]
    four = replace(config.controller, organisation=hbm.organisation, timing=hbm.timing, slots=4)
    refuses(lambda: KnownData(four, word=64), "config.ports must be 1, not 2")


# Planted faults of the test itself: a bad memory would pass, or a good one fail.
MUTANTS = {
    "the last word of an atom is not compared": (
        KnownData,
        "Cat(differs[n :: self.word]).any()",
        "Cat(differs[n : -self.word : self.word]).any()",
    ),
    "data is the same in every atom": (KnownData, "_hash(m, at ^ self.seed, n)", "self.seed"),
    "lost errors": (SelfTest, "with m.If(wrong | calibrator.failed):", "with m.If(wrong):"),
    "no rest": (SelfTest, "p.rest * config.rest_cycles + _SETTLED", "_SETTLED"),
    "the first address moves on": (SelfTest, "with m.If(self.errors == 0):", "with m.If(1):"),
    "mixed passes only read": (
        SelfTest,
        "[p.writes for p in passes]",
        "[0 if p.random else p.writes for p in passes]",
    ),
    "registers in the pads are forgotten": (
        SelfTest,
        "outside=config.outside",
        "outside=0",
    ),
    "all passes are the first": (SelfTest, "self.number.eq(self.number + 1)", "self.number.eq(6)"),
}


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("fault", MUTANTS)
def test_planted_faults_of_the_test_are_noticed(
    fault: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with installed([Mutant(*MUTANTS[fault])]):
        mutant = SelfTestBench(*small(*PARTS_OF["x16"]), _models(tmp_path_factory))
    trials = [
        lambda: test_a_good_memory_passes(mutant, 1),
        lambda: test_a_stuck_data_pin_fails_the_calibration(mutant),
        lambda: test_a_stuck_data_line_of_a_bank(mutant, 0),
        *(partial(test_a_memory_that_does_not_keep_its_data, mutant, *case) for case in LOSES),
        lambda: test_only_mixed_traffic_finds_a_bad_turn_of_the_bus(mutant),
    ]
    assert any(_fails(trial) for trial in trials)


def _fails(trial: Callable[[], None]) -> bool:
    try:
        trial()
    except (AssertionError, Deadline):
        return True
    return False


# The board ---------------------------------------------------------------------------------------


def test_the_line_of_text() -> None:
    """What the board sends, received by the receiver of the serial bridge."""
    line: Any = ResultLine(8, {"errors": 16, "first": 21, "bits": 6}, pause=300)
    receiver = UartReceiver(8)
    top = Module()
    top.submodules += [line, receiver]
    top.d.comb += receiver.rx.eq(line.tx)
    texts: list[str] = []

    async def bench(ctx: Any) -> None:
        for verdict in ({}, {"passed": 1}, {"failed": 1, "errors": 0xA05, "first": 0x1BEEF}):
            for name, value in {**verdict, "bits": 0x29}.items():
                ctx.set(getattr(line, name), value)
            letters = []
            while letters[-1:] != ["\n"]:
                letters.append(
                    chr((await ctx.tick().sample(receiver.data).until(receiver.valid))[0])
                )
            texts.append("".join(letters))

    simulate(top, bench, deadline_cycles=20_000)
    assert texts == [
        "run  errors=0000 first=000000 bits=29\r\n",
        "pass errors=0000 first=000000 bits=29\r\n",
        "FAIL errors=0a05 first=01beef bits=29\r\n",
    ]


def test_a_board_has_what_its_memory_needs() -> None:
    board = BOARDS["ulx3s-85f"]
    test = SelfTest(self_test_config(board))
    text = self_test_verilog(board, test, emit_design(test, "memory").top)
    header = re.search(rf"module {SELF_TEST}\(([^)]*)\);", text)
    assert header is not None and board.sdram is not None
    _, _, tx = board.pins
    used = (board.pins[0], tx, *board.held_high, *board.leds, *board.sdram.pins)
    names = {re.sub(r"\[\d+\]", "", pin.name) for pin in used}
    assert set(header[1].split(", ")) == names
    instances = Counter(re.findall(r"^  (EHXPLLL|ODDRX1F|BB|[IO]FS1P3[BD]X) ", text, re.M))
    # Clock enable, four command pins, two masks and 16 enables are high from power-up on.
    assert instances == {
        "EHXPLLL": 1,
        "ODDRX1F": 1,
        "BB": 16,
        "IFS1P3DX": 16,
        "OFS1P3BX": 5 + 2 + 16,
        "OFS1P3DX": 2 + 13 + 16,
    }
    assert test.config.outside == READ_DELAY
