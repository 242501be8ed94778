"""Walks a sequence that is kept in pages."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.dma.config import DmaConfig
from systolith.memory.dma.rows import piece_layout

__all__ = ["PageWalker"]


class PageWalker(Block):
    """Offers the atoms of one page after the other, at most one page a clock.

    A page number is checked when it is known; the first bad one ends the walk, with none of its
    atoms offered.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    start : In(1)
        Begin, with the following members; they hold from then on.
    base, size, page_log2 : In
        The region: first atom, number of atoms; log2 of the atoms of a page.
    position, total : In
        Atoms of the sequence before the first one, and how many.
    entry_valid, entry, entry_bad : In
        Page numbers from that of ``position`` on; ``entry_bad``: it could not be read.
    entry_take : Out(1)
        It is used.
    valid, piece : Out(1), Out(piece_layout)
        What is left of the page.
    take : In
        Atoms of it that are taken now, 0 to ``piece.left``.
    active : Out(1)
        There is more to come.
    bad_page, bad_table : Out(1)
        The walk has ended early for a page outside of the region, for one that is not known.
    stop : In(1)
        Forget the sequence.
    """

    start: Signal
    base: Signal
    size: Signal
    page_log2: Signal
    position: Signal
    total: Signal
    entry_valid: Signal
    entry: Signal
    entry_bad: Signal
    entry_take: Signal
    valid: Signal
    piece: data.View
    take: Signal
    active: Signal
    bad_page: Signal
    bad_table: Signal
    stop: Signal

    def __init__(self, config: DmaConfig) -> None:
        self.config = config
        super().__init__(
            {
                "start": In(1),
                "base": In(config.atom_bits),
                "size": In(config.atom_bits + 1),
                "page_log2": In(4),
                "position": In(config.count_bits + config.token_bits),
                "total": In(2 * config.count_bits),
                "entry_valid": In(1),
                "entry": In(32),
                "entry_bad": In(1),
                "entry_take": Out(1),
                "valid": Out(1),
                "piece": Out(piece_layout(config)),
                "take": In(config.run_bits),
                "active": Out(1),
                "bad_page": Out(1),
                "bad_table": Out(1),
                "stop": In(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_pages"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, piece = self.config, self.piece
        wide = 32 + config.page_bits + 1
        left = Signal(2 * config.count_bits, reset_less=True)  # not offered yet
        page_atoms = Signal(config.page_bits + 1)
        within = Signal(config.page_bits)
        number_valid, number, number_bad = Signal(), Signal(32, reset_less=True), Signal()
        at_valid, at, at_bad = Signal(), Signal(wide, reset_less=True), Signal()
        number_moves, at_moves, outside, failing = Signal(), Signal(), Signal(), Signal()
        rest, here = Signal(config.page_bits + 1), Signal(len(piece.left))
        m.d.comb += [
            page_atoms.eq(1 << self.page_log2),
            at_moves.eq(at_valid & ~failing & (~self.valid | (self.take == piece.left))),
            number_moves.eq(number_valid & (~at_valid | at_moves)),
            self.entry_take.eq(self.entry_valid & (left != 0) & (~number_valid | number_moves)),
            outside.eq(at + page_atoms > self.size),
            failing.eq(at_valid & (left != 0) & (at_bad | outside)),
            rest.eq(page_atoms - within),
            here.eq(Mux(left < rest, left, rest)),
            self.active.eq((left != 0) | self.valid),
        ]
        with m.If(self.entry_take | number_moves):
            m.d.sync += [number_valid.eq(self.entry_take)]
            m.d.sync += [number.eq(self.entry), number_bad.eq(self.entry_bad)]
        with m.If(number_moves | at_moves):
            m.d.sync += [at_valid.eq(number_moves)]
            m.d.sync += [at.eq(number << self.page_log2), at_bad.eq(number_bad)]
        m.d.sync += [
            piece.atom.eq(piece.atom + self.take),
            piece.left.eq(piece.left - self.take),
        ]
        with m.If(self.take == piece.left):
            m.d.sync += self.valid.eq(0)
        with m.If(at_moves & (left != 0)):
            m.d.sync += [
                self.valid.eq(1),
                piece.atom.eq(self.base + at + within),
                piece.left.eq(here),
                left.eq(left - here),
                within.eq(0),
            ]
        with m.If(failing & ~self.valid):  # what is offered comes first
            m.d.sync += [left.eq(0), self.bad_table.eq(at_bad), self.bad_page.eq(~at_bad)]
        with m.If(self.start):
            m.d.sync += [
                left.eq(self.total),
                within.eq(self.position & (page_atoms - 1)),
                self.valid.eq(0),
                number_valid.eq(0),
                at_valid.eq(0),
                self.bad_page.eq(0),
                self.bad_table.eq(0),
            ]
        with m.If(self.stop):
            m.d.sync += [left.eq(0), self.valid.eq(0), number_valid.eq(0), at_valid.eq(0)]
            m.d.sync += [self.bad_page.eq(0), self.bad_table.eq(0)]
        return m
