"""Made-up memories, and random traces timed by another reading of the rules: all pairs."""

import random
from collections.abc import Iterable
from dataclasses import replace

from systolith.golden.dram import TraceChecker
from systolith.memory.hbm.commands import COLUMN, PER_BANK, Address, Command, Op, Scope
from systolith.memory.hbm.parts import Organisation, sdr_parts
from systolith.memory.hbm.timing import Rule, Timing

__all__ = ["SDR", "SDR_SHAPE", "SHAPE", "TIGHT", "earliest", "faulty_trace", "random_trace"]

SHAPE = Organisation(sids=2, groups=2, banks=2, rows=16, columns=4, atom=32)
TIGHT = Timing(  # every rule binds: none follows from the others
    name="tight",
    generation="hbm3",
    source="made up",
    tck_ps=1000,
    cl=5,
    cwl=3,
    burst=2,
    rcd_rd=6,
    rcd_wr=5,
    rp=5,
    ras=9,
    rc=17,
    wr=4,
    rtp=3,
    ccd_s=2,
    ccd_l=4,
    ccd_r=3,
    rrd_s=3,
    rrd_l=4,
    faw=18,
    wtr_s=2,
    wtr_l=4,
    rtw=6,
    ppd=2,
    rfc=30,
    rfc_pb=20,
    rrefd=6,
    refi=1000,
    mrd=4,
    xs=35,
    ckesr=4,
    act_slots=2,
)
SDR_SHAPE = Organisation(sids=1, groups=1, banks=4, rows=16, columns=4, atom=16)
SDR = replace(
    sdr_parts(133)["sdr-mt48lc16m16"].timing, rfc=14, xs=17, rc=12, ccd_s=8, rrd_s=3, refi=500
)

_REACH = 80
"""Commands back that a rule may reach: more than fit into the longest latency of the tests."""


def _related(rule: Rule, first: Command, then: Command) -> bool:
    everywhere = first.op not in PER_BANK or then.op not in PER_BANK
    a, b = first.at, then.at
    same = {
        Scope.CHANNEL: True,
        Scope.PC: True,
        Scope.SID: a.sid == b.sid,
        Scope.GROUP: (a.sid, a.group) == (b.sid, b.group),
        Scope.BANK: (a.sid, a.group, a.bank) == (b.sid, b.group, b.bank),
    }[rule.scope]
    return not same if rule.apart else same or everywhere


def earliest(rules: Iterable[Rule], past: list[Command], op: Op, at: Address) -> int:
    """First clock in which every rule allows the command."""
    clock = past[-1].clock if past else 0
    new = Command(clock, op, at)
    for rule in rules:
        if op in rule.then:
            before = [c for c in past[-_REACH:] if c.op in rule.first and _related(rule, c, new)]
            if len(before) >= rule.window:
                clock = max(clock, before[-rule.window].clock + rule.latency)
    return clock


def random_trace(
    rules: Iterable[Rule], shape: Organisation, *, seed: int, length: int, ops: Iterable[Op] = Op
) -> list[Command]:
    """Return a trace that is legal by ``rules``; most commands come as early as they may."""
    draw = random.Random(seed)
    rules, ops = list(rules), list(ops)
    banks = [
        (s, g, b)
        for s in range(shape.sids)
        for g in range(shape.groups)
        for b in range(shape.banks)
    ]
    rows: dict[tuple[int, int, int], int] = {}
    asleep = False
    trace: list[Command] = []
    while len(trace) < length:
        op = draw.choice(ops)
        if asleep:
            op = Op.SRX
        bank = draw.choice(banks)
        legal = {
            Op.ACT: bank not in rows,
            Op.REFPB: bank not in rows,
            Op.RFMPB: bank not in rows,
            **dict.fromkeys((Op.REFAB, Op.RFMAB, Op.MRS, Op.SRE), not rows),
            **dict.fromkeys(COLUMN, bank in rows),
            Op.SRX: asleep,
        }
        if not legal.get(op, True):
            if rows and op in (Op.REFAB, Op.RFMAB, Op.MRS, Op.SRE) and draw.random() < 0.3:
                op = Op.PREA
            else:
                continue
        row = rows.get(bank, draw.randrange(shape.rows))
        at = Address(
            sid=bank[0],
            group=bank[1],
            bank=bank[2],
            row=row,
            column=draw.randrange(shape.columns),
        )
        late = draw.choice([0, 0, 0, 1, 7])
        trace.append(Command(earliest(rules, trace, op, at) + late, op, at))
        if op is Op.ACT:
            rows[bank] = row
        elif op in (Op.PRE, Op.RDA, Op.WRA):
            rows.pop(bank, None)
        elif op is Op.PREA:
            rows.clear()
        asleep = op is Op.SRE
    return trace


def faulty_trace(rules: tuple[Rule, ...], at: int, shape: Organisation) -> list[Command]:
    """Return a trace that breaks rule ``at`` by one cycle and no other, as soon as one is found.

    Only a rule that follows from no others can be broken alone.
    """
    rule = rules[at]
    looser = (*rules[:at], replace(rule, latency=rule.latency - 1), *rules[at + 1 :])
    ops = {Op.ACT, Op.PRE, Op.PREA, *rule.first, *rule.then}
    ops |= {Op.SRX} if Op.SRE in ops else set()
    if rule.then == {Op.SRX}:
        ops = {Op.SRE, Op.SRX}
    if shape is SDR_SHAPE:
        ops -= {Op.REFPB, Op.RFMPB, Op.RFMAB}
    for seed in range(60):
        trace = random_trace(looser, shape, seed=seed, length=120, ops=sorted(ops))
        assert TraceChecker(looser, shape).check(trace) == []
        if TraceChecker(rules, shape).check(trace):
            return trace
    raise AssertionError(f"{rule.name} never binds")
