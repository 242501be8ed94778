"""Thousands of faults in the memory and on its way: nothing is lost or wrong without a word."""

from collections import Counter, defaultdict

import pytest
from memory_bench import MERGING, Player
from memory_campaign import KINDS, campaign, summary

from systolith.memory.hbm import data_path
from systolith.proofs.substitute import Mutant, installed

pytestmark = pytest.mark.cosim

_EACH = 250  # runs of a simulation


def _many(
    name: str, seeds: range, factory: pytest.TempPathFactory, runs: int = _EACH
) -> dict[str, Counter[str]]:
    base = factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen") else base
    player = Player(MERGING[name], shared / "models")
    total: dict[str, Counter[str]] = defaultdict(Counter)
    for seed in seeds:
        for kind, counts in campaign(player, seed=seed, runs=runs, kinds=list(KINDS)).items():
            total[kind] += counts
    print(f"{name}, seeds {seeds}:\n{summary(total)}")
    return total


def _check(found: dict[str, Counter[str]]) -> None:
    wrong = {
        kind: {name: n for name, n in counts.items() if ", not " in name or name == "silent"}
        for kind, counts in found.items()
    }
    assert {kind: counts for kind, counts in wrong.items() if counts} == {}
    told = found["all"]
    for name in ("missing", "violations", "late", "decayed", "refused", "overdue"):
        assert told[name] == 0, name
    for kind, count in (("lost beat", "lost"), ("two bits, in flight", "poison")):
        assert found[kind][count] == found[kind]["runs"]
    assert told["extra"] == found["extra beat"]["runs"]
    assert told["lost"] == sum(found[kind]["runs"] for kind in KINDS if kind.startswith("lost"))
    assert told["corrected"] >= found["one bit, in flight"]["runs"]


FAULTS = {
    "bad data is passed on": (
        "right.poison.eq(found & decoder.uncorrectable)",
        "right.poison.eq(0)",
    ),
    "bad data is made good": ("encoder.poison.eq(write.poison | wrong)", "encoder.poison.eq(0)"),
    "old data is not corrected": ("m.d.comb += right.data.eq(decoder.data)", "pass"),
    "lost data is not told": ("come.lost.eq(line.lost)", "come.lost.eq(0)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_noticed(fault: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    with installed([Mutant(data_path.DataPath, *FAULTS[fault])]):
        found = _many("word", range(1, 2), tmp_path_factory, runs=120)
    with pytest.raises(AssertionError):
        _check(found)
    assert sum(counts["silent"] for counts in found.values()) > 0


def test_some_faults(tmp_path_factory: pytest.TempPathFactory) -> None:
    _check(_many("word", range(1, 3), tmp_path_factory, runs=120))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["word", "sideband4"])
def test_thousands_of_faults(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """5,000 each: with those of the scratchpad more than 10,000."""
    _check(_many(name, range(10, 30), tmp_path_factory))
