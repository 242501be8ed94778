"""Binary32 sums on their way from block to block, in groups that are taller than a block."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.config import EngineConfig
from systolith.array.layouts import source_width
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block

__all__ = ["Chain", "from_chain", "sources", "to_chain"]


def to_chain(config: EngineConfig) -> data.StructLayout:
    """What a stage B tells the others: what it asks for, and the word that it was asked for.

    ``take``: the row band whose word belongs to the lane at work; ``source`` at the time of
    ``valid``.
    """
    band = source_width(config)
    return PackedStruct(
        {"valid": 1, "addr": config.y_width, "source": band, "take": band, "word": 32}
    )


def from_chain(config: EngineConfig) -> data.StructLayout:
    """What a stage B is asked for, and the word that it has asked for."""
    return PackedStruct({"valid": 1, "addr": config.y_width, "word": 32})


def sources(config: EngineConfig, band: int) -> list[int]:
    """Row bands to whose sums ``band`` may have to add.

    Its own; in a group of ``size`` bands with ``span`` bands to a block the one above by a block,
    or from the first block the group's last.
    """
    bands, rows = config.array.row_bands, config.array.band_rows
    found = {band}
    for span in {pair.block // rows for pair in config.block_pairs}:
        size = 2 * span
        while span and size <= bands:
            if band % span == span - 1:
                found.add(band & -size | (band - span) % size)
            size *= 2
    return sorted(found)


class Chain(Block):
    """Connects the stages B of all row bands in one place of the columns; combinational.

    Start times and tile periods are such that no two rows ask one memory in the same cycle.

    Parameters
    ----------
    config : EngineConfig
        Sizes; ``chained``.

    Members
    -------
    stages : In(to_chain) per row band
        From each stage B.
    back : Out(from_chain) per row band
        To each stage B.
    """

    stages: data.View
    back: data.View
    clocked = False

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        bands = config.array.row_bands
        super().__init__(
            {
                "stages": In(PackedArray(to_chain(config), bands)),
                "back": Out(PackedArray(from_chain(config), bands)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bands = range(self.config.array.row_bands)
        choices = {i: sources(self.config, i) for i in bands}
        for i in bands:
            stages, back = self.stages, self.back[i]
            asking = [n for n in bands if i in choices[n]]
            turns = [stages[n].valid & (stages[n].source == i) for n in asking]
            pairs = list(zip(asking, turns, strict=True))
            m.d.comb += [
                back.valid.eq(Cat(turns).any()),
                back.addr.eq(
                    reduce(or_, (stages[n].addr & t.replicate(len(back.addr)) for n, t in pairs))
                ),
                back.word.eq(
                    reduce(
                        or_,
                        (stages[n].word & (stages[i].take == n).replicate(32) for n in choices[i]),
                    )
                ),
            ]
        return m
