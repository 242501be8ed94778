"""Requests of the user, cut so that one request to every channel is enough for each piece."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.memory.interleave_map import InterleaveConfig

__all__ = ["InterleavePieces", "piece_layout"]


def piece_layout(config: InterleaveConfig) -> data.StructLayout:
    """``write``, first ``atom`` and last one ``end``, ``final``: its request ends with it."""
    bits = config.address_bits
    return PackedStruct({"write": 1, "atom": bits, "end": bits, "final": 1})


class InterleavePieces(Block):
    """Cuts a request at multiples of ``config.longest`` atoms if it is longer.

    A piece per clock. A request is its first piece one clock later, two if there can be more than
    one.

    Parameters
    ----------
    config : InterleaveConfig
        Sizes.

    Members
    -------
    request : In(stream of the user's requests)
        Requests.
    piece : Out(stream of piece_layout)
        Their pieces.
    """

    request: Any
    piece: Any

    def __init__(self, config: InterleaveConfig) -> None:
        self.config = config
        request: Any = config.user.members["request"].signature
        super().__init__(
            {"request": In(request), "piece": Out(stream.Signature(piece_layout(config)))}
        )

    @property
    def module_name(self) -> str:
        return f"interleave_pieces_{self.config.key}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, piece = self.config, self.piece
        asked = self.request.payload
        free = Signal()
        m.d.comb += free.eq(~piece.valid | piece.ready)
        if not config.cuts:
            m.d.comb += self.request.ready.eq(free)
            with m.If(free):
                m.d.sync += [
                    piece.valid.eq(self.request.valid),
                    piece.p.write.eq(asked.write),
                    piece.p.atom.eq(asked.atom),
                    piece.p.end.eq(asked.atom + asked.count - 1),
                    piece.p.final.eq(1),
                ]
            return m

        longest = config.longest
        busy, write, final, cut = Signal(), Signal(), Signal(), Signal()
        atom, left = Signal(config.address_bits), Signal(config.count_bits)
        length = Signal(range(longest + 1))
        m.d.comb += [
            final.eq(left <= longest),
            length.eq(Mux(final, left, longest - (atom & (longest - 1)))),
            cut.eq(busy & free),
            self.request.ready.eq(~busy | (cut & final)),
        ]
        with m.If(self.request.ready):
            m.d.sync += [
                busy.eq(self.request.valid),
                write.eq(asked.write),
                atom.eq(asked.atom),
                left.eq(asked.count),
            ]
        with m.Elif(cut):
            m.d.sync += [atom.eq(atom + length), left.eq(left - length)]
        with m.If(free):
            m.d.sync += [
                piece.valid.eq(busy),
                piece.p.write.eq(write),
                piece.p.atom.eq(atom),
                piece.p.end.eq(atom + length - 1),
                piece.p.final.eq(final),
            ]
        return m
