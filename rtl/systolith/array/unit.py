"""Everything that belongs to one band outside the array: queue, sequencer, banks, accumulators."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.accumulator import Accumulator
from systolith.array.band_row import band_signature
from systolith.array.block_ports import unit_block_ports
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.drain import Drain
from systolith.array.feeder import Feeder
from systolith.array.interface import tile_width
from systolith.array.layouts import (
    act_word,
    block_row,
    reach_width,
    sum_command,
    weight_command,
    weight_word,
    y_command,
    y_word,
)
from systolith.array.march import marched
from systolith.array.packed import PackedArray, PackedStruct
from systolith.array.queue import StartQueue, entry_layout, now_width
from systolith.array.sequencer import Sequencer
from systolith.array.stage_b import StageB
from systolith.array.weights import WeightBanks
from systolith.hierarchy import Block, place

__all__ = ["BandUnit", "picked", "write_signature"]


def write_signature(addr: int, word: data.ArrayLayout, tiles: int) -> wiring.Signature:
    """Write port of one kind of bank: an enable for each tile's bank, address and word."""
    return wiring.Signature({"en": Out(tiles), "addr": Out(addr), "data": Out(word)})


class BandUnit(Block):
    """Feeds one band of the array and collects its results.

    Every row band of a group runs the job from its leftmost unit's queue. Commands of the weight
    banks and accumulators come from the unit's own sequencer or march in from the unit on the left.
    Start times are chosen so that the two never coincide.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    push, entry, space, now
        The queue of the groups whose first column this band is in, see :class:`StartQueue`.
    left_weights, left_y : In
        Commands that march in from the left; valid ones take precedence.
    right_weights, right_y : Out
        Commands that march out to the right.
    edge : Out(band_signature)
        The band's edges.
    x_write, w_write : In(write_signature)
        Writes of the host into the banks.
    read_addr, read_tile : In
        Read-out: address and column tile.
    read_busy : Out(1)
        That tile's accumulator is in use in this cycle.
    read_pick : In(tile)
        For each lane, column tile of the request whose word the accumulators give now.
    read_word : Out(y_word)
        That word.
    start, done, done_slot : Out
        First weight row of a command on this leader's port; last result of a command visible.
    left_block, right_block : In(block_row), Out(block_row)
        With a stage B: its rows, marching like the accumulators' commands.
    x_scale, w_scale, w_random : In(enables, addr, data)
        With a stage B: writes of the host; the last one with stochastic rounding.
    read_scaled, read_pick_scaled : In
        With a stage B: read its results instead of exact sums.
    to_chain, from_chain : Out(to_chain), In(from_chain) per stage B
        Where groups can be taller than a block, see :class:`systolith.array.chain.Chain`.
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
                "left_weights": In(weight_command(config)),
                "left_y": In(y_command(config)),
                "right_weights": Out(weight_command(config)),
                "right_y": Out(y_command(config)),
                "edge": Out(band_signature(array)),
                "x_write": In(write_signature(config.x_width, act_word(array), array.row_tiles)),
                "w_write": In(write_signature(config.w_width, weight_word(array), array.col_tiles)),
                "read_addr": In(config.y_width),
                "read_tile": In(tile_width(array.col_tiles)),
                "read_busy": Out(1),
                "read_pick": In(PackedArray(tile_width(array.col_tiles), array.tile)),
                "read_word": Out(y_word(config)),
                "start": Out(1),
                "done": Out(1),
                "done_slot": Out(bits_for(config.control.outstanding - 1)),
                **unit_block_ports(config),
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
            sequencer.load.eq(queue.load),
            sequencer.job.eq(queue.job),
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
            self.right_weights.eq(weights.onward),
        ]
        stages: list[StageB] = []
        ended = None
        if config.scaled:
            stages = [StageB(config) for _ in range(array.band_cols // config.unit_lanes)]
            for t, stage in enumerate(stages):
                m.submodules[f"stage_b_{t}"] = place(stage, platform)
            ended = self._blocks(m, sequencer.drain, sums, stages, platform)
        self._results(m, sequencer.y, sums, ended)
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
        busy = picked([a.busy for a in sums], self.read_tile)
        if stages:
            shared = ceil_log2(len(sums) // len(stages))
            scaled_busy = picked([stage.busy for stage in stages], self.read_tile[shared:])
            busy = Mux(self.read_scaled, scaled_busy, busy) if config.plain else scaled_busy
        for k in range(array.tile):
            word = picked([accumulator.r_data[k] for accumulator in sums], self.read_pick[k])
            if stages:
                words = [stage.r_data[k] for stage in stages]
                scaled = picked(words, self.read_pick[k][shared:])
                word = Mux(self.read_pick_scaled[k], scaled, word) if config.plain else scaled
            m.d.comb += self.read_word[k].eq(word)
        m.d.comb += [self.read_busy.eq(busy), self.start.eq(weights.start)]
        return m

    def _blocks(
        self,
        m: Module,
        own: data.View,
        sums: list[Accumulator],
        stages: list[StageB],
        platform: object,
    ) -> data.View:
        """Lead the rows of stage B through its column tiles; the end of a command at the right."""
        config = self.config
        drain = Drain(config)
        m.submodules.drain = place(drain, platform)
        for write, port in ((drain, self.x_scale), *((s, self.w_scale) for s in stages)):
            m.d.comb += [write.w_addr.eq(port.addr), write.w_data.eq(port.data)]
        m.d.comb += [drain.command.eq(own), drain.w_en.eq(self.x_scale.en)]

        row: data.View = Signal(block_row(config), name="block_row")
        m.d.comb += row.eq(
            Mux(self.left_block.valid, self.left_block.as_value(), drain.row.as_value())
        )
        tiles = len(sums) // len(stages)
        for n, stage in enumerate(stages):
            mine = slice(n * tiles, (n + 1) * tiles)
            m.d.comb += [
                stage.row.eq(row),
                *(
                    getattr(stage, port).eq(Cat(Value.cast(getattr(a, port)) for a in sums[mine]))
                    for port in ("block_en", "block_addr", "blocks")
                ),
                stage.w_en.eq(self.w_scale.en[mine]),
                stage.r_addr.eq(self.read_addr),
            ]
            if tiles > 1:
                m.d.comb += stage.r_tile.eq(self.read_tile)  # its low bits
            if config.stochastic:
                m.d.comb += [
                    stage.start_en.eq(self.w_random.en[n]),
                    stage.start_addr.eq(self.w_random.addr),
                    stage.start_data.eq(self.w_random.data),
                ]
            if config.chained:
                m.d.comb += [
                    self.to_chain[n].eq(stage.to_chain),
                    stage.from_chain.eq(self.from_chain[n]),
                ]
            row = stage.onward
        m.d.comb += [
            self.right_block.eq(row),
            self.right_block.valid.eq(row.valid & (row.reach != 0)),
            self.right_block.reach.eq(row.reach - 1),
        ]
        # The row has left the last unit when its last lane has had its turn.
        ended = Signal(PackedStruct({"last": 1, "slot": len(row.slot)}), name="block_ended")
        m.d.comb += [
            ended.last.eq(row.valid & row.last & (row.reach == 0)),
            ended.slot.eq(row.slot),
        ]
        return delayed(m, ended, config.drain_write, "block_visible")

    def _results(
        self,
        m: Module,
        own: data.View,
        sums: list[Accumulator],
        blocks_ended: data.View | None,
    ) -> None:
        """Lead the commands through the accumulators, and their tokens along beside them."""
        config, array = self.config, self.config.array
        command = Signal(y_command(config), name="y")
        m.d.comb += command.eq(Mux(self.left_y.valid, self.left_y.as_value(), own.as_value()))
        onward: data.View = command
        fields = [name for name, _ in sum_command(config)]
        for accumulator in sums:
            m.d.comb += [accumulator.command[field].eq(onward[field]) for field in fields]
            onward = accumulator.onward
        slot = bits_for(config.control.outstanding - 1)
        tokens = Signal(
            PackedStruct({"first": 1, "last": 1, "reach": reach_width(array), "slot": slot})
        )
        for field in ("reach", "slot"):
            m.d.comb += tokens[field].eq(command[field])
        m.d.comb += [
            tokens.first.eq(command.valid & command.first),
            # Stage B tells the end of a command of block formats.
            tokens.last.eq(
                command.valid & command.last & ~(command.final if config.scaled else Const(0, 1))
            ),
        ]
        late = marched(
            m, tokens, array.band_cols, spacing=array.band_rows, tokens=("first", "last")
        )
        m.d.comb += [self.right_y[field].eq(onward[field]) for field in fields]
        m.d.comb += [self.right_y[field].eq(late[field]) for field in ("first", "last", "slot")]
        m.d.comb += [
            self.right_y.valid.eq(onward.valid & (late.reach != 0)),
            self.right_y.reach.eq(late.reach - 1),
        ]
        # The last lane of the last tile writes `sums` cycles after it would pass the command on.
        ended = Signal(PackedStruct({"last": 1, "slot": slot}))
        m.d.comb += [ended.last.eq(late.last & (late.reach == 0)), ended.slot.eq(late.slot)]
        cycles = config.memory.latency + config.sum_registers + 1 + config.drain_cycles
        visible = delayed(m, ended, cycles, "ended")
        m.d.comb += [self.done.eq(visible.last), self.done_slot.eq(visible.slot)]
        if blocks_ended is not None:  # never at the same time: commands keep their order
            m.d.comb += self.done.eq(visible.last | blocks_ended.last)
            m.d.comb += self.done_slot.eq(Mux(blocks_ended.last, blocks_ended.slot, visible.slot))


def picked(values: Sequence[Value], index: Value) -> Value:
    """``values[index]``: a tree of multiplexers over a power of two of values."""
    level = 0
    while len(values) > 1:
        values = [Mux(index[level], b, a) for a, b in zip(values[::2], values[1::2], strict=True)]
        level += 1
    return values[0]
