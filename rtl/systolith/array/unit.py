"""Everything that belongs to one band outside the array: queue, sequencer, banks, accumulators."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.accumulator import Accumulator
from systolith.array.band_row import band_signature
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.feeder import Feeder
from systolith.array.layouts import act_word, weight_command, weight_word, y_command, y_word
from systolith.array.packed import PackedStruct
from systolith.array.queue import StartQueue, entry_layout, now_width
from systolith.array.sequencer import Sequencer, job_layout
from systolith.array.weights import WeightBanks
from systolith.hierarchy import Block, place

__all__ = ["BandUnit", "write_signature"]


def write_signature(addr: int, word: data.ArrayLayout, tiles: int) -> wiring.Signature:
    """Write port of one kind of bank: an enable for each tile's bank, address and word."""
    return wiring.Signature({"en": Out(tiles), "addr": Out(addr), "data": Out(word)})


class BandUnit(Block):
    """Feeds one band of the array and collects its results.

    A job comes from the unit's own queue or, in a fused group, from the unit above. Commands of
    the weight banks and accumulators come from the unit's own sequencer or march in from the unit
    on the left. Start times are chosen so that the two never coincide.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    push, entry, space, now
        The queue of the group that this band leads, see :class:`StartQueue`.
    above_load, above : In(1), In(job_layout)
        Job handed down by the unit above.
    below_load, below : Out(1), Out(job_layout)
        Job for the unit below.
    left_weights, left_y : In
        Commands that march in from the left; valid ones take precedence.
    right_weights, right_y : Out
        Commands that march out to the right.
    edge : Out(band_signature)
        The band's edges.
    x_write, w_write : In(write_signature)
        Writes of the host into the banks.
    read_addr, read_tile : In
        Read-out: address and, one-hot, column tile.
    read_busy : Out(1)
        That tile's accumulator is in use in this cycle.
    read_word : Out(y_word)
        The word, ``memory.latency`` cycles later.
    start, done, done_slot : Out
        First weight row of a command on this leader's port; last result of a command visible.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        super().__init__(
            {
                "push": In(1),
                "entry": In(entry_layout(config)),
                "space": Out(1),
                "now": In(now_width(config)),
                "above_load": In(1),
                "above": In(job_layout(config)),
                "below_load": Out(1),
                "below": Out(job_layout(config)),
                "left_weights": In(weight_command(config)),
                "left_y": In(y_command(config)),
                "right_weights": Out(weight_command(config)),
                "right_y": Out(y_command(config)),
                "edge": Out(band_signature(array)),
                "x_write": In(write_signature(config.x_width, act_word(array), array.row_tiles)),
                "w_write": In(write_signature(config.w_width, weight_word(array), array.col_tiles)),
                "read_addr": In(config.y_width),
                "read_tile": In(array.col_tiles),
                "read_busy": Out(1),
                "read_word": Out(y_word(config)),
                "start": Out(1),
                "done": Out(1),
                "done_slot": Out(bits_for(config.control.outstanding - 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        queue, sequencer = StartQueue(config), Sequencer(config)
        feeder, weights = Feeder(config), WeightBanks(config)
        sums = [Accumulator(config) for _ in range(array.col_tiles)]
        m.submodules.queue = place(queue, platform)
        m.submodules.sequencer = place(sequencer, platform)
        m.submodules.feeder = place(feeder, platform)
        m.submodules.weights = place(weights, platform)
        for t, accumulator in enumerate(sums):
            m.submodules[f"accumulator_{t}"] = place(accumulator, platform)

        m.d.comb += [
            queue.push.eq(self.push),
            queue.entry.eq(self.entry),
            queue.now.eq(self.now),
            self.space.eq(queue.space),
            sequencer.load.eq(queue.load | self.above_load),
            sequencer.job.eq(Mux(self.above_load, self.above.as_value(), queue.job.as_value())),
            self.below_load.eq(sequencer.down_load),
            self.below.eq(sequencer.down),
        ]
        m.d.comb += [
            feeder.command.eq(sequencer.rows),
            weights.command.eq(
                Mux(
                    self.left_weights.valid,
                    self.left_weights.as_value(),
                    sequencer.weights.as_value(),
                )
            ),
            sums[0].command.eq(
                Mux(self.left_y.valid, self.left_y.as_value(), sequencer.y.as_value())
            ),
            self.right_weights.eq(weights.onward),
            self.right_y.eq(sums[-1].onward),
            self.right_y.valid.eq(sums[-1].onward.valid & (sums[-1].onward.reach != 0)),
            self.right_y.reach.eq(sums[-1].onward.reach - 1),
        ]
        m.d.comb += [
            self.edge.x.eq(feeder.x),
            self.edge.fuse.eq(feeder.fuse),
            self.edge.reach.eq(feeder.reach),
            self.edge.w.eq(weights.w),
            self.edge.first.eq(weights.first),
        ]
        for banks, port in ((feeder, self.x_write), (weights, self.w_write)):
            m.d.comb += [
                banks.w_en.eq(port.en),
                banks.w_addr.eq(port.addr),
                banks.w_data.eq(port.data),
            ]
        for t, accumulator in enumerate(sums):
            m.d.comb += accumulator.r_addr.eq(self.read_addr)
            m.d.comb += [
                accumulator.psums[k].eq(self.edge.s[t * array.tile + k]) for k in range(array.tile)
            ]
            if t:
                m.d.comb += accumulator.command.eq(sums[t - 1].onward)
        self._read(m, sums)
        m.d.comb += [
            self.start.eq(weights.start),
            self.done.eq(sums[-1].done),
            self.done_slot.eq(sums[-1].done_slot),
        ]
        return m

    def _read(self, m: Module, sums: list[Accumulator]) -> None:
        tile = Signal(PackedStruct({"hot": len(sums)}), name="read")
        m.d.comb += tile.hot.eq(self.read_tile)
        late = delayed(m, tile, self.config.memory.latency, "read")
        word: Value = Mux(late.hot[0], sums[0].r_data.as_value(), 0)
        for t, accumulator in enumerate(sums[1:], start=1):
            word |= Mux(late.hot[t], accumulator.r_data.as_value(), 0)
        m.d.comb += [
            self.read_word.eq(word),
            self.read_busy.eq((self.read_tile & Cat(a.busy for a in sums)).any()),
        ]
