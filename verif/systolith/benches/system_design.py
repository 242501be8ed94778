"""A memory controller as a product with its memory, for cocotb at its buses."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.benches.axi_back import told_layout
from systolith.benches.player_layouts import flip_of
from systolith.devices.axi_checker import RULES, AxiChecker
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.devices.parity_link import ParityLink, Unknown
from systolith.devices.sdram_pins import DataSheet, SdramPins
from systolith.hierarchy import Block, place
from systolith.memory.axi.signature import Axi4, flat
from systolith.memory.hbm.parts import Part
from systolith.memory.system.config import MemorySystemConfig
from systolith.memory.system.system import MemorySystem

__all__ = ["SystemDesign"]


class SystemDesign(Block):
    """The product, its memory behind the boundary or at the pins, and a checker of the bus.

    Parameters
    ----------
    config : MemorySystemConfig
        Of the product.
    sheet : DataSheet or None
        SDR: the part.

    Members
    -------
    s_axi_awvalid, ..., s_axil_awvalid, ..., irq, port0, ...
        Of the product.
    flip, lose : In
        HBM: see :class:`~systolith.devices.dram.DramDevice`.
    strike : In(1)
        HBM with alerts: bad parity, of each kind and on each bus in turn, see
        :class:`~systolith.devices.parity_link.ParityLink`.
    far : In(1)
        SDR: read data is one clock late.
    wrong, told : Out
        Rules of the bus that were broken; counts of the memory, ``ready`` if requests are carried
        out.
    """

    lose: Signal
    strike: Signal
    far: Signal
    wrong: Signal
    told: data.View

    def __init__(self, config: MemorySystemConfig, sheet: DataSheet | None = None) -> None:
        self.config, self.sheet = config, sheet
        self.system: Any = MemorySystem(config)
        outside = {
            name: member
            for name, member in self.system.signature.members.items()
            if name.startswith(("s_axi", "irq", "port"))
        }
        faults: dict[str, wiring.Member] = {"far": In(1)}
        if not config.sdr:
            faults = {"lose": In(1), "flip": In(flip_of(config.controller))}
        if config.controller.alert:
            faults["strike"] = In(1)
        super().__init__(
            {**outside, **faults, "wrong": Out(len(RULES)), "told": Out(told_layout())}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        checker: Any = AxiChecker(self.config.axi)
        m.submodules.system = place(system, platform)
        m.submodules.checker = place(checker, platform)
        bus = flat("s_axi", Axi4(self.config.axi))
        for name, member in system.signature.members.items():
            if name.startswith("port"):
                connect(m, flipped(getattr(self, name)), getattr(system, name))
            elif name.startswith(("s_axi", "irq")):
                mine, inner = getattr(self, name), getattr(system, name)
                m.d.comb += inner.eq(mine) if member.flow == In else mine.eq(inner)
                if name in bus:
                    m.d.comb += getattr(checker, f"m{name[1:]}").eq(mine)
        m.d.comb += [self.wrong.eq(checker.wrong), self.told.ready.eq(system.up)]
        if self.sheet:
            self._pins(m, platform, self.sheet)
        else:
            self._boundary(m, platform)
        return m

    def _boundary(self, m: Module, platform: object) -> None:
        config, system = self.config.controller, self.system
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        device: Any = DramDevice(
            part,
            slots=config.slots,
            ref_groups=16,
            debt=config.debt,
            check_bits=config.check_bits,
        )
        slots = CommandSlots(config)
        m.submodules.device = place(device, platform)
        m.submodules.slots = place(slots, platform)
        m.d.comb += [
            system.row_offer.eq(slots.row),
            system.long_offer.eq(slots.long),
            system.column_offer.eq(slots.column),
            device.lose.eq(self.lose),
            device.flip.eq(self.flip),  # type: ignore[attr-defined]
            self.told.violations.eq(device.violations),
            self.told.late.eq(device.late),
            self.told.decayed.eq(device.decayed),
        ]
        if config.alert:
            self._link(m, platform, device)
        else:
            m.d.comb += [device.row.eq(system.row), device.column.eq(system.column)]
        for p in range(config.ports):
            out, back = getattr(system, f"data{p}"), getattr(system, f"back{p}")
            write, read = device.write[p], device.read[p]
            m.d.comb += [
                write.data.eq(out.data),
                back.valid.eq(read.valid),
                back.data.eq(read.data),
            ]
            if config.organisation.mask:
                m.d.comb += write.mask.eq(out.mask)
            if config.codec:
                m.d.comb += [write.check.eq(out.check), back.check.eq(read.check)]

    def _link(self, m: Module, platform: object, device: Any) -> None:
        strike: Signal = self.strike
        link: Any = ParityLink(self.config.controller)
        m.submodules.link = place(link, platform)
        kind, column = Signal(Unknown), Signal()
        with m.If(strike):
            m.d.sync += column.eq(~column)
            m.d.sync += kind.eq(Mux(kind == max(Unknown), 0, kind + 1))
        m.d.comb += [
            link.strike.eq(strike),
            link.kind.eq(kind),
            link.column_bus.eq(column),
            link.delay.eq(self.config.controller.alert),
            link.row.eq(self.system.row),
            link.column.eq(self.system.column),
            device.row.eq(link.row_done),
            device.column.eq(link.column_done),
            self.system.alert.eq(link.alert),
        ]

    def _pins(self, m: Module, platform: object, sheet: DataSheet) -> None:
        system = self.system
        memory: Any = SdramPins(sheet, tck_ps=self.config.controller.timing.tck_ps)
        m.submodules.memory = place(memory, platform)
        for name in ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dq_oe"):
            m.d.comb += getattr(memory, name).eq(getattr(system, name))
        m.d.comb += [
            memory.far.eq(self.far),
            memory.dqm.eq(system.dqm if hasattr(system, "dqm") else 0),
            memory.dq_i.eq(system.dq_o),
            system.dq_i.eq(memory.dq_o),
            self.told.violations.eq(memory.violations),
            self.told.late.eq(memory.late),
        ]
