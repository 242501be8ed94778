"""Activation banks of one band, read by marching addresses."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.decoders import decoded
from systolith.array.delay import delayed
from systolith.array.layouts import act_word, lane, lane_row, row_command
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.element import ElementDecode

__all__ = ["Feeder"]


class Feeder(Block):
    """One bank per row tile; the command reaches the next bank ``T`` cycles later.

    Inside a tile, lane ``k`` waits ``k`` cycles in registers, decoded. Lanes from ``rows`` on and
    idle cycles feed zeros, so that stale weights and stale memory never count; ``swap`` enters
    every row whether used or not.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    command : In(row_command)
        One activation of every row in each valid cycle.
    x : Out(lane_row)
        Row ``k``, ``memory.latency + k`` cycles after its command.
    fuse, reach : Out(1), Out
        Of the command, with row 0.
    w_en : In(row_tiles)
        Write ``w_data`` at ``w_addr`` into these banks.
    w_addr, w_data : In
        Shared write port.
    """

    command: data.View
    x: data.View
    fuse: Signal
    reach: Signal
    w_en: Signal
    w_addr: Signal
    w_data: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        layout = row_command(config)
        super().__init__(
            {
                "command": In(layout),
                "x": Out(lane_row(config.array, config.array.band_rows)),
                "fuse": Out(1),
                "reach": Out(layout["reach"].shape),
                "w_en": In(config.array.row_tiles),
                "w_addr": In(config.x_width),
                "w_data": In(act_word(config.array)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, latency = self.config.array, self.config.memory.latency
        size = array.tile

        command = self.command
        for u in range(array.row_tiles):
            bank = Sram(
                depth=self.config.memory.x_depth,
                width=size * array.x_bits,
                latency=latency,
            )
            m.submodules[f"bank_{u}"] = place(bank, platform)
            m.d.comb += [
                bank.r_addr.eq(command.addr),
                bank.w_en.eq(self.w_en[u]),
                bank.w_addr.eq(self.w_addr),
                bank.w_data.eq(self.w_data),
            ]
            late = delayed(m, command, latency, f"read_{u}")
            if u == 0:
                m.d.comb += [
                    self.fuse.eq(late.valid & late.fuse),
                    self.reach.eq(Mux(late.valid, late.reach, 0)),
                ]
            word = data.View(act_word(array), bank.r_data)
            for k in range(size):
                head = Signal(lane(array), name=f"lane_{u * size + k}")
                used = late.valid & (late.rows > u * size + k)
                m.d.comb += head.swap.eq(late.swap)
                if array.mac:
                    decode = ElementDecode(array.mac.x)
                    m.submodules[f"decode_{u}_{k}"] = place(decode, platform)
                    m.d.comb += decode.used.eq(used)
                    decoded(m, decode, word[k], late, head.x)
                else:
                    m.d.comb += head.x.eq(Mux(used, word[k], 0))
                m.d.comb += self.x[u * size + k].eq(delayed(m, head, k, f"skew_{u}_{k}"))
            command = delayed(m, command, size, f"march_{u}")
        return m
