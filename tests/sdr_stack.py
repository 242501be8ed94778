"""A memory port, with ECC or without, down to the pins of an SDR memory."""

from pathlib import Path
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out, connect

from systolith.devices.sdram_pins import DataSheet, SdramPins, sdram_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.hierarchy import Block, place
from systolith.memory.hbm.calibrate import Calibrator
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.port_buffer import PortBuffer
from systolith.memory.sdr.block_code import InlineConfig
from systolith.memory.sdr.inline_ecc import InlineEcc
from systolith.memory.sdr.pins import CAPTURES, SdrPins
from systolith.memory.streams import Streams

__all__ = ["SdrStack", "stack"]


class SdrStack(Block):
    """Requests wait until the memory is calibrated; ``moved`` is told at every refresh."""

    def __init__(self, config: ControllerConfig, sheet: DataSheet, *, ecc: bool) -> None:
        self.config, self.sheet, self.ecc = config, sheet, ecc
        atom = config.organisation.atom
        self.inline = InlineConfig(atom=atom, atoms=1 << config.atom_bits, count_bits=13)
        user = self.inline.user
        self.widths = {
            "request": user.request_layout,
            "write": user.write_layout,
            "read": user.read_layout,
        }
        members: dict[str, Any] = {"moved__valid": Out(1), "moved__payload": Out(64)}
        members |= {"done__valid": Out(1), "done__payload": Out(1)}
        for name in ("request", "write"):
            members |= {f"{name}__valid": In(1), f"{name}__ready": Out(1)}
            members |= {f"{name}__payload": In(self.widths[name])}
        members |= {"read__valid": Out(1), "read__payload": Out(user.read_layout)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        this: Any = self
        config = self.config
        controller: Any = Controller(config)
        calibrator: Any = Calibrator(config, settings=CAPTURES)
        streams: Any = Streams(config, 1)
        buffer: Any = PortBuffer(config, depth=256, count_bits=14)
        pins = SdrPins(config, power_up_us=max(1, round(self.sheet.power_us)))
        memory = SdramPins(self.sheet, tck_ps=config.timing.tck_ps)
        blocks: dict[str, Block] = {
            "controller": controller,
            "calibrator": calibrator,
            "streams": streams,
            "buffer": buffer,
            "pins": pins,
            "memory": memory,
        }
        top: Any = buffer.port
        if self.ecc:
            ecc: Any = InlineEcc(self.inline)
            blocks["ecc"] = ecc
            top = ecc.user
            _join(m, ecc.memory, buffer.port)
        for name, block in blocks.items():
            m.submodules[name] = place(block, platform)
        connect(m, buffer.run, streams.user0)
        ready, started = calibrator.done, Signal()
        m.d.sync += started.eq(controller.ready)
        m.d.comb += [
            calibrator.start.eq(controller.ready & ~started),
            controller.run_valid.eq(Mux(ready, streams.run_valid, calibrator.run_valid)),
            calibrator.run_ready.eq(controller.run_ready[0]),
            streams.run_ready.eq(Mux(ready, controller.run_ready, 0)),
            *(
                controller.run[n].eq(Mux(ready, streams.run[n], calibrator.run))
                for n in range(config.streams)
            ),
            controller.mode.eq(2),
            controller.debt_bound.eq(config.debt),
            controller.latency.eq(calibrator.latency),
            controller.write0.eq(Mux(ready, streams.write0, calibrator.write0)),
            *(getattr(streams, n).eq(getattr(controller, n)) for n in ("fetch0", "done0")),
            streams.response0.eq(controller.response0),
            streams.response0.valid.eq(controller.response0.valid & ready),
            streams.fetch0.valid.eq(controller.fetch0.valid & ready),
            streams.done0.valid.eq(controller.done0.valid & ready),
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
            memory.far.eq(1),
            pins.dq_i.eq(memory.dq_o),
        ]
        if config.organisation.mask:
            m.d.comb += memory.dqm.eq(pins.dqm)
        for name in ("request", "write"):
            port = getattr(top, name)
            m.d.comb += [
                port.valid.eq(getattr(this, f"{name}__valid")),
                port.payload.eq(getattr(this, f"{name}__payload")),
                getattr(this, f"{name}__ready").eq(port.ready),
            ]
        refreshes = Signal(32)
        m.d.sync += refreshes.eq(memory.refreshes)
        m.d.comb += [
            top.read.ready.eq(1),
            this.read__valid.eq(top.read.valid),
            this.read__payload.eq(top.read.payload),
            this.done__valid.eq(top.done),
            this.moved__valid.eq(memory.refreshes != refreshes),
            this.moved__payload.eq(memory.words | (memory.violations << 32)),
        ]
        return m


def _join(m: Module, asks: Any, answers: Any) -> None:
    for name in ("request", "write"):
        mine, other = getattr(asks, name), getattr(answers, name)
        m.d.comb += [
            other.valid.eq(mine.valid),
            other.payload.eq(mine.payload),
            mine.ready.eq(other.ready),
        ]
    m.d.comb += [
        asks.read.valid.eq(answers.read.valid),
        asks.read.payload.eq(answers.read.payload),
        answers.read.ready.eq(asks.read.ready),
        asks.done.eq(answers.done),
    ]


def stack(
    config: ControllerConfig, sheet: DataSheet, folder: Path, *, ecc: bool
) -> tuple[SdrStack, Simulation]:
    top = SdrStack(config, sheet, ecc=ecc)
    verilog, name = sdram_verilog(top, "dut")
    inputs = [StreamPort(n, top.widths[n].size) for n in ("request", "write")]
    outputs = [
        StreamPort(n, bits, has_ready=False)
        for n, bits in (("read", top.widths["read"].size), ("done", 1), ("moved", 64))
    ]
    return top, build(verilog, name, inputs, outputs, folder)
