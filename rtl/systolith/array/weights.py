"""Weight banks of one band, read by marching addresses."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.decoders import decoded
from systolith.array.delay import delayed
from systolith.array.layouts import weight_bus, weight_command, weight_word
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.sram import Sram
from systolith.numerics.element import ElementDecode

__all__ = ["WeightBanks"]


class WeightBanks(Block):
    """One bank per column tile; the command reaches the next bank ``T`` cycles later.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    command : In(weight_command)
        One weight row in each valid cycle.
    onward : Out(weight_command)
        For the band to the right, ``c`` cycles later; valid only while ``reach`` is not zero.
    w, first : Out(weight_bus), Out(1) per column tile
        Weight port of the band, decoded, ``memory.latency`` cycles after the bank's command.
    start : Out(1)
        With the first weight row of a command on the port of column tile 0.
    w_en : In(col_tiles)
        Write ``w_data`` at ``w_addr`` into these banks.
    w_addr, w_data : In
        Shared write port.
    """

    command: data.View
    onward: data.View
    w: data.View
    first: Signal
    start: Signal
    w_en: Signal
    w_addr: Signal
    w_data: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        super().__init__(
            {
                "command": In(weight_command(config)),
                "onward": Out(weight_command(config)),
                "w": Out(PackedArray(weight_bus(array), array.col_tiles)),
                "first": Out(array.col_tiles),
                "start": Out(1),
                "w_en": In(array.col_tiles),
                "w_addr": In(config.w_width),
                "w_data": In(weight_word(array)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, memory = self.config.array, self.config.memory

        command = self.command
        for t in range(array.col_tiles):
            bank = Sram(
                depth=memory.w_depth, width=array.tile * array.w_bits, latency=memory.latency
            )
            m.submodules[f"bank_{t}"] = place(bank, platform)
            layout = weight_command(self.config)
            names = ("first", "start", *(n for n in ("form", "digit") if n in layout.members))
            fields = {name: layout[name].shape for name in names}
            tokens = Signal(PackedStruct(fields), name=f"tokens_{t}")
            m.d.comb += [
                bank.r_addr.eq(command.addr),
                bank.w_en.eq(self.w_en[t]),
                bank.w_addr.eq(self.w_addr),
                bank.w_data.eq(self.w_data),
                tokens.first.eq(command.valid & command.first),
                tokens.start.eq(command.valid & command.start),
            ]
            m.d.comb += (tokens[name].eq(command[name]) for name in names[2:])
            late = delayed(m, tokens, memory.latency, f"read_{t}")
            m.d.comb += self.first[t].eq(late.first)
            if array.mac:
                word = data.View(weight_word(array), bank.r_data)
                for k in range(array.tile):
                    decode = ElementDecode(array.mac.w)
                    m.submodules[f"decode_{t}_{k}"] = place(decode, platform)
                    decoded(m, decode, word[k], late, self.w[t][k])
            else:
                m.d.comb += self.w[t].eq(bank.r_data)
            if t == 0:
                m.d.comb += self.start.eq(late.start)
            command = delayed(m, command, array.tile, f"march_{t}")

        m.d.comb += [
            self.onward.eq(command),
            self.onward.valid.eq(command.valid & (command.reach != 0)),
            self.onward.start.eq(0),
            self.onward.reach.eq(Mux(command.reach == 0, 0, command.reach - 1)),
        ]
        return m
