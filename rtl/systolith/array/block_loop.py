"""Where a sequencer stands in its blocks of K, and in the digits of wide elements."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.layouts import select_width

__all__ = ["BlockLoop"]


class BlockLoop:
    """The part of the tile loops that only some formats have; without them it adds nothing.

    K tiles are counted into blocks. Elements of two digits run every tile again for each pair of
    digits, with the same addresses, before the loops move on.

    Parameters
    ----------
    m
        Where the logic goes.
    config
        Sizes.
    job, new
        The job that runs, and the one that is offered.
    load, tile_end
        The offered job is taken; a tile ends, to be repeated or not.

    Members
    -------
    repeat_first, repeat_last : Value
        The tile runs for its first, its last pair of digits.
    advance : Value
        A tile ends and is not repeated.
    """

    def __init__(
        self,
        m: Module,
        config: EngineConfig,
        job: data.View,
        new: data.View,
        *,
        load: Value,
        tile_end: Value,
    ) -> None:
        self.m, self.config, self.job, self.new, self.load = m, config, job, new, load
        self.digits = config.array.digits > 1
        self.repeat_first: Value = Const(1, 1)
        self.repeat_last: Value = Const(1, 1)
        self.advance: Value = tile_end
        if self.digits:
            index = Signal(2, name="repeat")
            self.index = index
            self.repeat_first = index == 0
            self.repeat_last = index == job.repeats_end
            self.advance = tile_end & self.repeat_last
            with m.If(tile_end):
                m.d.sync += index.eq(Mux(self.repeat_last, 0, index + 1))
            with m.If(load):
                m.d.sync += index.eq(0)
        if config.scaled:
            self.left = Signal.like(job.passes_end, name="passes_left")
            self.block_first = Signal(name="block_first")
            self.block_last = Signal(name="block_last")
            self.fresh = Signal(name="block_fresh")  # the first block of an N tile, K inside

    def repeat(
        self, tile_end: Value, first: Value, *, back: tuple[Signal, ...], y: tuple[Signal, Signal]
    ) -> None:
        """Return the addresses ``back`` to where they stood in the tile's ``first`` cycle.

        The address of Y returns to its home: only K runs inside a command that repeats tiles.
        """
        if not self.digits:
            return
        m = self.m
        for addr in back:
            start = Signal.like(addr, name=f"{addr.name}_tile")
            with m.If(first):
                m.d.sync += start.eq(addr)
            with m.If(tile_end & ~self.repeat_last):
                m.d.sync += addr.eq(start)
        addr, home = y
        with m.If(tile_end & ~self.repeat_last):
            m.d.sync += addr.eq(home)

    def count(self, k_end: Value, inner_last: Value) -> None:
        """Count the tiles of a block; ``k_end``: the tile is the last one along K."""
        if not self.config.scaled:
            return
        m, job = self.m, self.job
        m.d.comb += self.block_last.eq((self.left == 0) | k_end)
        with m.If(self.advance):
            m.d.sync += [self.left.eq(self.left - 1), self.block_first.eq(0)]
            with m.If(self.block_last):
                m.d.sync += [
                    self.left.eq(job.passes_end),
                    self.block_first.eq(1),
                    self.fresh.eq(inner_last),
                ]
        with m.If(self.load):
            m.d.sync += [
                self.left.eq(self.new.passes_end),
                self.block_first.eq(1),
                self.fresh.eq(1),
            ]

    def formats(self, weights: data.View, rows: data.View) -> None:
        """Selectors of the decoders, in the commands of the banks."""
        mac, m, job = self.config.array.mac, self.m, self.job
        if mac is None:
            return
        for domain, command, side, name in (
            ("sync", weights, mac.w, "w_form"),
            ("comb", rows, mac.x, "x_form"),
        ):
            if select_width(side):
                m.d[domain] += command.form.eq(job[name])
        x_digit, w_digit = self._digits()
        if mac.w.digits > 1:
            m.d.sync += weights.digit.eq(w_digit)
        if mac.x.digits > 1:
            m.d.comb += rows.digit.eq(x_digit)

    def results(
        self, y: data.View, k_first: Value, outer_first: Value, x_addr: Value, w_addr: Value
    ) -> None:
        """What the accumulators and stage B do with the tile."""
        m, job, config = self.m, self.job, self.config
        m.d.comb += y.add.eq(job.accumulate | ~k_first | ~self.repeat_first)
        if self.digits:
            x_digit, w_digit = self._digits()
            m.d.comb += y.shift.eq(x_digit + w_digit)
        if not config.scaled:
            return
        with m.If(job.scaled):
            m.d.comb += y.add.eq(~(self.block_first & self.repeat_first))
        m.d.comb += [
            y.final.eq(job.scaled & self.block_last & self.repeat_last),
            y.x_addr.eq(x_addr),
            y.w_tile.eq(w_addr[ceil_log2(config.array.band_rows) :]),
            y.unit.eq(job.unit),
            y.fresh.eq(Mux(job.n_inside, outer_first, self.fresh) & ~job.accumulate),
        ]
        if config.small_scales:
            m.d.comb += y.small.eq(job.small)

    def _digits(self) -> tuple[Value, Value]:
        if not self.digits:
            return Const(0, 1), Const(0, 1)
        job, index = self.job, self.index
        return job.x_digits & Mux(job.w_digits, index[1], index[0]), job.w_digits & index[0]
