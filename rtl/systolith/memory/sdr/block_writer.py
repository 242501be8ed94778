"""Blocks on their way out: atoms are gathered, merged with what was there, and get check bits."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.ecc import AtomEncoder
from systolith.memory.sdr.block_code import BLOCK, InlineConfig
from systolith.memory.sdr.block_reader import merge_layout
from systolith.memory.sram import RegisterFile

__all__ = ["BlockWriter", "put_layout"]

_QUEUE = 4  # atoms that can wait for the memory


def put_layout(config: InlineConfig) -> data.StructLayout:
    """An atom of the user for the block that is gathered, at ``index``."""
    return PackedStruct({"valid": 1, "index": 3, **dict(config.user.write_layout.members)})


class BlockWriter(Block):
    """Gathers a block while the one before it leaves: nine atoms in nine clocks.

    Atoms of a block that is written in full are put in order. Else the atoms that were put are
    merged with all eight as they were, in order: bytes that are not written stay, and with them
    stays the mark of an atom that was bad.

    Parameters
    ----------
    config : InlineConfig
        Sizes.

    Members
    -------
    clear : In(1)
        A new block: nothing has been put.
    put, merge : In(put_layout), In(merge_layout)
        Atoms; never both in a clock, and a merge never before the block before has left.
    emit, zero, free : In(1), In(1), Out(1)
        Sends the block; one of zeros instead; only while it is ``free``, the clock behind the
        last atom or later.
    sending : Out(1)
        Atoms of a block are still read out.
    write : Out(stream)
        Atoms for the memory: check bits, then data.
    """

    clear: Signal
    put: data.View
    merge: data.View
    emit: Signal
    zero: Signal
    free: Signal
    sending: Signal
    write: Any

    def __init__(self, config: InlineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "clear": In(1),
                "put": In(put_layout(config)),
                "merge": In(merge_layout(config)),
                "emit": In(1),
                "zero": In(1),
                "free": Out(1),
                "sending": Out(1),
                "write": Out(stream.Signature(config.user.write_layout)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"block_writer_{self.config.tag}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, put, merge = self.config, self.put, self.merge
        entry_layout = config.user.write_layout
        # Two blocks: one is gathered, the other one leaves.
        atoms = RegisterFile(depth=2 * BLOCK, width=entry_layout.size)
        encoder = AtomEncoder(config.ecc)
        m.submodules.atoms = place(atoms, platform)
        m.submodules.encoder = place(encoder, platform)
        gathering, leaving, index = Signal(), Signal(), Signal(3)
        busy, zeros = Signal(), Signal()  # atoms of data are left to send; they are zeros
        known: Any = data.View(entry_layout, atoms.r_data)
        m.d.comb += atoms.r_addr.eq(Mux(busy, Cat(index, leaving), Cat(merge.index, gathering)))

        # What is to be kept of an atom, a clock before it is encoded.
        present = Signal(BLOCK)
        mask, merged = Signal(config.atom), Signal(8 * config.atom)
        here = Signal()
        next_: Any = Signal(put_layout(config))
        m.d.comb += [
            here.eq(present.bit_select(merge.index, 1)),
            mask.eq(known.mask & here.replicate(config.atom)),
            merged.eq(
                Cat(
                    Mux(mask[b], known.data[8 * b :][:8], merge.data[8 * b :][:8])
                    for b in range(config.atom)
                )
            ),
            next_.eq(put),
        ]
        with m.If(merge.valid):
            m.d.comb += [
                next_.valid.eq(1),
                next_.index.eq(merge.index),
                next_.data.eq(merged),
                next_.poison.eq((mask.any() & known.poison) | (merge.bad & ~mask.all())),
            ]
        fresh: Any = Signal(put_layout(config))
        at = Signal()  # block of it
        m.d.sync += [fresh.eq(next_), at.eq(gathering)]
        with m.If(put.valid):
            m.d.sync += present.bit_select(put.index, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += present.eq(0)

        # Check bits of the eight atoms before, the last one highest.
        checks, encoded = Signal(8 * config.atom), Signal(8 * config.atom)
        kept: Any = Signal(entry_layout)
        m.d.comb += [
            encoder.data.eq(fresh.data),
            encoder.poison.eq(fresh.poison),
            encoded.eq(
                Mux(fresh.valid, Cat(checks, encoder.check) >> config.ecc.check_bits, checks)
            ),
            *(kept[name].eq(fresh[name]) for name in ("data", "mask", "poison")),
            atoms.w_en.eq(fresh.valid),
            atoms.w_addr.eq(Cat(fresh.index, at)),
            atoms.w_data.eq(kept),
        ]
        m.d.sync += checks.eq(encoded)
        self._send(m, platform, encoded, known, gathering, leaving, index, busy, zeros)
        return m

    def _send(
        self,
        m: Module,
        platform: object,
        encoded: Signal,
        known: Any,
        gathering: Signal,
        leaving: Signal,
        index: Signal,
        busy: Signal,
        zeros: Signal,
    ) -> None:
        config = self.config
        code = config.ecc.code
        zero_checks = Const(
            sum(code.invert << code.check_bits * w for w in range(config.ecc.words * BLOCK)),
            8 * config.atom,
        )
        # Blocks go on while the memory has yet to see the request of the one before.
        queue = Fifo(depth=_QUEUE, width=8 * config.atom)
        m.submodules.queue = place(queue, platform)
        m.d.comb += [
            self.free.eq(queue.space & ~busy),
            self.sending.eq(busy),
            queue.put.eq(self.emit | (busy & queue.space)),
            queue.entry.eq(Mux(zeros, 0, known.data)),
            self.write.valid.eq(queue.valid),
            self.write.p.data.eq(queue.head),
            self.write.p.mask.eq(-1),
            queue.take.eq(queue.valid & self.write.ready),
        ]
        with m.If(busy & queue.space):
            m.d.sync += [index.eq(index + 1), busy.eq(index != BLOCK - 1)]
        with m.If(self.emit):
            m.d.comb += queue.entry.eq(Mux(self.zero, zero_checks, encoded))
            m.d.sync += [
                busy.eq(1),
                zeros.eq(self.zero),
                leaving.eq(gathering),
                gathering.eq(~gathering),
            ]
