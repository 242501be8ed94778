"""Where the next atom of a stream is: bank and column of its address by the map in use."""

from typing import Any

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.walker import bank_of

__all__ = ["HeadPlace", "place_of", "where_layout"]


def where_layout(config: ControllerConfig) -> data.StructLayout:
    """Bank and column of an atom; ``number`` is that of the bank among all."""
    widths = config.maps[0].widths
    fields = {name: widths[name] for name in ("sid", "group", "bank")}
    number = max(1, sum(fields.values()))
    return data.StructLayout({**fields, "column": max(1, widths["column"]), "number": number})


def place_of(
    m: Module, config: ControllerConfig, chosen: Value, atom: Value, name: str
) -> data.View:
    """Return the place of an atom by the address map of that number, in the same cycle."""
    place: Any = Signal(where_layout(config), name=f"{name}_place")
    fields = [amap.decode(atom) for amap in config.maps]
    for field in ("sid", "group", "bank", "column"):
        m.d.comb += place[field].eq(Array(f[field] for f in fields)[chosen])
    m.d.comb += place.number.eq(Array(bank_of(f) for f in fields)[chosen])
    return place


class HeadPlace(Block):
    """Keeps the place of a stream's next atom in registers, and has the one behind it ready.

    Parameters
    ----------
    config : ControllerConfig
        Sizes; with foresight, so that atoms of a stream do not move in two cycles in a row.

    Members
    -------
    map : In
        Number of the address map.
    head_valid, atom : In(1), In
        There is a run; the address of its next atom.
    moved, ended : In(1), In(1)
        It moves; that was the last one of the run.
    valid, place : Out(1), Out(where_layout)
        Its place, from the cycle after that in which the run's first atom is in ``atom``; in the
        cycle after ``moved`` it is that of the next atom.
    """

    map: Signal
    head_valid: Signal
    atom: Signal
    moved: Signal
    ended: Signal
    valid: Signal
    place: data.View

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "map": In(range(len(config.maps))),
                "head_valid": In(1),
                "atom": In(config.atom_bits),
                "moved": In(1),
                "ended": In(1),
                "valid": Out(1),
                "place": Out(where_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        following = Signal(self.config.atom_bits)
        m.d.comb += following.eq(self.atom + 1)
        here = place_of(m, self.config, self.map, self.atom, "here")
        behind = place_of(m, self.config, self.map, following, "behind")
        ahead = Signal(where_layout(self.config))
        m.d.sync += [
            ahead.eq(behind),
            self.valid.eq(self.head_valid & ~self.ended),
        ]
        with m.If(self.moved):
            m.d.sync += self.place.eq(ahead)
        with m.Elif(~self.valid):
            m.d.sync += self.place.eq(here)
        return m
