"""Memories that are known by name: organisation and timing."""

from dataclasses import dataclass

from systolith.memory.hbm.timing import Timing, cycles

__all__ = ["PARTS", "Organisation", "Part", "hbm2_2400", "hbm2e_3200", "hbm3_6400", "sdr_parts"]


@dataclass(frozen=True, kw_only=True)
class Organisation:
    """Shape of one pseudo-channel, or of an SDR memory.

    Parameters
    ----------
    sids, groups, banks
        Stacks (1 if there is no such thing), bank groups of each, banks of each group.
    rows
        Of a bank.
    columns
        Accesses of ``atom`` bytes in a row.
    atom
        Bytes of one access.
    mask
        Whether bytes of a write can be left out.
    """

    sids: int
    groups: int
    banks: int
    rows: int
    columns: int
    atom: int
    mask: bool = True

    @property
    def page(self) -> int:
        """Bytes of a row."""
        return self.columns * self.atom

    @property
    def bytes(self) -> int:
        """Capacity."""
        return self.sids * self.groups * self.banks * self.rows * self.page


@dataclass(frozen=True, kw_only=True)
class Part:
    """A memory: its shape and its timing."""

    name: str
    organisation: Organisation
    timing: Timing


def _self_refresh(rfc: int, tck_ps: int) -> dict[str, int]:
    # Of no published HBM table: the rules of the DDR families, tXS = tRFC + 10 ns and tMRD = 15 ns.
    return {"mrd": -(-15_000 // tck_ps), "xs": rfc + -(-10_000 // tck_ps), "ckesr": 8}


_STACK = Organisation(sids=1, groups=4, banks=4, rows=1 << 15, columns=32, atom=32)

hbm2_2400 = Part(
    name="hbm2-2400",
    organisation=_STACK,
    timing=Timing(
        name="HBM2 2.4 Gb/s",
        generation="hbm2",
        source="Ramulator 2.1; tRREFD by the rule of 8 ns; mode registers and self-refresh as DDR",
        tck_ps=833,
        cl=17,
        cwl=6,
        burst=2,
        rcd_rd=17,
        rcd_wr=14,
        rp=17,
        ras=40,
        rc=57,
        wr=19,
        rtp=6,
        ccd_s=2,
        ccd_l=4,
        rrd_s=5,
        rrd_l=5,
        faw=19,
        wtr_s=8,
        wtr_l=10,
        rtw=15,
        rfc=421,
        rfc_pb=193,
        rrefd=10,
        refi=4681,
        act_slots=2,
        **_self_refresh(421, 833),
    ),
)

hbm2e_3200 = Part(
    name="hbm2e-3200",
    organisation=_STACK,
    timing=Timing(
        name="HBM2E 3.2 Gb/s (derived)",
        generation="hbm2e",
        source="derived here from the times of HBM2 2.4 Gb/s: no open simulator has a table",
        tck_ps=625,
        cl=22,
        cwl=8,
        burst=2,
        rcd_rd=23,
        rcd_wr=19,
        rp=23,
        ras=55,
        rc=78,
        wr=26,
        rtp=8,
        ccd_s=2,
        ccd_l=4,
        rrd_s=7,
        rrd_l=7,
        faw=24,
        wtr_s=10,
        wtr_l=13,
        rtw=18,
        rfc=560,
        rfc_pb=256,
        rrefd=13,
        refi=6240,
        act_slots=2,
        **_self_refresh(560, 625),
    ),
)

hbm3_6400 = Part(
    name="hbm3-6400",
    organisation=_STACK,
    timing=Timing(
        name="HBM3 6.4 Gb/s",
        generation="hbm3",
        source="Ramulator 2.1; tRREFD by the rule of 8 ns; mode registers and self-refresh as DDR",
        tck_ps=625,
        cl=20,
        cwl=10,
        burst=2,
        rcd_rd=31,
        rcd_wr=15,
        rp=26,
        ras=45,
        rc=72,
        wr=33,
        rtp=9,
        ccd_s=2,
        ccd_l=4,
        ccd_r=3,
        rrd_s=4,
        rrd_l=5,
        faw=24,
        wtr_s=7,
        wtr_l=10,
        rtw=20,
        ppd=2,
        rfc=560,
        rfc_pb=320,
        rrefd=13,
        refi=6240,
        act_slots=2,  # 1.5, of which a controller that keeps to rising edges uses 2
        **_self_refresh(560, 625),
    ),
)

# Nanoseconds, and what is not in the data sheets in common rules: the word after a read waits for
# one idle cycle of the bus, a burst is not cut short.
_SDR = {
    # 32 MB x16: ULX3S, and others with a 256 Mbit part of four banks.
    "sdr-mt48lc16m16": (
        Organisation(sids=1, groups=1, banks=4, rows=8192, columns=64, atom=16),
        {"rcd": 20, "rp": 20, "ras": 44, "rc": 66, "wr": 15, "rrd": 15, "rfc": 66, "refi": 7812.5},
    ),
    # 8 MB x32: Colorlight i5 and i9, without mask pins; the memory inside the Tang Nano 20K.
    "sdr-m12l64322a": (
        Organisation(sids=1, groups=1, banks=4, rows=2048, columns=32, atom=32, mask=False),
        {"rcd": 15, "rp": 15, "ras": 40, "rc": 55, "wr": 15, "rrd": 10, "rfc": 55, "refi": 15625},
    ),
    # The same shape, slower: also found on Colorlight boards.
    "sdr-em638325": (
        Organisation(sids=1, groups=1, banks=4, rows=2048, columns=32, atom=32, mask=False),
        {"rcd": 18, "rp": 18, "ras": 42, "rc": 60, "wr": 15, "rrd": 12, "rfc": 60, "refi": 15625},
    ),
}
_SDR_BURST = 8


def sdr_parts(mhz: float) -> dict[str, Part]:
    """SDR memories by name, at a clock of ``mhz``: CAS latency 3, bursts of 8."""
    tck = round(1_000_000 / mhz)
    parts = {}
    for name, (organisation, times) in _SDR.items():
        clocks = {"cl": 3, "cwl": 0, "burst": _SDR_BURST, "rtp": _SDR_BURST, "ccd_s": _SDR_BURST}
        clocks |= {"rtw": 3 + _SDR_BURST + 1, "wtr_s": 1, "mrd": 2, "ckesr": 2, "wr": 2}
        named = {n: t for n, t in times.items() if n not in ("rcd", "rrd")}
        named |= {"rcd_rd": times["rcd"], "rcd_wr": times["rcd"], "rrd_s": times["rrd"]}
        named |= {"xs": times["rfc"] + 10, "ckesr": times["ras"]}  # self-refresh lasts tRAS
        values = cycles(tck, named, clocks=clocks)
        values["rc"] = max(values["rc"], values["ras"] + values["rp"])
        timing = Timing(
            name=f"{name} at {mhz:g} MHz",
            generation="sdr",
            source="data sheets, by way of LiteDRAM's table of modules",
            tck_ps=tck,
            **values,
        )
        parts[name] = Part(name=name, organisation=organisation, timing=timing)
    return parts


PARTS = {part.name: part for part in (hbm2_2400, hbm2e_3200, hbm3_6400)} | sdr_parts(133)
