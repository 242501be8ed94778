"""Storage of the device of dynamic memory, on one without bank groups, and faults planted in it."""

import shutil
from pathlib import Path

import pytest
from dram_bench import Bench, Play
from dram_scenarios import (
    AGE,
    RETENTION,
    SDR_PART,
    again,
    clean,
    fill,
    one_row,
    random_accesses,
    reads,
    refresh,
    untouched,
    written,
)

from systolith.devices.dram import DramDevice, device_verilog
from systolith.memory.hbm.commands import Op

pytestmark = pytest.mark.cosim


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base  # one cache for all workers
    return shared / "models"


@pytest.fixture(scope="module")
def device() -> DramDevice:
    return DramDevice(SDR_PART, frames=4, fatal=False, garbage_check=False, **AGE)


@pytest.fixture(scope="module")
def design(device: DramDevice) -> tuple[str, str]:
    return device_verilog(device, "dut")


def _accesses(bench: Bench) -> None:
    random_accesses(bench, untouched(bench), seed=1, delay=2)


def _overflow(bench: Bench) -> None:
    play = Play(bench)
    fill(play, 5)
    probes = play.run().probes
    assert (probes[-1]["overflow"], probes[-1]["violations"]) == (1, 0)


def _decay(bench: Bench) -> None:
    play = written(bench)
    refresh(play, 7, Op.REFAB)
    again(play, 0)
    play.wait(RETENTION)
    again(play, 1, (0, 0))
    play.write(5, mask=1, to=1, column=0)
    play.do(Op.RD, to=1, column=0)
    play.do(Op.PRE, to=1)
    again(play, 1)
    atoms = [data for data, _ in clean(play, decayed=2)]
    assert atoms[0] == 0x1000
    assert atoms[1] == atoms[2] != 0x1001
    assert atoms[3] == atoms[1] >> 8 << 8 | 5
    assert atoms[4] >> 8 not in (atoms[3] >> 8, 0x1001 >> 8)


def _flip(bench: Bench) -> None:
    play = one_row(bench)
    for kind in ("flip", "persist"):
        play.fault(reads(play, 1)[0], **{kind: 4})
        play.wait(40)
        reads(play, 1)
        play.wait(40)
    assert [data for data, _ in clean(play)] == [0x15, 0x11, 0x15, 0x15]


CHECKS = (_accesses, _overflow, _decay, _flip)


def test_storage(device: DramDevice, design: tuple[str, str], cache: Path) -> None:
    bench = Bench(device, cache, design=design)
    for check in CHECKS:
        check(bench)


FAULTS = {
    "none": (_accesses, "", ""),
    "mask ignored": (_accesses, "if (!row_mask[byte_index])", "if (1'b0)"),
    "keys not compared": (_accesses, "keys[frame] == wanted", "1'b1"),
    "overflow unseen": (_overflow, "overflow <= 1'b1", "overflow <= 1'b0"),
    "flip not kept": (_flip, "content = content ^ flip_mask;", ""),
    "decay not kept": (_decay, "rotten[frame] = {ATOMS{1'b1}};", ""),
    "writing heals nothing": (_decay, "rotten[frame][place] = 1'b0;", ""),
    "two decays cancel out": (_decay, "decays[frame], 24'b0", "8'h01, 24'b0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_seen(
    device: DramDevice, design: tuple[str, str], cache: Path, fault: str
) -> None:
    if shutil.which("iverilog") is None:
        pytest.skip("Icarus Verilog is not installed, and Verilator takes seconds for each fault")
    check, old, new = FAULTS[fault]
    text, top = design
    if old:
        assert text.count(old) == 1
        text = text.replace(old, new)
    bench = Bench(device, cache, design=(text, top), simulator="icarus")
    if not old:
        check(bench)
        return
    with pytest.raises(AssertionError):
        check(bench)
