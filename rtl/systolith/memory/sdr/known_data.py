"""Data that follows from its address: written by one who then knows what has to come back."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import named_layout, response_layout, write_layout

__all__ = ["RUNS", "KnownData"]

RUNS = 4
"""Runs that each stream may have under way."""

_HASH = 32
_TURNS = (0, 19, 7, 26, 11, 30, 3, 22)  # of the hash, for each 32 bits of an atom
_STEP = 0x9E3779B9  # of the constants


class KnownData(Block):
    """Writes the hash of each atom's address and a seed, and compares every bit that is read.

    The hash is a 32-bit xorshift step (Marsaglia, Journal of Statistical Software 8(14), 2003) of
    ``address ^ seed``: no two addresses have the same. Every 32 bits of an atom are the hash,
    rotated and XORed by a constant of theirs. With the complement of a seed all bits of a memory
    are the complement of what they were.

    Each stream reads or writes, not both, and its runs are aligned to their length. A stream moves
    at most one atom in two cycles. An error is told four cycles after its response.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller, with one port.
    word : int
        Bits of the memory's pins.

    Members
    -------
    seed, count : In(32), In
        Held from the first run on until all have ended. All runs have ``count`` atoms, a power
        of two.
    submitted, atom : In(streams), In
        A run of this stream has been accepted; its first atom. At most :data:`RUNS` of a stream
        are under way.
    fetch, write, response : In, Out(write_layout), In(response_layout)
        As of the controller.
    wrong, at, bits : Out(1), Out, Out(word)
        An atom was not what it should be, or was lost: its address, the pins that differed.
    """

    seed: Signal
    count: Signal
    submitted: Signal
    atom: Signal
    fetch: data.View
    write: data.View
    response: data.View
    wrong: Signal
    at: Signal
    bits: Signal

    def __init__(self, config: ControllerConfig, *, word: int) -> None:
        if config.ports != 1:
            raise ValueError(f"config.ports must be 1, not {config.ports}")
        if config.organisation.atom < _HASH // 8:
            raise ValueError(f"atom must be at least 4 bytes, not {config.organisation.atom}")
        if word < 1 or 8 * config.organisation.atom % word:
            raise ValueError(
                f"word must divide the {8 * config.organisation.atom} bits of an atom, not {word}"
            )
        self.config, self.word = config, word
        super().__init__(
            {
                "seed": In(_HASH),
                "count": In(config.run_bits),
                "submitted": In(config.streams),
                "atom": In(config.atom_bits),
                "fetch": In(named_layout(config)),
                "write": Out(write_layout(config)),
                "response": In(response_layout(config)),
                "wrong": Out(1),
                "at": Out(config.atom_bits),
                "bits": Out(word),
            }
        )

    @property
    def module_name(self) -> str:
        return f"known_data_{self.word}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fetch, response = self.fetch, self.response
        coming = []
        for n in range(self.config.streams):
            fetched = fetch.valid & (fetch.stream == n)
            read = response.valid & (response.stream == n)
            coming.append(self._next(m, platform, n, fetched | read))
        written, expected = Array(coming)[fetch.stream], Array(coming)[response.stream]
        m.d.sync += [self.write.data.eq(self._atom(written.hash)), self.write.mask.eq(-1)]
        self._compare(m, expected)
        return m

    def _next(self, m: Module, platform: object, n: int, moves: Value) -> Any:
        """The next atom of a stream, known before it moves."""
        config = self.config
        runs = Fifo(depth=RUNS, width=config.atom_bits)
        m.submodules[f"runs_{n}"] = place(runs, platform)
        ahead = Signal(PackedStruct({"atom": config.atom_bits, "hash": _HASH}), name=f"next_{n}")
        at = Signal(config.atom_bits, name=f"at_{n}")
        done = Signal(config.run_bits, name=f"done_{n}")  # atoms of the oldest run
        last = Signal(name=f"last_{n}")
        m.d.comb += [
            runs.put.eq(self.submitted[n]),
            runs.entry.eq(self.atom),
            last.eq(done + 1 == self.count),
            runs.take.eq(moves & last),
            at.eq(runs.head | done),
        ]
        with m.If(moves):
            m.d.sync += done.eq(Mux(last, 0, done + 1))
        m.d.sync += [ahead.atom.eq(at), ahead.hash.eq(_hash(m, at ^ self.seed, n))]
        return ahead

    def _atom(self, value: Value) -> Value:
        words = 8 * self.config.organisation.atom // _HASH
        return Cat(
            value.rotate_left(_TURNS[k % len(_TURNS)]) ^ (_STEP * k % 2**_HASH)
            for k in range(words)
        )

    def _compare(self, m: Module, expected: Any) -> None:
        """Four stages: what came and what was due, bits that differ, pins, the verdict."""
        response = self.response
        size = 8 * self.config.organisation.atom
        valid, lost = Signal(3), Signal(3)
        came, differs, due = Signal(size), Signal(size), Signal(_HASH)
        pins = Signal(self.word)
        where = [Signal(self.config.atom_bits, name=f"where_{k}") for k in range(3)]
        folded = [Cat(differs[n :: self.word]).any() for n in range(self.word)]
        m.d.sync += [
            valid.eq(Cat(response.valid, valid)),
            lost.eq(Cat(response.lost, lost)),
            *(to.eq(at) for to, at in zip(where, [expected.atom, *where], strict=False)),
            came.eq(response.data),
            due.eq(expected.hash),
            differs.eq(came ^ self._atom(due)),
            pins.eq(Cat(folded)),
            self.wrong.eq(valid[2] & (pins.any() | lost[2])),
            self.at.eq(where[2]),
            self.bits.eq(Mux(valid[2], pins, 0)),
        ]


def _hash(m: Module, value: Value, n: int) -> Value:
    for k, step in enumerate((13, -17, 5)):
        after = Signal(_HASH, name=f"hash_{n}_{k}")
        m.d.comb += after.eq(value ^ (value << step if step > 0 else value >> -step))
        value = after
    return value
