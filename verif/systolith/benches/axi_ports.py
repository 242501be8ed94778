"""Port buffers on a controller with its memory, played on request by request."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect

from systolith.array.packed import PackedStruct
from systolith.benches.axi_back import Behind, told_layout
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.port_buffer import PortBuffer

__all__ = ["PortPlayer", "gates_layout"]

_WAITING = 512  # entries of the queues in front of each port


def gates_layout() -> data.StructLayout:
    """When requests, write data and read data may pass: 0 always, 1 at random, 3 never."""
    return PackedStruct({"request": 2, "write": 2, "read": 2, "lose": 1, "extra": 1})


class PortPlayer(Block):
    """Queues that are let go at random in front of each port; everything that happens is told.

    Without a valid payload the ports of the buffers show noise.

    Parameters
    ----------
    config, ports, depth, share
        Controller, number of buffers, their sizes.

    Members
    -------
    gates__valid, gates__payload : In
        Sets when things may pass.
    request0__..., write0__... : In
        Requests and write data, a queue each.
    taken0__..., read0__..., done0__..., told__... : Out
        Requests as the buffer takes them, read data, writes that are done, counts of the memory.
    """

    def __init__(
        self, config: ControllerConfig, ports: int, *, depth: int = 64, share: int = 2
    ) -> None:
        self.config, self.ports = config, ports
        self.buffers: list[Any] = [
            PortBuffer(config, depth=depth, share=share, count_bits=12) for _ in range(ports)
        ]
        port = self.buffers[0].port
        members: dict[str, Any] = {
            "gates__valid": In(1),
            "gates__payload": In(gates_layout()),
            "told__valid": Out(1),
            "told__payload": Out(told_layout()),
        }
        for n in range(ports):
            for name, layout in (
                ("request", port.request.payload.shape()),
                ("write", port.write.payload.shape()),
            ):
                members |= {f"{name}{n}__valid": In(1), f"{name}{n}__ready": Out(1)}
                members |= {f"{name}{n}__payload": In(layout)}
            for name, layout in (
                ("taken", port.request.payload.shape()),
                ("read", port.read.payload.shape()),
                ("done", 1),
            ):
                members |= {f"{name}{n}__valid": Out(1), f"{name}{n}__payload": Out(layout)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        this: Any = self
        behind: Any = Behind(self.config, self.ports)
        m.submodules.behind = place(behind, platform)
        gates: Any = Signal(gates_layout())
        with m.If(this.gates__valid):
            m.d.sync += gates.eq(this.gates__payload)
            m.d.comb += [
                behind.lose.eq(this.gates__payload.lose),
                behind.extra.eq(this.gates__payload.extra),
            ]
        told: Any = Signal(told_layout())
        m.d.sync += told.eq(behind.told)
        m.d.comb += [
            this.told__valid.eq(told.as_value() != behind.told.as_value()),
            this.told__payload.eq(behind.told),
        ]
        noise: Value = Signal(32, init=0xA51, name="noise")
        m.d.sync += noise.eq(_noise(m, noise))
        for n, buffer in enumerate(self.buffers):
            m.submodules[f"buffer_{n}"] = place(buffer, platform)
            connect(m, buffer.run, getattr(behind, f"user{n}"))
            port = buffer.port
            for k, name in enumerate(("request", "write")):
                target = getattr(port, name)
                queue = SyncFIFOBuffered(width=len(target.payload.as_value()), depth=_WAITING)
                m.submodules[f"{name}_{n}"] = queue
                go = _gate(m, gates[name], noise, 5 * n + 2 * k, target.valid & ~target.ready)
                valid = Signal(name=f"{name}_{n}_valid")
                m.d.comb += [
                    queue.w_en.eq(getattr(self, f"{name}{n}__valid")),
                    queue.w_data.eq(getattr(self, f"{name}{n}__payload")),
                    getattr(self, f"{name}{n}__ready").eq(queue.w_rdy),
                    valid.eq(queue.r_rdy & go),
                    target.valid.eq(valid),
                    target.payload.eq(
                        Mux(valid, queue.r_data, noise.replicate(len(queue.r_data) // 32 + 1))
                    ),
                    queue.r_en.eq(valid & target.ready),
                ]
            go = _gate(m, gates.read, noise, 5 * n + 9, Const(0))
            m.d.comb += [
                port.read.ready.eq(go),
                getattr(self, f"read{n}__valid").eq(port.read.valid & go),
                getattr(self, f"read{n}__payload").eq(port.read.payload),
                getattr(self, f"taken{n}__valid").eq(port.request.valid & port.request.ready),
                getattr(self, f"taken{n}__payload").eq(port.request.payload),
                getattr(self, f"done{n}__valid").eq(port.done),
            ]
        return m


def _gate(m: Module, mode: Value, noise: Value, bit: int, stays: Value) -> Signal:
    """Whether something may pass now; phases of some clocks in which it often or seldom may."""
    go, held = Signal(name=f"go_{bit}"), Signal(name=f"held_{bit}")
    phase = Signal(7, init=bit, name=f"phase_{bit}")
    m.d.sync += [phase.eq(phase + 1), held.eq(stays)]
    often = noise.bit_select(bit % 29, 1)
    drawn = Mux(phase[6], often & noise[(bit + 7) % 31] & noise[(bit + 13) % 31], 1)
    m.d.comb += go.eq(held | ((mode == 0) | ((mode == 1) & drawn)))
    return go


def _noise(m: Module, state: Value) -> Value:
    value = state
    for step in (13, -17, 5):
        shifted = Signal(32, name=f"noise_{abs(step)}")
        m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
        value = shifted
    return value
