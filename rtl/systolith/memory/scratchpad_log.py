"""What went wrong in a scratchpad: counts per bank, and the first and last places."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.scratchpad_bank import seen_layout
from systolith.memory.scratchpad_config import ScratchpadConfig
from systolith.memory.scratchpad_port import port_seen_layout

__all__ = ["ScratchLog", "noted_layout"]


def noted_layout(config: ScratchpadConfig) -> data.StructLayout:
    """A place, if there was one."""
    return PackedStruct({"valid": 1, "place": config.place})


class ScratchLog(Block):
    """Counts events, not words: a word that stays wrong is counted each time it is read.

    A read in which code words were corrected is one event, and one in which some were lost
    another. Poisoned words are not counted: who wrote them knew. Of several reads in one cycle
    the array's of the lowest bank is the one that is noted, and the port's the last of all.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    bank : In(array of seen_layout)
        Reads of the array.
    port : In(port_seen_layout)
        Reads of the port and the scrubber.
    clear : In(1)
        Forget everything; events of this cycle too.
    corrected, lost : Out(array of counter_bits)
        Events of each bank. They stop at their highest value.
    first_lost, last_corrected : Out(noted_layout)
        Places.
    """

    bank: data.View
    port: data.View
    clear: Signal
    corrected: data.View
    lost: data.View
    first_lost: data.View
    last_corrected: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        counts = PackedArray(config.counter_bits, config.banks)
        super().__init__(
            {
                "bank": In(PackedArray(seen_layout(config), config.banks)),
                "port": In(port_seen_layout(config)),
                "clear": In(1),
                "corrected": Out(counts),
                "lost": Out(counts),
                "first_lost": Out(noted_layout(config)),
                "last_corrected": Out(noted_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"log_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        top = (1 << config.counter_bits) - 1
        for name, noted, keeps in (
            ("corrected", self.last_corrected, False),
            ("lost", self.first_lost, True),
        ):
            now = Signal(noted_layout(config), name=f"{name}_now")
            m.d.comb += [now.valid.eq(self.port[name]), now.place.eq(self.port.place)]
            for bank in reversed(range(config.banks)):
                seen, counter = self.bank[bank], Signal(config.counter_bits, name=f"{name}_{bank}")
                with m.If(seen[name]):
                    m.d.comb += [
                        now.valid.eq(1),
                        now.place.bank.eq(bank),
                        now.place.half.eq(seen.half),
                        now.place.offset.eq(seen.offset),
                    ]
                mine = Signal(name=f"{name}_mine_{bank}")
                total = Signal(config.counter_bits + 1, name=f"{name}_total_{bank}")
                m.d.comb += [
                    mine.eq(self.port[name] & (self.port.place.bank == bank)),
                    total.eq(counter + mine + seen[name]),
                    getattr(self, name)[bank].eq(counter),
                ]
                m.d.sync += counter.eq(Mux(self.clear, 0, Mux(total > top, top, total)))
            kept = Signal(noted_layout(config), name=f"{name}_kept")
            m.d.comb += noted.eq(kept)
            with m.If(self.clear):
                m.d.sync += kept.eq(0)
            with m.Elif(now.valid & ~(kept.valid & keeps)):
                m.d.sync += kept.eq(now)
        return m
