"""Play runs on a controller with the pins of an SDR memory, and check every atom."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.sdram_pins import CODES, DataSheet, SdramPins, sdram_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.hierarchy import Block, place
from systolith.memory.hbm.calibrate import Calibrator
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.data_path import response_layout, write_layout
from systolith.memory.hbm.parts import sdr_parts
from systolith.memory.sdr import pins as sdr_pins  # by its module: faults are planted there
from systolith.memory.sdr.pins import CAPTURES

__all__ = ["Outcome", "Run", "SdrBench", "SdrDesign", "config_of", "random_runs", "windows"]

WINDOWS = 4  # places in the memory that each stream uses
WINDOW = 2048  # atoms of each


def config_of(
    part: str, mhz: float = 133, *, streams: int = 3, **timing_changes: int
) -> ControllerConfig:
    known = sdr_parts(mhz)[part]
    timing = replace(known.timing, **timing_changes)
    return ControllerConfig(
        organisation=known.organisation, timing=timing, streams=streams, visits=2
    )


@dataclass(frozen=True)
class Run:
    stream: int
    write: bool
    atom: int
    count: int
    partial: bool = False


@dataclass
class Outcome:
    wrong: list[str] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    reads: int = 0
    cycles: int = 0
    seconds: float = 0
    refreshes: list[tuple[int, int]] = field(default_factory=list)  # cycle, words moved by then

    @property
    def codes(self) -> set[str]:
        return {name for n, name in enumerate(CODES) if self.status["codes"] >> n & 1}


def _control(config: ControllerConfig) -> data.StructLayout:
    return PackedStruct(
        {
            "far": 1,
            "map": range(max(2, len(config.maps))),
            "mode": 2,
            "debt_bound": 4,
            "hotter": 2,
            "sleep": 1,
            "masked": config.streams,
        }
    )


def _status() -> data.StructLayout:
    return PackedStruct(
        {
            **dict.fromkeys(("violations", "codes", "late"), 32),
            **dict.fromkeys(("extra", "refused", "ready", "asleep", "calibrated", "failed"), 1),
            "setting": range(CAPTURES),
            "latency": 8,
        }
    )


class SdrDesign(Block):
    """Controller, calibrator, pins and memory. It calibrates itself before the first run."""

    def __init__(self, config: ControllerConfig, sheet: DataSheet) -> None:
        self.config, self.sheet = config, sheet
        run = PackedStruct({"stream": config.stream_bits, "run": config.run})
        written = PackedStruct({"stream": config.stream_bits, "write": write_layout(config)})
        self.layouts: dict[str, Any] = {
            "status": _status(),
            "moved": 32,
            "written": written,
            "response": response_layout(config),
            "done": config.stream_bits,
        }
        super().__init__(
            {
                "control__valid": In(1),
                "control__payload": In(_control(config)),
                "run__valid": In(1),
                "run__ready": Out(1),
                "run__payload": In(run),
                **{f"{name}__valid": Out(1) for name in self.layouts},
                **{f"{name}__payload": Out(layout) for name, layout in self.layouts.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, this = self.config, self
        t: Any = this
        controller: Any = Controller(config)
        calibrator: Any = Calibrator(config, settings=CAPTURES)
        pins = sdr_pins.SdrPins(config, power_up_us=max(1, round(self.sheet.power_us)))
        memory = SdramPins(self.sheet, tck_ps=config.timing.tck_ps)
        for name, block in (
            ("controller", controller),
            ("calibrator", calibrator),
            ("pins", pins),
            ("memory", memory),
        ):
            m.submodules[name] = place(block, platform)
        control: Any = Signal(_control(config), init={"mode": 2, "debt_bound": config.debt})
        with m.If(t.control__valid):
            m.d.sync += control.eq(t.control__payload)
        started = Signal()
        m.d.sync += started.eq(controller.ready)
        m.d.comb += calibrator.start.eq(controller.ready & ~started)

        # Runs: of the calibrator at first, on stream 0.
        stream, busy = t.run__payload.stream, ~calibrator.done
        valid = t.run__valid & calibrator.done
        m.d.comb += [
            controller.run_valid.eq(Mux(busy, calibrator.run_valid, Mux(valid, 1 << stream, 0))),
            calibrator.run_ready.eq(controller.run_ready[0]),
            t.run__ready.eq(calibrator.done & controller.run_ready.bit_select(stream, 1)),
            *(
                controller.run[n].eq(Mux(busy, calibrator.run, t.run__payload.run))
                for n in range(config.streams)
            ),
            *(getattr(controller, n).eq(control[n]) for n in ("map", "mode", "hotter", "sleep")),
            controller.debt_bound.eq(control.debt_bound),
            controller.latency.eq(calibrator.latency),
            calibrator.fetch0.eq(controller.fetch0),
            calibrator.column.eq(controller.column),
            calibrator.back0.eq(pins.back),
            controller.back0.eq(pins.back),
            *(
                getattr(controller, n).eq(pins.offer)
                for n in ("row_offer", "long_offer", "column_offer")
            ),
            pins.row.eq(controller.row),
            pins.column.eq(controller.column),
            pins.sent.eq(controller.data0),
            pins.capture.eq(calibrator.setting),
            *(
                getattr(memory, n).eq(getattr(pins, n))
                for n in ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dq_oe")
            ),
            memory.dq_i.eq(pins.dq_o),
            memory.far.eq(control.far),
            pins.dq_i.eq(memory.dq_o),
        ]
        if config.organisation.mask:
            m.d.comb += memory.dqm.eq(pins.dqm)
        self._data(m, controller, calibrator, control)

        status: Any = Signal(_status())
        told: Any = Signal(_status())
        extra, refused, refreshes = Signal(), Signal(), Signal(32)
        m.d.sync += [
            told.eq(status),
            refreshes.eq(memory.refreshes),
            extra.eq(extra | (controller.extra & calibrator.done)),
        ]
        if config.merges:
            m.d.sync += refused.eq(refused | controller.refused | pins.refused)
        m.d.comb += [
            *(status[n].eq(getattr(memory, n)) for n in ("violations", "codes", "late")),
            status.extra.eq(extra),
            status.refused.eq(refused),
            status.ready.eq(controller.ready),
            status.asleep.eq(controller.asleep),
            status.calibrated.eq(calibrator.done),
            status.failed.eq(calibrator.failed),
            status.setting.eq(calibrator.setting),
            status.latency.eq(calibrator.latency),
            t.status__payload.eq(status),
            t.status__valid.eq(status.as_value() != told.as_value()),
            t.moved__payload.eq(memory.words),
            t.moved__valid.eq(memory.refreshes != refreshes),
        ]
        return m

    def _data(self, m: Module, controller: Any, calibrator: Any, control: Any) -> None:
        t: Any = self
        config = self.config
        noise = Signal(32, init=0x5EED)
        value: Value = noise
        for step in (13, -17, 5):
            shifted = Signal(32, name=f"noise_{abs(step)}")
            m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
            value = shifted
        m.d.sync += noise.eq(value)
        fresh, write = Signal(write_layout(config)), Signal(write_layout(config))
        words = config.organisation.atom // 4
        masked = control.masked.bit_select(controller.fetch0.stream, 1)
        m.d.comb += [
            fresh.data.eq(Cat(noise ^ (0x9E3779B9 * (2 * k + 1) % 2**32) for k in range(words))),
            fresh.mask.eq(Mux(masked, noise * 0x5DEECE66D >> 7, -1)),
            t.written__valid.eq(controller.fetch0.valid & calibrator.done),
            t.written__payload.stream.eq(controller.fetch0.stream),
            t.written__payload.write.eq(fresh),
            t.response__valid.eq(controller.response0.valid & calibrator.done),
            t.response__payload.eq(controller.response0),
            t.done__valid.eq(controller.done0.valid & calibrator.done),
            t.done__payload.eq(controller.done0.stream),
            controller.write0.eq(Mux(calibrator.done, write, calibrator.write0)),
        ]
        m.d.sync += write.eq(fresh)


class SdrBench:
    def __init__(self, config: ControllerConfig, sheet: DataSheet, folder: Path) -> None:
        self.config = config
        top = SdrDesign(config, sheet)
        verilog, name = sdram_verilog(top, "dut")
        self.run_layout = top.run__payload.shape()  # type: ignore[attr-defined]
        inputs = [
            StreamPort("control", _control(config).size, has_ready=False),
            StreamPort("run", self.run_layout.size),
        ]
        self.layouts = top.layouts
        outputs = [
            StreamPort(n, layout if isinstance(layout, int) else layout.size, has_ready=False)
            for n, layout in self.layouts.items()
        ]
        self.simulation: Simulation = build(verilog, name, inputs, outputs, folder)

    def control(self, **registers: int) -> int:
        given = {"mode": 2, "debt_bound": self.config.debt, **registers}
        return int(_control(self.config).const(given).as_value().value)

    def send(self, script: Script, runs: Iterable[Run]) -> Script:
        for run in runs:
            word = {"write": int(run.write), "atom": run.atom, "count": run.count}
            if self.config.merges:
                word["partial"] = int(run.partial)
            value = self.run_layout.const({"stream": run.stream, "run": word}).as_value().value
            script.send("run", int(value))
        return script

    def play(
        self, script: Script, runs: list[Run], *, rest: int = 3000, folder: Path | None = None
    ) -> Outcome:
        result = self.simulation.run([script.idle(rest)], folder, deadline=60_000)
        outcome = Outcome(cycles=result.segments[0].cycles, seconds=result.seconds)
        outcome.refreshes = [(t.cycle, t.payload) for t in result.transfers["moved"]]
        for t in result.transfers["status"]:
            word = self.layouts["status"].from_bits(t.payload)
            outcome.status = {n: int(word[n]) for n in dict(iter(self.layouts["status"]))}
        queues: dict[str, dict[int, list[Any]]] = {}
        for kind in ("written", "response"):
            queues[kind] = {n: [] for n in range(self.config.streams)}
            for t in result.transfers[kind]:
                word = self.layouts[kind].from_bits(t.payload)
                queues[kind][int(word.stream)].append(word)
        self._check(runs, queues, outcome)
        return outcome

    def _check(
        self, runs: list[Run], queues: dict[str, dict[int, list[Any]]], outcome: Outcome
    ) -> None:
        """Streams touch different atoms: each is a memory of its own, in order."""
        atom = self.config.organisation.atom
        known: dict[int, int] = {}
        for run in runs:
            for n in range(run.count):
                at = run.atom + n
                queue = queues["written" if run.write else "response"][run.stream]
                if not queue:
                    outcome.wrong.append(f"{run}: nothing for atom {at}")
                    return
                word = queue.pop(0)
                if run.write:
                    mask = sum(255 << 8 * b for b in range(atom) if int(word.write.mask) >> b & 1)
                    known[at] = known.get(at, 0) & ~mask | int(word.write.data) & mask
                    continue
                outcome.reads += 1
                outcome.lost += int(word.lost)
                if known[at] != int(word.data):
                    outcome.wrong.append(f"{run}: atom {at} differs")
        for kind, lists in queues.items():
            if left := sum(map(len, lists.values())):
                outcome.wrong.append(f"{left} atoms {kind} too many")


def windows(config: ControllerConfig, *, seed: int = 5) -> list[list[int]]:
    """First atoms of the places that each stream has for itself, all over the memory."""
    draw = random.Random(seed)
    total = (1 << config.atom_bits) // WINDOW
    places = draw.sample(range(1, total), WINDOWS * config.streams)
    return [
        [WINDOW * p for p in places[s * WINDOWS : (s + 1) * WINDOWS]] for s in range(config.streams)
    ]


def random_runs(
    config: ControllerConfig, *, seed: int, number: int, longest: int, masked: int = 0
) -> list[Run]:
    """Runs of all streams, each in its places, which it writes in full before anything else.

    The streams in ``masked`` write single atoms once their place has been written.
    """
    draw = random.Random(seed)
    bases = windows(config)
    filled = {base: 0 for places in bases for base in places}
    runs: list[Run] = []
    while len(runs) < number:
        stream = draw.randrange(config.streams)
        base = draw.choice(bases[stream])
        count = draw.choice([1, 2, 3, draw.randint(1, longest)])
        most = filled[base]
        if most + count <= WINDOW and (most < count or draw.random() < 0.45):
            runs.append(Run(stream, True, base + most, count))
            filled[base] += count
        elif most >= count:
            at, write = base + draw.randint(0, most - count), draw.random() < 0.45
            runs.append(Run(stream, write, at, count))
    return runs
