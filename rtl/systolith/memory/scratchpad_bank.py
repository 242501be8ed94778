"""One bank of a scratchpad: two halves, of which DMA and array have one each."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.delay import delayed
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.scratchpad_codec import WordDecoder
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.sram import Sram

__all__ = ["ScratchBank", "seen_layout"]


def seen_layout(config: ScratchpadConfig) -> data.StructLayout:
    """Of a word that was read: whether code words were ``corrected`` or ``lost``, and its place."""
    return PackedStruct({"corrected": 1, "lost": 1, "offset": config.offset_bits, "half": 1})


class ScratchBank(Block):
    """Two memories, each used by the port or by the array in a cycle, and a decoder for the array.

    Who may do what is decided before: of one half, ``op_read`` or ``op_write`` never comes with
    ``read``. Only with ``"1R1W"`` an ``op_write`` may, to another word.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    op_read, op_write : In(2)
        The port reads or writes this half, at ``op_offset``.
    op_lanes, op_offset, op_stored : In
        Code words that are written, place, stored form.
    raw : Out
        Of each half, what was read ``latency`` cycles ago.
    read, read_offset : In(2), In
        The array reads this half.
    word, error : Out
        It, corrected, ``latency + 1`` cycles later; ``error``: it is not to be used.
    seen : Out(seen_layout)
        With it, what was found.
    """

    op_read: Signal
    op_write: Signal
    op_lanes: Signal
    op_offset: Signal
    op_stored: Signal
    raw: data.View
    read: Signal
    read_offset: Signal
    word: Signal
    error: Signal
    seen: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        super().__init__(
            {
                "op_read": In(HALVES),
                "op_write": In(HALVES),
                "op_lanes": In(config.lanes),
                "op_offset": In(config.offset_bits),
                "op_stored": In(config.stored_bits),
                "raw": Out(PackedArray(config.stored_bits, HALVES)),
                "read": In(HALVES),
                "read_offset": In(config.offset_bits),
                "word": Out(8 * config.bytes),
                "error": Out(1),
                "seen": Out(seen_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"bank_{self.config.ident}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        single = config.ports == "1RW"
        for half in range(HALVES):
            memory = Sram(
                depth=config.depth,
                width=config.stored_bits,
                lanes=config.lanes,
                latency=config.latency,
            )
            m.submodules[f"half_{half}"] = place(memory, platform)
            address = Signal(config.offset_bits, name=f"address_{half}")
            m.d.comb += [
                address.eq(Mux(self.read[half], self.read_offset, self.op_offset)),
                memory.r_addr.eq(address),
                # One address where there is one port: an idle read of what is written is not used.
                memory.w_addr.eq(address if single else self.op_offset),
                memory.w_en.eq(Mux(self.op_write[half], self.op_lanes, 0)),
                memory.w_data.eq(self.op_stored),
                self.raw[half].eq(memory.r_data),
            ]

        asked = Signal(
            PackedStruct({"valid": 1, "half": 1, "offset": config.offset_bits}), name="asked"
        )
        m.d.comb += [
            asked.valid.eq(self.read.any()),
            asked.half.eq(self.read[1]),
            asked.offset.eq(self.read_offset),
        ]
        came = delayed(m, asked, config.latency, "asked")
        decoder = WordDecoder(config)
        m.submodules.decoder = place(decoder, platform)
        word = Signal(8 * config.bytes, reset_less=True)
        error = Signal(reset_less=True)
        seen = Signal(seen_layout(config))
        m.d.comb += decoder.stored.eq(Mux(came.half, self.raw[1], self.raw[0]))
        m.d.sync += [
            word.eq(decoder.data),
            error.eq(decoder.error.any()),
            seen.corrected.eq(came.valid & decoder.corrected.any()),
            seen.lost.eq(came.valid & decoder.lost.any()),
            seen.offset.eq(came.offset),
            seen.half.eq(came.half),
        ]
        m.d.comb += [self.word.eq(word), self.error.eq(error), self.seen.eq(seen)]
        return m
