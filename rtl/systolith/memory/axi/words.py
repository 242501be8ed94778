"""Between atoms and words of several atoms, where the bus is wider than the memory."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.axi.signature import AxiConfig

__all__ = ["Gather", "Split", "read_word", "write_word"]


def read_word(config: AxiConfig) -> data.StructLayout:
    """A word that was read; ``error`` if any atom of it is not to be used."""
    return PackedStruct({"data": 8 * config.word, "error": 1})


def write_word(config: AxiConfig) -> data.StructLayout:
    """A word to be written, with a bit of ``mask`` for each byte."""
    return PackedStruct({"data": 8 * config.word, "mask": config.word})


class Gather(Block):
    """Words from atoms, lowest first. A word passes in the cycle of its last atom.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    atom : In(stream)
        Atoms as a port reads them.
    word : Out(stream)
        Words.
    """

    atom: stream.Interface
    word: stream.Interface

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "atom": In(stream.Signature(config.memory.read_layout)),
                "word": Out(stream.Signature(read_word(config))),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_gather"

    @property
    def clocked(self) -> bool:
        return self.config.atoms > 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        atom, word, more = self.atom.payload, self.word.payload, self.config.atoms - 1
        if not more:
            m.d.comb += [
                self.word.valid.eq(self.atom.valid),
                self.atom.ready.eq(self.word.ready),
                word.data.eq(atom.data),
                word.error.eq(atom.error),
            ]
            return m
        kept, error = Signal(more * len(atom.data)), Signal()
        count, full = Signal(range(more + 1)), Signal()
        m.d.comb += [
            full.eq(count == more),
            self.word.valid.eq(self.atom.valid & full),
            self.atom.ready.eq(self.word.ready | ~full),
            word.data.eq(Cat(kept, atom.data)),
            word.error.eq(error | atom.error),
        ]
        with m.If(self.atom.valid & self.atom.ready):
            m.d.sync += [
                count.eq(Mux(full, 0, count + 1)),
                kept.eq(Cat(kept, atom.data) >> len(atom.data)),
                error.eq(~full & (error | atom.error)),
            ]
        return m


class Split(Block):
    """Atoms from words, lowest first, one per cycle.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    word : In(stream)
        Words.
    atom : Out(stream)
        Atoms as a port writes them.
    """

    word: stream.Interface
    atom: stream.Interface

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "word": In(stream.Signature(write_word(config))),
                "atom": Out(stream.Signature(config.memory.write_layout)),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_split"

    @property
    def clocked(self) -> bool:
        return self.config.atoms > 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        atom, word, more = self.atom.payload, self.word.payload, self.config.atoms - 1
        m.d.comb += self.atom.valid.eq(self.word.valid)
        if not more:
            m.d.comb += [
                self.word.ready.eq(self.atom.ready),
                atom.data.eq(word.data),
                atom.mask.eq(word.mask),
            ]
            return m
        count = Signal(range(more + 1))
        m.d.comb += [
            self.word.ready.eq(self.atom.ready & (count == more)),
            atom.data.eq(word.data.word_select(count, len(atom.data))),
            atom.mask.eq(word.mask.word_select(count, len(atom.mask))),
        ]
        with m.If(self.atom.valid & self.atom.ready):
            m.d.sync += count.eq(count + 1)
        return m
