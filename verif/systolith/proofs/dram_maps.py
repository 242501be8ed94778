"""Address maps of a dynamic memory: no two atoms have one place, so that each place has one."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Cat, Cover, Elaboratable, Module

from systolith.memory.hbm import address_map
from systolith.memory.hbm.address_map import FIELDS
from systolith.memory.hbm.parts import Organisation
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["injective"]


class _Injective(Elaboratable):
    def __init__(self, maps: Iterable[address_map.AddressMap]) -> None:
        self.maps = tuple(maps)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(self.maps[0].bits)
        one, other = free(m, width, "one"), free(m, width, "other")
        for amap in self.maps:
            a, b = (Cat(amap.decode(atom)[field] for field in FIELDS) for atom in (one, other))
            m.d.comb += [
                Assert((a != b) | (one == other)),
                Assert(len(a) == width),  # as many places as atoms
                Cover((a == b) & a.all()),
                Cover((a != b) & (one != other)),
            ]
        return m


def injective(shape: Organisation, mutants: Iterable[Mutant] = ()) -> str:
    """Two addresses that every map of a controller decodes to one place are the same.

    There is no state, and the fields have as many bits as the address: bijective for all runs.

    Parameters
    ----------
    shape
        Of the memory.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Injective(address_map.default_maps(shape)))
