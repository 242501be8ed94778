"""P4 isolation: what a band computes alone does not depend on its neighbours."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Value

from systolith.array.array import Array
from systolith.array.config import ArrayConfig
from systolith.proofs.fabric import late
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["isolation", "isolation_config"]


def isolation_config(*, rows: int, cols: int, tile: int, mac_latency: int = 0) -> ArrayConfig:
    """2 x 2 bands, operands of 2 bits."""
    return ArrayConfig(
        rows=rows,
        cols=cols,
        row_bands=2,
        col_bands=2,
        tile=tile,
        act_width=2,
        weight_width=2,
        mac_latency=mac_latency,
    )


class _Pair(Elaboratable):
    """Two arrays that agree on the inputs of one band and on nothing else.

    Parameters
    ----------
    config : ArrayConfig
        Geometry.
    band : tuple of int
        Row and column of the band.
    """

    def __init__(self, config: ArrayConfig, band: tuple[int, int]) -> None:
        self.config = config
        self.band = band

    def elaborate(self, platform: object) -> Module:
        m = Module()
        i, j = self.band
        m.submodules.one = one = Array(self.config)
        m.submodules.two = two = Array(self.config)
        for row in range(self.config.row_bands):
            for col in range(self.config.col_bands):
                shared = (row, col) == self.band
                for name in ("x", "fuse", "reach", "w", "first"):
                    inputs: list[Value] = []
                    for n, array in enumerate((one, two)):
                        edge = getattr(array.edge[row][col], name)
                        value = edge if isinstance(edge, Value) else edge.as_value()
                        if not (n and shared):
                            inputs.append(free(m, len(value), f"{name}_{row}_{col}_{n}"))
                        m.d.comb += value.eq(inputs[-1])
        for array in (one, two):
            # Alone: not fused to the band above, and the band on the left reaches no further.
            m.d.comb += Assume(~array.edge[i][j].fuse)
            if j:
                m.d.comb += Assume(array.edge[i][j - 1].reach == 0)
        ours, theirs = one.edge[i][j].s.as_value(), two.edge[i][j].s.as_value()
        m.d.comb += [
            Assert(ours == theirs),
            # Not for want of a difference: a neighbour differs while this band's sums move.
            Cover(
                (one.edge[i - 1][j - 1].s.as_value() != two.edge[i - 1][j - 1].s.as_value())
                & (ours != 0)
                & (late(m, ours, 1, "before") != ours)
            ),
        ]
        return m


def isolation(config: ArrayConfig, band: tuple[int, int], mutants: Iterable[Mutant] = ()) -> str:
    """P4: results of the unjoined band at (row, column) ``band`` depend on its own inputs only."""
    with installed(mutants):
        return to_rtlil(_Pair(config, band))
