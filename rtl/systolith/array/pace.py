"""What the formats of a command ask for: legality, passes, and how long its tiles last."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.interface import layout
from systolith.array.packed import PackedStruct
from systolith.array.sequencer import format_fields
from systolith.hierarchy import Block
from systolith.numerics.formats import lookup
from systolith.numerics.pairs import Pair
from systolith.numerics.scale_code import scale_unit

__all__ = ["Pace"]


class Pace(Block):
    """Works out the fields of a job that follow from its formats.

    A tile of block formats lasts longer than ``max(M, r)`` if stage B could not follow: with
    ``p`` passes to the next complete block, one of ``U`` lanes in a cycle needs
    ``U*M <= p * period``, and the loop of the binary32 accumulators ``A <= p * period``. With the
    N tiles inside, ``p`` is 1 for the lanes and the number of N tiles for the loop: they are in
    flight together. ``p`` is rounded down to a power of two, so that no division is needed.

    In a group taller than a block, ``L*(g-1)`` cycles lie between its first block and its last, and
    every loop is as much longer; so long its upper bands are still needed after their last tile.

    Parameters
    ----------
    config : EngineConfig
        Sizes; with formats.

    Members
    -------
    command : In(the command layout)
        Stable.
    fields : Out(format_fields)
        Of the job, :attr:`latency` + 1 cycles later.
    period : Out
        Cycles of a tile, :attr:`latency` cycles later, as the rest unless told otherwise.
    bad : Out(1)
        The pair is not enabled, or the order not possible.
    repeats_log2 : Out
        log2 of how often each tile runs.
    drain : Out
        Cycles of work that stage B has after the last period; with ``fields``.
    lag, span_log2 : Out
        Where groups can be taller than a block: ``L*(g-1)``, 2 cycles after the command, and log2
        of the row bands whose partial sums are joined, 1 cycle after.
    """

    command: data.View
    fields: data.View
    bad: Signal
    repeats_log2: Signal
    drain: Signal
    period: Signal

    latency = 4

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.layout = PackedStruct(format_fields(config))
        super().__init__(
            {
                "command": In(layout("command", config)),
                **({"fields": Out(self.layout)} if self.layout.size else {}),
                "bad": Out(1),
                "repeats_log2": Out(2),
                "drain": Out(bits_for((1 << config.period_width) - 1 + config.chain_cycles)),
                "period": Out(config.period_width),
                **(_chain_ports(config) if config.chained else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, command = self.config, self.command
        fields: Any = Signal(self.layout, name="pair", reset_less=True)
        illegal = Signal(reset_less=True)
        repeats = Signal(2, reset_less=True)
        room = Signal(range(-1, 6), reset_less=True)  # log2 of row bands in a block's rows

        # 1: the pair.
        m.d.sync += [illegal.eq(1), fields.x_form.eq(command.x_form)]
        m.d.sync += fields.w_form.eq(command.w_form)
        with m.Switch(Cat(command.x_form, command.w_form)):
            for pair in config.array.pairs:
                with m.Case(self._select(pair)):
                    m.d.sync += illegal.eq(0)
                    m.d.sync += repeats.eq(ceil_log2(pair.passes))
                    self._constants(m, fields, room, pair)
        if not config.scaled:
            m.d.comb += [self.bad.eq(illegal), self.repeats_log2.eq(repeats)]
            if self.layout.size:
                m.d.comb += self.fields.eq(fields)
            return m

        # 2: the tiles of a block.
        scaled = fields.scaled
        deep = Signal(range(6))  # log2 of the passes
        stacked: Value = Const(0, 1)  # blocks lie one below the other
        if config.chained:
            stacked = scaled & (command.rows_log2 > room)
            rows = Mux(stacked, (1 << command.rows_log2) - (1 << self.span_log2), 0)
            m.d.sync += self.lag.eq(rows << ceil_log2(config.array.band_rows))
        tiles = Signal(config.tiles_width, reset_less=True)  # along K, less one
        passes_end = Signal.like(fields.passes_end, reset_less=True)
        tall, deeper = Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += deep.eq(Mux(stacked, 0, room - command.rows_log2))
        m.d.sync += [
            tall.eq(scaled & (room < 0)),
            deeper.eq((deep != 0) | (repeats != 0)),
            tiles.eq(command.k_tiles - 1),
        ]
        with m.Switch(deep):
            for power in range(ceil_log2(config.max_passes) + 1):
                with m.Case(power):
                    m.d.sync += passes_end.eq((1 << power) - 1)

        # 3: passes to the next complete block, as powers of two.
        tail = tiles & passes_end  # K tiles of the last block, less one
        spread = Signal(range(8), reset_less=True)
        spread_loop = Signal(range(8), reset_less=True)
        loops = Signal(reset_less=True)
        longest = config.loop_cycles + config.chain_cycles
        with m.If(command.n_inside):
            spread_n = self._floor_log2(command.n_tiles, ceil_log2(longest))
            m.d.sync += [spread.eq(0), spread_loop.eq(spread_n)]
        with m.Else():
            turns = self._floor_log2(tail + 1, ceil_log2(config.max_passes)) + repeats
            m.d.sync += [spread.eq(turns), spread_loop.eq(turns)]
        again = Mux(command.n_inside, tiles != 0, tiles > passes_end)
        m.d.sync += [
            loops.eq(scaled & again),
            self.bad.eq(illegal | tall | (scaled & command.n_inside & deeper)),
        ]

        # 4: the period; the fewest cycles of a tile without scales are among the others.
        shared = Signal(config.period_width)
        lanes = ceil_log2(config.unit_lanes)
        m.d.comb += shared.eq(command.m)
        for power in range(lanes):
            with m.If(scaled & (spread == power)):
                m.d.comb += shared.eq(command.m << lanes - power)
        least = Signal(bits_for(max(longest, config.array.band_rows)))
        m.d.comb += least.eq(config.array.band_rows)
        if config.chained:
            reach = Signal(range(longest), reset_less=True)  # of the loop, less one
            cycles = (reach >> spread_loop) + 1
            m.d.sync += reach.eq(self.lag + (config.loop_cycles - 1))
            with m.If(loops & (cycles > config.array.band_rows)):
                m.d.comb += least.eq(cycles)
        else:
            for power in range(ceil_log2(longest)):
                fewest = -(-longest // (1 << power))
                if fewest > config.array.band_rows:
                    with m.If(loops & (spread_loop == power)):
                        m.d.comb += least.eq(fewest)
        m.d.sync += self.period.eq(Mux(shared > least, shared, least))

        # 5: what follows from it.
        whole = Signal(config.period_width)
        m.d.comb += whole.eq(command.m << lanes)
        ended = Signal(self.layout, name="ended", reset_less=True)
        m.d.sync += [
            ended.eq(fields),
            ended.passes_end.eq(passes_end),
            ended.period_end.eq(self.period - 1),
            self.drain.eq(
                Mux(scaled & (whole > self.period), whole - self.period, 0)
                + (self.lag if config.chained else 0)
            ),
        ]
        m.d.comb += [self.fields.eq(ended), self.repeats_log2.eq(repeats)]
        return m

    def _select(self, pair: Pair) -> int:
        mac = self.config.array.mac
        if mac is None:
            raise ValueError("Pace needs formats")
        width = len(self.command.x_form)
        return mac.x.formats.index(pair.x) | mac.w.formats.index(pair.w) << width

    def _constants(self, m: Module, fields: Any, room: Signal, pair: Pair) -> None:
        """Everything that the pair alone decides."""
        config = self.config
        if config.array.digits > 1:
            m.d.sync += [
                fields.repeats_end.eq(pair.passes - 1),
                fields.x_digits.eq(pair.x.digits > 1),
                fields.w_digits.eq(pair.w.digits > 1),
            ]
        if config.scaled:
            m.d.sync += fields.scaled.eq(pair.block > 0)
        if config.chained:
            bands = config.array.row_bands
            joined = pair.block // config.array.band_rows if pair.block else bands
            m.d.sync += self.span_log2.eq(max(min(joined, bands), 1).bit_length() - 1)
        if pair.block:
            scale = lookup(pair.x.scale)
            m.d.sync += [
                fields.unit.eq(pair.lsb + 2 * scale_unit(scale)),
                room.eq((pair.block // config.array.band_rows).bit_length() - 1),
            ]
            if config.small_scales:
                m.d.sync += fields.small.eq(scale.fraction_bits > 0)

    def _floor_log2(self, value: Value, most: int) -> Value:
        """log2 of the largest power of two up to ``value``, at most ``most``."""
        log2: Value = Const(0, 1)
        for power in range(1, most + 1):
            log2 = Mux((value >> power).any(), power, log2)
        return log2


def _chain_ports(config: EngineConfig) -> dict[str, Any]:
    return {
        "lag": Out(bits_for(config.chain_cycles)),
        "span_log2": Out(range(config.array.row_bands.bit_length())),
    }
