"""AXI4 in front of a controller with its memory: the design that cocotb plays on."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, connect

from systolith.benches.axi_back import Behind, told_layout
from systolith.devices.axi_checker import RULES, AxiChecker
from systolith.hierarchy import Block, place
from systolith.memory.axi.front import AxiFront
from systolith.memory.axi.signature import Axi4, AxiConfig, flat
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.port_buffer import PortBuffer

__all__ = ["AxiDesign", "axi_config"]


def axi_config(config: ControllerConfig, **widths: int) -> AxiConfig:
    """AXI4 in front of this memory."""
    return AxiConfig(atom=config.organisation.atom, atom_bits=config.atom_bits, **widths)


class AxiDesign(Block):
    """Bus, front, a port buffer for each direction, controller, memory, and what watches them.

    Parameters
    ----------
    config, widths, depth
        Controller, bus, atoms of each buffer.

    Members
    -------
    s_axi_awvalid, ...
        The bus.
    lose : In(1)
        A beat of read data is dropped.
    wrong, told : Out
        Rules that were broken, see :data:`~systolith.devices.axi_checker.RULES`; counts of the
        memory.
    """

    lose: Signal
    wrong: Signal
    told: data.View

    def __init__(self, config: ControllerConfig, *, depth: int = 64, **widths: int) -> None:
        self.config, self.bus, self.depth = config, axi_config(config, **widths), depth
        super().__init__(
            {
                **flat("s_axi", Axi4(self.bus)),
                "lose": In(1),
                "wrong": Out(len(RULES)),
                "told": Out(told_layout()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        count_bits = self.bus.memory.count_bits
        front: Any = AxiFront(self.bus)
        behind: Any = Behind(self.config, 2)
        checker: Any = AxiChecker(self.bus)
        buffers: list[Any] = [
            PortBuffer(self.config, depth=self.depth, count_bits=count_bits) for _ in range(2)
        ]
        for name, block in (
            ("front", front),
            ("behind", behind),
            ("checker", checker),
            ("read_buffer", buffers[0]),
            ("write_buffer", buffers[1]),
        ):
            m.submodules[name] = place(block, platform)
        for n, (buffer, port) in enumerate(zip(buffers, (front.reads, front.writes), strict=True)):
            connect(m, port, buffer.port)
            connect(m, buffer.run, getattr(behind, f"user{n}"))
        for name, member in flat("s_axi", Axi4(self.bus)).items():
            mine, inner = getattr(self, name), getattr(front, name)
            m.d.comb += inner.eq(mine) if member.flow == In else mine.eq(inner)
            m.d.comb += getattr(checker, f"m{name[1:]}").eq(mine)
        undone, request = Signal(8), front.writes.request
        asked = request.valid & request.ready
        m.d.sync += undone.eq(undone + asked - front.writes.done)
        m.d.comb += [
            checker.undone.eq(undone != 0),
            behind.lose.eq(self.lose),
            self.wrong.eq(checker.wrong),
            self.told.eq(behind.told),
        ]
        return m
