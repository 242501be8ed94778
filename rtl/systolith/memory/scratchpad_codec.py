"""Words of a scratchpad as they are stored: code words beside each other, or bytes with poison."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.ecc import EccDecoder, EccEncoder
from systolith.memory.scratchpad_config import ScratchpadConfig

__all__ = ["WordDecoder", "WordEncoder"]


class _Combinational(Block):
    """In the cycle of its inputs; no clock, no state."""

    kind = ""

    def __init__(self, config: ScratchpadConfig, members: dict[str, object]) -> None:
        self.config = config
        super().__init__(members)

    @property
    def clocked(self) -> bool:
        return False

    @property
    def module_name(self) -> str:
        return f"word_{self.kind}_{self.config.bytes}_{self.config.ecc}"


class WordEncoder(_Combinational):
    """Stored form of a word, in the same cycle.

    Parameters
    ----------
    config : ScratchpadConfig
        Of the scratchpad.

    Members
    -------
    data : In
        The word, first byte lowest.
    poison : In(lanes)
        Code words that reads must report as errors.
    stored : Out(stored_bits)
        Code words, each its data and above them its check bits; bytes, each with its poison.
    """

    data: Signal
    poison: Signal
    stored: Signal

    kind = "encoder"

    def __init__(self, config: ScratchpadConfig) -> None:
        super().__init__(
            config,
            {
                "data": In(8 * config.bytes),
                "poison": In(config.lanes),
                "stored": Out(config.stored_bits),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size = 8 * config.lane_bytes
        parts: list[Value] = []
        for lane in range(config.lanes):
            word = self.data[size * lane :][:size]
            if config.code is None:
                parts.append(Cat(word, self.poison[lane]))
                continue
            encoder = EccEncoder(config.code)
            m.submodules[f"lane_{lane}"] = place(encoder, platform)
            m.d.comb += encoder.data.eq(word)
            parts.append(Cat(word, encoder.check ^ Mux(self.poison[lane], config.mark, 0)))
        m.d.comb += self.stored.eq(Cat(parts))
        return m


class WordDecoder(_Combinational):
    """Corrects each code word that has one wrong bit, in the same cycle.

    Parameters
    ----------
    config : ScratchpadConfig
        Of the scratchpad.

    Members
    -------
    stored : In(stored_bits)
        As read.
    data : Out
        The word; code words with an error as stored.
    corrected : Out(lanes)
        Code words of which one bit was wrong.
    error : Out(lanes)
        Code words beyond correction, or poisoned.
    lost : Out(lanes)
        Those of them that are not poisoned.
    """

    stored: Signal
    data: Signal
    corrected: Signal
    error: Signal
    lost: Signal

    kind = "decoder"

    def __init__(self, config: ScratchpadConfig) -> None:
        super().__init__(
            config,
            {
                "stored": In(config.stored_bits),
                "data": Out(8 * config.bytes),
                "corrected": Out(config.lanes),
                "error": Out(config.lanes),
                "lost": Out(config.lanes),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        size = 8 * config.lane_bytes
        words: list[Value] = []
        for lane in range(config.lanes):
            part = self.stored[config.lane_bits * lane :][: config.lane_bits]
            if config.code is None:
                words.append(part[:size])
                m.d.comb += self.error[lane].eq(part[-1])
                continue
            decoder = EccDecoder(config.code)
            m.submodules[f"lane_{lane}"] = place(decoder, platform)
            m.d.comb += [
                decoder.stored.eq(part[:size]),
                decoder.check.eq(part[size:]),
                self.corrected[lane].eq(decoder.corrected),
                self.error[lane].eq(decoder.uncorrectable),
                self.lost[lane].eq(decoder.uncorrectable & (decoder.syndrome != config.mark)),
            ]
            words.append(decoder.data)
        m.d.comb += self.data.eq(Cat(words))
        return m
