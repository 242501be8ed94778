"""Sequencer of one band: the hardware loops over the tiles of a command."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.block_loop import BlockLoop
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.layouts import (
    drain_command,
    reach_width,
    row_command,
    select_width,
    source_width,
    weight_command,
    y_command,
)
from systolith.array.march import marched
from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block
from systolith.numerics.fp32_term import EXPONENT_BITS

__all__ = ["Sequencer", "format_fields", "job_layout", "place_fields"]

# What is needed of a job after its first cycle; counters and addresses take over the rest.
_KEPT = (
    *("m_end", "row_one", "short", "inner_end", "inner_one", "n_last", "n_inside"),
    *("reach", "slot"),
)


def place_fields(config: EngineConfig) -> dict[str, Any]:
    """Fields of a job that depend on where in the group the row band is.

    ``fuse``: joined to the band above; ``bottom``: no band below joins this one; ``k_rows``: its
    rows of the last K tile. Blocks that lie one below the other in a group are not joined; then
    ``head`` and ``foot`` are the group's first and last band, ``accumulate`` says that the block
    adds to other sums, ``source`` to those of which row band, ``empty`` that the last K tile ends
    above it.
    """
    fields: dict[str, Any] = {"fuse": 1, "bottom": 1, "k_rows": bits_for(config.array.band_rows)}
    if config.chained:
        chain = {"head": 1, "foot": 1, "empty": 1, "source": source_width(config)}
        fields |= {"accumulate": 1, **chain}
    return fields


def format_fields(config: EngineConfig) -> dict[str, Any]:
    """Fields of a job that say in which formats it computes.

    ``scaled``: of block formats. A block takes ``passes_end`` and one K tiles (the last one may
    take fewer), a tile ``period_end`` and one cycles. ``repeats_end``: each tile is run so many
    times more, for the digits of ``x_digits``, ``w_digits`` operands with two of them. ``unit``,
    ``small``: see :func:`systolith.array.layouts.drain_command`.
    """
    mac = config.array.mac
    if mac is None:
        return {}
    fields: dict[str, Any] = {"x_form": select_width(mac.x), "w_form": select_width(mac.w)}
    if config.scaled:
        fields |= {
            "scaled": 1,
            "unit": signed(EXPONENT_BITS),
            "passes_end": bits_for(config.max_passes - 1),
            "period_end": config.period_width,
        }
    if config.small_scales:
        fields["small"] = 1
    if config.array.digits > 1:
        fields |= {"repeats_end": 2, "x_digits": 1, "w_digits": 1}
    return fields


def job_layout(config: EngineConfig) -> data.StructLayout:
    """A checked command as one row band runs it. Counts are stored less one."""
    a = config.array
    return PackedStruct(
        {
            "m_end": bits_for(config.max_m - 1),  # last row
            "row_one": 1,  # m_end is 0
            "short": 1,  # fewer than r rows: a tile then lasts as long as its weights take to load
            "inner_end": bits_for(config.max_tiles - 1),
            "outer_end": bits_for(config.max_tiles - 1),
            "inner_one": 1,  # inner_end is 0
            "outer_one": 1,
            "n_last": bits_for(a.cols),  # columns of the last N tile, from this band on
            "x_base": config.x_width,
            "w_base": config.w_width,
            "y_base": config.y_width,
            "n_inside": 1,
            "accumulate": 1,
            **place_fields(config),
            "reach": reach_width(a),  # bands to the right that join
            "slot": bits_for(config.control.outstanding - 1),
            **format_fields(config),
        }
    )


class Sequencer(Block):
    """Runs one command on one row band: a tile every ``max(M, r)`` cycles, without a gap.

    Tiles of block formats may last longer, see :class:`systolith.array.pace.Pace`.

    A job is loaded at the end of the cycle in which it is offered; the first cycle of its first
    tile follows. It must be offered only when the band is idle or in the last cycle of its work:
    start times are computed beforehand, nothing here waits. The row bands of a group each run the
    same loops, one ``r`` cycles behind the other.

    Cycles count from the loop's own cycle: the weight command leaves 1 cycle later, the activation
    ``1 + weight_lead``, the accumulator command ``acc_delay`` cycles after that.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    load, job : In(1), In(job_layout)
        Start a job.
    weights, rows, y : Out
        Commands of the band's weight banks, activation banks and first accumulator.
    drain : Out(drain_command)
        With a stage B: with ``y``, of tiles that complete a block.
    """

    load: Signal
    job: data.View
    weights: data.View
    rows: data.View
    y: data.View
    drain: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                **({"drain": Out(drain_command(config))} if config.scaled else {}),
                "load": In(1),
                "job": In(job_layout(config)),
                "weights": Out(weight_command(config)),
                "rows": Out(row_command(config)),
                "y": Out(y_command(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        band_rows = config.array.band_rows

        layout = job_layout(config)
        kept = (*_KEPT, *{"accumulate": 1, **place_fields(config)}, *format_fields(config))
        job = Signal(PackedStruct({name: layout[name].shape for name in kept}), reset_less=True)
        with m.If(self.load):
            m.d.sync += (job[name].eq(self.job[name]) for name in kept)

        # Loop state: cycle of the tile, and tiles that are left in the inner and outer loop.
        running = Signal()
        ahead = Signal(config.period_width)  # cycle within the tile, and one more
        first = Signal()  # first cycle of a tile
        inner, outer = Signal.like(job.inner_end), Signal.like(self.job.outer_end)
        inner_first, outer_first = Signal(), Signal()
        inner_last, outer_last = Signal(), Signal()
        k_first, k_end, n_end = Signal(), Signal(), Signal()
        m.d.comb += [
            k_first.eq(Mux(job.n_inside, outer_first, inner_first)),
            k_end.eq(Mux(job.n_inside, outer_last, inner_last)),
            n_end.eq(Mux(job.n_inside, inner_last, outer_last)),
        ]

        # Addresses. The operand of the inner dimension walks on from tile to tile and returns to
        # its base; that of the outer one repeats its tile and moves on with the outer loop.
        w_addr = Signal(config.w_width)
        x_addr, x_home = Signal(config.x_width), Signal(config.x_width)
        y_addr, y_home = Signal(config.y_width), Signal(config.y_width)
        # What a cycle does is decided in the cycle before; what a tile does, in its first cycle.
        tile_end = Signal()
        use_row = Signal()
        last_row = Signal()
        use_weight = Signal()
        rows_end, loaded, loads_end = Signal(), Signal(), Signal()
        m.d.comb += [rows_end.eq(ahead == job.m_end), loaded.eq(ahead == band_rows - 1)]
        paced = Mux(job.short, loaded, rows_end)
        if config.scaled:
            paced = ahead == job.period_end
        chained = config.chained
        head, foot = (job.head, job.foot) if chained else (~job.fuse, job.bottom)
        blocks = BlockLoop(m, config, job, self.job, load=self.load, tile_end=tile_end)
        advance = blocks.advance
        m.d.sync += [
            tile_end.eq(running & paced),
            use_row.eq(use_row & ~last_row),
            last_row.eq(use_row & rows_end),
            loads_end.eq(loaded),
            use_weight.eq(use_weight & ~loads_end),
        ]
        m.d.sync += [w_addr.eq(w_addr + use_weight), ahead.eq(ahead + 1), first.eq(0)]
        for addr, home, walks in (
            (x_addr, x_home, ~job.n_inside),
            (y_addr, y_home, job.n_inside),
        ):
            following = Signal.like(addr, name=f"{addr.name}_following")
            m.d.comb += following.eq(addr + use_row)
            m.d.sync += addr.eq(following)
            with m.If(advance):
                with m.If(inner_last & ~walks):
                    m.d.sync += home.eq(following)
                with m.If(inner_last == walks):
                    m.d.sync += addr.eq(home)
        with m.If(tile_end):
            m.d.sync += [ahead.eq(1), first.eq(1), use_row.eq(1), use_weight.eq(1)]
            m.d.sync += last_row.eq(job.row_one)
        blocks.repeat(tile_end, first, back=(x_addr, w_addr), y=(y_addr, y_home))
        with m.If(advance):
            with m.If(inner_last):
                m.d.sync += [
                    inner.eq(job.inner_end),
                    inner_first.eq(1),
                    inner_last.eq(job.inner_one),
                    outer.eq(outer - 1),
                    outer_first.eq(0),
                    outer_last.eq(outer == 1),
                ]
            with m.Else():
                m.d.sync += [inner.eq(inner - 1), inner_first.eq(0), inner_last.eq(inner == 1)]
            with m.If(inner_last & outer_last):
                m.d.sync += [running.eq(0), use_row.eq(0), last_row.eq(0), use_weight.eq(0)]
        blocks.count(k_end, inner_last)
        with m.If(self.load):
            m.d.sync += [
                running.eq(1),
                tile_end.eq(0),
                loads_end.eq(0),
                use_row.eq(1),
                last_row.eq(self.job.row_one),
                use_weight.eq(1),
                ahead.eq(1),
                first.eq(1),
                inner.eq(self.job.inner_end),
                outer.eq(self.job.outer_end),
                inner_first.eq(1),
                outer_first.eq(1),
                inner_last.eq(self.job.inner_one),
                outer_last.eq(self.job.outer_one),
                w_addr.eq(self.job.w_base),
                x_addr.eq(self.job.x_base),
                x_home.eq(self.job.x_base),
                y_addr.eq(self.job.y_base),
                y_home.eq(self.job.y_base),
            ]

        # Commands, each delayed to its place in the pipeline.
        m.d.sync += [
            self.weights.valid.eq(use_weight),
            self.weights.first.eq(first),
            self.weights.start.eq(first & inner_first & outer_first & blocks.repeat_first & head),
            self.weights.addr.eq(w_addr),
            self.weights.reach.eq(job.reach),
        ]
        rows = Signal(row_command(config))
        results: dict[str, Any] = {name: f.shape for name, f in y_command(config)}
        if config.scaled:
            results |= {name: f.shape for name, f in drain_command(config)}
        y = Signal(PackedStruct(results))
        m.d.comb += [
            rows.valid.eq(use_row),
            rows.swap.eq(use_row & first),
            rows.addr.eq(x_addr),
            rows.rows.eq(Mux(k_end, job.k_rows, band_rows)),
            rows.fuse.eq(job.fuse),
            rows.reach.eq(job.reach),
            y.valid.eq(use_row & job.bottom),
            y.first.eq(use_row & job.bottom & first),
            y.last.eq(inner_last & outer_last & blocks.repeat_last & last_row & foot),
            y.addr.eq(y_addr),
            y.cols.eq(Mux(n_end, job.n_last, config.array.cols)),
            y.reach.eq(job.reach),
            y.slot.eq(job.slot),
        ]
        blocks.formats(self.weights, rows)
        blocks.results(y, k_first, outer_first, x_addr, w_addr)
        if chained:
            m.d.comb += [y.source.eq(job.source), y.empty.eq(job.empty & k_end)]
        lead = 1 + config.array.weight_lead
        late = marched(
            m,
            y,
            lead + config.acc_delay,
            spacing=band_rows,
            tokens=("valid", "first", "last"),
            counts=("addr",),
        )
        m.d.comb += self.rows.eq(delayed(m, rows, lead, "rows"))
        m.d.comb += (self.y[name].eq(late[name]) for name, _ in y_command(config))
        if config.scaled:
            m.d.comb += (self.drain[name].eq(late[name]) for name, _ in drain_command(config))
            m.d.comb += self.drain.valid.eq(late.valid & late.final)
        return m
