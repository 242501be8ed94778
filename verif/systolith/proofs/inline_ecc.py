"""ECC within a memory: requests stay inside it and in order, and each is answered once.

Of its parts: :func:`requests_of_blocks` for what is asked of the memory, and when; for what comes
back :func:`answers_of_blocks`. The codecs have proofs of their own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.ports import MemoryPort
from systolith.memory.sdr import block_control, block_reader
from systolith.memory.sdr.block_code import BLOCK, STRIDE
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["SmallBlocks", "answers_of_blocks", "requests_of_blocks"]

_SMALL = 2  # atoms of a block, where that is only a number
_NUMBER = 6  # bits of a count of atoms, for as long as a bounded proof looks


@dataclass(frozen=True, kw_only=True)
class SmallBlocks:
    """Stands for :class:`~systolith.memory.sdr.block_code.InlineConfig`: atoms of one byte."""

    blocks: int = 2
    block_bits: int = 1
    count_bits: int = 4
    atom: int = 1

    @property
    def ecc(self) -> Any:
        """One check bit, by which an atom is bad."""
        return SimpleNamespace(check_bits=1)

    @property
    def user(self) -> MemoryPort:
        """Port of who asks."""
        return MemoryPort(atom=1, atom_bits=5, count_bits=self.count_bits)

    @property
    def memory(self) -> MemoryPort:
        """Port of the memory."""
        return MemoryPort(atom=1, atom_bits=5, count_bits=self.count_bits + 1)


class _Requests(Elaboratable):
    """Any requests, and any waiting; an atom of a write that the solver chooses is followed."""

    def __init__(self, config: SmallBlocks) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config: Any = self.config
        m.submodules.control = control = block_control.BlockControl(config)
        dut: Any = control
        request, send, ask = dut.request, dut.send, dut.ask
        for name in ("hold", "write_valid", "write_whole", "free", "sending", "room", "quiet"):
            m.d.comb += getattr(dut, name).eq(free(m, 1, name))
        m.d.comb += [
            request.valid.eq(free(m, 1, "asks")),
            request.p.write.eq(free(m, 1, "asks_write")),
            request.p.atom.eq(free(m, 5, "asks_atom")),
            request.p.count.eq(free(m, config.count_bits, "asks_count")),
            ask.ready.eq(free(m, 1, "ask_ready")),
            dut.dirty.eq(free(m, 1, "dirty")),
            dut.dirty_block.eq(free(m, 1, "dirty_block")),
            dut.fill_block.eq(free(m, config.block_bits, "fill_block", constant=True)),
            dut.fill_blocks.eq(free(m, config.block_bits + 1, "fill_blocks", constant=True)),
        ]
        end = request.p.atom + request.p.count
        fill_end = dut.fill_block + dut.fill_blocks
        m.d.comb += [
            Assume((request.p.count != 0) & (end <= BLOCK * config.blocks)),
            Assume((dut.fill_blocks != 0) & (fill_end <= config.blocks)),
        ]
        wants = Signal()  # a fill, until it is done
        m.d.sync += wants.eq((wants | free(m, 1, "wants")) & ~dut.filled)
        m.d.comb += dut.fill.eq(wants)
        taken, sends, writes, asks = (Signal(name=n) for n in ("taken", "sends", "writes", "asks"))
        m.d.comb += [
            taken.eq(request.valid & request.ready),
            sends.eq(dut.send_valid),
            writes.eq(sends & send.write),
            asks.eq(ask.valid & ask.ready),
        ]
        merging, merged = Signal(), Signal()
        m.d.comb += dut.merged.eq(merging & free(m, 1, "merged"))
        m.d.sync += [
            merging.eq((merging | (asks & ask.p.merge)) & ~dut.merged),
            merged.eq((merged | dut.merged) & ~writes),
        ]

        # To the memory: inside of it, and with the reader's knowledge.
        last = ask.p.skip + ask.p.count - 1
        m.d.comb += [
            Assert(
                ~sends | ((send.count != 0) & (send.atom + send.count <= STRIDE * config.blocks))
            ),
            Assert(~sends | dut.room),
            Assert((sends & ~send.write) == asks),
            Assert(~asks | (send.atom == STRIDE * ask.p.block)),
            # The last atom that is sent for is the last one that is wanted.
            Assert(~asks | (send.count == STRIDE * (last >> 3) + 2 + last[:3])),
            Assert(dut.emit == writes),
            Assert(~writes | dut.free),
            Assert(~(asks & ask.p.merge & dut.sending)),
        ]

        # Of the user: atoms of one request at a time; a read is asked for as it is.
        atom, left, open_ = Signal(5, name="atom"), Signal(4, name="left"), Signal()
        with m.If(taken & request.p.write):
            m.d.sync += [atom.eq(request.p.atom), left.eq(request.p.count)]
        with m.Elif(dut.put):
            m.d.sync += [atom.eq(atom + 1), left.eq(left - 1)]
        m.d.sync += open_.eq((open_ | (taken & request.p.write)) & ~(writes & send.end))
        plain = taken & ~request.p.write
        m.d.comb += [
            Assert(~dut.put | (dut.write_valid & (left != 0) & (dut.index == atom[:3]))),
            Assert(~taken | (~open_ & ~dut.hold)),
            Assert(plain == (asks & ~ask.p.merge)),
            Assert(~plain | (Cat(ask.p.skip, ask.p.block) == request.p.atom)),
            Assert(~plain | (ask.p.count == request.p.count)),
            Assert(~(writes & send.end) | (open_ & (left == 0))),
        ]

        # The chosen atom is put, and stored with its block, before anything is put elsewhere.
        chosen = free(m, 4, "chosen", constant=True)
        put, whole = Signal(), Signal(range(BLOCK + 1))
        mine = dut.put & (atom == chosen)
        m.d.sync += put.eq((put | mine) & ~writes)
        m.d.sync += whole.eq(Mux(writes, 0, whole + (dut.put & dut.write_whole)))
        m.d.comb += [
            Assert(~(put & writes) | (send.atom == STRIDE * (chosen >> 3))),
            Assert(~(put & dut.put) | ((atom >> 3) == (chosen >> 3))),
            Assert(~(put & dut.clear) | writes),
            Assert(~(put & writes) | ~dut.zero),
            # Without all of its bytes a block is read before it is written.
            Assert(~writes | dut.zero | merged | (whole == BLOCK)),
            Cover(put & writes & merged & send.end),
            Cover(put & writes & ~merged),
            Cover(dut.filled & (dut.fill_blocks == 2)),
            Cover(dut.scrubbed),
        ]
        return m


class _Decoder(Block):
    def __init__(self, ecc: Any) -> None:
        names = ("corrected", "uncorrectable")
        members = {"stored": In(8), "check": In(1), "data": Out(8)}
        super().__init__({**members, **{name: Out(1) for name in names}})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        this: Any = self
        m.d.comb += [this.data.eq(this.stored), this.uncorrectable.eq(this.check)]
        return m


class _Answers(Elaboratable):
    """Any atoms come back; one of one read, which the solver chooses, is followed."""

    def __init__(self, config: SmallBlocks, longest: int) -> None:
        self.config, self.longest = config, longest

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config: Any = self.config
        m.submodules.reader = reader = block_reader.BlockReader(config)
        dut: Any = reader
        ask, raw, read = dut.ask, dut.raw, dut.read
        m.d.comb += [
            ask.valid.eq(free(m, 1, "asks")),
            ask.payload.eq(free(m, len(ask.payload.as_value()), "ask")),
            raw.valid.eq(free(m, 1, "comes")),
            raw.payload.eq(free(m, len(raw.payload.as_value()), "raw")),
            read.ready.eq(free(m, 1, "takes")),
            Assume((ask.p.count != 0) & (ask.p.count <= self.longest)),
            Assume((ask.p.skip < _SMALL) & ~ask.p.merge),
        ]
        last = Signal(6)  # wanted, from the first block's first atom on
        asked = Signal()
        m.d.comb += [
            last.eq(ask.p.skip + ask.p.count - 1),
            asked.eq(ask.valid & ask.ready),
        ]
        sent, come = Signal(_NUMBER), Signal(_NUMBER)  # atoms asked of the memory, and come
        wanted, told = Signal(_NUMBER), Signal(_NUMBER)  # by users, and told them
        comes, tells = Signal(), Signal()
        m.d.comb += [comes.eq(raw.valid & raw.ready), tells.eq(read.valid & read.ready)]
        with m.If(asked):
            m.d.sync += [
                sent.eq(sent + (_SMALL + 1) * (last >> 1) + 2 + last[:1]),
                wanted.eq(wanted + ask.p.count),
            ]
        m.d.sync += [come.eq(come + comes), told.eq(told + tells)]
        follows, final = Signal(), Signal()
        check_at, data_at, number = Signal(_NUMBER), Signal(_NUMBER), Signal(_NUMBER)
        place = Signal()
        offset = free(m, 4, "offset", constant=True)
        at = ask.p.skip + offset
        with m.If(asked & ~follows & free(m, 1, "follow") & (offset < ask.p.count)):
            m.d.sync += [
                follows.eq(1),
                final.eq(offset + 1 == ask.p.count),
                check_at.eq(sent + (_SMALL + 1) * (at >> 1)),
                data_at.eq(sent + (_SMALL + 1) * (at >> 1) + 1 + at[:1]),
                number.eq(wanted + offset),
                place.eq(at[:1]),
            ]
        check, data, bad = Signal(), Signal(8), Signal()
        with m.If(comes & follows & (come == check_at)):
            m.d.sync += check.eq(raw.p.data.bit_select(place, 1) | raw.p.error)
        with m.If(comes & follows & (come == data_at)):
            m.d.sync += [data.eq(raw.p.data), bad.eq(check | raw.p.error)]
        mine = tells & follows & (told == number)
        m.d.comb += [
            Assert(~comes | (come < sent)),
            Assert(~tells | (told < wanted)),
            Assert(~mine | (read.p.data == data)),
            Assert(~mine | (read.p.error == bad)),
            Assert(~mine | (read.p.last == final)),
            Assert(~dut.idle | ((come == sent) & (told == wanted))),
            Cover(mine & final & (place == 0) & (number > 2)),
        ]
        return m


def requests_of_blocks(config: SmallBlocks | None = None, mutants: Iterable[Mutant] = ()) -> str:
    """What is sent is inside the memory; reads and writes are sent once, in order, as asked for.

    An atom that is put is stored with its block before another block is begun, and a block of
    which not all bytes are new is read in between; a user's write ends once.

    Parameters
    ----------
    config
        Sizes.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Requests(config or SmallBlocks()))


def answers_of_blocks(
    config: SmallBlocks | None = None, *, longest: int = 3, mutants: Iterable[Mutant] = ()
) -> str:
    """Every atom that is wanted is told once, in order, with the check bits of its own block.

    Of blocks of two atoms: so that short requests cross from one to the next.

    Parameters
    ----------
    config
        Sizes.
    longest
        Atoms of a request.
    mutants
        Planted faults.
    """
    with (
        installed(mutants),
        patch.object(block_reader, "AtomDecoder", _Decoder),
        patch.multiple(block_reader, BLOCK=_SMALL, _CHECK=_SMALL),
    ):
        return to_rtlil(_Answers(config or SmallBlocks(), longest))
