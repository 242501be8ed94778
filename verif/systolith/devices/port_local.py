"""A scratchpad behind a port of the memory system; for simulation."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.devices.port_store import Late, Store, manner_layout, touch_layout
from systolith.hierarchy import Block, place
from systolith.memory.ports import LocalPort

__all__ = ["PortLocal"]


class PortLocal(Block):
    """A scratchpad: one access a clock at best, answered after a while.

    Parameters
    ----------
    bytes, address_bits : int
        Of the port; the scratchpad has ``2 ** store_bits`` words, addresses above are counted.
    store_bits : int
        Size of the scratchpad.

    Members
    -------
    port : In(LocalPort)
        The port.
    manner, noise, forget, touch_valid, touch, shown, marked, beyond
        As those of :class:`PortMemory`.
    refuse_from, refuse_to : In
        Words that are refused: the first one, and the first one that is not.
    """

    port: Any
    manner: data.View
    noise: Signal
    forget: Signal
    touch_valid: Signal
    touch: data.View
    shown: Signal
    marked: Signal
    beyond: Signal
    refuse_from: Signal
    refuse_to: Signal

    def __init__(self, *, bytes: int, address_bits: int, store_bits: int) -> None:
        self.store_bits = store_bits
        self.layouts = LocalPort(bytes=bytes, address_bits=address_bits)
        super().__init__(
            {
                "port": In(self.layouts),
                "manner": In(manner_layout()),
                "noise": In(64),
                "forget": In(1),
                "touch_valid": In(1),
                "touch": In(touch_layout(store_bits, 8 * bytes)),
                "shown": Out(8 * bytes),
                "marked": Out(1),
                "beyond": Out(1),
                "refuse_from": In(store_bits + 1),
                "refuse_to": In(store_bits + 1),
            }
        )

    @property
    def module_name(self) -> str:
        return "port_local"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layouts, port, manner = self.layouts, self.port, self.manner
        store = Store(address_bits=self.store_bits, bytes=layouts.bytes)
        bits = 8 * layouts.bytes
        answers = Late(bits + 2)
        m.submodules.store = place(store, platform)
        m.submodules.answers = place(answers, platform)
        request, response = port.request, port.response
        chance = [self.noise[8 * n : 8 * n + 3] >= manner.pauses for n in range(2)]
        takes, refused = Signal(), Signal()
        garbage = Signal(64)
        touch: Any = self.touch
        m.d.comb += [
            garbage.eq(self.noise * 0x9E3779B97F4A7C15),
            request.ready.eq(answers.space & chance[0] & ~manner.no_request),
            takes.eq(request.valid & request.ready),
            refused.eq(
                (request.p.address >= self.refuse_from) & (request.p.address < self.refuse_to)
            ),
            self.beyond.eq(takes & (request.p.address >> self.store_bits).any()),
            store.address.eq(Mux(self.touch_valid, touch.address, request.p.address)),
            store.data.eq(Mux(self.touch_valid, touch.data, request.p.data)),
            store.poison.eq(Mux(self.touch_valid, touch.poison, request.p.poison)),
            store.mask.eq(
                Mux(
                    self.touch_valid,
                    touch.write.replicate(layouts.bytes),
                    Mux(takes & request.p.write & ~refused, request.p.mask, 0),
                )
            ),
            self.shown.eq(store.word),
            self.marked.eq(store.marked),
            answers.put.eq(takes),
            answers.entry.eq(Cat(store.word, store.marked & ~request.p.write & ~refused, refused)),
            answers.late.eq(manner.latency + Mux(manner.jitter, self.noise[40:43], 0)),
            answers.forget.eq(self.forget),
            response.valid.eq(answers.due & chance[1] & ~manner.no_answer),
            response.data.eq(
                Mux(
                    response.valid & ~answers.head[bits + 1],
                    answers.head[:bits],
                    garbage.replicate(9)[:bits],
                )
            ),
            response.error.eq(Mux(response.valid, answers.head[bits], self.noise[50])),
            response.refused.eq(Mux(response.valid, answers.head[bits + 1], self.noise[51])),
            answers.take.eq(response.valid),
        ]
        return m
