"""Walks the rows of a box in large memory."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.dma.config import DmaConfig

__all__ = ["RowWalker", "piece_layout"]


def piece_layout(config: DmaConfig) -> data.StructLayout:
    """Consecutive atoms: address of the first one, and how many there are."""
    left = max(config.count_bits, config.page_bits + 1)
    return PackedStruct({"atom": config.atom_bits, "left": left})


class RowWalker(Block):
    """Offers one row after the other; each is taken in parts of any size.

    A row is ``row`` consecutive atoms. ``last`` and ``stride`` are those of the levels around it:
    its own, if atoms are not consecutive (``row`` is 1 then), and the two outer ones.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    start : In(1)
        Begin with the box of the following members; they hold from then on.
    memory, row, last, stride : In
        First atom; atoms of a row; rows less one of each level, innermost first; signed strides.
    valid, piece : Out(1), Out(piece_layout)
        What is left of the row.
    take : In
        Atoms of it that are taken now, 0 to ``piece.left``.
    stop : In(1)
        Forget the box.
    """

    start: Signal
    memory: Signal
    row: Signal
    last: data.View
    stride: data.View
    valid: Signal
    piece: data.View
    take: Signal
    stop: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "memory": In(config.atom_bits),
                "row": In(config.count_bits),
                "last": In(PackedArray(config.count_bits, 3)),
                "stride": In(PackedArray(config.atom_bits + 1, 3)),
                "valid": Out(1),
                "piece": Out(piece_layout(config)),
                "take": In(config.run_bits),
                "stop": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_rows"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, piece = self.config, self.piece
        bits = config.atom_bits
        # Where the row, the plane and the box began that the piece is in, and steps left of each.
        heads = [Signal(bits, name=f"head_{n}", reset_less=True) for n in range(3)]
        left = [Signal(config.count_bits, name=f"left_{n}", reset_less=True) for n in range(3)]
        nexts = [Signal(bits, name=f"next_{n}") for n in range(3)]
        ends = Signal()
        m.d.comb += [
            *(nexts[n].eq(heads[n] + self.stride[n][:bits]) for n in range(3)),
            ends.eq(self.valid & (self.take == piece.left)),
        ]
        with m.If(self.start):
            m.d.sync += [self.valid.eq(1), piece.atom.eq(self.memory), piece.left.eq(self.row)]
            m.d.sync += [head.eq(self.memory) for head in heads]
            m.d.sync += [left[n].eq(self.last[n]) for n in range(3)]
        with m.Elif(ends):
            m.d.sync += piece.left.eq(self.row)
            moves = (left[0] != 0, left[1] != 0, left[2] != 0)
            for n in range(3):
                with m.If(moves[n]) if n == 0 else m.Elif(moves[n]):
                    m.d.sync += [piece.atom.eq(nexts[n]), left[n].eq(left[n] - 1)]
                    m.d.sync += [heads[k].eq(nexts[n]) for k in range(n + 1)]
                    m.d.sync += [left[k].eq(self.last[k]) for k in range(n)]
            with m.Else():
                m.d.sync += self.valid.eq(0)
        with m.Else():
            m.d.sync += [
                piece.atom.eq(piece.atom + self.take),
                piece.left.eq(piece.left - self.take),
            ]
        with m.If(self.stop):
            m.d.sync += self.valid.eq(0)
        return m
