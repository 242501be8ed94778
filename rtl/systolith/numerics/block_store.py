"""Holds the elements of a block back until all of them have been seen."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram

__all__ = ["BlockStore", "store_latency"]

_READ = 2  # cycles of a memory with an output register


def store_latency(block: int, lag: int) -> int:
    """Return the cycles that the last element of a block spends in a store.

    The first one of a full block is read in the cycle after the block's note is written.
    """
    return block + lag + _READ


class BlockStore(Block):
    """Delays blocks: the last element by :attr:`latency` cycles, the others to just before it.

    ::

        elements   a . b . . c d e . . . . . . . . .      blocks abc and de
        leaving    . . . . . . . . . . . a b c . d e
                             |------ latency ----|   of e

    Elements come in any cycle, and a block leaves without gaps; so without gaps among its elements
    all of them are delayed by the same time, however short the block. Nobody ever waits: elements
    of closed blocks leave one per cycle, and there are fewer than twice a block inside.

    What is known only after a block's last element, its note, joins its elements on the way out.

    Parameters
    ----------
    block : int
        Elements of a full block, a power of two; the next one starts a new block by itself.
    width, note_width : int
        Bits of an element, bits of a note.
    lag : int
        Cycles from the last element of a block to its note, in 1..block / 2.

    Members
    -------
    valid : In(1), element : In(width)
        An element.
    last : In(1)
        With ``valid``: the block ends here. A full one ends by itself.
    first, closes : Out(1)
        In the same cycle: this would be the first element of a block; it is the last one.
    note : In(note_width)
        ``lag`` cycles after ``closes``.
    leaves, ends : Out(1)
        An element leaves; it is the last one of its block.
    leaving, leaving_note : Out
        With ``leaves``, from memories: the element, and the note of its block.
    """

    valid: Signal
    element: Signal
    last: Signal
    first: Signal
    closes: Signal
    note: Signal
    leaves: Signal
    ends: Signal
    leaving: Signal
    leaving_note: Signal

    def __init__(self, *, block: int, width: int, note_width: int, lag: int) -> None:
        if block < 2 or block & block - 1:
            raise ValueError(f"BlockStore.block must be a power of two above 1, not {block!r}")
        if not 1 <= lag <= block // 2:
            raise ValueError(f"BlockStore.lag must be in 1..{block // 2}, not {lag!r}")
        self.block = block
        self.width = width
        self.note_width = note_width
        self.lag = lag
        self.latency = store_latency(block, lag)
        super().__init__(
            {
                "valid": In(1),
                "element": In(width),
                "last": In(1),
                "first": Out(1),
                "closes": Out(1),
                "note": In(note_width),
                "leaves": Out(1),
                "ends": Out(1),
                "leaving": Out(width),
                "leaving_note": Out(note_width),
            }
        )

    @property
    def module_name(self) -> str:
        return f"block_store_{self.block}x{self.width}_{self.note_width}_l{self.lag}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        block, room = self.block, 2 * self.block
        elements = Sram(depth=room, width=self.width, latency=_READ)
        notes = Sram(depth=room, width=self.note_width, latency=_READ)
        m.submodules.elements = place(elements, platform)
        m.submodules.notes = place(notes, platform)

        # In: elements fill the memory in order, whatever block they belong to.
        count = Signal(range(block))
        element_in, element_out = Signal(range(room)), Signal(range(room))
        m.d.comb += [
            self.first.eq(count == 0),
            self.closes.eq(self.valid & (self.last | count.all())),
            elements.w_en.eq(self.valid),
            elements.w_addr.eq(element_in),
            elements.w_data.eq(self.element),
        ]
        m.d.sync += element_in.eq(element_in + self.valid)
        with m.If(self.closes):
            m.d.sync += count.eq(0)
        with m.Else():
            m.d.sync += count.eq(count + self.valid)

        # When: bit k says that an element is read in k cycles. A block's elements are set at once,
        # in the last places of as many as it has; they cannot meet those of the block before.
        due = Signal(block + self.lag)
        ending = Signal(len(due))
        has = Cat(count >= block - 1 - at for at in range(block))
        fresh = Cat(Const(0, self.lag), has & self.closes.replicate(block))
        m.d.sync += [
            due.eq(Cat(due[1:], Const(0, 1)) | fresh),
            ending.eq(Cat(ending[1:], self.closes)),
        ]

        # Out: a block's note is read with each of its elements.
        note_in, note_out = Signal(range(room)), Signal(range(room))
        noted = ending[-self.lag]
        m.d.comb += [
            notes.w_en.eq(noted),
            notes.w_addr.eq(note_in),
            notes.w_data.eq(self.note),
            notes.r_addr.eq(note_out),
            elements.r_addr.eq(element_out),
            self.leaving.eq(elements.r_data),
            self.leaving_note.eq(notes.r_data),
        ]
        m.d.sync += [
            note_in.eq(note_in + noted),
            element_out.eq(element_out + due[0]),
            note_out.eq(note_out + ending[0]),
        ]
        leaves, ends = Signal(_READ), Signal(_READ)
        m.d.sync += [leaves.eq(Cat(due[0], leaves)), ends.eq(Cat(ending[0], ends))]
        m.d.comb += [self.leaves.eq(leaves[-1]), self.ends.eq(ends[-1])]
        return m
