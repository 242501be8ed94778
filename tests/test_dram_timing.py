"""The list of timing rules: values, refusals, the published tables, and a checker made from it."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT, faulty_trace, random_trace

from systolith.emit.dram_table import dram_table
from systolith.golden.dram import TraceChecker
from systolith.golden.dram_trace import read_trace, write_trace
from systolith.memory.hbm.commands import PER_BANK, Address, Command, Op, Scope
from systolith.memory.hbm.parts import PARTS, Organisation, Part, hbm3_6400, sdr_parts
from systolith.memory.hbm.timing import Rule, Timing, cycles, rules

# Edges of HBM4 in Ramulator 2.1 (python/ramulator/dram/hbm4.py) in its own words: level, commands
# before, commands after, latency, window; "/" a sibling. Facts of a published table to compare.
PUBLISHED = """
PseudoChannel RD,RDA RD,RDA nBL
PseudoChannel WR,WRA WR,WRA nBL
PseudoChannel RD,RDA WR,WRA nRTW
PseudoChannel WR,WRA RD,RDA nCWL+nBL+nWTRS
PseudoChannel RD PREab nRTP
PseudoChannel WR PREab nCWL+nBL+nWR
PseudoChannel ACT ACT nRRDS
PseudoChannel ACT ACT nFAW 4
PseudoChannel ACT PREab nRAS
PseudoChannel PREab ACT nRP
PseudoChannel ACT REFab nRC
PseudoChannel PREpb,PREab REFab nRP
PseudoChannel PREpb,PREab PREpb,PREab nPPD
PseudoChannel RDA REFab nRP+nRTP
PseudoChannel WRA REFab nCWL+nBL+nWR+nRP
PseudoChannel REFab ACT,PREab,REFpb nRFC
PseudoChannel REFpb REFpb nRREFD
PseudoChannel REFpb ACT nRREFD
PseudoChannel ACT REFpb nRRDS
PseudoChannel ACT RFMab nRC
PseudoChannel PREpb,PREab RFMab nRP
PseudoChannel RDA RFMab nRP+nRTP
PseudoChannel WRA RFMab nCWL+nBL+nWR+nRP
PseudoChannel RFMab ACT,PREab,RFMpb nRFC
PseudoChannel RFMpb RFMpb nRREFD
PseudoChannel RFMpb ACT nRREFD
PseudoChannel ACT RFMpb nRRDS
Sid RD,RDA RD,RDA nCCDS
Sid WR,WRA WR,WRA nCCDS
Sid/ RD,RDA RD,RDA nCCDR
Sid/ WR,WRA WR,WRA nCCDR
BankGroup RD,RDA RD,RDA nCCDL
BankGroup WR,WRA WR,WRA nCCDL
BankGroup WR,WRA RD,RDA nCWL+nBL+nWTRL
BankGroup ACT ACT nRRDL
BankGroup ACT REFpb,RFMpb nRRDL
BankGroup REFpb,RFMpb ACT nRRDL
Bank ACT ACT nRC
Bank ACT RD,RDA nRCDRD
Bank ACT WR,WRA nRCDWR
Bank ACT PREpb nRAS
Bank PREpb ACT nRP
Bank RD PREpb nRTP
Bank WR PREpb nCWL+nBL+nWR
Bank RDA ACT,REFpb,RFMpb nRTP+nRP
Bank WRA ACT,REFpb,RFMpb nCWL+nBL+nWR+nRP
Bank REFpb ACT nRFCpb
Bank ACT REFpb nRC
Bank PREpb REFpb nRP
Bank RFMpb ACT nRFCpb
Bank ACT RFMpb nRC
Bank PREpb RFMpb nRP
"""
LEVELS = {
    "PseudoChannel": Scope.PC,
    "Sid": Scope.SID,
    "BankGroup": Scope.GROUP,
    "Bank": Scope.BANK,
}
ORDER = list(Scope)
NAMES = {"PREpb": "PRE", "PREab": "PREA"}
PARAMETERS = {
    **{"nBL": "burst", "nCWL": "cwl", "nRTP": "rtp", "nWR": "wr", "nRP": "rp", "nRAS": "ras"},
    **{"nRC": "rc", "nRCDRD": "rcd_rd", "nRCDWR": "rcd_wr", "nRTW": "rtw", "nPPD": "ppd"},
    **{"nRRDS": "rrd_s", "nRRDL": "rrd_l", "nFAW": "faw", "nWTRS": "wtr_s", "nWTRL": "wtr_l"},
    **{"nCCDS": "ccd_s", "nCCDL": "ccd_l", "nCCDR": "ccd_r", "nRFC": "rfc", "nRFCpb": "rfc_pb"},
    "nRREFD": "rrefd",
}


def _op(name: str) -> Op:
    return Op[NAMES.get(name, name.upper())]


def _as_strict(ours: Rule, level: str, first: Op, then: Op, latency: int, window: int) -> bool:
    apart = level.endswith("/")
    everywhere = first not in PER_BANK or then not in PER_BANK  # related whatever the scope
    scope = LEVELS[level.rstrip("/")]
    return (
        first in ours.first
        and then in ours.then
        and ours.latency >= latency
        and ours.window <= window
        and (
            (ours.apart and ours.scope is scope)
            if apart
            else not ours.apart and (everywhere or ORDER.index(ours.scope) <= ORDER.index(scope))
        )
    )


@pytest.mark.parametrize("timing", [hbm3_6400.timing, TIGHT], ids=lambda t: t.name)
def test_no_looser_than_the_published_table(timing: Timing) -> None:
    ours = rules(timing)
    for line in PUBLISHED.split("\n")[1:-1]:
        level, before, after, formula, *window = line.split()
        latency = sum(timing[PARAMETERS[name]] for name in formula.split("+"))
        for first in before.split(","):
            for then in after.split(","):
                edge = (level, _op(first), _op(then), latency, int(window[0]) if window else 1)
                assert any(_as_strict(rule, *edge) for rule in ours), line


def test_values_of_the_published_grades() -> None:
    t = hbm3_6400.timing
    assert (t.rcd_rd, t.rp, t.ras, t.rc, t.faw, t.rtw, t.rfc, t.rfc_pb) == (
        *(31, 26, 45, 72),
        *(24, 20, 560, 320),
    )
    assert t.rrefd == 13  # 8 ns, not the 8 cycles of a preset
    assert (PARTS["hbm2-2400"].timing.rc, PARTS["hbm2e-3200"].timing.rfc_pb) == (57, 256)
    assert "derived" in PARTS["hbm2e-3200"].timing.name
    for name, part in PARTS.items():
        assert name == part.name
        assert part.organisation.page == 1024
    assert [PARTS[n].organisation.bytes >> 20 for n in ("sdr-mt48lc16m16", "sdr-m12l64322a")] == [
        *(32, 8)
    ]


def test_times_round_to_the_safe_side() -> None:
    assert cycles(7500, {"rp": 20, "refi": 7812.5, "wr": 15}, clocks={"wr": 3}) == {
        **{"rp": 3, "refi": 1041, "wr": 3}
    }
    assert cycles(625, {"rrefd": 8.125, "rp": 16.25}) == {"rrefd": 13, "rp": 26}
    slow, fast = (sdr_parts(mhz)["sdr-mt48lc16m16"].timing for mhz in (50, 133))
    assert (slow.rc, fast.rc, slow.rcd_rd, fast.rcd_rd) == (4, 9, 1, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faw": None}, "faw must be given for hbm3"),
        ({"rp": None}, "rp must be given for hbm3"),
        ({"generation": "sdr"}, "ccd_l does not exist in sdr"),
        ({"rp": 0}, "rp.*greater than or equal to 1"),
        ({"rc": 13}, r"rc must be at least ras \+ rp = 14, not 13"),
        ({"ccd_l": 1}, "ccd_l must be at least ccd_s = 2, not 1"),
        ({"refi": 29}, "refi must be at least rfc = 30, not 29"),
        ({"rtw": 3}, r"rtw must be at least cl \+ burst - cwl = 4, not 3"),
        ({"rfc_pb": 31}, "rfc must be at least rfc_pb = 31, not 30"),
        ({"faw": 2}, "faw must be at least rrd_s = 3, not 2"),
        ({"act_slots": 1.5}, "act_slots.*valid integer"),
    ],
)
def test_tables_that_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        replace(TIGHT, **change)


# The checker ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timing", "shape"), [(TIGHT, SHAPE), (SDR, SDR_SHAPE)], ids=["tight", "sdr"]
)
def test_legal_traces_are_clean(timing: Timing, shape: Organisation) -> None:
    ops = [op for op in Op if timing is TIGHT or not op.name.startswith(("RFM", "REFPB"))]
    seen: set[Op] = set()
    for seed in range(4):
        trace = random_trace(rules(timing), shape, seed=seed, length=200, ops=ops)
        seen |= {command.op for command in trace}
        assert TraceChecker(rules(timing), shape).check(trace) == []
    assert seen == set(ops)


CASES = [
    pytest.param(timing, shape, n, id=f"{timing.generation}: {rule.name}")
    for timing, shape in ((TIGHT, SHAPE), (SDR, SDR_SHAPE))
    for n, rule in enumerate(rules(timing))
]


@pytest.mark.parametrize(("timing", "shape", "at"), CASES)
def test_every_rule_binds_and_its_loss_is_seen(
    timing: Timing, shape: Organisation, at: int
) -> None:
    rule = rules(timing)[at]
    trace = faulty_trace(rules(timing), at, shape)
    found = TraceChecker(rules(timing), shape).check(trace)
    assert {violation.rule for violation in found} == {rule.name}
    for violation in found:
        assert violation.first is not None and violation.earliest is not None
        assert violation.command.clock == violation.earliest - 1
        assert violation.earliest - violation.first.clock == rule.latency


def _at(bank: int = 0, **more: int) -> Address:
    return Address(bank=bank, **more)


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ([(0, Op.RD, _at())], "RD 0.0.0 column 0 at 0: the bank is closed"),
        ([(0, Op.ACT, _at()), (99, Op.ACT, _at(row=1))], "row 0 is open"),
        ([(0, Op.ACT, _at(row=3)), (99, Op.WR, _at(row=4))], "row 3 is open, not 4"),
        ([(0, Op.ACT, _at(1)), (99, Op.REFAB, Address())], "1 banks are open"),
        ([(0, Op.ACT, _at(1)), (99, Op.REFPB, _at(1))], "the bank is open"),
        ([(0, Op.ACT, _at(row=16))], "row 16 does not exist"),
        ([(0, Op.ACT, _at(2))], "bank 0.0.2 does not exist"),
        ([(0, Op.SRX, Address())], "SRX at 0: not in self-refresh"),
        ([(0, Op.SRE, Address()), (99, Op.REFAB, Address())], "in self-refresh"),
        (
            [(0, Op.ACT, _at()), (5, Op.RD, _at(column=2))],
            "RD 0.0.0 column 2 at 5: tRCDRD after ACT 0.0.0 row 0 at 0 allows it from 6 on",
        ),
        (
            [(0, Op.REFPB, _at()), (19, Op.ACT, _at())],
            "ACT 0.0.0 row 0 at 19: tRFCpb after REFPB 0.0.0 at 0 allows it from 20 on",
        ),
    ],
)
def test_bad_traces_by_hand(trace: list[tuple[int, Op, Address]], message: str) -> None:
    found = TraceChecker(rules(TIGHT), SHAPE).check(Command(*entry) for entry in trace)
    assert [message in str(violation) for violation in found] == [True]


def test_time_runs_forward() -> None:
    checker = TraceChecker(rules(TIGHT), SHAPE)
    checker.step(Command(5, Op.PREA))
    with pytest.raises(ValueError, match="PREA at 4 after 5"):
        checker.step(Command(4, Op.PREA))


# Exchange --------------------------------------------------------------------------------------


def test_the_exported_table_is_the_list() -> None:
    """Timing a trace by the exported constraints alone gives the same trace."""
    table = json.loads(json.dumps(dram_table(Part(name="t", organisation=SHAPE, timing=TIGHT))))
    levels = dict(zip(("Channel", *LEVELS), Scope, strict=True))
    imported = [
        Rule(
            name=entry["name"],
            scope=levels[entry["level"]],
            first=frozenset(map(_op, entry["preceding"])),
            then=frozenset(map(_op, entry["following"])),
            latency=entry["latency"],
            window=entry["window"],
            apart=entry["sibling"],
        )
        for entry in table["constraints"]
    ]
    assert imported == list(rules(TIGHT))
    assert table["organisation"]["column"] * table["organisation"]["atom_bytes"] == SHAPE.page
    assert (table["tCK_ps"], table["standard"]) == (1000, "hbm3")


def test_traces_as_text() -> None:
    trace = random_trace(rules(TIGHT), SHAPE, seed=1, length=100)
    lines = list(write_trace(trace))
    assert lines[0] == "clock,command,sid,group,bank,row,column"
    assert list(read_trace(["# made up", "", *lines])) == trace


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,ACT,0,0", "line 2: must be clock,command,sid,group,bank,row,column, not '0,ACT,0,0'"),
        ("0,NOP,0,0,0,0,0", "line 2: command must be one of ACT, PRE, .*, not 'NOP'"),
        ("0,ACT,0,-1,0,0,0", "line 2: numbers must be 0 or more, not '-1'"),
        ("x,ACT,0,0,0,0,0", "line 2: numbers must be 0 or more, not 'x'"),
    ],
)
def test_bad_lines(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_trace(["0,PREA,0,0,0,0,0", line]))
