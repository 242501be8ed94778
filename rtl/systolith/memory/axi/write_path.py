"""AXI4 writes: bursts to requests, beats to atoms, and their answers."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.axi.burst import Beats, Planner, piece_layout
from systolith.memory.axi.ring import Ring
from systolith.memory.axi.signature import OKAY, SLVERR, AxiConfig
from systolith.memory.axi.words import Split, write_word
from systolith.memory.dma.fifo import Fifo

__all__ = ["WritePath", "b_layout", "w_layout"]


def w_layout(config: AxiConfig) -> data.StructLayout:
    """Payload of channel W."""
    return PackedStruct({"data": config.data_bits, "strb": config.bytes, "last": 1})


def b_layout(config: AxiConfig) -> data.StructLayout:
    """Payload of channel B."""
    return PackedStruct({"id": config.id_bits, "resp": 2})


class WritePath(Block):
    """Takes a beat per cycle, and answers bursts in order, each once it is visible.

    Beats wait for their burst. Data of a burst end with the beat that is marked as the last, or
    with beat ``AWLEN + 1``, whichever comes first; if that is not the same beat the answer is
    SLVERR. What is missing then is not written. Strobes outside of a beat's bytes have no effect.
    Nothing is written of a burst that was refused; its beats are taken. SLVERR, too, if the memory
    did not write all of it.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    aw, w, b : In(stream), In(stream), Out(stream)
        Channels of the bus.
    piece, atom, done, refused : Out(stream), Out(stream), In(1), In(1)
        Atoms that are written, their data, that a piece is visible, and with it that some atoms of
        it were not written.
    """

    aw: stream.Interface
    w: stream.Interface
    b: stream.Interface
    piece: stream.Interface
    atom: stream.Interface
    done: Signal
    refused: Signal

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "aw": In(stream.Signature(config.address)),
                "w": In(stream.Signature(w_layout(config))),
                "b": Out(stream.Signature(b_layout(config))),
                "piece": Out(stream.Signature(piece_layout(config))),
                "atom": Out(stream.Signature(config.memory.write_layout)),
                "done": In(1),
                "refused": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_write_path"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        answer = PackedStruct({"id": config.id_bits, "resp": 2, "pieces": 2})
        planner, beats, split = Planner(config), Beats(config), Split(config)
        ring = Ring(depth=config.outstanding, layout=config.burst)
        answers = Ring(depth=config.outstanding, layout=answer)
        for name, block in (
            ("planner", planner),
            ("ring", ring),
            ("beats", beats),
            ("split", split),
            ("answers", answers),
        ):
            m.submodules[name] = place(block, platform)
        connect(m, flipped(self.aw), planner.address)
        connect(m, planner.piece, flipped(self.piece))
        connect(m, ring.out, beats.burst)
        connect(m, split.atom, flipped(self.atom))

        # A burst begins only if there is room for its answer.
        open_, enters, leaves = Signal(range(config.outstanding + 1)), Signal(), Signal()
        able = open_ != config.outstanding
        m.d.comb += [
            ring.put.valid.eq(planner.burst.valid & able),
            ring.put.payload.eq(planner.burst.payload),
            planner.burst.ready.eq(ring.put.ready & able),
            enters.eq(ring.put.valid & ring.put.ready),
            leaves.eq(self.b.valid & self.b.ready),
        ]
        m.d.sync += open_.eq(open_ + enters - leaves)

        # Beats of a burst whose data ended early are stepped over.
        missing, wrong, misplaced, allowed = Signal(), Signal(), Signal(), Signal()
        now, beat, free = beats.now, self.w.payload, Signal()
        ended: Any = answers.put
        m.d.comb += [
            free.eq(~split.word.valid | split.word.ready),
            allowed.eq(now.resp == OKAY),
            self.w.ready.eq(beats.valid & free & ~missing),
            beats.step.eq(beats.valid & free & (missing | self.w.valid)),
            misplaced.eq(~missing & (beat.last != beats.last)),
            ended.valid.eq(beats.step & beats.last),
            ended.payload.id.eq(now.id),
            ended.payload.pieces.eq(Mux(allowed, 1 + now.two, 0)),
            ended.payload.resp.eq(Mux(allowed & (wrong | misplaced), SLVERR, now.resp)),
        ]
        with m.If(beats.step):
            m.d.sync += [
                missing.eq(~beats.last & (missing | beat.last)),
                wrong.eq(~beats.last & (wrong | misplaced)),
            ]
        self._gather(m, beats, split, allowed & ~missing)
        self._answer(m, answers, platform)
        return m

    def _gather(self, m: Module, beats: Any, split: Any, written: Value) -> None:
        """Beats gather until their word ends; it then leaves through a register."""
        config, now, beat = self.config, beats.now, self.w.payload
        lanes = (config.bytes - 1).bit_length()
        first, block = Signal(lanes), Signal(lanes)
        strobes = Signal(config.bytes)
        m.d.comb += [first.eq(now.low), block.eq(~(now.size - 1))]
        for byte in range(config.bytes):
            inside = (byte >= first) & (((first ^ byte) & block) == 0)
            m.d.comb += strobes[byte].eq(beat.strb[byte] & inside & written)
        kept, merged = (Signal(write_word(config), name=n) for n in ("kept", "merged"))
        lane = now.low[lanes : (config.word - 1).bit_length()]
        for byte in range(config.word):
            at = byte % config.bytes
            comes = Signal(name=f"comes_{byte}")
            m.d.comb += [
                comes.eq(strobes[at] & (lane == byte // config.bytes)),
                merged.mask[byte].eq(kept.mask[byte] | comes),
                merged.data.word_select(byte, 8).eq(
                    Mux(comes, beat.data.word_select(at, 8), kept.data.word_select(byte, 8))
                ),
            ]
        out, leaves = split.word, Signal()
        m.d.comb += leaves.eq(beats.step & beats.ends)
        with m.If(beats.step):
            m.d.sync += [kept.eq(merged), kept.mask.eq(Mux(leaves, 0, merged.mask))]
        with m.If(~out.valid | out.ready):
            m.d.sync += [
                out.valid.eq(leaves & (now.resp == OKAY)),
                out.payload.eq(merged),
            ]

    def _answer(self, m: Module, answers: Any, platform: object) -> None:
        """The oldest burst is answered once its pieces are visible."""
        pieces: Any = Fifo(depth=2 << ceil_log2(self.config.outstanding), width=1)
        m.submodules.pieces = place(pieces, platform)
        head, b = answers.out, self.b
        got, bad = Signal(2), Signal()  # of the pieces of the oldest burst
        free, told, none, last, worse = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            pieces.put.eq(self.done),
            pieces.entry.eq(self.refused),
            free.eq(~b.valid | b.ready),
            none.eq(head.payload.pieces == 0),
            last.eq(got + 1 == head.payload.pieces),
            pieces.take.eq(head.valid & pieces.valid & ~none & (~last | free)),
            told.eq(head.valid & free & (none | (pieces.valid & last))),
            head.ready.eq(told),
            worse.eq(~none & (bad | pieces.head)),
        ]
        with m.If(told):
            m.d.sync += [got.eq(0), bad.eq(0)]
        with m.Elif(pieces.take):
            m.d.sync += [got.eq(got + 1), bad.eq(bad | pieces.head)]
        with m.If(free):
            m.d.sync += [
                b.valid.eq(told),
                b.payload.id.eq(head.payload.id),
                b.payload.resp.eq(Mux(worse, SLVERR, head.payload.resp)),
            ]
