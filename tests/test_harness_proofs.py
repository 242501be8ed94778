"""The tools of proofs: what holds passes, what does not fails, nonsense is an error."""

from pathlib import Path
from typing import Any

import pytest
from amaranth.back import rtlil  # type: ignore[attr-defined]
from amaranth.hdl import Assert, Cover, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.harness.formal import prove
from systolith.harness.toolchain import ToolMissing


class Counter(wiring.Component):
    """Counts from 0 to 9; ``fault`` lets it go one further."""

    en: Signal
    value: Signal

    def __init__(self, fault: bool) -> None:
        self.fault = fault
        super().__init__({"en": In(1), "value": Out(4)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        last = self.value == 9 + self.fault
        with m.If(self.en):
            m.d.sync += self.value.eq(Mux(last, 0, self.value + 1))
        m.d.comb += [Assert(self.value <= 9, "too far"), Cover(self.value == 9, "the end")]
        return m


def counter(fault: bool = False) -> str:
    text: str = rtlil.convert(Counter(fault), name="top")
    return text


@pytest.mark.formal
@pytest.mark.parametrize("mode", ["bmc", "prove"])
def test_proof_passes(mode: str, tmp_path: Path) -> None:
    result = prove(counter(), "top", work_dir=tmp_path, mode=mode, depth=15)
    assert (result.status, result.trace, result.message) == ("pass", None, "")
    assert result


@pytest.mark.formal
def test_proof_finds_a_fault(tmp_path: Path) -> None:
    source = tmp_path / "counter.il"
    source.write_text(counter(fault=True))
    result = prove(source, "top", work_dir=tmp_path / "work", depth=15)
    assert result.status == "fail" and not result
    assert result.trace is not None and "value" in result.trace.read_text()
    # The fault shows in cycle 10 and not before.
    assert prove(source, "top", work_dir=tmp_path / "short", depth=9).status == "pass"
    assert prove(source, "top", work_dir=tmp_path / "late", depth=15, skip=8).status == "fail"


@pytest.mark.formal
def test_cover(tmp_path: Path) -> None:
    reached = prove(counter(), "top", work_dir=tmp_path, mode="cover", depth=15)
    assert reached and reached.trace is not None
    assert prove(counter(), "top", work_dir=tmp_path, mode="cover", depth=5).status == "fail"


@pytest.mark.formal
def test_pdr(tmp_path: Path) -> None:
    try:
        result = prove(counter(), "top", work_dir=tmp_path, mode="prove", engine="abc pdr")
    except ToolMissing as missing:
        pytest.skip(str(missing))
    assert result


@pytest.mark.formal
def test_proof_of_nonsense(tmp_path: Path) -> None:
    result = prove("module top(; endmodule", "top", work_dir=tmp_path)
    assert result.status == "error" and "syntax error" in result.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "live"}, "mode must be one of bmc, prove, cover, not 'live'"),
        ({"engine": "boolector"}, "engine must be one of smtbmc yices, abc pdr"),
        ({"engine": "abc pdr"}, "mode must be 'prove' with engine 'abc pdr', not 'bmc'"),
        ({"depth": 0}, "depth must be at least 1, not 0"),
        ({"skip": 20}, "skip must be 0 or, in mode 'bmc', below depth 20, not 20"),
        ({"skip": 1, "mode": "prove"}, "skip must be 0 or, in mode 'bmc', below depth 20, not 1"),
        ({"timeout_s": 0}, "timeout_s must be at least 1, not 0"),
    ],
)
def test_prove_rejects(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        prove("", "top", work_dir=tmp_path, **options)
