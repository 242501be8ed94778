"""Error correction: what was encoded comes back, with the right flags, for any data and place.

There is no state, so one cycle is every run. For short words :func:`roundtrip` states it of
encoder and decoder back to back. Long ones are beyond the solvers in that form; the same follows
from three statements that are not:

- :func:`linear`: the syndrome of what was encoded is 0, and one bit that changes, in any word,
  adds its column to it. So the syndrome of any errors is the sum of their columns.
- :func:`decisive`: what the decoder changes, and its flags, depend on the syndrome alone.
- :func:`meaning`: columns are odd. The syndrome 0 means nothing wrong, a column its own bit, and
  any even one, as two distinct columns add up to, that there is no way to correct.
"""

from collections.abc import Callable, Iterable

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Elaboratable, Module, Signal, Value
from amaranth.utils import bits_for

from systolith.memory import ecc as ecc_module
from systolith.memory.ecc_code import EccCode
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["decisive", "linear", "meaning", "roundtrip"]

State = Callable[[Module, EccCode], None]


class _Proof(Elaboratable):
    """A module to state a property in."""

    def __init__(self, code: EccCode, state: State) -> None:
        self.code = code
        self.state = state

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.state(m, self.code)
        return m


def _rtlil(code: EccCode, state: State, mutants: Iterable[Mutant]) -> str:
    with installed(mutants):
        return to_rtlil(_Proof(code, state))


def _encoded(m: Module, code: EccCode, data: Value) -> Value:
    m.submodules.encoder = encoder = ecc_module.EccEncoder(code)
    m.d.comb += encoder.data.eq(data)
    return Cat(data, encoder.check)


def _decoder(m: Module, code: EccCode, word: Value, name: str) -> ecc_module.EccDecoder:
    m.submodules[name] = decoder = ecc_module.EccDecoder(code)
    m.d.comb += [
        decoder.stored.eq(word[: code.data_bits]),
        decoder.check.eq(word[code.data_bits :]),
    ]
    return decoder


def _place(m: Module, code: EccCode, name: str) -> Signal:
    """Any bit of a word, or numbers beyond: none."""
    return free(m, bits_for(code.bits), name)


def _at(code: EccCode, place: Value) -> Value:
    """Word with the bit at ``place`` alone."""
    return Cat(place == bit for bit in range(code.bits))


def _column(m: Module, code: EccCode, place: Value) -> Signal:
    """Column of the bit at ``place``, 0 beyond the last."""
    column = Signal(code.check_bits, name="column")
    with m.Switch(place):
        for bit, value in enumerate(code.columns):
            with m.Case(bit):
                m.d.comb += column.eq(value)
    return column


def _one_error(m: Module, code: EccCode) -> None:
    data = free(m, code.data_bits, "data")
    place = _place(m, code, "place")
    wrong = place < code.bits
    decoder = _decoder(m, code, _encoded(m, code, data) ^ _at(code, place), "decoder")
    m.d.comb += [
        Assert(decoder.data == data),
        Assert(decoder.corrected == wrong),
        Assert(~decoder.uncorrectable),
        Assert(decoder.syndrome == _column(m, code, place)),
        Cover(decoder.corrected & (decoder.data != decoder.stored)),
        Cover(decoder.corrected & (decoder.data == decoder.stored)),
        Cover(decoder.syndrome == 0),
    ]


def _two_errors(m: Module, code: EccCode) -> None:
    data = free(m, code.data_bits, "data")
    first, second = _place(m, code, "first"), _place(m, code, "second")
    word = _encoded(m, code, data) ^ _at(code, first) ^ _at(code, second)
    decoder = _decoder(m, code, word, "decoder")
    m.d.comb += [
        Assume((first < second) & (second < code.bits)),
        Assert(decoder.uncorrectable),
        Assert(~decoder.corrected),
        Cover(second < code.data_bits),
        Cover(first >= code.data_bits),
    ]


def roundtrip(code: EccCode, errors: int, mutants: Iterable[Mutant] = ()) -> str:
    """With at most one error the data come back and the flags tell; with two, the flags tell.

    Parameters
    ----------
    code
        Of the words. At 72 bits this takes seconds, at 266 minutes or more.
    errors
        1, at most one, or 2, just as many.
    mutants
        Planted faults.
    """
    return _rtlil(code, {1: _one_error, 2: _two_errors}[errors], mutants)


def _linear(m: Module, code: EccCode) -> None:
    encoded = _decoder(m, code, _encoded(m, code, free(m, code.data_bits, "data")), "encoded")
    word = free(m, code.bits, "word")
    place = _place(m, code, "place")
    before = _decoder(m, code, word, "before")
    after = _decoder(m, code, word ^ _at(code, place), "after")
    column = _column(m, code, place)
    # Bit by bit, so that no solver looks at more than two trees at a time.
    for bit in range(code.check_bits):
        m.d.comb += [
            Assert(~encoded.syndrome[bit]),
            Assert(before.syndrome[bit] ^ after.syndrome[bit] == column[bit]),
        ]
    m.d.comb += Cover((before.syndrome != 0) & (column != 0))


def linear(code: EccCode, mutants: Iterable[Mutant] = ()) -> str:
    """The syndrome is the sum of the columns of the errors."""
    return _rtlil(code, _linear, mutants)


def _decisive(m: Module, code: EccCode) -> None:
    one, other = (
        _decoder(m, code, free(m, code.bits, f"word_{n}"), f"decoder_{n}") for n in (0, 1)
    )
    m.d.comb += [
        Assume(one.syndrome == other.syndrome),
        Assert(one.stored ^ one.data == other.stored ^ other.data),
        Assert(one.corrected == other.corrected),
        Assert(one.uncorrectable == other.uncorrectable),
        Cover((one.stored != other.stored) & one.corrected),
    ]


def decisive(code: EccCode, mutants: Iterable[Mutant] = ()) -> str:
    """Two words with the same syndrome are treated the same."""
    return _rtlil(code, _decisive, mutants)


def _meaning(m: Module, code: EccCode) -> None:
    place = _place(m, code, "place")
    column = _column(m, code, place)
    wrong = place < code.bits
    zeros = Const(0, code.data_bits)
    single = _decoder(m, code, Cat(zeros, column ^ code.invert), "single")
    syndrome = free(m, code.check_bits, "syndrome")
    double = _decoder(m, code, Cat(zeros, syndrome ^ code.invert), "double")
    even = ~syndrome.xor()
    m.d.comb += [
        Assert(column.xor() == wrong),
        Assert(single.syndrome == column),
        Assert(single.data == _at(code, place)[: code.data_bits]),
        Assert(single.corrected == wrong),
        Assert(~single.uncorrectable),
        Assert(double.syndrome == syndrome),
        Assert(~even | (double.uncorrectable == (syndrome != 0))),
        Assert(~even | ~double.corrected),
        Cover(single.corrected & even & double.uncorrectable),
    ]


def meaning(code: EccCode, mutants: Iterable[Mutant] = ()) -> str:
    """What the decoder makes of each syndrome of interest."""
    return _rtlil(code, _meaning, mutants)
