"""Accumulators of one column tile: exact read-modify-write, one result a lane and cycle."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.delay import taps
from systolith.array.layouts import psum_row, sum_command, total_layout, y_word
from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram

__all__ = ["Accumulator"]


class Accumulator(Block):
    """Adds the partial sums of ``T`` columns to stored sums, or overwrites them.

    Plain integers are summed here over all of K. Of block formats this is the exact sum of a block
    whose elements take several passes; stage B takes it from ``blocks`` when it is complete.

    ::

        command --> lane 0 --> lane 1 --> ... --> onward
                      |
                      v                  psum
        address --> memory --> stored --> (+) --> [sum] --> write
                                 ^         |
                                 +- forward +

    The lanes' partial sums arrive one cycle apart, and so does the command at each lane, which has
    a memory of its own. A word is read, added and written in ``memory.latency + sum_registers + 1``
    cycles; results that return sooner (:attr:`EngineConfig.forward_distances`) are taken from the
    recent sums instead of the memory. The host reads through the same ports in cycles without a
    command.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    command : In(sum_command)
        What happens to the lanes' results, ``memory.latency + 1`` cycles before lane 0's.
    onward : Out(sum_command)
        For the next column tile, ``T`` cycles later, with the columns of this tile taken off.
    psums : In(psum_row)
        Column ``j`` offered ``j`` cycles after column 0.
    r_addr : In
        Address of the host.
    busy : Out(1)
        There is a command in this cycle; the host's address is not taken.
    r_data : Out(y_word)
        Lane ``j``, ``memory.latency + 1 + j`` cycles after the address.
    block_en, block_addr, blocks : Out(tile), Out per lane, Out(total_layout) per lane
        With a stage B: a block's complete sum, when it is written here.
    """

    command: data.View
    onward: data.View
    psums: data.View
    r_addr: Signal
    busy: Signal
    r_data: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "command": In(sum_command(config)),
                "onward": Out(sum_command(config)),
                "psums": In(psum_row(config.array, config.array.tile)),
                "r_addr": In(config.y_width),
                "busy": Out(1),
                "r_data": Out(y_word(config)),
                **(_block_ports(config) if config.scaled else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size, latency = config.array.tile, config.memory.latency
        command = self.command
        address = Signal(config.y_width)
        m.d.comb += [
            self.busy.eq(command.valid),
            address.eq(Mux(command.valid, command.addr, self.r_addr)),
        ]

        # How far a forwarded result lies behind the one that needs it.
        reach = max(config.forward_distances, default=0)
        sums = latency + config.sum_registers  # cycles from reading to writing
        addrs = taps(m, address, size + max(sums, latency + reach), "addr", reset_less=True)
        adds = taps(m, command.valid & command.add, size + latency, "add", reset_less=True)
        cols = taps(m, command.cols, size, "cols", reset_less=True)
        valids = taps(m, command.valid, size + (latency + reach if reach else 0), "valid")
        layout = total_layout(config)
        if config.array.digits > 1:
            shifts = taps(m, command.shift, size + latency, "shift", reset_less=True)
        if config.scaled:
            finals = taps(m, command.valid & command.final, size + sums, "final")
        for j in range(size):
            memory = Sram(
                depth=config.memory.y_depth,
                width=layout.size,
                latency=latency,
                clears=latency > 1,
            )
            m.submodules[f"memory_{j}"] = place(memory, platform)
            at = j + 1  # the lane's own cycle of the command
            adding = at + latency
            writes = taps(m, command.valid & (command.cols > j), at + sums, f"write_{j}")
            stored: Value = memory.r_data
            # Results that overwrite are added to zero where the memory's output register can be
            # cleared; elsewhere the adder's table chooses.
            if memory.clears:
                m.d.comb += memory.r_clear.eq(valids[at] & ~adds[at])
            total = Signal(layout.size, name=f"total_{j}")
            recent = taps(m, total, max(reach, config.sum_registers), f"sum_{j}", reset_less=True)
            for distance in reversed(config.forward_distances):  # the most recent one wins
                hit = Signal(name=f"forward_{distance}_{j}")
                m.d.comb += hit.eq(
                    valids[adding + distance]
                    & adds[adding]
                    & (addrs[adding + distance] == addrs[adding])
                )
                stored = Mux(hit, recent[distance], stored)
            part: Value = self.psums[j]
            flags: Value = Cat()
            if config.array.mac:
                part, flags = self.psums[j].sum, self.psums[j].as_value()[config.array.psum_width :]
            if config.array.digits > 1:
                part = part << (shifts[adding] << 3)
            width = config.sum_width
            kept = stored[:width].as_signed()
            if memory.clears:
                sums_up, marks = kept + part, stored[width:] | flags
            else:
                sums_up = Mux(adds[adding], kept + part, part)
                marks = Mux(adds[adding], stored[width:], 0) | flags
            m.d.comb += [
                total.eq(Cat(sums_up[:width], marks[: layout.size - width])),
                memory.r_addr.eq(addrs[at]),
                memory.w_en.eq(writes[-1]),
                memory.w_addr.eq(addrs[at + sums]),
                memory.w_data.eq(recent[config.sum_registers]),
                self.r_data[j].eq(memory.r_data[:width].as_signed()),
            ]
            if config.scaled:
                m.d.comb += [
                    self.block_en[j].eq(finals[at + sums]),
                    self.block_addr[j].eq(addrs[at + sums]),
                    self.blocks[j].eq(recent[config.sum_registers]),
                ]
        m.d.comb += [
            self.onward.valid.eq(valids[size]),
            self.onward.add.eq(adds[size]),
            self.onward.addr.eq(addrs[size]),
            self.onward.cols.eq(Mux(cols[size] > size, cols[size] - size, 0)),
        ]
        if config.array.digits > 1:
            m.d.comb += self.onward.shift.eq(shifts[size])
        if config.scaled:
            m.d.comb += self.onward.final.eq(finals[size])
        return m


def _block_ports(config: EngineConfig) -> dict[str, Any]:
    size = config.array.tile
    return {
        "block_en": Out(size),
        "block_addr": Out(PackedArray(config.y_width, size)),
        "blocks": Out(PackedArray(total_layout(config), size)),
    }
