"""Timing of a dynamic memory: parameters in clock cycles, and the one list of rules they make.

Everything else that has to know the timing is made from this list: timers of the controller,
checkers, properties, the model of efficiency, and the export.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as config_dataclass
from pydantic_core import ArgsKwargs

from systolith.array.geometry import STRICT
from systolith.memory.hbm.commands import COLUMN, ROW, Op, Scope

__all__ = ["Rule", "Timing", "cycles", "rules"]

Cycles = Annotated[int, Field(strict=True, ge=1)]
Wait = Annotated[int, Field(strict=True, ge=0)]

_WORDS = ("name", "generation", "source")
_EVERY = ("cl", "cwl", "burst", "rcd_rd", "rcd_wr", "rp", "ras", "rc", "wr", "rtp")
_EVERY += ("ccd_s", "rrd_s", "wtr_s", "rtw", "rfc", "refi", "mrd", "xs", "ckesr")
_GROUPS = ("ccd_l", "rrd_l", "wtr_l", "faw", "rfc_pb", "rrefd", "act_slots")
_NEEDED = {
    "sdr": _EVERY,
    "hbm2": _EVERY + _GROUPS,
    "hbm2e": _EVERY + _GROUPS,
    "hbm3": (*_EVERY, *_GROUPS, "ccd_r", "ppd"),
}


@config_dataclass(frozen=True, kw_only=True, config=STRICT)
class Timing:
    """Timing parameters of one speed grade, in clock cycles unless a unit is given.

    A parameter that the generation has must be given: none has a default, and none is ever taken
    for zero. One that the generation does not have must be left out. A time such as ``"13.75 ns"``
    is taken for as many cycles of ``tck_ps``, see :func:`cycles`.

    Parameters
    ----------
    name
        Of the speed grade.
    generation
        "sdr", "hbm2", "hbm2e" or "hbm3".
    source
        Where the values come from.
    tck_ps
        Clock period in picoseconds.
    cl, cwl
        Cycles from a read (write) to its data.
    burst
        Cycles of data of one access.
    rcd_rd, rcd_wr
        Activation to read, to write.
    rp, ras, rc
        Precharge to activation; activation to precharge, to activation, of one bank.
    wr, rtp
        End of write data to precharge; read to precharge.
    ccd_s, ccd_l, ccd_r
        Between accesses of one kind: to any bank group, to the same one, to another stack.
    rrd_s, rrd_l, faw
        Between activations: in any bank group, in the same one, five of them.
    wtr_s, wtr_l
        End of write data to read: in any bank group, in the same one.
    rtw
        Read to write.
    ppd
        Between precharges.
    rfc, rfc_pb, rrefd
        Duration of a refresh of all banks, of one bank; from a refresh of one bank to the next
        refresh or activation of another.
    refi
        Average interval of refreshes of all banks.
    mrd, ckesr, xs
        After a mode register command; shortest self-refresh; from its end to another command.
    act_slots
        Cycles of an activation on the row bus.
    """

    name: str
    generation: Literal["sdr", "hbm2", "hbm2e", "hbm3"]
    source: str
    tck_ps: Cycles
    cl: Cycles | None = None
    cwl: Wait | None = None
    burst: Cycles | None = None
    rcd_rd: Cycles | None = None
    rcd_wr: Cycles | None = None
    rp: Cycles | None = None
    ras: Cycles | None = None
    rc: Cycles | None = None
    wr: Cycles | None = None
    rtp: Cycles | None = None
    ccd_s: Cycles | None = None
    ccd_l: Cycles | None = None
    ccd_r: Cycles | None = None
    rrd_s: Cycles | None = None
    rrd_l: Cycles | None = None
    faw: Cycles | None = None
    wtr_s: Wait | None = None
    wtr_l: Cycles | None = None
    rtw: Cycles | None = None
    ppd: Cycles | None = None
    rfc: Cycles | None = None
    rfc_pb: Cycles | None = None
    rrefd: Cycles | None = None
    refi: Cycles | None = None
    mrd: Cycles | None = None
    xs: Cycles | None = None
    ckesr: Cycles | None = None
    act_slots: Cycles | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_cycles(cls, given: Any) -> Any:
        values = given.kwargs if isinstance(given, ArgsKwargs) else given
        if not isinstance(values, dict) or not isinstance(tck_ps := values.get("tck_ps"), int):
            return given
        times = {}
        for name, value in values.items():
            if isinstance(value, str) and name not in _WORDS:
                found = re.fullmatch(r"(\d+(?:\.\d+)?) ?ns", value)
                if found is None:
                    raise ValueError(f'{name} must be cycles or a time as "15 ns", not {value!r}')
                times[name] = float(found[1])
        return {**values, **cycles(tck_ps, times)} if times and tck_ps > 0 else given

    @model_validator(mode="after")
    def _check(self) -> "Timing":
        needed = _NEEDED[self.generation]
        for field in fields(self):
            if field.name in (*_WORDS, "tck_ps"):
                continue
            given = getattr(self, field.name) is not None
            if given != (field.name in needed):
                what = "must be given for" if not given else "does not exist in"
                raise ValueError(f"{field.name} {what} {self.generation}")
        for low, high in (
            *(("ras", "rc"), ("rp", "rc"), ("burst", "ccd_s"), ("ccd_s", "ccd_l")),
            *(("ccd_s", "ccd_r"), ("rrd_s", "rrd_l"), ("rrd_s", "faw"), ("wtr_s", "wtr_l")),
            *(("rfc", "refi"), ("rfc_pb", "rfc"), ("rrefd", "rfc_pb"), ("rfc", "xs")),
        ):
            a, b = getattr(self, low), getattr(self, high)
            if a is not None and b is not None and a > b:
                raise ValueError(f"{high} must be at least {low} = {a}, not {b}")
        if self["rc"] < self["ras"] + self["rp"]:
            raise ValueError(
                f"rc must be at least ras + rp = {self['ras'] + self['rp']}, not {self.rc}"
            )
        least = self["cl"] + self["burst"] - self["cwl"]
        if self["rtw"] < least:
            raise ValueError(f"rtw must be at least cl + burst - cwl = {least}, not {self.rtw}")
        return self

    def __getitem__(self, name: str) -> int:
        """Cycles of a parameter that the generation has; KeyError for another."""
        value = getattr(self, name, None)
        if not isinstance(value, int):
            raise KeyError(f"{self.generation} has no parameter {name}")
        return value


def cycles(
    tck_ps: int, nanoseconds: Mapping[str, float], *, clocks: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Parameters in cycles of ``tck_ps``, from ``nanoseconds`` and from ``clocks``.

    Times are rounded up, the interval of refreshes down. A parameter in both takes the larger one:
    standards state some as a time and a number of clocks, whichever is longer.

    Raises
    ------
    ValueError
        If a time is not more than 0.
    """
    found = dict(clocks or {})
    for name, time in nanoseconds.items():
        if not (time > 0 and math.isfinite(time)):
            raise ValueError(f"{name} must be more than 0 ns, not {time!r}")
        exact = round(time * 1000, 6) / tck_ps
        found[name] = max(
            math.floor(exact) if name == "refi" else math.ceil(exact), found.get(name, 0)
        )
    return found


@dataclass(frozen=True, kw_only=True)
class Rule:
    """``then`` follows at least ``latency`` cycles behind the ``window``-th last ``first``.

    Parameters
    ----------
    name
        The parameters it comes from.
    scope
        What both commands have in common. A command to all banks is in every part of its
        pseudo-channel.
    first, then
        Operations.
    latency
        Cycles.
    window
        Which of the commands before: 1 is the last one.
    apart
        The commands are in different parts of this scope instead, in one pseudo-channel.
    """

    name: str
    scope: Scope
    first: frozenset[Op]
    then: frozenset[Op]
    latency: int
    window: int = 1
    apart: bool = False


_READ, _WRITE = frozenset({Op.RD, Op.RDA}), frozenset({Op.WR, Op.WRA})
_PRE = frozenset({Op.PRE, Op.PREA})
_REF_ALL, _REF_ONE = frozenset({Op.REFAB, Op.RFMAB}), frozenset({Op.REFPB, Op.RFMPB})


def rules(timing: Timing) -> tuple[Rule, ...]:
    """Every rule of ``timing``.

    Those of HBM are the edges of the latest generation for all of them, and from and to refreshes
    also those that simulators left out at some time: stricter, never looser. (JEDEC JESD235,
    JESD238; the published tables of Ramulator 2.1.)
    """
    return tuple(_rules(timing))


def _rules(t: Timing) -> Iterable[Rule]:
    def rule(
        name: str,
        scope: Scope,
        first: Iterable[Op],
        then: Iterable[Op],
        latency: int,
        *,
        window: int = 1,
        apart: bool = False,
    ) -> Rule:
        return Rule(
            name=name,
            scope=scope,
            first=frozenset(first),
            then=frozenset(then),
            latency=latency,
            window=window,
            apart=apart,
        )

    pc, bank = Scope.PC, Scope.BANK
    written = t["cwl"] + t["burst"]
    restored = written + t["wr"]
    all_banks = _REF_ALL if t.generation != "sdr" else frozenset({Op.REFAB})
    idle = all_banks | {Op.MRS, Op.SRE}  # need all banks closed

    # Buses: one command in a cycle. SDR has a single one; accesses of HBM are further apart anyway.
    if t.generation == "sdr":
        yield rule("bus", Scope.CHANNEL, Op, Op, 1)
    else:
        yield rule("row bus", Scope.CHANNEL, ROW, ROW, 1)
        yield rule("row bus, ACT", Scope.CHANNEL, {Op.ACT}, ROW, t["act_slots"])

    # Data.
    yield rule("tCCDS read", pc, _READ, _READ, t["ccd_s"])
    yield rule("tCCDS write", pc, _WRITE, _WRITE, t["ccd_s"])
    yield rule("tRTW", pc, _READ, _WRITE, t["rtw"])
    yield rule("tWTRS", pc, _WRITE, _READ, written + t["wtr_s"])

    # A row of a bank.
    yield rule("tRCDRD", bank, {Op.ACT}, _READ, t["rcd_rd"])
    yield rule("tRCDWR", bank, {Op.ACT}, _WRITE, t["rcd_wr"])
    yield rule("tRAS", bank, {Op.ACT}, _PRE, t["ras"])
    yield rule("tRTP", bank, {Op.RD}, _PRE, t["rtp"])
    yield rule("tWR", bank, {Op.WR}, _PRE, restored)
    # A row that closes by itself is not to be cut short by a precharge of all banks.
    yield rule("tRTP to all banks", pc, {Op.RDA}, {Op.PREA}, t["rtp"])
    yield rule("tWR to all banks", pc, {Op.WRA}, {Op.PREA}, restored)
    yield rule("tRC", bank, {Op.ACT}, {Op.ACT}, t["rc"])
    yield rule("tRP", bank, _PRE, {Op.ACT}, t["rp"])
    yield rule("tRTP + tRP", bank, {Op.RDA}, {Op.ACT}, t["rtp"] + t["rp"])
    yield rule("tWR + tRP", bank, {Op.WRA}, {Op.ACT}, restored + t["rp"])
    yield rule("tRRDS", pc, {Op.ACT}, {Op.ACT}, t["rrd_s"])

    # All banks: refresh, mode registers, self-refresh.
    yield rule("tRC to refresh", pc, {Op.ACT}, idle, t["rc"])
    yield rule("tRP to refresh", pc, _PRE, idle, t["rp"])
    yield rule("tRTP + tRP to refresh", pc, {Op.RDA}, idle, t["rtp"] + t["rp"])
    yield rule("tWR + tRP to refresh", pc, {Op.WRA}, idle, restored + t["rp"])
    after = frozenset(Op) - COLUMN - {Op.SRX, Op.PRE}
    yield rule("tRFC", pc, all_banks, after, t["rfc"])
    yield rule("tMRD", pc, {Op.MRS}, frozenset(Op) - COLUMN - {Op.PRE, Op.SRX}, t["mrd"])
    yield rule("tCKESR", pc, {Op.SRE}, {Op.SRX}, t["ckesr"])
    yield rule("tXS", pc, {Op.SRX}, after, t["xs"])
    if t.generation == "sdr":
        return

    # Bank groups.
    group = Scope.GROUP
    yield rule("tCCDL read", group, _READ, _READ, t["ccd_l"])
    yield rule("tCCDL write", group, _WRITE, _WRITE, t["ccd_l"])
    yield rule("tWTRL", group, _WRITE, _READ, written + t["wtr_l"])
    yield rule("tRRDL", group, {Op.ACT}, {Op.ACT}, t["rrd_l"])
    yield rule("tFAW", pc, {Op.ACT}, {Op.ACT}, t["faw"], window=4)

    # Refresh of one bank.
    yield rule("tRREFD", pc, _REF_ONE, _REF_ONE | {Op.ACT}, t["rrefd"])
    yield rule("tRRDS to refresh", pc, {Op.ACT}, _REF_ONE, t["rrd_s"])
    yield rule("tRRDL to refresh", group, {Op.ACT}, _REF_ONE, t["rrd_l"])
    yield rule("tRC to bank refresh", bank, {Op.ACT}, _REF_ONE, t["rc"])
    yield rule("tRP to bank refresh", bank, _PRE, _REF_ONE, t["rp"])
    yield rule("tRTP + tRP to bank refresh", bank, {Op.RDA}, _REF_ONE, t["rtp"] + t["rp"])
    yield rule("tWR + tRP to bank refresh", bank, {Op.WRA}, _REF_ONE, restored + t["rp"])
    yield rule("tRFCpb", bank, _REF_ONE, _REF_ONE | {Op.ACT}, t["rfc_pb"])
    yield rule("tRFCpb to all banks", pc, _REF_ONE, idle | {Op.PREA}, t["rfc_pb"])

    # Precharges, stacks.
    if t.ppd is not None:
        yield rule("tPPD", pc, _PRE, _PRE, t["ppd"])
    if t.ccd_r is not None:
        yield rule("tCCDR read", Scope.SID, _READ, _READ, t["ccd_r"], apart=True)
        yield rule("tCCDR write", Scope.SID, _WRITE, _WRITE, t["ccd_r"], apart=True)
