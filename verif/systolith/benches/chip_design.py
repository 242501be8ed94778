"""A host's AXI port and a DMA engine on one memory and one scratchpad: the design for cocotb."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect
from amaranth.utils import bits_for

from systolith.array.packed import PackedArray, PackedStruct
from systolith.benches.axi_back import told_layout
from systolith.benches.chip_back import ChipBack
from systolith.benches.player_layouts import flip_of
from systolith.devices.axi_checker import RULES, AxiChecker
from systolith.hierarchy import Block, place
from systolith.memory.axi.front import AxiFront
from systolith.memory.axi.signature import PAGE_BITS, Axi4, AxiConfig, flat
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.descriptor import RECORD, list_layout, region_layout, retired_layout
from systolith.memory.dma.engine import DmaEngine
from systolith.memory.dma.requests import memory_port
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.local_join import LocalJoin
from systolith.memory.local_memory import LocalMemory
from systolith.memory.port_split import PortSplit
from systolith.memory.ports import LocalPort
from systolith.memory.scratchpad import Scratchpad
from systolith.memory.scratchpad_config import ScratchpadConfig

__all__ = ["FAULTS", "ChipDesign"]

FAULTS = ("stopped", "overflow", "stray", "crossed")
"""What must never be: see the engine; ``crossed``: a request lies in both memories."""

_WATCHDOG = 4000


class ChipDesign(Block):
    """AXI reaches the memory, and behind its last atom the words of the scratchpad.

        AXI4 -- AxiFront -- PortSplit -+- PortBuffer -- controller -- memory
                 (reads, writes)       +- LocalMemory -- LocalJoin -- scratchpad
        DmaEngine ----------------------- PortBuffer and LocalJoin

    The scratchpad is scrubbed. What the array would do is left out, but it can own halves.

    Parameters
    ----------
    controller, dma, scratchpad
        The parts. Their addresses are as wide as the engine's.
    data_bits : int
        Of AXI.
    depth, share : int
        See :class:`~systolith.memory.port_buffer.PortBuffer`.

    Members
    -------
    s_axi_awvalid, ...
        The bus.
    poison : In(1)
        What the bus writes is poison.
    descriptors, lists, retired, regions, list_region, most
        Of the engine.
    give, back, refusal : In(stream), In(stream), Out
        Of the scratchpad.
    flip : In(flip_of)
        See :class:`~systolith.devices.dram.DramDevice`.
    asked : Out
        ``valid, request``: what the engine asks the memory for.
    refused : Out(16)
        Words that the bus did not write.
    wrong, told, faults : Out
        Rules of the bus that were broken; counts of the memory; :data:`FAULTS` since the reset.
    """

    poison: Signal
    regions: data.View
    list_region: Signal
    most: Signal
    flip: data.View
    asked: data.View
    refused: Signal
    refusal: data.View
    wrong: Signal
    told: data.View
    faults: Signal

    def __init__(
        self,
        controller: ControllerConfig,
        dma: DmaConfig,
        scratchpad: ScratchpadConfig,
        *,
        data_bits: int = 256,
        depth: int = 64,
        share: int = 2,
    ) -> None:
        if dma.atom_bits != controller.atom_bits or dma.local_bits != scratchpad.address_bits:
            raise ValueError(
                f"dma must have atom_bits {controller.atom_bits} and local_bits "
                f"{scratchpad.address_bits}, not {dma.atom_bits} and {dma.local_bits}"
            )
        self.controller, self.dma, self.scratchpad = controller, dma, scratchpad
        self.sizes = {"depth": depth, "share": share}
        self.boundary = 1 << controller.atom_bits
        atoms = self.boundary + (1 << scratchpad.address_bits)
        self.bus = AxiConfig(
            data_bits=data_bits,
            atom=dma.atom,
            atom_bits=bits_for(atoms - 1),
            pages=atoms * dma.atom >> PAGE_BITS,
        )
        self.local = LocalPort(bytes=dma.atom, address_bits=dma.local_bits)
        token = stream.Signature(scratchpad.token)
        request = memory_port(dma).request_layout
        place_of = PackedStruct({"valid": 1, "code": 2, "place": scratchpad.place})
        super().__init__(
            {
                **flat("s_axi", Axi4(self.bus)),
                "poison": In(1),
                "descriptors": In(stream.Signature(RECORD)),
                "lists": In(stream.Signature(list_layout())),
                "retired": Out(stream.Signature(retired_layout(dma))),
                "regions": In(PackedArray(region_layout(dma), dma.regions)),
                "list_region": In(dma.index_bits),
                "most": In(dma.count_bits),
                "give": In(token),
                "back": In(token),
                "refusal": Out(place_of),
                "flip": In(flip_of(controller)),
                "asked": Out(PackedStruct({"valid": 1, "request": request})),
                "refused": Out(16),
                "wrong": Out(len(RULES)),
                "told": Out(told_layout()),
                "faults": Out(len(FAULTS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        front: Any = AxiFront(self.bus)
        checker: Any = AxiChecker(self.bus)
        dma: Any = DmaEngine(self.dma)
        counts = (self.bus.count_bits, self.bus.count_bits, self.dma.run_bits)
        back: Any = ChipBack(self.controller, counts, **self.sizes)
        join: Any = LocalJoin(self.local, number=3)
        scratchpad: Any = Scratchpad(self.scratchpad)
        for name, block in (
            ("front", front),
            ("checker", checker),
            ("dma", dma),
            ("back", back),
            ("join", join),
            ("scratchpad", scratchpad),
        ):
            m.submodules[name] = place(block, platform)
        for name, member in flat("s_axi", Axi4(self.bus)).items():
            mine, inner = getattr(self, name), getattr(front, name)
            m.d.comb += inner.eq(mine) if member.flow == In else mine.eq(inner)
            m.d.comb += getattr(checker, f"m{name[1:]}").eq(mine)
        connect(m, dma.memory, back.user2)
        connect(m, dma.local, join.user2)
        connect(m, join.local, scratchpad.port)
        crossed = self._host(m, platform, front, back, join)
        self._engine(m, dma)
        for name in ("give", "back"):
            mine, inner = getattr(self, name), getattr(scratchpad, name)
            m.d.comb += [
                inner.valid.eq(mine.valid),
                inner.payload.eq(mine.payload),
                mine.ready.eq(inner.ready),
            ]
        m.d.comb += [
            scratchpad.interval.eq(11),
            self.refusal.eq(scratchpad.refusal),
            back.flip.eq(self.flip),
            self.told.eq(back.told),
            self.wrong.eq(checker.wrong),
        ]
        now = (dma.stopped, dma.overflow, dma.stray, crossed)
        for n, fault in enumerate(now):
            m.d.sync += self.faults[n].eq(self.faults[n] | fault)
        return m

    def _host(self, m: Module, platform: object, front: Any, back: Any, join: Any) -> Signal:
        """Both directions of the bus to both memories; whether a request crossed over."""
        words, crossing, crossed = Signal(2), Signal(2), Signal()
        for n, port in enumerate((front.reads, front.writes)):
            split: Any = PortSplit(
                self.bus.memory,
                boundary=self.boundary,
                low_bits=self.controller.atom_bits,
                high_bits=self.local.address_bits,
            )
            words_of: Any = LocalMemory(self.local, count_bits=self.bus.count_bits)
            m.submodules[f"split_{n}"] = place(split, platform)
            m.submodules[f"words_{n}"] = place(words_of, platform)
            user = split.user
            m.d.comb += [
                user.request.valid.eq(port.request.valid),
                user.request.payload.eq(port.request.payload),
                port.request.ready.eq(user.request.ready),
                user.write.valid.eq(port.write.valid),
                user.write.payload.eq(port.write.payload),
                user.write.p.poison.eq(self.poison),
                port.write.ready.eq(user.write.ready),
                port.read.valid.eq(user.read.valid),
                port.read.payload.eq(user.read.payload),
                user.read.ready.eq(port.read.ready),
                port.done.eq(user.done),
                port.refused.eq(user.refused),
            ]
            connect(m, split.low, getattr(back, f"user{n}"))
            connect(m, split.high, words_of.user)
            connect(m, words_of.local, getattr(join, f"user{n}"))
            asked = user.request
            end = asked.p.atom + asked.p.count
            m.d.comb += [
                words[n].eq(words_of.refused),
                crossing[n].eq(
                    asked.valid & (asked.p.atom < self.boundary) & (end > self.boundary)
                ),
            ]
        m.d.comb += crossed.eq(crossing.any())
        m.d.sync += self.refused.eq(self.refused + words[0] + words[1])
        return crossed

    def _engine(self, m: Module, dma: Any) -> None:
        this: Any = self
        for sink, source in (
            (dma.descriptors, this.descriptors),
            (dma.lists, this.lists),
            (this.retired, dma.retired),
        ):
            m.d.comb += [
                sink.valid.eq(source.valid),
                sink.payload.eq(source.payload),
                source.ready.eq(sink.ready),
            ]
        request = dma.memory.request
        m.d.comb += [
            dma.regions.eq(self.regions),
            dma.list_region.eq(self.list_region),
            dma.most.eq(self.most),
            dma.watchdog.eq(_WATCHDOG),
            self.asked.valid.eq(request.valid & request.ready),
            self.asked.request.eq(request.payload),
        ]
