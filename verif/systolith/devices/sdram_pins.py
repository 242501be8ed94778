"""An SDR SDRAM at its pins, for simulation: what parts say of themselves, and the Verilog."""

from dataclasses import dataclass, replace
from importlib import resources

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.emit.verilog import emit_design
from systolith.hierarchy import Block

__all__ = ["CODES", "DATA_SHEETS", "DataSheet", "SdramPins", "sdram_verilog"]

CODES = (
    *("power", "order", "tRCD", "tRP", "tRAS", "tRC", "tRRD", "tWR", "busy", "tMRD"),
    *("open", "closed", "rest", "mode", "both drive", "not driven", "stray drive", "CKE"),
    *("self-refresh", "late", "cut short", "reserved", "too fast"),
)
"""Violations by number."""


@dataclass(frozen=True, kw_only=True)
class DataSheet:
    """A part of one speed grade, as its maker describes it; times in nanoseconds.

    None of this comes from the controller's tables: the memory is to judge them.

    Parameters
    ----------
    bank_bits, row_bits, column_bits, bytes
        Shape; a column is a word of ``bytes``.
    mask
        The mask pins are connected.
    ref_bits
        So many bits has the counter of refreshes; fewer than the part's make rows age quickly.
    tck2, tck3
        Shortest clock with CAS latency 2, 3.
    power_us
        From stable power to the first command.
    rcd, rp, ras, rc, rrd, wr, rfc, xsr
        Times; ``wr`` from the last word that is written to the precharge.
    mrd
        Clocks behind the mode register.
    init_refreshes
        At least so many before the mode register.
    retention_us
        Longest time between two refreshes of a row.
    """

    bank_bits: int = 2
    row_bits: int
    column_bits: int
    bytes: int
    mask: bool = True
    ref_bits: int
    tck2: float
    tck3: float
    power_us: float
    rcd: float
    rp: float
    ras: float
    rc: float
    rrd: float
    wr: float
    rfc: float
    xsr: float
    mrd: int = 2
    init_refreshes: int = 2
    retention_us: int = 64_000

    @property
    def address_bits(self) -> int:
        """Address pins: A10 is always there."""
        return max(self.row_bits, 11, self.column_bits + (self.column_bits > 10))

    def quick(self, *, ref_bits: int = 4, power_us: float = 2, slack: int = 5) -> "DataSheet":
        """The same with fewer groups of rows at the same rate, so that all of it ages quickly.

        ``slack`` is the number of refreshes that may be owed.
        """
        groups = 1 << self.ref_bits
        retention = self.retention_us * ((1 << ref_bits) + slack) // groups
        return replace(self, ref_bits=ref_bits, power_us=power_us, retention_us=retention)


DATA_SHEETS = {
    # Micron MT48LC16M16A2-75: 256 Mbit x16; ULX3S and others.
    "mt48lc16m16a2-75": DataSheet(
        row_bits=13,
        column_bits=9,
        bytes=2,
        ref_bits=13,
        tck2=10,
        tck3=7.5,
        power_us=100,
        rcd=20,
        rp=20,
        ras=44,
        rc=66,
        rrd=15,
        wr=15,
        rfc=66,
        xsr=75,
    ),
    # ESMT M12L64322A-5: 64 Mbit x32; Colorlight boards, whose DQM pins are tied low.
    "m12l64322a-5": DataSheet(
        row_bits=11,
        column_bits=8,
        bytes=4,
        mask=False,
        ref_bits=12,
        tck2=10,
        tck3=5,
        power_us=200,
        rcd=15,
        rp=15,
        ras=40,
        rc=55,
        rrd=10,
        wr=10,
        rfc=55,
        xsr=55,
    ),
    # Etron EM638325-6: the same shape, slower; also found there.
    "em638325-6": DataSheet(
        row_bits=11,
        column_bits=8,
        bytes=4,
        mask=False,
        ref_bits=12,
        tck2=10,
        tck3=6,
        power_us=200,
        rcd=18,
        rp=18,
        ras=42,
        rc=60,
        rrd=12,
        wr=12,
        rfc=60,
        xsr=60,
    ),
}
"""Parts by name."""


class SdramPins(Block):
    """The memory at the end of the pins; see ``sdram_pins.v`` for what it checks.

    It samples with the clock of the design, in phase. With ``far`` its data takes one clock more.

    Parameters
    ----------
    sheet : DataSheet
        The part.
    tck_ps : int
        Period of its clock.

    Members
    -------
    far : In(1)
        Held while reads are in flight.
    cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm, dq_i, dq_oe : In
        What the controller drives; without mask pins ``dqm`` is not looked at.
    dq_o : Out
        What is on the data pins: noise where nobody drives.
    violations, codes, late, refreshes, words : Out(32)
        Violations, a bit for each of :data:`CODES` that occurred, groups of rows that were not
        refreshed in time, refreshes, words moved.
    """

    far: Signal
    cke: Signal
    cs_n: Signal
    ras_n: Signal
    cas_n: Signal
    we_n: Signal
    ba: Signal
    a: Signal
    dqm: Signal
    dq_i: Signal
    dq_oe: Signal
    dq_o: Signal
    violations: Signal
    codes: Signal
    late: Signal
    refreshes: Signal
    words: Signal

    def __init__(self, sheet: DataSheet, *, tck_ps: int) -> None:
        self.sheet, self.tck_ps = sheet, tck_ps
        super().__init__(
            {
                **{name: In(width) for name, width in _inputs(sheet).items()},
                "dq_o": Out(8 * sheet.bytes),
                **{name: Out(32) for name in _COUNTS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = Instance(
            "sdram_pins",
            ("i", "clk", ClockSignal()),
            *(("p", name, value) for name, value in _parameters(self.sheet, self.tck_ps).items()),
            *(("i", name, getattr(self, name)) for name in _inputs(self.sheet)),
            *(("o", name, getattr(self, name)) for name in ("dq_o", *_COUNTS)),
        )
        return m


_COUNTS = ("violations", "codes", "late", "refreshes", "words")


def _inputs(sheet: DataSheet) -> dict[str, int]:
    return {
        **dict.fromkeys(("far", "cke", "cs_n", "ras_n", "cas_n", "we_n"), 1),
        "ba": sheet.bank_bits,
        "a": sheet.address_bits,
        "dqm": sheet.bytes,
        "dq_i": 8 * sheet.bytes,
        "dq_oe": 1,
    }


def _parameters(sheet: DataSheet, tck_ps: int) -> dict[str, int]:
    times = {f"T{name.upper()}": getattr(sheet, name) for name in ("rcd", "rp", "ras", "rc")}
    times |= {f"T{name.upper()}": getattr(sheet, name) for name in ("rrd", "wr", "rfc", "xsr")}
    times |= {"TCK2": sheet.tck2, "TCK3": sheet.tck3, "TPOWER": 1000 * sheet.power_us}
    return {
        "BANK_BITS": sheet.bank_bits,
        "ROW_BITS": sheet.row_bits,
        "COLUMN_BITS": sheet.column_bits,
        "ADDRESS_BITS": sheet.address_bits,
        "BYTES": sheet.bytes,
        "MASK": int(sheet.mask),
        "REF_BITS": sheet.ref_bits,
        "TCK": tck_ps,
        **{name: round(1000 * time) for name, time in times.items()},
        "TMRD": sheet.mrd,
        "INIT_REFRESHES": sheet.init_refreshes,
        "RETENTION": sheet.retention_us,
    }


def sdram_verilog(top: Block, prefix: str) -> tuple[str, str]:
    """Verilog-2005 text of a design with such memories in it, and the name of its top module."""
    sheet = next(iter(DATA_SHEETS.values()))
    inputs = ("clk", *_inputs(sheet))
    # A black box to the tool that writes the rest.
    lines = ["attribute \\blackbox 1", "attribute \\dynports 1", "module \\sdram_pins"]
    lines += [f"  parameter \\{name}" for name in _parameters(sheet, 1)]
    for number, name in enumerate((*inputs, "dq_o", *_COUNTS), 1):
        direction = "input" if number <= len(inputs) else "output"
        lines.append(f"  wire {direction} {number} \\{name}")
    design = emit_design(top, prefix)
    boxed = replace(design, rtlil="\n".join([*lines, "end", ""]) + design.rtlil)
    memory = resources.files("systolith.devices").joinpath("sdram_pins.v").read_text()
    return memory + boxed.verilog(), design.top
