"""A controller with its memory behind port buffers, whose beats can be flipped."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.benches.axi_back import told_layout
from systolith.benches.player_layouts import flip_of
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.parts import Part
from systolith.memory.port_buffer import PortBuffer
from systolith.memory.streams import Streams

__all__ = ["ChipBack"]


class ChipBack(Block):
    """Large memory for several users, a stream of the controller for each.

    The neighbour takes its share of the command slots, rows age quickly, errors are corrected.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller; as many streams as there are users, or more.
    counts : tuple of int
        Bits of the number of atoms of a request, for each user.
    depth, share : int
        See :class:`~systolith.memory.port_buffer.PortBuffer`.

    Members
    -------
    user0, ... : In(MemoryPort)
        Users.
    flip : In(flip_of)
        See :class:`~systolith.devices.dram.DramDevice`.
    told : Out(told_layout)
        Counts of the memory.
    """

    flip: data.View
    told: data.View

    def __init__(
        self,
        config: ControllerConfig,
        counts: tuple[int, ...],
        *,
        depth: int = 64,
        share: int = 2,
    ) -> None:
        self.config = config
        self.buffers: list[Any] = [
            PortBuffer(config, depth=depth, share=share, count_bits=bits) for bits in counts
        ]
        super().__init__(
            {
                **{f"user{n}": b.signature.members["port"] for n, b in enumerate(self.buffers)},
                "flip": In(flip_of(config)),
                "told": Out(told_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        controller: Any = Controller(config)
        streams: Any = Streams(config, len(self.buffers))
        device = DramDevice(
            part,
            slots=config.slots,
            ref_groups=16,
            debt=config.debt,
            check_bits=config.check_bits,
        )
        slots = CommandSlots(config)
        for name, block in (
            ("controller", controller),
            ("streams", streams),
            ("device", device),
            ("slots", slots),
            *((f"buffer_{n}", buffer) for n, buffer in enumerate(self.buffers)),
        ):
            m.submodules[name] = place(block, platform)
        for n, buffer in enumerate(self.buffers):
            connect(m, flipped(getattr(self, f"user{n}")), buffer.port)
            connect(m, buffer.run, getattr(streams, f"user{n}"))
        extra = Signal()
        m.d.sync += extra.eq(extra | controller.extra)
        m.d.comb += [
            controller.run_valid.eq(streams.run_valid),
            streams.run_ready.eq(controller.run_ready),
            controller.run.eq(streams.run),
            controller.mode.eq(1),
            controller.debt_bound.eq(config.debt),
            controller.latency.eq(device.latency),
            controller.row_offer.eq(slots.row),
            controller.long_offer.eq(slots.long),
            controller.column_offer.eq(slots.column),
            device.row.eq(controller.row),
            device.column.eq(controller.column),
            device.flip.eq(self.flip),
            self.told.violations.eq(device.violations),
            self.told.late.eq(device.late),
            self.told.decayed.eq(device.decayed),
            self.told.extra.eq(extra),
            self.told.ready.eq(controller.ready),
        ]
        if config.codec:
            m.d.comb += controller.correct.eq(1)
        for p in range(config.ports):
            self._port(m, p, controller, streams, device)
        return m

    def _port(self, m: Module, p: int, controller: Any, streams: Any, device: DramDevice) -> None:
        config = self.config
        out, back = getattr(controller, f"data{p}"), getattr(controller, f"back{p}")
        write, read = device.write[p], device.read[p]
        m.d.comb += [
            *(
                getattr(streams, f"{name}{p}").eq(getattr(controller, f"{name}{p}"))
                for name in ("fetch", "response", "done")
            ),
            getattr(controller, f"write{p}").eq(getattr(streams, f"write{p}")),
            write.data.eq(out.data),
            back.valid.eq(read.valid),
            back.data.eq(read.data),
        ]
        if config.organisation.mask:
            m.d.comb += write.mask.eq(out.mask)
        if config.codec:
            m.d.comb += [write.check.eq(out.check), back.check.eq(read.check)]
