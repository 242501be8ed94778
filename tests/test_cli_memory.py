"""``systolith memory``: the JSON, the table, the picture, the trace, and mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from systolith.cli.main import app
from systolith.golden.dram import TraceChecker
from systolith.golden.dram_trace import read_trace
from systolith.memory.hbm.parts import PARTS
from systolith.memory.hbm.timing import rules
from systolith.memory.sdr import block_reader
from systolith.proofs.substitute import Mutant, installed

KEYS = {"efficiency", "limit", "p50", "p99", "max_latency", "refresh_debt_max", "stalls"}
KEYS |= {"violations", "late_refreshes", "cycles"}


def _call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["memory", *map(str, arguments)])


def test_the_model() -> None:
    done = _call("--pattern", "kv-decode", "--page-kib", 4, "--model", "--json")
    answer = json.loads(done.stdout)
    assert set(answer) >= KEYS
    assert answer["efficiency"] > 0.99
    assert (answer["source"], answer["stalls"], answer["violations"]) == ("model", None, None)


@pytest.mark.slow
def test_every_pattern_in_a_terminal() -> None:
    done = _call("--all", "--model")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("│" in line for line in lines) == 17
    done = _call("--all", "--model", "--json")
    runs = json.loads(done.stdout)["runs"]
    assert len(runs) == 17
    assert all(0 < run["efficiency"] <= run["limit"] * 1.001 for run in runs)


@pytest.mark.cosim
def test_the_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, trace_file = "sdr-mt48lc16m16", ("--trace", "a.csv")
    done = _call(
        "--preset", name, "--pattern", "seq-read", "--json", "--plot", "a.svg", *trace_file
    )
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert set(answer) >= KEYS
    # The ends of the window may each cut an access in two.
    assert 0.975 <= answer["efficiency"] <= answer["limit"] + 1e-4
    assert answer["violations"] == answer["late_refreshes"] == 0
    assert Path("a.svg").read_text().startswith("<?xml")
    trace = list(read_trace(Path("a.csv").read_text().splitlines()))
    assert len(trace) > 10_000
    part = PARTS[name]
    assert TraceChecker(rules(part.timing), part.organisation).check(trace) == []


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdr-mt48lc16m16", "sdr-m12l64322a"])
def test_ecc_in_line(name: str) -> None:
    """Users get 8/9 of what the pattern could have; every atom that is read is compared."""
    done = _call("--preset", name, "--all", "--ecc", "on", "--json")
    assert done.exit_code == 0, done.output
    runs = json.loads(done.stdout)["runs"]
    assert [run["pattern"] for run in runs] == ["seq-read", "seq-write"]
    for run in runs:
        part = PARTS[name].timing
        refresh = (part["rtp"] + part["rp"] + part["rfc"] + part["rcd_rd"] - 8) / part["refi"]
        assert run["limit"] == pytest.approx((1 - refresh) * 8 / 9, abs=1e-3)
        assert 0.97 * run["limit"] <= run["efficiency"] <= run["limit"] + 1e-4
        assert not run["data_lost"] and not run["violations"] and not run["late_refreshes"]


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["seq-read", "random-1k"])
def test_ecc_beside_the_data_costs_no_bandwidth(pattern: str) -> None:
    found = {}
    for ecc in ("off", "on"):
        done = _call("--preset", "hbm3-6400", "--pattern", pattern, "--ecc", ecc, "--json")
        assert done.exit_code == 0, done.output
        run = json.loads(done.stdout)
        assert not run["data_lost"] and not run["violations"] and not run["late_refreshes"]
        found[ecc] = run["efficiency"]
    assert found["off"] > 0.99
    assert found["on"] == pytest.approx(found["off"], rel=0.002)


@pytest.mark.cosim
@pytest.mark.slow
def test_wrong_data_behind_ecc_is_told() -> None:
    fault = (block_reader.BlockReader, "checks >> config.ecc.check_bits", "checks")
    with installed([Mutant(*fault)]):
        done = _call(
            "--preset", "sdr-mt48lc16m16", "--pattern", "seq-read", "--ecc", "on", "--json"
        )
    assert done.exit_code == 1
    assert json.loads(done.stdout)["data_lost"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--preset", "sdr-m12l64322a", "--pattern", "kv-decode", "--ecc", "on"],
            "--pattern must be one of seq-read, seq-write for SDR with --ecc on, not 'kv-decode'",
        ),
        (["--pattern", "sideways"], "--pattern must be one of seq-read, "),
        ([], "give either --pattern or --all"),
        (["--all", "--pattern", "seq-read"], "give either --pattern or --all"),
        (["--pattern", "seq-read", "--preset", "ddr9"], "--preset must be one of hbm2-2400, "),
        (["--pattern", "seq-read", "--hits", "3"], "--hits is of one-bank, not of seq-read"),
        (["--pattern", "one-bank", "--hits", "33"], "hits must be in 1..32"),
        (["--pattern", "random-64", "--outstanding", "65"], "outstanding must be in 1..64"),
        (["--pattern", "seq-read", "--refresh", "never"], "--refresh must be one of per-bank, "),
        (["--pattern", "seq-read", "--slots", "2"], "--slots must be 1 or 4, not 2"),
        (["--pattern", "seq-read", "--map", "up"], "--map must be one of groups-low, "),
        (["--pattern", "seq-read", "--policy", "stock"], "--policy is of the model: give --model"),
        (["--pattern", "seq-read", "--policy", "no"], "--policy must be one of ours, blind, stock"),
        (["--pattern", "stride", "--stride", "7"], "stride must be a multiple of 32 bytes"),
        (["--pattern", "seq-read", "--model", "--plot", "a.svg"], "leave out --model"),
        (["--pattern", "seq-read", "--plot", "a.gif"], "--plot must end in .png or .svg"),
        (["--pattern", "seq-read", "--plot", "none/a.svg"], "its directory does not exist"),
        (["--pattern", "seq-read", "--trace", "none/a.csv"], "its directory does not exist"),
        (["--all", "--hits", "3"], "--all takes no option of a single pattern"),
        (
            ["--preset", "sdr-m12l64322a", "--pattern", "seq-read", "--refresh", "per-bank"],
            "refresh must be one of all-bank, off, not 'per-bank'",
        ),
        (
            ["--preset", "sdr-m12l64322a", "--pattern", "seq-read", "--slots", "4"],
            "slots must be 1 for SDR",
        ),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _call(*arguments, "--json")
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []
