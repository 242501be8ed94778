"""Turns a command into steps, one a cycle, at the first lane group of a sub-array."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig

__all__ = ["ScratchHead", "drain_bits", "step_layout"]


def step_layout(config: ScratchpadConfig) -> data.StructLayout:
    """One word of a lane group.

    ``turn``: lane group of the sub-array, modulo their number, whose banks hold it. The next lane
    group has the ``address`` one further on ``by_lane``, and ``turn`` further by ``stride``.
    """
    rotation = {"rotate": 1, "turn": config.turn_bits, "by_lane": 1, "stride": 2}
    return PackedStruct(
        {
            "valid": 1,
            "half": 1,
            "address": config.step_bits,
            **(rotation if config.rotation else {}),
        }
    )


def drain_bits(config: ScratchpadConfig) -> int:
    """Bits of the cycles from the first to the last lane group of a chain."""
    return bits_for((config.chain - 1) * config.spacing)


class ScratchHead(Block):
    """Commands are taken one after the other, without a cycle between them.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    start, command : In(1), In
        Carry this out, from the next cycle on; only while ``free``.
    free : Out(1)
        Idle, or in the last step.
    drain, most : In
        Cycles until a step is at the last lane group; the last one's number in the sub-array.
    step : Out(step_layout)
        At the first lane group.
    busy : Out(2)
        A step in this half is still to reach a bank.
    rotating : Out(1)
        The command under way, or the last one, reads rotated tiles.
    """

    start: Signal
    command: data.View
    free: Signal
    drain: Signal
    most: Signal
    step: data.View
    busy: Signal
    rotating: Signal

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(config.command),
                "free": Out(1),
                "drain": In(drain_bits(config)),
                "most": In(config.turn_bits),
                "step": Out(step_layout(config)),
                "busy": Out(HALVES),
                "rotating": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"head_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        command: Any = self.command
        left = Signal(config.count_bits)
        half, address = Signal(), Signal(config.step_bits)
        m.d.comb += [
            self.free.eq(left <= 1),
            self.step.valid.eq(left != 0),
            self.step.half.eq(half),
            self.step.address.eq(address),
        ]
        advance = self._rotated(m, command) if config.rotation else 1
        with m.If(self.start):
            m.d.sync += [left.eq(command.count), half.eq(command.half), address.eq(command.base)]
        with m.Elif(left != 0):
            m.d.sync += [left.eq(left - 1), address.eq(address + advance)]

        most = config.depth * config.most_pool + (config.chain - 1) * config.spacing
        total = Signal(bits_for(most))
        m.d.comb += total.eq(command.count + self.drain)
        for which in range(HALVES):
            until = Signal(bits_for(most), name=f"until_{which}")
            m.d.comb += self.busy[which].eq(until != 0)
            with m.If(self.start & (command.half == which)):
                m.d.sync += until.eq(total)
            with m.Elif(until != 0):
                m.d.sync += until.eq(until - 1)
        return m

    def _rotated(self, m: Module, command: Any) -> Signal:
        """Where a rotated tile has the words; returns by how much the address advances."""
        config = self.config
        odd = config.spacing % 2
        row, turned, rotate = Signal(config.turn_bits), Signal(), Signal()
        by_lane, wraps = Signal(), Signal()
        advance = Signal(config.step_bits + 1)
        k = 1 + odd
        m.d.comb += [
            self.rotating.eq(rotate),
            # Places are rows where neighbours are an even number of cycles apart, columns else.
            by_lane.eq(rotate & (turned ^ odd)),
            wraps.eq(row == self.most),
            advance.eq(Mux(by_lane, Mux(wraps, self.most + 1, 0), 1)),
            self.step.rotate.eq(rotate),
            self.step.by_lane.eq(by_lane),
            self.step.turn.eq(Mux(turned, row << odd, row)),
            self.step.stride.eq(Mux(turned, 1, k)),
        ]
        with m.If(self.start):
            m.d.sync += [row.eq(0), rotate.eq(command.rotate), turned.eq(command.turned)]
        with m.Else():
            m.d.sync += row.eq(Mux(wraps, 0, row + 1))
        return advance
