"""Visits that a bank has before it: which row comes next, and how often it is accessed."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.sram import RegisterFile

__all__ = ["BankQueue"]


class BankQueue(Block):
    """Queue of visits to the rows of one bank, with the first and the last one in registers.

    A visit is a number of accesses by one stream to one row. One that continues the visit pushed
    before it is added to that, as long as that has less than a row of accesses left, so that the
    row stays open for both. Rows are opened in the order of the queue; because all banks are
    filled in one order, the first visit among all of them can always proceed.

    Nothing but the number of accesses that are left depends on an access in its cycle: the next
    visit takes the place of one that has ended a cycle later.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    push, visit : In(1), In(config.visit)
        Append a visit, only while ``space`` is set. ``left`` is at least 1, a row at most.
    same : In(1)
        It has owner and row of the visit that was pushed before.
    space : Out(1)
        A visit can be appended.
    valid, first : Out(1), Out(config.visit)
        The first visit, from the cycle after it was pushed onto an empty queue.
    final : Out(1)
        One access of it is left. That stays so until it is issued.
    access, ends : In(1), In(1)
        One access of the first visit is issued; the final one. Only while ``valid`` is set.
    """

    push: Signal
    visit: data.View
    same: Signal
    space: Signal
    valid: Signal
    first: data.View
    final: Signal
    access: Signal
    ends: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "push": In(1),
                "visit": In(config.visit),
                "same": In(1),
                "space": Out(1),
                "valid": Out(1),
                "first": Out(config.visit),
                "final": Out(1),
                "access": In(1),
                "ends": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        depth = config.visits
        m.submodules.middle = place(
            middle := RegisterFile(depth=depth, width=config.visit.size), platform
        )
        last_valid, last = Signal(), Signal(config.visit)
        count = Signal(bits_for(depth))
        head, tail = Signal(range(max(2, depth))), Signal(range(max(2, depth)))

        # What becomes of the new visit. A power of two of columns: a row is full by one bit.
        row = ceil_log2(config.organisation.columns)
        alone = ~last_valid & (count == 0)
        to_first, to_last = Signal(), Signal()
        adding, more = (
            Signal(),
            Signal.like(self.visit.left),
        )  # to the first, a cycle after its push
        m.d.comb += [
            to_first.eq(
                self.push
                & self.same
                & (alone & self.valid & ~self.final)
                & ~self.first.left[row:].any()
            ),
            to_last.eq(self.push & self.same & last_valid & ~last.left[row:].any()),
            self.space.eq(~last_valid | (count != depth)),
        ]
        at_once = self.push & alone & ~self.valid  # straight to the front
        new = self.push & ~to_first & ~to_last & ~at_once
        grown = Signal(config.visit)  # the last one, with what is added to it
        m.d.comb += [
            grown.eq(last),
            grown.left.eq(Mux(to_last, last.left + self.visit.left, last.left)),
        ]

        # First.
        from_middle = ~self.valid & (count != 0)
        from_last = ~self.valid & (count == 0) & last_valid
        oldest = data.View(config.visit, middle.r_data)
        with m.If(self.valid):
            one = Mux(self.access, self.first.left == 2, self.first.left == 1)
            swap = self.access & (self.first.left == 1) & (more == 1)
            m.d.sync += [
                self.first.left.eq(self.first.left + more - self.access),
                self.final.eq(Mux(adding, swap, one) & ~to_first),
            ]
        with m.Elif(from_middle):
            m.d.sync += [self.first.eq(oldest), self.final.eq(oldest.left == 1)]
        with m.Elif(from_last):
            m.d.sync += [self.first.eq(grown), self.final.eq((last.left == 1) & ~to_last)]
        with m.Else():
            m.d.sync += [self.first.eq(self.visit), self.final.eq(self.visit.left == 1)]
        m.d.sync += [
            adding.eq(to_first),
            more.eq(Mux(to_first, self.visit.left, 0)),
            self.valid.eq(Mux(self.valid, ~self.ends, from_middle | from_last | at_once)),
        ]

        # Last, and what stands between.
        spill = new & last_valid & ~from_last
        with m.If(new):
            m.d.sync += last.eq(self.visit)
        with m.Else():
            m.d.sync += last.left.eq(grown.left)
        m.d.sync += last_valid.eq(new | (last_valid & ~from_last))
        m.d.comb += [
            middle.w_en.eq(self.push),  # a free word, counted only if it is needed
            middle.w_addr.eq(tail),
            middle.w_data.eq(last),
            middle.r_addr.eq(head),
        ]
        m.d.sync += count.eq(count + spill - from_middle)
        for pointer, step in ((tail, spill), (head, from_middle)):
            after = pointer + 1
            if depth & (depth - 1) or depth == 1:
                after = Mux(pointer == depth - 1, 0, after)
            with m.If(step):
                m.d.sync += pointer.eq(after)
        return m
