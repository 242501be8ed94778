"""A memory and a scratchpad behind the ports of the memory system; for simulation."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ports import LocalPort, MemoryPort
from systolith.memory.sram import RegisterFile

__all__ = ["DEPTH", "PortLocal", "PortMemory", "Store", "manner_layout", "touch_layout"]

DEPTH = 64
"""Answers that can be on their way in either memory."""

_STAMP = 12  # bits of the clock that says when an answer is due


def manner_layout() -> data.StructLayout:
    """How a memory behaves.

    ``latency``: clocks from an access to its answer, 1 to 50; ``jitter``: up to 7 more at random;
    ``pauses``: in how many of 8 clocks nothing is accepted, and in how many nothing is answered.
    Held while it is set: ``no_request``, ``no_write``, ``no_answer``, ``no_done``.
    """
    return PackedStruct(
        {
            "latency": 6,
            "jitter": 1,
            "pauses": 3,
            "no_request": 1,
            "no_write": 1,
            "no_answer": 1,
            "no_done": 1,
        }
    )


def touch_layout(address_bits: int, bits: int) -> data.StructLayout:
    """Another way to a word: written with ``write``, else shown."""
    return PackedStruct({"write": 1, "address": address_bits, "data": bits, "poison": 1})


class Store(Block):
    """Words with a mark for poison; a masked write keeps the mark unless it writes.

    Parameters
    ----------
    address_bits, bytes : int
        Size.

    Members
    -------
    address, data, mask, poison : In
        One access a clock; no byte is written if ``mask`` is 0.
    word, marked : Out
        What is there before the access, in the same clock.
    """

    address: Signal
    data: Signal
    mask: Signal
    poison: Signal
    word: Signal
    marked: Signal

    def __init__(self, *, address_bits: int, bytes: int) -> None:
        self.address_bits, self.bytes = address_bits, bytes
        super().__init__(
            {
                "address": In(address_bits),
                "data": In(8 * bytes),
                "mask": In(bytes),
                "poison": In(1),
                "word": Out(8 * bytes),
                "marked": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"port_store_{self.address_bits}x{self.bytes}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = 8 * self.bytes
        words = RegisterFile(depth=1 << self.address_bits, width=bits + 1)
        m.submodules.words = place(words, platform)
        wide = Signal(bits)
        m.d.comb += [
            wide.eq(Cat(bit.replicate(8) for bit in self.mask)),
            words.r_addr.eq(self.address),
            words.w_addr.eq(self.address),
            words.w_en.eq(self.mask.any()),
            words.w_data.eq(Cat((self.word & ~wide) | (self.data & wide), self.poison)),
            self.word.eq(words.r_data[:bits]),
            self.marked.eq(words.r_data[bits]),
        ]
        return m


class _Late(Block):
    """Queue of answers, each with the clock in which it is due.

    Members
    -------
    put, entry, space, late : In(1), In(width), Out(1), In
        Append an answer that is due ``late`` clocks from now.
    due, head, take : Out(1), Out(width), In(1)
        The oldest one is due; drop it.
    forget : In(1)
        All of them.
    """

    put: Signal
    entry: Signal
    space: Signal
    late: Signal
    due: Signal
    head: Signal
    take: Signal
    forget: Signal

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(
            {
                "put": In(1),
                "entry": In(width),
                "space": Out(1),
                "late": In(7),
                "due": Out(1),
                "head": Out(width),
                "take": In(1),
                "forget": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"port_late_{self.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queue = Fifo(depth=DEPTH, width=self.width + _STAMP)
        m.submodules.queue = place(queue, platform)
        now, stamp, over = Signal(_STAMP), Signal(_STAMP), Signal(_STAMP)
        waited = Signal()  # it was due before: the clock may have gone round
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            stamp.eq(now + self.late),
            queue.put.eq(self.put),
            queue.entry.eq(Cat(self.entry, stamp)),
            self.space.eq(queue.space),
            over.eq(now - queue.head[self.width :]),
            self.due.eq(queue.valid & (waited | ~over[-1])),
            self.head.eq(queue.head[: self.width]),
            queue.take.eq(self.take),
            queue.clear.eq(self.forget),
        ]
        m.d.sync += waited.eq(self.due & ~self.take & ~self.forget)
        return m


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
        reads, dones = _Late(read_bits), _Late(1)
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
        reads: _Late,
        dones: _Late,
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
        answers = _Late(bits + 2)
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
