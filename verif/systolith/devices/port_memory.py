"""A memory behind a port of the memory system; for simulation."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.devices.port_store import Late, Store, manner_layout, touch_layout
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import MemoryPort

__all__ = ["PortMemory"]


class PortMemory(Block):
    """Large memory: requests one after the other, an atom a clock at best.

    What was announced stays announced: ``valid`` falls only with its ``ready``. Payloads are noise
    while they are not valid.

    Parameters
    ----------
    atom, atom_bits, count_bits : int
        Of the port; the memory has ``2 ** store_bits`` atoms, addresses above are counted.
    store_bits : int
        Size of the memory.

    Members
    -------
    port : In(MemoryPort)
        The port.
    manner, noise : In(manner_layout), In(64)
        Behaviour, and random bits.
    lose, extra : In(1)
        The next atom that is read is dropped; one is made up.
    forget : In(1)
        Requests and answers; the contents stay.
    touch_valid, touch, shown, marked : In(1), In(touch_layout), Out, Out
        Another way to the contents, while there are no requests; shown in the same clock.
    beyond : Out(1)
        A request is outside of the memory.
    """

    port: Any
    manner: data.View
    noise: Signal
    lose: Signal
    extra: Signal
    forget: Signal
    touch_valid: Signal
    touch: data.View
    shown: Signal
    marked: Signal
    beyond: Signal

    def __init__(self, *, atom: int, atom_bits: int, count_bits: int, store_bits: int) -> None:
        self.store_bits = store_bits
        self.layouts = MemoryPort(atom=atom, atom_bits=atom_bits, count_bits=count_bits)
        super().__init__(
            {
                "port": In(self.layouts),
                "manner": In(manner_layout()),
                "noise": In(64),
                "lose": In(1),
                "extra": In(1),
                "forget": In(1),
                "touch_valid": In(1),
                "touch": In(touch_layout(store_bits, 8 * atom)),
                "shown": Out(8 * atom),
                "marked": Out(1),
                "beyond": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "port_memory"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layouts, port, manner = self.layouts, self.port, self.manner
        store = Store(address_bits=self.store_bits, bytes=layouts.atom)
        requests = Fifo(depth=8, width=layouts.request_layout.size)
        read_bits = layouts.read_layout.size
        reads, dones = Late(read_bits), Late(1)
        for name, block in (
            ("store", store),
            ("requests", requests),
            ("reads", reads),
            ("dones", dones),
        ):
            m.submodules[name] = place(block, platform)
        chance = [self.noise[8 * n : 8 * n + 3] >= manner.pauses for n in range(5)]
        head: Any = data.View(layouts.request_layout, requests.head)
        before, last, step, at = (
            Signal(layouts.count_bits),
            Signal(),
            Signal(),
            Signal(layouts.atom_bits),
        )
        write, taking = Signal(), Signal()
        late = Signal(7)
        m.d.comb += [
            late.eq(manner.latency + Mux(manner.jitter, self.noise[40:43], 0)),
            port.request.ready.eq(requests.space & chance[0] & ~manner.no_request),
            requests.put.eq(port.request.valid & port.request.ready),
            requests.entry.eq(port.request.payload),
            requests.clear.eq(self.forget),
            write.eq(head.write),
            last.eq(before + 1 == head.count),
            at.eq(head.atom + before),
            port.write.ready.eq(
                requests.valid & write & dones.space & chance[1] & ~manner.no_write
            ),
            taking.eq(port.write.valid & port.write.ready),
            step.eq(requests.valid & Mux(write, taking, reads.space)),
            requests.take.eq(step & last),
            self.beyond.eq(step & (at >> self.store_bits).any()),
        ]
        with m.If(step):
            m.d.sync += before.eq(Mux(last, 0, before + 1))
        with m.If(self.forget):
            m.d.sync += before.eq(0)

        shown: Any = self.touch
        m.d.comb += [
            store.address.eq(Mux(self.touch_valid, shown.address, at)),
            store.data.eq(Mux(self.touch_valid, shown.data, port.write.p.data)),
            store.poison.eq(Mux(self.touch_valid, shown.poison, port.write.p.poison)),
            store.mask.eq(
                Mux(
                    self.touch_valid,
                    shown.write.replicate(layouts.atom),
                    Mux(taking, port.write.p.mask, 0),
                )
            ),
            self.shown.eq(store.word),
            self.marked.eq(store.marked),
        ]
        self._answers(m, reads, dones, store, last, step, write, late, chance)
        return m

    def _answers(
        self,
        m: Module,
        reads: Late,
        dones: Late,
        store: Store,
        last: Signal,
        step: Signal,
        write: Signal,
        late: Signal,
        chance: list[Value],
    ) -> None:
        port, manner = self.port, self.manner
        bits = self.layouts.read_layout.size
        offered, losing, adding = Signal(), Signal(), Signal()
        goes, drops, garbage = Signal(), Signal(), Signal(128)
        m.d.comb += [
            garbage.eq(Cat(self.noise, ~self.noise)),
            reads.put.eq(step & ~write),
            reads.entry.eq(Cat(store.word, store.marked, last)),
            reads.late.eq(late),
            reads.forget.eq(self.forget),
            goes.eq(reads.due & (offered | (chance[2] & ~manner.no_answer))),
            drops.eq(goes & losing & ~offered),
            port.read.valid.eq((goes & ~drops) | (adding & ~goes)),
            port.read.payload.eq(Mux(goes, reads.head, garbage.replicate(9)[:bits])),
            reads.take.eq((goes & port.read.ready) | drops),
            dones.put.eq(step & write & last),
            dones.late.eq(late),
            dones.forget.eq(self.forget),
            port.done.eq(dones.due & chance[3] & ~manner.no_done),
            dones.take.eq(port.done),
        ]
        m.d.sync += [
            offered.eq(goes & ~drops & ~port.read.ready & ~self.forget),
            losing.eq((losing & ~drops) | self.lose),
            adding.eq((adding & (goes | ~port.read.ready)) | self.extra),
        ]
