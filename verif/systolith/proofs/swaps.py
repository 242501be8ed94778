"""P1 swap safety and P2 no overwrite: each activation meets the weight of its own tile."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Cat, Const, Cover, Module, Mux, Signal, Value

from systolith.array.config import ArrayConfig, EngineConfig, MemoryConfig
from systolith.proofs.fabric import Fabric, Parts, late
from systolith.proofs.substitute import Mutant

__all__ = ["no_overwrite", "swap_config", "swap_safety"]


def swap_config(*, rows: int, cols: int, tile: int, longest: int = 2) -> EngineConfig:
    """2 x 2 bands; operands of 4 bits carry the tags.

    Jobs have up to ``longest`` tiles of up to ``longest`` rows.
    """
    return EngineConfig(
        name="swaps",
        array=ArrayConfig(
            rows=rows,
            cols=cols,
            row_bands=2,
            col_bands=2,
            tile=tile,
            act_width=4,
            weight_width=4,
            mac_latency=0,
        ),
        memory=MemoryConfig(
            x_depth=longest, w_depth=longest * (rows // 2), y_depth=longest, latency=1
        ),
    )


def _tile_tags(m: Module, parts: Parts) -> None:
    """Let operands be the tag of their tile: its number modulo 7, plus 1, and its column band.

    A tag is never zero, which stands for no activation.
    """
    x_tags: list[Value] = []
    w_tags: list[Value] = []
    for n, sequencer in enumerate(parts.sequencers):
        column = Const(n % parts.config.array.col_bands, 1)
        rows, words = sequencer.rows, sequencer.weights
        for tags, starts, name in (
            (x_tags, rows.valid & rows.swap, "x"),
            (w_tags, words.valid & words.first, "w"),
        ):
            before = Signal(3, name=f"{name}_tile_{n}", init=7)
            now = Signal(3, name=f"{name}_tile_{n}_now")
            m.d.comb += now.eq(Mux(starts, Mux(before == 7, 1, before + 1), before))
            m.d.sync += before.eq(now)
            tags.append(Cat(now, column))
    parts.drive_x(m, x_tags)
    parts.drive_w(m, w_tags)


def _pending(m: Module, parts: Parts) -> list[Signal]:
    """For each processing element: its shadow holds a weight that has not been swapped in."""
    signals = []
    for n, pe in enumerate(parts.pes):
        pending = Signal(name=f"pending_{n}")
        with m.If(pe.load):
            m.d.sync += pending.eq(1)
        with m.Elif(pe.west.swap):
            m.d.sync += pending.eq(0)
        signals.append(pending)
    return signals


def _covers(m: Module, parts: Parts) -> None:
    """The last element takes a tile of its left neighbour and one of its own back to back."""
    x = Signal(4)
    m.d.comb += x.eq(parts.macs[-1].a)
    before = late(m, x, 1, "x_before")
    m.d.comb += [
        Cover((before != 0) & ~before[3] & (x != 0) & x[3]),
        Cover((before != 0) & before[3] & (x != 0) & ~x[3]),
    ]


def _state_swap_safety(m: Module, parts: Parts) -> None:
    _tile_tags(m, parts)
    for pe, mac, pending in zip(parts.pes, parts.macs, _pending(m, parts), strict=True):
        m.d.comb += [
            Assert((mac.a == 0) | (mac.a == mac.b)),
            Assert(~pe.west.swap | pending),
        ]
    _covers(m, parts)


def _state_no_overwrite(m: Module, parts: Parts) -> None:
    _tile_tags(m, parts)
    for pe, pending in zip(parts.pes, _pending(m, parts), strict=True):
        m.d.comb += Assert(~(pe.load & pending) | pe.west.swap)
    for unit, sequencer in zip(parts.units, parts.sequencers, strict=True):
        m.d.comb += Assert(~(unit.left_weights.valid & sequencer.weights.valid))
    _covers(m, parts)


def swap_safety(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """P1: a swap finds a complete weight, and activation and weight are of the same tile."""
    return Fabric(config, _state_swap_safety).rtlil(mutants)


def no_overwrite(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """P2: no shadow is written between its capture and its swap."""
    return Fabric(config, _state_no_overwrite).rtlil(mutants)
