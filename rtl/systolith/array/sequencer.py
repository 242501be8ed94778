"""Sequencer of one band: the hardware loops over the tiles of a command."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.layouts import reach_width, row_command, weight_command, y_command
from systolith.array.march import marched
from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block

__all__ = ["Sequencer", "job_layout"]


def job_layout(config: EngineConfig) -> data.StructLayout:
    """A checked command as one band runs it. Counts are stored less one where they end loops."""
    a = config.array
    return PackedStruct(
        {
            "m_end": config.period_width,  # last row
            "period_end": config.period_width,  # last cycle of a tile
            "k_end": config.tiles_width,
            "n_end": config.tiles_width,
            "k_last": bits_for(a.rows),  # rows of the last K tile, from this band on
            "n_last": bits_for(a.cols),
            "x_base": config.x_width,
            "w_base": config.w_width,
            "y_base": config.y_width,
            "n_inside": 1,
            "accumulate": 1,
            "fuse": 1,  # joined to the band above
            "below": bits_for(a.row_bands - 1),  # bands below that join this one
            "reach": reach_width(a),  # bands to the right that join
            "slot": bits_for(config.control.outstanding - 1),
        }
    )


class Sequencer(Block):
    """Runs one command on one row band: a tile every ``max(M, r)`` cycles, without a gap.

    A job is loaded at the end of the cycle in which it is offered; the first cycle of its first
    tile follows. It must be offered only when the band is idle or in the last cycle of its work:
    start times are computed beforehand, nothing here waits. Row bands that are fused below get the
    same job through ``down``, exactly ``r`` cycles later.

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
    down_load, down : Out(1), Out(job_layout)
        The job for the band below, ``r`` cycles after this band took it.
    weights, rows, y : Out
        Commands of the band's weight banks, activation banks and first accumulator.
    """

    load: Signal
    job: data.View
    down_load: Signal
    down: data.View
    weights: data.View
    rows: data.View
    y: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        job = job_layout(config)
        super().__init__(
            {
                "load": In(1),
                "job": In(job),
                "down_load": Out(1),
                "down": Out(job),
                "weights": Out(weight_command(config)),
                "rows": Out(row_command(config)),
                "y": Out(y_command(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        band_rows = config.array.band_rows

        # Loop state: cycle of the tile, inner tile, outer tile.
        job = Signal(job_layout(config))
        running = Signal()
        ahead = Signal(config.period_width + 1)  # cycle within the tile, and one more
        first = Signal()  # first cycle of a tile
        inner = Signal(config.tiles_width)
        outer = Signal(config.tiles_width)
        fresh = Signal()  # first tile of the job
        k_first = Signal()
        inner_end = Signal()
        k_end = Signal()
        n_end = Signal()
        m.d.comb += [
            inner_end.eq(inner == Mux(job.n_inside, job.n_end, job.k_end)),
            k_end.eq(Mux(job.n_inside, outer, inner) == job.k_end),
            n_end.eq(Mux(job.n_inside, inner, outer) == job.n_end),
            k_first.eq(Mux(job.n_inside, outer, inner) == 0),
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
        inner_done = Signal()
        all_done = Signal()
        m.d.sync += [
            tile_end.eq(running & ~tile_end & (ahead == job.period_end)),
            use_row.eq(use_row & ~last_row),
            last_row.eq(use_row & ~last_row & (ahead == job.m_end)),
            use_weight.eq(use_weight & (ahead != band_rows)),
            inner_done.eq(inner_end),
            all_done.eq(k_end & n_end),
        ]
        m.d.sync += [w_addr.eq(w_addr + use_weight), ahead.eq(ahead + 1), first.eq(0)]
        for addr, home, walks in (
            (x_addr, x_home, ~job.n_inside),
            (y_addr, y_home, job.n_inside),
        ):
            following = Signal.like(addr, name=f"{addr.name}_following")
            m.d.comb += following.eq(addr + use_row)
            m.d.sync += addr.eq(following)
            with m.If(tile_end):
                with m.If(inner_done & ~walks):
                    m.d.sync += home.eq(following)
                with m.If(inner_done == walks):
                    m.d.sync += addr.eq(home)
        with m.If(tile_end):
            m.d.sync += [ahead.eq(1), first.eq(1), fresh.eq(0), inner.eq(inner + 1)]
            with m.If(inner_done):
                m.d.sync += [inner.eq(0), outer.eq(outer + 1)]
            with m.If(all_done):
                m.d.sync += running.eq(0)
            with m.Else():
                m.d.sync += [use_row.eq(1), last_row.eq(job.m_end == 0), use_weight.eq(1)]
        with m.If(self.load):
            m.d.sync += [
                job.eq(self.job),
                running.eq(1),
                fresh.eq(1),
                tile_end.eq(0),
                use_row.eq(1),
                last_row.eq(self.job.m_end == 0),
                use_weight.eq(1),
                ahead.eq(1),
                first.eq(1),
                inner.eq(0),
                outer.eq(0),
                w_addr.eq(self.job.w_base),
                x_addr.eq(self.job.x_base),
                x_home.eq(self.job.x_base),
                y_addr.eq(self.job.y_base),
                y_home.eq(self.job.y_base),
            ]

        # The band below starts r cycles later with the rows that remain.
        rest = Mux(job.k_last > band_rows, job.k_last - band_rows, 0)
        m.d.comb += [
            self.down_load.eq(running & fresh & (ahead == band_rows) & (job.below != 0)),
            self.down.eq(job),
            self.down.k_last.eq(rest),
            self.down.fuse.eq(1),
            self.down.below.eq(job.below - 1),
        ]

        # Commands, each delayed to its place in the pipeline.
        m.d.sync += [
            self.weights.valid.eq(use_weight),
            self.weights.first.eq(first),
            self.weights.start.eq(first & fresh & ~job.fuse),
            self.weights.addr.eq(w_addr),
            self.weights.reach.eq(job.reach),
        ]
        rows = Signal(row_command(config))
        y = Signal(y_command(config))
        m.d.comb += [
            rows.valid.eq(use_row),
            rows.swap.eq(use_row & first),
            rows.addr.eq(x_addr),
            rows.rows.eq(Mux(k_end & (job.k_last < band_rows), job.k_last, band_rows)),
            rows.fuse.eq(job.fuse),
            rows.reach.eq(job.reach),
            y.valid.eq(use_row & (job.below == 0)),
            y.first.eq(use_row & (job.below == 0) & first),
            y.add.eq(job.accumulate | ~k_first),
            y.last.eq(k_end & n_end & last_row),
            y.addr.eq(y_addr),
            y.cols.eq(Mux(n_end, job.n_last, config.array.cols)),
            y.reach.eq(job.reach),
            y.slot.eq(job.slot),
        ]
        lead = 1 + config.array.weight_lead
        m.d.comb += [
            self.rows.eq(delayed(m, rows, lead, "rows")),
            self.y.eq(marched(m, config, y, lead + config.acc_delay)),
        ]
        return m
