"""AXI4 in front of two ports to memory: one for reads, one for writes."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from systolith.hierarchy import Block, place
from systolith.memory.axi.burst import piece_layout
from systolith.memory.axi.read_path import ReadPath
from systolith.memory.axi.signature import Axi4, AxiConfig, flat, pins
from systolith.memory.axi.skid import Relay, Skid
from systolith.memory.axi.write_path import WritePath, w_layout

__all__ = ["AxiFront"]

_AHEAD = 2
"""Relays of W, of two beats each, that are taken while their burst is planned: so that the bus is
not held up. Registers are faster than a ring in memory here."""


class AxiFront(Block):
    """AXI4 subordinate of a memory: INCR and WRAP, every size, narrow, unaligned.

    Reads and writes have a port each, so that a manager that does not take its read data holds up
    no writes. Answers are in order, whatever their IDs. A burst is answered in B once every read
    that is asked for from then on, by anyone, sees it.

    What is refused is told by :class:`~systolith.memory.axi.burst.Planner`, how beats are counted
    by :class:`~systolith.memory.axi.write_path.WritePath`. Exclusive accesses are carried out as
    normal ones and answered OKAY, which says that they were not exclusive. Beats of atoms that
    cannot be used are SLVERR.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    s_axi_awvalid, ...
        The bus, under its usual names.
    reads, writes : Out(MemoryPort)
        Ports to the memory.
    """

    reads: wiring.Signature
    writes: wiring.Signature

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        port = wiring.Signature(config.memory.members)
        super().__init__(
            {**flat("s_axi", Axi4(config)), "reads": Out(port), "writes": Out(port)},
        )

    @property
    def module_name(self) -> str:
        return "axi_front"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = pins(self, "s_axi", Axi4(self.config))
        reads, writes = ReadPath(self.config), WritePath(self.config)
        m.submodules.read_path = place(reads, platform)
        m.submodules.write_path = place(writes, platform)
        for path, port, channel in (
            (reads, self.reads, reads.ar),
            (writes, self.writes, writes.aw),
        ):
            prefix = "ar" if path is reads else "aw"
            # Else what the memory takes would reach to what the bus is offered.
            skid: Any = Skid(piece_layout(self.config))
            m.submodules[f"skid_{prefix}"] = place(skid, platform)
            connect(m, path.piece, skid.put)
            m.d.comb += [
                channel.valid.eq(getattr(bus, f"{prefix}valid")),
                getattr(bus, f"{prefix}ready").eq(channel.ready),
                *(
                    channel.payload[name].eq(getattr(bus, f"{prefix}{name}"))
                    for name in dict(self.config.address.members)
                ),
                port.request.valid.eq(skid.out.valid),
                skid.out.ready.eq(port.request.ready),
                port.request.payload.write.eq(path is writes),
                port.request.payload.atom.eq(skid.out.payload.atom),
                port.request.payload.count.eq(skid.out.payload.count),
            ]
        for prefix, source in (("b", writes.b), ("r", reads.r)):
            m.d.comb += [
                getattr(bus, f"{prefix}valid").eq(source.valid),
                source.ready.eq(getattr(bus, f"{prefix}ready")),
                *(
                    getattr(bus, f"{prefix}{name}").eq(source.payload[name])
                    for name in dict(source.payload.shape().members)
                ),
            ]
        ahead: list[Any] = [Relay(w_layout(self.config)) for _ in range(_AHEAD)]
        for n, stage in enumerate(ahead):
            m.submodules[f"ahead_{n}"] = place(stage, platform)
            connect(m, stage.out, ahead[n + 1].put if n + 1 < len(ahead) else writes.w)
        w = ahead[0].put
        m.d.comb += [
            w.valid.eq(bus.wvalid),
            bus.wready.eq(w.ready),
            *(w.payload[n].eq(getattr(bus, f"w{n}")) for n in ("data", "strb", "last")),
            writes.done.eq(self.writes.done),
            writes.refused.eq(self.writes.refused),
        ]
        relay: Any = Relay(self.config.memory.read_layout)
        m.submodules.relay_r = place(relay, platform)
        connect(m, flipped(self.reads.read), relay.put)
        connect(m, relay.out, reads.atom)
        skid = Skid(self.config.memory.write_layout)
        m.submodules.skid_w = place(skid, platform)
        connect(m, writes.atom, skid.put)
        connect(m, skid.out, flipped(self.writes.write))
        return m
