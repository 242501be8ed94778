"""Faults planted in the pins of SDR, and in its table: the memory or the data must tell."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import test_inline_ecc as inline
from inline_bench import InlineBench
from sdr_bench import Outcome, Run, SdrBench, config_of, random_runs, windows

from systolith.devices.sdram_pins import DATA_SHEETS, DataSheet
from systolith.harness.errors import Deadline
from systolith.harness.script import Script
from systolith.memory.hbm import maintenance
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.sdr import block_control, block_reader, block_writer, inline_ecc, pins
from systolith.proofs.substitute import Mutant, installed

PINS = pins.SdrPins
FAULTS = {
    "masks one clock late": (
        PINS,
        "Cat(self.dqm, masks).eq(~self.sent.mask)",
        "masks.eq(~self.sent.mask)",
    ),
    "masks inverted": (PINS, "eq(~self.sent.mask)", "eq(self.sent.mask)"),
    "data captured one clock early": (
        PINS,
        "Array(issued[self.latency - 1 :])",
        "Array(issued[self.latency - 2 :])",
    ),
    "words in another order": (
        PINS,
        "self.back.data.eq(Cat(words, arrived))",
        "self.back.data.eq(Cat(arrived, words))",
    ),
    "auto-precharge on another pin": (
        PINS,
        "Signal(max(self.column_bits, _A10))",
        "Signal(self.column_bits)",
    ),
    "precharge of one bank for all": (
        PINS,
        "self.a[_A10].eq(row.op == Op.PREA)",
        "self.a[_A10].eq(0)",
    ),
    "clock enable stays high": (
        PINS,
        "self.cke.eq(row.op == Op.SRX)",
        "self.cke.eq(1)",
    ),
    "bank of another command": (
        PINS,
        "self.ba.eq(Mux(column.valid, column.bank, row.bank))",
        "self.ba.eq(row.bank)",
    ),
    "refreshes do not leave": (
        PINS,
        "some.eq(row.valid | column.valid)",
        "some.eq((row.valid & (row.op != Op.REFAB)) | column.valid)",
    ),
    "bus driven one clock late": (
        PINS,
        "self.dq_oe.eq(write | (left != 0))",
        "self.dq_oe.eq(left != 0)",
    ),
    "bus driven one clock too long": (
        PINS,
        "self.dq_oe.eq(write | (left != 0)),",
        'self.dq_oe.eq(write | (left != 0) | (more := Signal(name="more"))), more.eq(left != 0),',
    ),
    "bus released one clock early": (
        PINS,
        "left.eq(self.words - 1)",
        "left.eq(self.words - 2)",
    ),
    "bus driven while reading": (
        PINS,
        "self.dq_oe.eq(write | (left != 0))",
        "self.dq_oe.eq(write | (left != 0) | self.back.valid)",
    ),
    "no wait for power": (PINS, "self.offer.eq(waiting == 0)", "self.offer.eq(1)"),
    "mode for another latency": (maintenance.start_sequence, 't["cl"] << 4', "2 << 4"),
}
# A part that is slower than any, with its table: at 133 MHz the controller takes some three clocks
# from row to column command, which would hide a table that is short by one.
SLOW_PART = replace(DATA_SHEETS["mt48lc16m16a2-75"], rcd=60, rp=60, ras=105, rc=165, rrd=60)
SLOW_TABLE = {"rcd_rd": 8, "rcd_wr": 8, "rp": 8, "ras": 14, "rc": 22, "rrd_s": 8, "ckesr": 14}
# Table entries that bind in this traffic, what is too little for the data sheet, and its word.
SHORT = {
    "rcd_rd": (7, "tRCD"),
    "rcd_wr": (7, "tRCD"),
    "rp": (7, "tRP"),
    "rrd_s": (3, "tRRD"),
    "rfc": (8, "busy"),
    "xs": (9, "busy"),
    "ckesr": (2, "self-refresh"),
    "refi": (2078, "late"),
}
INLINE = {
    "check bits of another atom": (
        block_reader.BlockReader,
        "checks >> config.ecc.check_bits",
        "checks",
    ),
    "atoms that nobody wants": (
        block_reader.BlockReader,
        "(~first | (index >= asked.skip))",
        "(~first | first)",
    ),
    "lost check bits are used": (
        block_reader.BlockReader,
        "self.raw.p.error | checks_bad",
        "self.raw.p.error",
    ),
    "scrubs are counted as reads": (
        block_reader.BlockReader,
        "told.eq(moves & ~raw.scrub)",
        "told.eq(moves)",
    ),
    "bad atoms become good": (
        block_writer.BlockWriter,
        "(mask.any() & known.poison) | (merge.bad & ~mask.all())",
        "(mask.any() & known.poison)",
    ),
    "poison is lost": (
        block_writer.BlockWriter,
        "encoder.poison.eq(fresh.poison)",
        "encoder.poison.eq(0)",
    ),
    "masks are ignored": (block_writer.BlockWriter, "Mux(mask[b], known", "Mux(here, known"),
    "fills without check bits": (
        block_writer.BlockWriter,
        "Mux(self.zero, zero_checks, encoded)",
        "Mux(self.zero, 0, encoded)",
    ),
    "a partial block is taken as whole": (
        block_control.BlockControl,
        "with m.If(whole & self.write_whole):",
        "with m.If(self.write_whole):",
    ),
    "reads are an atom short": (
        block_control.BlockControl,
        "reach + (reach >> 3) + 2",
        "reach + (reach >> 3) + 1",
    ),
    "done with every block": (
        block_control.BlockControl,
        "(left == 0) & ~filling & ~scrubbing",
        "1",
    ),
    "blocks overlap": (block_control.BlockControl, "(target << 3) + target", "target << 3"),
    "another block is written back": (
        block_control.BlockControl,
        "block.eq(self.dirty_block)",
        "block.eq(self.dirty_block ^ 1)",
    ),
    "the mode changes at once": (
        inline_ecc.InlineEcc,
        "with m.If(quiet & control.resting & ~self.filling):",
        "with m.If(control.resting):",
    ),
}
DEFAULT = ("auto-precharge on another pin",)


def _slow(names: list[str]) -> list[object]:
    return [n if n in DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in names]


def _models(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return (base.parent if base.name.startswith("popen") else base) / "models"


def everything(config: ControllerConfig, sheet: DataSheet, folder: Path) -> Outcome | None:
    """Random runs, bytes left out, short and long times of self-refresh; None if it hangs."""
    bench = SdrBench(config, sheet, folder)
    runs = random_runs(config, seed=21, number=500, longest=40)
    base = windows(config)[0][0]
    whole = [Run(0, True, base, 200)]
    single = [Run(0, True, base + 7 * n % 200, 1, True) for n in range(100)]
    reads = [Run(0, False, base, 200)]
    script = bench.send(Script().send("control", bench.control(far=1)), [*runs, *whole]).idle(4000)
    for cycles in (*range(3, 60, 3), 25_000):
        script.send("control", bench.control(far=1, sleep=1)).idle(cycles)
        script.send("control", bench.control(far=1)).idle(100)
    bench.send(script.send("control", bench.control(far=1, masked=1)), single).idle(3000)
    bench.send(script.send("control", bench.control(far=1)), reads)
    try:
        return bench.play(script, [*runs, *whole, *single, *reads])
    except Deadline:
        return None


def noticed(outcome: Outcome | None) -> bool:
    if outcome is None:
        return True
    told = ("violations", "late", "extra", "refused", "failed")
    return bool(outcome.wrong or outcome.lost or any(outcome.status[n] for n in told))


@pytest.mark.cosim
@pytest.mark.parametrize("fault", _slow(list(FAULTS)))
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = config_of("sdr-mt48lc16m16")
    target, old, new = FAULTS[fault]
    sheet = DATA_SHEETS["mt48lc16m16a2-75"].quick()
    with installed([Mutant(target, old, new)]):
        outcome = everything(config, sheet, _models(tmp_path_factory))
    print(fault, outcome and (len(outcome.wrong), outcome.codes, outcome.status))
    assert noticed(outcome)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("slow", [False, True])
def test_nothing_is_noticed_without_a_fault(
    slow: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sheet = SLOW_PART if slow else DATA_SHEETS["mt48lc16m16a2-75"]
    config = config_of("sdr-mt48lc16m16", **(SLOW_TABLE if slow else {}))
    outcome = everything(config, sheet.quick(), _models(tmp_path_factory))
    assert outcome is not None
    assert not noticed(outcome), outcome


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_table_that_is_too_short_is_noticed(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    value, code = SHORT[name]
    config = config_of("sdr-mt48lc16m16", **{**SLOW_TABLE, name: value})
    outcome = everything(config, SLOW_PART.quick(), _models(tmp_path_factory))
    assert outcome is not None
    assert code in outcome.codes


@pytest.mark.cosim
@pytest.mark.slow
def test_a_slower_part_is_told_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The table of one part is not good for another one of the same shape."""
    config = config_of("sdr-mt48lc16m16")
    outcome = everything(config, SLOW_PART.quick(), _models(tmp_path_factory))
    assert outcome is not None
    assert outcome.codes >= {"tRCD", "tRP"}


@pytest.mark.cosim
@pytest.mark.parametrize("fault", _slow(list(INLINE)))
def test_planted_faults_of_the_ecc_are_noticed(
    fault: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with installed([Mutant(*INLINE[fault])]):
        bench = InlineBench(inline.CONFIGS["x16"], _models(tmp_path_factory))
    trials = [
        lambda: inline.test_random_programs(bench, 0),
        lambda: inline.test_random_programs(bench, 1),
        lambda: inline.test_flips_are_corrected_or_told(bench, 0),
        lambda: inline.test_what_was_bad_stays_bad_until_it_is_written(bench),
        lambda: inline.test_a_corrected_block_is_written_back(bench),
        lambda: inline.test_errors_of_the_memory_are_errors(bench),
        lambda: inline.test_without_ecc_all_atoms_are_there(bench),
        lambda: inline.test_fills(bench),
    ]
    assert any(_fails(trial) for trial in trials)


def _fails(trial: Callable[[], None]) -> bool:
    try:
        trial()
    except (AssertionError, Deadline):
        return True
    return False
