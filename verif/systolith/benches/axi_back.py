"""A controller with its memory behind ports for runs, for the benches of AXI and port buffers."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.array.packed import PackedStruct
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.parts import Part
from systolith.memory.streams import RunPort, Streams

__all__ = ["Behind", "told_layout"]


def told_layout() -> data.StructLayout:
    """What the memory has counted."""
    return PackedStruct({"violations": 32, "late": 32, "decayed": 32, "extra": 1, "ready": 1})


class Behind(Block):
    """Memory, controller and the block that joins the users.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller.
    users : int
        Ports.
    ref_groups : int
        See :class:`~systolith.devices.dram.DramDevice`.

    Members
    -------
    user0, ... : In(RunPort)
        Users.
    lose, extra : In(1)
        A beat of read data is dropped, or comes that nobody waits for.
    told : Out(told_layout)
        Counts.
    """

    lose: Signal
    extra: Signal
    told: data.View

    def __init__(self, config: ControllerConfig, users: int, *, ref_groups: int = 16) -> None:
        self.config, self.users, self.ref_groups = config, users, ref_groups
        super().__init__(
            {
                **{f"user{n}": In(RunPort(config)) for n in range(users)},
                "lose": In(1),
                "extra": In(1),
                "told": Out(told_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        controller: Any = Controller(config)
        streams: Any = Streams(config, self.users)
        device = DramDevice(
            part,
            slots=config.slots,
            ref_groups=self.ref_groups,
            debt=config.debt,
            check_bits=config.check_bits,
        )
        slots = CommandSlots(config)
        for name, block in (
            ("controller", controller),
            ("streams", streams),
            ("device", device),
            ("slots", slots),
        ):
            m.submodules[name] = place(block, platform)
        for n in range(self.users):
            connect(m, flipped(getattr(self, f"user{n}")), getattr(streams, f"user{n}"))
        mode = 2 if config.timing.generation == "sdr" else 1
        m.d.comb += [
            controller.run_valid.eq(streams.run_valid),
            streams.run_ready.eq(controller.run_ready),
            controller.run.eq(streams.run),
            controller.mode.eq(mode),
            controller.debt_bound.eq(config.debt),
            controller.latency.eq(device.latency),
            controller.row_offer.eq(slots.row),
            controller.long_offer.eq(slots.long),
            controller.column_offer.eq(slots.column),
            device.row.eq(controller.row),
            device.column.eq(controller.column),
            device.lose.eq(self.lose),
            device.extra.eq(self.extra),
        ]
        if config.codec:
            m.d.comb += controller.correct.eq(1)
        for p in range(config.ports):
            out, back = getattr(controller, f"data{p}"), getattr(controller, f"back{p}")
            m.d.comb += [
                *(
                    getattr(streams, f"{name}{p}").eq(getattr(controller, f"{name}{p}"))
                    for name in ("fetch", "response", "done")
                ),
                getattr(controller, f"write{p}").eq(getattr(streams, f"write{p}")),
                device.write[p].data.eq(out.data),
                back.valid.eq(device.read[p].valid),
                back.data.eq(device.read[p].data),
            ]
            if config.organisation.mask:
                m.d.comb += device.write[p].mask.eq(out.mask)
            if config.codec:
                m.d.comb += [
                    device.write[p].check.eq(out.check),
                    back.check.eq(device.read[p].check),
                ]
        extra = Signal()
        m.d.sync += extra.eq(extra | controller.extra)
        m.d.comb += [
            self.told.violations.eq(device.violations),
            self.told.late.eq(device.late),
            self.told.decayed.eq(device.decayed),
            self.told.extra.eq(extra),
            self.told.ready.eq(controller.ready),
        ]
        return m
