"""A controller and its memory, played on run by run: what is written and read is told in full."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller, response_layout, write_layout
from systolith.memory.hbm.parts import Part

__all__ = ["MemoryPlayer", "control_layout", "play_run_layout", "status_layout", "written_layout"]


def control_layout(config: ControllerConfig) -> data.StructLayout:
    """Registers, and faults that strike once."""
    return PackedStruct(
        {
            "map": range(max(2, len(config.maps))),
            "mode": 2,
            "debt_bound": 4,
            "hotter": 2,
            "sleep": 1,
            "masked": 1,  # bytes of writes are left out at random
            "random_slots": 1,
            "lose": 1,
            "extra": 1,
        }
    )


def play_run_layout(config: ControllerConfig) -> data.StructLayout:
    """A run, and the stream it is for."""
    return PackedStruct({"stream": config.stream_bits, "run": config.run})


def written_layout(config: ControllerConfig) -> data.StructLayout:
    """An atom that is written."""
    return PackedStruct({"stream": config.stream_bits, "write": write_layout(config)})


def status_layout() -> data.StructLayout:
    """Counts of the memory, told whenever one of them changes."""
    return PackedStruct(
        {"violations": 32, "late": 32, "decayed": 32, "extra": 1, "asleep": 1, "ready": 1}
    )


class MemoryPlayer(Block):
    """Takes runs one after the other, and tells of every atom.

    Members
    -------
    control__valid, control__payload : In
        Sets the registers.
    run__valid, run__ready, run__payload : In, Out, In
        Runs, each accepted by its stream.
    written0__..., response0__..., done0__..., status__... : Out
        Atoms as they are fetched and as they come back, streams whose writes are done, counts.
    """

    def __init__(self, config: ControllerConfig, *, ref_groups: int = 16) -> None:
        self.config, self.ref_groups = config, ref_groups
        members = {
            "control__valid": In(1),
            "control__payload": In(control_layout(config)),
            "run__valid": In(1),
            "run__ready": Out(1),
            "run__payload": In(play_run_layout(config)),
            "status__valid": Out(1),
            "status__payload": Out(status_layout()),
        }
        for p in range(config.ports):
            for name, layout in (
                ("written", written_layout(config)),
                ("response", response_layout(config)),
                ("done", config.stream_bits),
            ):
                members |= {f"{name}{p}__valid": Out(1), f"{name}{p}__payload": Out(layout)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        controller: Any = Controller(config)
        device = DramDevice(part, slots=config.slots, ref_groups=self.ref_groups, debt=config.debt)
        slots = CommandSlots(config)
        for name, block in (("controller", controller), ("device", device), ("slots", slots)):
            m.submodules[name] = place(block, platform)
        this: Any = self
        control: Any = Signal(control_layout(config))
        with m.If(this.control__valid):
            m.d.sync += control.eq(this.control__payload)
            m.d.comb += [
                device.lose.eq(this.control__payload.lose),
                device.extra.eq(this.control__payload.extra),
            ]
        noise = Signal(32, init=0x5EED)
        m.d.sync += noise.eq(_noise(m, noise))

        columns = Signal(config.slots)  # of one cycle, always as far apart as accesses have to be
        apart = range(0, config.slots, config.timing["ccd_s"])
        even = sum(1 << s for s in apart) if config.slots > 1 else 1
        shift = noise[9] if config.slots > 1 else 0
        m.d.comb += columns.eq(noise[17 : 17 + config.slots] & (even << shift))

        stream = this.run__payload.stream
        m.d.comb += [
            controller.run_valid.eq(Mux(this.run__valid, 1 << stream, 0)),
            this.run__ready.eq(controller.run_ready.bit_select(stream, 1)),
            *(controller.run[n].eq(this.run__payload.run) for n in range(config.streams)),
            *(
                getattr(controller, name).eq(control[name])
                for name in ("map", "mode", "debt_bound", "hotter", "sleep")
            ),
            controller.latency.eq(device.latency),
            *(
                port.eq(Mux(control.random_slots, drawn, offered))
                for port, offered, drawn in (
                    (controller.row_offer, slots.row, noise[3 : 3 + config.slots]),
                    (controller.long_offer, slots.long, noise[3 : 3 + config.slots]),
                    (controller.column_offer, slots.column, columns),
                )
            ),
            device.row.eq(controller.row),
            device.column.eq(controller.column),
        ]
        for p in range(config.ports):
            self._port(m, p, controller, device, control, noise)

        status: Any = Signal(status_layout())
        m.d.comb += [
            status.violations.eq(device.violations),
            status.late.eq(device.late),
            status.decayed.eq(device.decayed),
            status.asleep.eq(controller.asleep),
            status.ready.eq(controller.ready),
        ]
        told: Any = Signal(status_layout())
        extra = Signal()
        m.d.sync += [told.eq(status), extra.eq(extra | controller.extra)]
        m.d.comb += status.extra.eq(extra)
        m.d.comb += [
            this.status__payload.eq(status),
            this.status__valid.eq(status.as_value() != told.as_value()),
        ]
        return m

    def _port(
        self, m: Module, p: int, controller: Any, device: DramDevice, control: Any, noise: Value
    ) -> None:
        config = self.config
        fetch, write = getattr(controller, f"fetch{p}"), getattr(controller, f"write{p}")
        out, back = getattr(controller, f"data{p}"), getattr(controller, f"back{p}")
        words = config.organisation.atom // 4
        fresh: Any = Signal(written_layout(config), name=f"fresh{p}")
        valid = Signal(name=f"fresh_valid{p}")
        m.d.sync += [
            valid.eq(fetch.valid),
            fresh.stream.eq(fetch.stream),
            fresh.write.data.eq(
                Cat(noise ^ ((0x9E3779B9 * (2 * k + p + 1)) % 2**32) for k in range(words))
            ),
            fresh.write.mask.eq(Mux(control.masked, noise * 0x5DEECE66D >> 7, -1)),
        ]
        m.d.comb += [
            write.eq(fresh.write),
            getattr(self, f"written{p}__valid").eq(valid),
            getattr(self, f"written{p}__payload").eq(fresh),
            device.write[p].data.eq(out.data),
            back.valid.eq(device.read[p].valid),
            back.data.eq(device.read[p].data),
        ]
        if config.organisation.mask:
            m.d.comb += device.write[p].mask.eq(out.mask)
        for name in ("response", "done"):
            told = getattr(controller, f"{name}{p}")
            payload = told if name == "response" else told.stream
            m.d.comb += [
                getattr(self, f"{name}{p}__valid").eq(told.valid),
                getattr(self, f"{name}{p}__payload").eq(payload),
            ]


def _noise(m: Module, state: Signal) -> Value:
    value: Value = state
    for step in (13, -17, 5):
        shifted = Signal(32, name=f"noise_{abs(step)}")
        m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
        value = shifted
    return value
