"""ECC for a memory without room for it: every ninth atom holds the check bits of eight."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.dma.fifo import Fifo
from systolith.memory.sdr.block_code import BLOCK, InlineConfig, by_members
from systolith.memory.sdr.block_control import BlockControl, send_layout
from systolith.memory.sdr.block_reader import BlockReader
from systolith.memory.sdr.block_writer import BlockWriter

__all__ = ["COUNT_BITS", "InlineEcc"]

COUNT_BITS = 32
_WRITES = 16  # under way, as many as marks are kept of
_READS = 15  # without ECC


class InlineEcc(Block):
    """Memory with ECC, of 8/9 of the size, from one that has no room for check bits.

    Atom ``a`` of the user is in block ``b = a // 8``, which is atoms ``9 b`` to ``9 b + 8`` of the
    memory: first the check bits of all eight, then the data. In every 8 bytes one wrong bit is
    corrected and two are told, by reads as an atom with ``error``. The memory sees no masks.

    - A read is one request to the memory, from the check bits of its first block to its last
      atom: 8 of 9 atoms are data, without gaps from request to request.
    - A write sends a request for every block. A block of which all bytes are written goes out
      while the next one is gathered: 9 cycles. Any other is read first and merged. Nobody else
      uses the memory, and the memory is in order: no other access comes between.
    - What is poisoned, or beyond correction and not written in full, is stored so that every read
      of it has an ``error`` until it is.
    - A block in which a user's read corrected something is read, corrected and written back when
      there is nothing else to do, if ``scrub`` is set; one is remembered at a time.
    - What was never written has no check bits: fill the memory before anything is read. A read is
      not slower for blocks that were filled.

    Without ECC (``bypass``) requests pass as they are, to all atoms, in a cycle.

    Parameters
    ----------
    config : InlineConfig
        Sizes.

    Members
    -------
    user, memory : In(MemoryPort), Out(MemoryPort)
        Who asks; the memory. With ECC the user's atoms are below ``config.capacity``.
    bypass : In(1)
        Off is on. It takes effect, and is told in ``bypassed``, when nothing is under way;
        requests wait until then. Contents are not converted.
    bypassed : Out(1)
        What is in effect.
    fill, fill_block, fill_blocks, filling : In(1), In, In, Out(1)
        Writes zeros to so many blocks from one on; ``filling`` until all are visible. Requests
        wait meanwhile. A fill during a fill, without ECC, of nothing or of blocks that there are
        not is ignored: ``filling`` does not rise.
    scrub : In(1)
        Corrected blocks are written back.
    clear : In(1)
        Sets the counters to 0 and forgets ``first``.
    corrected, uncorrectable, scrubs : Out(32)
        Atoms of users, and of blocks that are written in part, that were put right, that could
        not be; blocks written back. They wrap.
    first_valid, first : Out(1), Out
        Atom of the first one that was uncorrectable.
    idle : Out(1)
        Nothing is under way.
    """

    user: Any
    memory: Any
    bypass: Signal
    bypassed: Signal
    fill: Signal
    fill_block: Signal
    fill_blocks: Signal
    filling: Signal
    scrub: Signal
    clear: Signal
    corrected: Signal
    uncorrectable: Signal
    scrubs: Signal
    first_valid: Signal
    first: Signal
    idle: Signal

    def __init__(self, config: InlineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "user": In(by_members(config.user)),
                "memory": Out(by_members(config.memory)),
                "bypass": In(1),
                "bypassed": Out(1),
                "fill": In(1),
                "fill_block": In(config.block_bits),
                "fill_blocks": In(config.block_bits + 1),
                "filling": Out(1),
                "scrub": In(1),
                "clear": In(1),
                "corrected": Out(COUNT_BITS),
                "uncorrectable": Out(COUNT_BITS),
                "scrubs": Out(COUNT_BITS),
                "first_valid": Out(1),
                "first": Out(config.block_bits + 3),
                "idle": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"inline_ecc_{self.config.tag}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, user, memory = self.config, self.user, self.memory
        control, reader, writer = BlockControl(config), BlockReader(config), BlockWriter(config)
        ends = Fifo(depth=_WRITES, width=1)  # whether writes under way are the user's last ones
        for name, block in (
            ("control", control),
            ("reader", reader),
            ("writer", writer),
            ("ends", ends),
        ):
            m.submodules[name] = place(block, platform)

        # Requests leave from a register.
        free, passes, quiet = Signal(), Signal(), Signal()
        request: Any = Signal(send_layout(config))
        m.d.comb += [
            free.eq(~memory.request.valid | memory.request.ready),
            request.eq(control.send),
            control.room.eq(free & ends.space),
            user.request.ready.eq(control.request.ready),
        ]
        with m.If(self.bypassed):
            m.d.comb += [
                passes.eq(user.request.valid & user.request.ready),
                *(request[name].eq(user.request.p[name]) for name in ("write", "atom", "count")),
                request.end.eq(1),
            ]
        sends = Signal()
        m.d.comb += [
            sends.eq(control.send_valid | passes),
            ends.put.eq(sends & request.write),
            ends.entry.eq(request.end),
            ends.take.eq(memory.done),
            user.done.eq(memory.done & ends.head),
        ]
        with m.If(free):
            m.d.sync += [
                memory.request.valid.eq(sends),
                *(memory.request.p[name].eq(request[name]) for name in ("write", "atom", "count")),
            ]
        reads = self._data(m, control, reader, writer, passes)
        m.d.comb += [
            quiet.eq(~memory.request.valid & ~ends.valid & reader.idle & ~reads.any()),
            self.idle.eq(quiet & control.resting & ~self.filling & ~control.dirty),
            control.quiet.eq(quiet & ~writer.sending),
            control.request.valid.eq(user.request.valid),
            control.request.payload.eq(user.request.payload),
            reader.ask.valid.eq(control.ask.valid),
            reader.ask.payload.eq(control.ask.payload),
            control.ask.ready.eq(reader.ask.ready),
        ]
        with m.If(self.bypassed):
            changes = self.bypass != self.bypassed
            m.d.comb += user.request.ready.eq(
                free & ends.space & (reads != _READS) & ~changes & control.resting
            )
        with m.If(quiet & control.resting & ~self.filling):
            m.d.sync += self.bypassed.eq(self.bypass)
        self._fill(m, control, quiet)
        self._log(m, control, reader)
        return m

    def _data(
        self,
        m: Module,
        control: BlockControl,
        reader: BlockReader,
        writer: BlockWriter,
        passes: Value,
    ) -> Signal:
        """Connect the data; requests to read that are under way without ECC."""
        user, memory = self.user, self.memory
        m.d.comb += [
            control.write_valid.eq(user.write.valid),
            control.write_whole.eq(user.write.p.mask.all()),
            writer.put.valid.eq(control.put),
            writer.put.index.eq(control.index),
            *(writer.put[name].eq(user.write.p[name]) for name in ("data", "mask", "poison")),
            *(getattr(writer, n).eq(getattr(control, n)) for n in ("clear", "emit", "zero")),
            *(getattr(control, n).eq(getattr(writer, n)) for n in ("free", "sending")),
            writer.merge.eq(reader.merge),
            control.merged.eq(reader.merge.valid & (reader.merge.index == BLOCK - 1)),
            reader.raw.valid.eq(memory.read.valid & ~self.bypassed),
            reader.raw.payload.eq(memory.read.payload),
        ]
        # Without ECC: atoms that requests still wait for. Earlier ones might come to another mode.
        owed = Signal(len(user.request.p.count) + _WRITES.bit_length())
        reads = Signal(range(_READS + 1))
        wrote, ended = Signal(), Signal()
        with m.If(self.bypassed):
            m.d.comb += [
                memory.write.valid.eq(user.write.valid & (owed != 0)),
                memory.write.payload.eq(user.write.payload),
                user.write.ready.eq(memory.write.ready & (owed != 0)),
                wrote.eq(user.write.valid & user.write.ready),
                user.read.valid.eq(memory.read.valid),
                user.read.payload.eq(memory.read.payload),
                memory.read.ready.eq(user.read.ready),
                ended.eq(memory.read.valid & user.read.ready & memory.read.p.last),
            ]
        with m.Else():
            m.d.comb += [
                memory.write.valid.eq(writer.write.valid),
                memory.write.payload.eq(writer.write.payload),
                writer.write.ready.eq(memory.write.ready),
                user.write.ready.eq(control.put),
                user.read.valid.eq(reader.read.valid),
                user.read.payload.eq(reader.read.payload),
                reader.read.ready.eq(user.read.ready),
                memory.read.ready.eq(reader.raw.ready),
            ]
        asked = user.request.p
        m.d.sync += [
            owed.eq(owed + Mux(passes & asked.write, asked.count, 0) - wrote),
            reads.eq(reads + (passes & ~asked.write) - ended),
        ]
        return reads

    def _fill(self, m: Module, control: BlockControl, quiet: Value) -> None:
        asked = Signal()  # and not yet sent
        first, number = Signal.like(self.fill_block), Signal.like(self.fill_blocks)
        end = Signal(len(number) + 1)
        m.d.comb += end.eq(self.fill_block + self.fill_blocks)
        legal = (self.fill_blocks != 0) & (end <= self.config.blocks)
        with m.If(self.fill & ~self.filling & ~self.bypassed & ~self.bypass & legal):
            m.d.sync += [
                self.filling.eq(1),
                asked.eq(1),
                first.eq(self.fill_block),
                number.eq(self.fill_blocks),
            ]
        with m.If(control.filled):
            m.d.sync += asked.eq(0)
        with m.If(self.filling & ~asked & quiet):
            m.d.sync += self.filling.eq(0)
        m.d.comb += [
            control.fill.eq(asked),
            control.fill_block.eq(first),
            control.fill_blocks.eq(number),
            control.hold.eq(self.bypass | self.bypassed | (self.filling & ~asked)),
        ]

    def _log(self, m: Module, control: BlockControl, reader: BlockReader) -> None:
        event = reader.event
        m.d.sync += [
            self.corrected.eq(self.corrected + event.corrected),
            self.uncorrectable.eq(self.uncorrectable + event.uncorrectable),
            self.scrubs.eq(self.scrubs + control.scrubbed),
        ]
        with m.If(event.uncorrectable & ~self.first_valid):
            m.d.sync += [self.first_valid.eq(1), self.first.eq(event.atom)]
        with m.If(self.clear):
            m.d.sync += [self.corrected.eq(0), self.uncorrectable.eq(0), self.scrubs.eq(0)]
            m.d.sync += self.first_valid.eq(0)
        dirty, block = Signal(), Signal(self.config.block_bits)
        with m.If(control.scrubbed | ~self.scrub | self.bypassed):
            m.d.sync += dirty.eq(0)
        with m.Elif(event.corrected & ~event.merge & ~dirty):
            m.d.sync += [dirty.eq(1), block.eq(event.atom >> 3)]
        m.d.comb += [control.dirty.eq(dirty), control.dirty_block.eq(block)]
