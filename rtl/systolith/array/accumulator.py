"""Accumulator bank of one column tile: exact int32 read-modify-write, one word per cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.layouts import psum_row, y_command, y_word
from systolith.array.march import marched
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram

__all__ = ["Accumulator"]


class Accumulator(Block):
    """Adds the partial sums of ``T`` columns to stored results, or overwrites them.

    ::

        psums --> deskew ----------------+
                                         v
        command --> read address --> memory --> (+) --> [sum] --> write
                                         ^                |
                                         +---- forward ---+

    The lanes arrive one cycle apart and are aligned first. A word is read, added and written in
    ``memory.latency + sum_registers + 1`` cycles; results that return sooner
    (:attr:`EngineConfig.forward_distances`) are taken from the adder's recent sums instead of the
    memory. The host reads through the same port in cycles without a command.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    command : In(y_command)
        The word to update, ``memory.latency`` cycles before the last lane's partial sum.
    onward : Out(y_command)
        For the next column tile, ``T`` cycles later, with the columns of this tile taken off.
    psums : In(psum_row)
        Column ``j`` offered ``j`` cycles after column 0.
    done : Out(1)
        In the cycle in which the last result of a command is visible in the memory, unless the
        command goes on to the band on the right.
    done_slot : Out
        That command.
    r_addr : In
        Address of the host.
    busy : Out(1)
        The read port serves a command in this cycle; the host's address is not taken.
    r_data : Out(y_word)
        ``memory.latency`` cycles after the address.
    """

    command: data.View
    onward: data.View
    psums: data.View
    done: Signal
    done_slot: Signal
    r_addr: Signal
    busy: Signal
    r_data: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        layout = y_command(config)
        super().__init__(
            {
                "command": In(layout),
                "onward": Out(layout),
                "psums": In(psum_row(config.array, config.array.tile)),
                "done": Out(1),
                "done_slot": Out(layout["slot"].shape),
                "r_addr": In(config.y_width),
                "busy": Out(1),
                "r_data": Out(y_word(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size, latency = self.config.array.tile, self.config.memory.latency
        memory = Sram(
            depth=self.config.memory.y_depth,
            width=size * self.config.acc_width,
            lanes=size,
            latency=latency,
        )
        m.submodules.memory = place(memory, platform)
        m.d.comb += [
            self.busy.eq(self.command.valid),
            memory.r_addr.eq(Mux(self.command.valid, self.command.addr, self.r_addr)),
            self.r_data.eq(memory.r_data),
        ]

        registers = self.config.sum_registers
        adding = delayed(m, self.command, latency, "adding")
        writing = delayed(m, adding, registers, "writing")
        total = Signal(y_word(self.config))
        stored = self._stored(m, data.View(y_word(self.config), memory.r_data), adding, total)
        for j in range(size):
            psum = delayed(m, self.psums[j], size - 1 - j, f"deskew_{j}", reset_less=True)
            m.d.comb += total[j].eq(Mux(adding.add, stored[j], 0) + psum)
        m.d.comb += [
            memory.w_en.eq(Cat(writing.valid & (writing.cols > j) for j in range(size))),
            memory.w_addr.eq(writing.addr),
            memory.w_data.eq(delayed(m, total, registers, "sum", reset_less=True)),
        ]
        visible = delayed(m, writing, 1, "visible")
        m.d.comb += [
            self.done.eq(visible.valid & visible.last & (visible.reach == 0)),
            self.done_slot.eq(visible.slot),
        ]
        left = Mux(self.command.cols > size, self.command.cols - size, 0)
        trimmed = Signal.like(self.command)
        m.d.comb += [trimmed.eq(self.command), trimmed.cols.eq(left)]
        m.d.comb += self.onward.eq(marched(m, self.config, trimmed, size))
        return m

    def _stored(self, m: Module, read: data.View, adding: data.View, total: data.View) -> data.View:
        """Stored word as of now: a recent sum where the memory was read too early to hold it."""
        stored = read
        for distance in reversed(self.config.forward_distances):  # the most recent one wins
            past = delayed(m, adding, distance, f"past_{distance}")
            recent = delayed(m, total, distance, f"recent_{distance}", reset_less=True)
            hit = Signal(name=f"forward_{distance}")
            choice = Signal(y_word(self.config), name=f"stored_{distance}")
            m.d.comb += [
                hit.eq(past.valid & (past.addr == adding.addr)),
                choice.eq(Mux(hit, recent.as_value(), stored.as_value())),
            ]
            stored = choice
        return stored
