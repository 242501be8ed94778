"""Visits that a bank has before it: which row comes next, and how often it is accessed."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.sram import RegisterFile

__all__ = ["BankQueue"]


class BankQueue(Block):
    """Queue of visits to the rows of one bank, with the first and the last one in registers.

    A visit is a number of accesses by one stream to one row. One that continues the last visit,
    by the same stream to the same row, is added to it, so that the row stays open for both. Rows
    are opened in the order of the queue; because all banks are filled in one order, the first
    visit among all of them can always proceed.

    Parameters
    ----------
    config : ControllerConfig
        Sizes.

    Members
    -------
    push, visit : In(1), In(config.visit)
        Append a visit, only while ``space`` is set. ``left`` is at least 1.
    space : Out(1)
        A visit can be appended.
    valid, first : Out(1), Out(config.visit)
        The first visit, from the cycle after it was pushed onto an empty queue.
    final : Out(1)
        One access of it is left.
    access : In(1)
        One access of the first visit is issued; only while ``valid`` is set. The visit ends
        behind the one that finds ``final`` set.
    """

    push: Signal
    visit: data.View
    space: Signal
    valid: Signal
    first: data.View
    final: Signal
    access: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "push": In(1),
                "visit": In(config.visit),
                "space": Out(1),
                "valid": Out(1),
                "first": Out(config.visit),
                "final": Out(1),
                "access": In(1),
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

        # What becomes of the new visit.
        alone = ~last_valid & (count == 0)
        to_first, to_last = Signal(), Signal()
        sum_first = self.first.left + self.visit.left
        sum_last = last.left + self.visit.left
        ending = self.access & self.final
        m.d.comb += [
            self.final.eq(self.first.left == 1),
            to_first.eq(
                self.push
                & (alone & self.valid & ~ending & (sum_first <= config.most_left))
                & (self.first.owner == self.visit.owner)
                & (self.first.row == self.visit.row)
            ),
            to_last.eq(
                self.push
                & (last_valid & (sum_last <= config.most_left))
                & (last.owner == self.visit.owner)
                & (last.row == self.visit.row)
            ),
            self.space.eq(~last_valid | (count != depth)),
        ]
        gone = ~self.valid | ending
        at_once = self.push & alone & gone  # straight to the front
        new = self.push & ~to_first & ~to_last & ~at_once
        grown = Signal(config.visit)  # the last one, with what is added to it
        m.d.comb += [
            grown.eq(last),
            grown.left.eq(Mux(to_last, sum_last, last.left)),
        ]

        # First.
        from_middle = gone & (count != 0)
        from_last = gone & (count == 0) & last_valid
        oldest = data.View(config.visit, middle.r_data)
        with m.If(from_middle):
            m.d.sync += self.first.eq(oldest)
        with m.Elif(from_last):
            m.d.sync += self.first.eq(grown)
        with m.Elif(at_once):
            m.d.sync += self.first.eq(self.visit)
        with m.Else():
            left = Mux(to_first, sum_first, self.first.left)
            m.d.sync += self.first.left.eq(left - self.access)
        m.d.sync += self.valid.eq(from_middle | from_last | at_once | (self.valid & ~ending))

        # Last, and what stands between.
        spill = new & last_valid & ~from_last
        with m.If(new):
            m.d.sync += last.eq(self.visit)
        with m.Else():
            m.d.sync += last.eq(grown)
        m.d.sync += last_valid.eq(new | (last_valid & ~from_last))
        m.d.comb += [
            middle.w_en.eq(spill),
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
