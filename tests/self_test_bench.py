"""The self-test on a memory at its pins that has one of several faults."""

from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.sdram_pins import DATA_SHEETS, DataSheet, SdramPins, sdram_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.parts import sdr_parts
from systolith.memory.sdr import self_test  # by its module: faults are planted there
from systolith.memory.sdr.self_test import ERROR_BITS
from systolith.memory.sdr.self_test_plan import SelfTestConfig

__all__ = ["BANK", "CELL", "OLD", "Fault", "Result", "SelfTestBench", "small"]

OLD = 20_000  # clocks that the bad cell keeps its data for
BANK = 1  # with the bad data line
NEAR = 16  # clocks behind a write in which a read goes wrong
_HIGH = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "dqm")


class Fault(IntEnum):
    NONE = 0
    DATA_PIN = 1  # is stuck at 0
    ROW_PIN = 2  # address pin 2 is stuck at 0
    DECODER = 3  # row 5 is row 6
    CELL = 4  # a cell loses its data
    REFRESH = 5  # refreshes do not arrive
    TURN = 6  # a read soon after a write goes wrong
    DATA_LINE = 7  # of a bank is stuck at 0


@dataclass(frozen=True)
class Cell:
    bank: int
    row: int
    column: int  # of words, the first one of an atom
    bit: int


CELL = Cell(bank=2, row=9, column=24, bit=3)


def small(part: str, sheet: str) -> tuple[SelfTestConfig, DataSheet]:
    """A memory of 4 banks of 64 rows of 4 atoms."""
    known = sdr_parts(133)[part]
    shape = replace(known.organisation, rows=64, columns=4)
    config = ControllerConfig(organisation=shape, timing=known.timing, streams=4, runs=2, visits=2)
    quick = replace(DATA_SHEETS[sheet], row_bits=6, column_bits=5).quick()
    test = SelfTestConfig(
        controller=config,
        run=8,
        mixed=300,
        rest_us=quick.retention_us + 6,
        power_up_us=2,
        outside=2,
    )
    return test, quick


def _status(config: SelfTestConfig, pins: int) -> PackedStruct:
    return PackedStruct(
        {
            **dict.fromkeys(("passed", "failed", "calibrated"), 1),
            "number": 3,
            "errors": ERROR_BITS,
            "first": config.controller.atom_bits,
            "bits": pins,
            "violations": 32,
        }
    )


_FAULT = PackedStruct({"kind": 3, "pin": 5, "far": 1})


class FaultyBoard(Block):
    """Self-test, a register in each pad, the fault, the memory."""

    def __init__(self, config: SelfTestConfig, sheet: DataSheet) -> None:
        self.config, self.sheet = config, sheet
        self.test = self_test.SelfTest(config)
        self.layout = _status(config, 8 * sheet.bytes)
        super().__init__(
            {
                "fault__valid": In(1),
                "fault__payload": In(_FAULT),
                **{f"{name}__valid": Out(1) for name in ("wrong", "ended")},
                **{f"{name}__payload": Out(self.layout) for name in ("wrong", "ended")},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        this, test = self, self.test
        t: Any = this
        memory: Any = SdramPins(self.sheet, tck_ps=self.config.controller.timing.tck_ps)
        m.submodules.test = place(test, platform)
        m.submodules.memory = place(memory, platform)
        fault: Any = Signal(_FAULT)
        with m.If(t.fault__valid):
            m.d.sync += fault.eq(t.fault__payload)

        pads: dict[str, Any] = {}
        for name in test.pin_names:
            if name != "dq_i":
                ours = getattr(test, name)
                pads[name] = Signal(len(ours), name=name, init=-1 if name in _HIGH else 0)
                m.d.sync += pads[name].eq(ours)
        flips, sticks = self._reads(m, fault, pads)
        word = Signal(8 * self.sheet.bytes)
        stuck = Mux((fault.kind == Fault.DATA_PIN) | sticks, 1 << fault.pin, 0)
        m.d.comb += word.eq((memory.dq_o & ~stuck) ^ (flips << CELL.bit))
        m.d.sync += test.dq_i.eq(word)
        a, cs_n = Signal.like(pads["a"]), Signal()
        refresh = ~pads["ras_n"] & ~pads["cas_n"] & pads["we_n"]
        lost = (fault.kind == Fault.REFRESH) & refresh & test.calibrated
        m.d.comb += [
            a.eq(pads["a"]),
            cs_n.eq(pads["cs_n"] | lost),
            *(getattr(memory, n).eq(pads[n]) for n in pads if n not in ("a", "cs_n", "dq_o")),
            memory.a.eq(a),
            memory.cs_n.eq(cs_n),
            memory.dq_i.eq(pads["dq_o"]),
            memory.far.eq(fault.far),
        ]
        with m.If(fault.kind == Fault.ROW_PIN):
            m.d.comb += a[2].eq(0)
        activates = ~pads["cs_n"] & ~pads["ras_n"] & pads["cas_n"] & pads["we_n"]
        with m.If((fault.kind == Fault.DECODER) & activates & (pads["a"] == 5)):
            m.d.comb += a.eq(6)
        self._tell(m, memory)
        return m

    def _reads(self, m: Module, fault: Any, pads: dict[str, Any]) -> tuple[Value, Value]:
        """On the bus is a word with a wrong bit; one of the bad line."""
        here = ~pads["cs_n"] & (pads["ba"] == CELL.bank)
        row = Signal(6)
        with m.If(here & ~pads["ras_n"] & pads["cas_n"] & pads["we_n"]):
            m.d.sync += row.eq(pads["a"])
        access = ~pads["cs_n"] & pads["ras_n"] & ~pads["cas_n"]
        cell = here & access & (row == CELL.row) & (pads["a"][:5] == CELL.column)
        writes, reads = ~pads["we_n"], pads["we_n"]
        age, since = Signal(range(OLD + 1)), Signal(range(NEAR + 1))
        m.d.sync += [age.eq(age + (age != OLD)), since.eq(since + (since != NEAR))]
        with m.If(cell & writes):
            m.d.sync += age.eq(0)
        with m.If(access & writes):
            m.d.sync += since.eq(0)
        marks = {
            Fault.CELL: cell & reads & (age == OLD),
            Fault.TURN: access & reads & (since != NEAR),
            Fault.DATA_LINE: access & reads & (pads["ba"] == BANK),
        }
        behind = {}  # clocks since the command, shortened by the latency
        for kind, mark in marks.items():
            line = Signal(11, name=f"line_{kind.name.lower()}")
            m.d.sync += line.eq(Cat(mark & (fault.kind == kind), line))
            behind[kind] = Mux(fault.far, line[3:], line[2:])
        # The last word of the cell's atom, the first one behind a turn, all of the line's.
        flips = behind[Fault.CELL][7] | behind[Fault.TURN][0]
        return flips, behind[Fault.DATA_LINE][:8].any()

    def _tell(self, m: Module, memory: Any) -> None:
        this, test = self, self.test
        t: Any = this
        failed, ran, ends = Signal(), Signal(), Signal()
        m.d.sync += [failed.eq(test.failed), ran.eq(test.running)]
        m.d.comb += [
            ends.eq(ran & ~test.running),
            t.wrong__valid.eq(test.failed & ~failed),
            t.ended__valid.eq(ends),
        ]
        for name in ("wrong", "ended"):
            told = getattr(t, f"{name}__payload")
            m.d.comb += [
                *(
                    told[n].eq(getattr(test, n))
                    for n in dict(iter(self.layout))
                    if n != "violations"
                ),
                told.violations.eq(memory.violations),
            ]


@dataclass(frozen=True)
class Result:
    """What was told at the end, and the pass in which the first error was found."""

    ended: dict[str, int]
    found_in: int | None
    cycles: int


class SelfTestBench:
    def __init__(self, config: SelfTestConfig, sheet: DataSheet, folder: Path) -> None:
        self.config = config
        top = FaultyBoard(config, sheet)
        verilog, name = sdram_verilog(top, "dut")
        self.layout = top.layout
        inputs = [StreamPort("fault", _FAULT.size, has_ready=False)]
        outputs = [StreamPort(n, self.layout.size, has_ready=False) for n in ("wrong", "ended")]
        self.simulation: Simulation = build(verilog, name, inputs, outputs, folder)

    def run(self, fault: Fault, *, pin: int = 0, far: int = 0) -> Result:
        word: Any = _FAULT.const({"kind": fault, "pin": pin, "far": far})
        script = Script().send("fault", int(word.as_value().value)).wait("ended", 1)
        result = self.simulation.run([script], deadline=1_000_000)
        (ended,) = result.transfers["ended"]
        wrong = [self.layout.from_bits(t.payload) for t in result.transfers["wrong"]]
        told: Any = self.layout.from_bits(ended.payload)
        return Result(
            ended={n: int(told[n]) for n in dict(iter(self.layout))},
            found_in=int(wrong[0].number) if wrong else None,
            cycles=ended.cycle,
        )
