"""Encoders and decoders of words and atoms with error correction: combinational."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.ecc_code import AtomEcc, EccCode

__all__ = ["AtomDecoder", "AtomEncoder", "EccDecoder", "EccEncoder"]


def _check_of(code: EccCode, data: Value) -> Value:
    """Check bits of ``data``: one tree of exclusive ors per row."""
    trees = [Cat(data[i] for i in range(code.data_bits) if row >> i & 1) for row in code.rows]
    return Cat(tree.xor() for tree in trees) ^ code.invert


class _Combinational(Block):
    """In the cycle of its inputs; no clock, no state."""

    latency = 0

    @property
    def clocked(self) -> bool:
        return False


class EccEncoder(_Combinational):
    """Check bits of a word, in the same cycle.

    Parameters
    ----------
    code : EccCode
        Of the word.

    Members
    -------
    data : In(code.data_bits)
        What is to be stored.
    check : Out(code.check_bits)
        What is to be stored beside it.
    """

    data: Signal
    check: Signal

    def __init__(self, code: EccCode) -> None:
        self.code = code
        super().__init__({"data": In(code.data_bits), "check": Out(code.check_bits)})

    @property
    def module_name(self) -> str:
        return f"ecc_encoder_{self.code.name}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.check.eq(_check_of(self.code, self.data))
        return m


class EccDecoder(_Combinational):
    """Corrects a word that has one error and reports one that has two, in the same cycle.

    Of three errors or more, some look like one: then ``data`` is wrong and ``corrected`` is set.
    The others are reported as uncorrectable.

    Parameters
    ----------
    code : EccCode
        Of the word.

    Members
    -------
    stored : In(code.data_bits)
        Data as read.
    check : In(code.check_bits)
        Check bits as read.
    data : Out(code.data_bits)
        Corrected; as stored if there is nothing to correct, or no way to.
    corrected : Out(1)
        One bit was wrong, of the data or of the check bits.
    uncorrectable : Out(1)
        More than one bit was wrong; ``data`` is not to be used. Never with ``corrected``.
    syndrome : Out(code.check_bits)
        0 if nothing is wrong; with ``corrected`` the column of the wrong bit.
    """

    stored: Signal
    check: Signal
    data: Signal
    corrected: Signal
    uncorrectable: Signal
    syndrome: Signal

    def __init__(self, code: EccCode) -> None:
        self.code = code
        super().__init__(
            {
                "stored": In(code.data_bits),
                "check": In(code.check_bits),
                "data": Out(code.data_bits),
                "corrected": Out(1),
                "uncorrectable": Out(1),
                "syndrome": Out(code.check_bits),
            }
        )

    @property
    def module_name(self) -> str:
        return f"ecc_decoder_{self.code.name}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        code = self.code
        wrong = Signal(code.bits)
        # Halves of the syndrome are decoded once. Which columns there are is asked half by half:
        # a sum over the bits of a word would be as large as all the rest.
        half = code.check_bits // 2
        low, high = Signal(1 << half), Signal(1 << (code.check_bits - half))
        found: dict[int, list[Value]] = {}
        for column in code.columns:
            found.setdefault(column >> half, []).append(low[column % len(low)])
        m.d.comb += [
            self.syndrome.eq(self.check ^ _check_of(code, self.stored)),
            low.eq(Cat(self.syndrome[:half] == n for n in range(len(low)))),
            high.eq(Cat(self.syndrome[half:] == n for n in range(len(high)))),
            wrong.eq(Cat(high[c >> half] & low[c % len(low)] for c in code.columns)),
            self.data.eq(self.stored ^ wrong[: code.data_bits]),
            self.corrected.eq(Cat(high[n] & Cat(some).any() for n, some in found.items()).any()),
            self.uncorrectable.eq(self.syndrome.any() & ~self.corrected),
        ]
        return m


class AtomEncoder(_Combinational):
    """Check bits of an atom of 32 bytes, in the same cycle.

    Parameters
    ----------
    ecc : AtomEcc
        What is stored.

    Members
    -------
    data : In(256)
        The atom, first byte lowest.
    poison : In(1)
        It is bad data: reads must find it uncorrectable.
    check : Out(ecc.check_bits)
        What is to be stored beside it.
    """

    data: Signal
    poison: Signal
    check: Signal

    def __init__(self, ecc: AtomEcc) -> None:
        self.ecc = ecc
        super().__init__({"data": In(ecc.data_bits), "poison": In(1), "check": Out(ecc.check_bits)})

    @property
    def module_name(self) -> str:
        return f"atom_encoder_{self.ecc.words}x{self.ecc.code.name}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ecc, code = self.ecc, self.ecc.code
        size = ecc.data_bits // ecc.words
        checks: list[Value] = []
        for w in range(ecc.words):
            word = EccEncoder(code)
            m.submodules[f"word_{w}"] = place(word, platform)
            data: Value = self.data[size * w :][:size]
            if ecc.poison_bit:
                m.d.comb += word.data.eq(Cat(data, self.poison))
                checks.append(Cat(word.check, self.poison))
            else:
                m.d.comb += word.data.eq(data)
                checks.append(word.check ^ Mux(self.poison, ecc.mark, 0))
        m.d.comb += self.check.eq(Cat(checks))
        return m


class AtomDecoder(_Combinational):
    """Corrects an atom of 32 bytes, word by word, in the same cycle.

    Parameters
    ----------
    ecc : AtomEcc
        What is stored.

    Members
    -------
    stored : In(256)
        Data as read.
    check : In(ecc.check_bits)
        What was stored beside it, as read.
    data : Out(256)
        Corrected as far as possible.
    corrected : Out(1)
        In some word one bit was wrong and has been put right.
    uncorrectable : Out(1)
        Some word has more than one error, or the atom is poisoned: ``data`` is not to be used.
        Another word may have been corrected all the same.
    poisoned : Out(1)
        It is uncorrectable because it was stored as such.
    syndrome : Out
        Those of the words, the first lowest.
    """

    stored: Signal
    check: Signal
    data: Signal
    corrected: Signal
    uncorrectable: Signal
    poisoned: Signal
    syndrome: Signal

    def __init__(self, ecc: AtomEcc) -> None:
        self.ecc = ecc
        super().__init__(
            {
                "stored": In(ecc.data_bits),
                "check": In(ecc.check_bits),
                "data": Out(ecc.data_bits),
                "corrected": Out(1),
                "uncorrectable": Out(1),
                "poisoned": Out(1),
                "syndrome": Out(ecc.words * ecc.code.check_bits),
            }
        )

    @property
    def module_name(self) -> str:
        return f"atom_decoder_{self.ecc.words}x{self.ecc.code.name}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ecc, code = self.ecc, self.ecc.code
        size = ecc.data_bits // ecc.words
        words = [EccDecoder(code) for _ in range(ecc.words)]
        poisoned: list[Value] = []
        for w, word in enumerate(words):
            m.submodules[f"word_{w}"] = place(word, platform)
            check = self.check[code.check_bits * w :][: code.check_bits]
            stored: Value = self.stored[size * w :][:size]
            if ecc.poison_bit:
                stored = Cat(stored, self.check[-1])
                poisoned.append(word.data[-1] & ~word.uncorrectable)
            else:
                poisoned.append(word.syndrome == ecc.mark)
            m.d.comb += [word.stored.eq(stored), word.check.eq(check)]
        m.d.comb += [
            self.data.eq(Cat(word.data[:size] for word in words)),
            self.corrected.eq(Cat(word.corrected for word in words).any()),
            self.poisoned.eq(Cat(poisoned).any()),
            self.uncorrectable.eq(Cat(word.uncorrectable for word in words).any() | self.poisoned),
            self.syndrome.eq(Cat(word.syndrome for word in words)),
        ]
        return m
