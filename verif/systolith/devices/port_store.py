"""What a memory and a scratchpad behind the ports share: words, and answers that come late."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.sram import RegisterFile

__all__ = ["DEPTH", "Late", "Store", "manner_layout", "touch_layout"]

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


class Late(Block):
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
