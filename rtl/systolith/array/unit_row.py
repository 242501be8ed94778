"""Row of band units: what surrounds one row band of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.band_row import band_signature
from systolith.array.block_ports import row_block_ports
from systolith.array.config import EngineConfig
from systolith.array.interface import tile_width
from systolith.array.layouts import act_word, weight_word, y_word
from systolith.array.packed import PackedArray
from systolith.array.queue import entry_layout, now_width
from systolith.array.unit import BandUnit, picked, write_signature
from systolith.hierarchy import Block, place

__all__ = ["UnitRow"]


class UnitRow(Block):
    """The units of one row band, each passing its commands on to the right.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    push, space : In(col_bands), Out(col_bands)
        Each unit's queue.
    entry, now : In
        Shared by all queues.
    edge : Out(band_signature).array(col_bands)
        Edges of the row band.
    x_write, w_write : In(write_signature)
        Writes into the banks of the columns in ``x_cols`` and ``w_cols``.
    read_addr, read_tile, read_col : In
        Read-out: word, column tile, column band.
    read_busy : Out(1)
        That tile's accumulator is in use.
    read_pick, read_pick_col : In(tile)
        For each lane, ``read_tile`` and ``read_col`` of the request whose word arrives now.
    read_word : Out(y_word)
        That word, one cycle later.
    start, done, done_slot : Out
        Observed of each unit.
    x_scale, w_scale, w_random, x_scale_cols, ..., read_scaled, read_pick_scaled : In
        With a stage B, see :class:`BandUnit`.
    to_chain, from_chain
        As those of :class:`BandUnit`, for all units.
    """

    edge: list[wiring.PureInterface]
    read_word: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        cols = array.col_bands
        slot = bits_for(config.control.outstanding - 1)
        super().__init__(
            {
                "push": In(cols),
                "space": Out(cols),
                "entry": In(entry_layout(config)),
                "now": In(now_width(config)),
                "edge": Out(band_signature(array)).array(cols),
                "x_cols": In(cols),
                "x_write": In(write_signature(config.x_width, act_word(array), array.row_tiles)),
                "w_cols": In(cols),
                "w_write": In(write_signature(config.w_width, weight_word(array), array.col_tiles)),
                "read_addr": In(config.y_width),
                "read_tile": In(tile_width(array.col_tiles)),
                "read_col": In(tile_width(cols)),
                "read_busy": Out(1),
                "read_pick": In(PackedArray(tile_width(array.col_tiles), array.tile)),
                "read_pick_col": In(PackedArray(tile_width(cols), array.tile)),
                "read_word": Out(y_word(config)),
                "start": Out(cols),
                "done": Out(cols),
                "done_slot": Out(PackedArray(slot, cols)),
                **row_block_ports(config),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        units = [BandUnit(self.config) for _ in range(self.config.array.col_bands)]
        for j, unit in enumerate(units):
            m.submodules[f"unit_{j}"] = place(unit, platform)
            m.d.comb += [
                unit.push.eq(self.push[j]),
                self.space[j].eq(unit.space),
                unit.entry.eq(self.entry),
                unit.now.eq(self.now),
                unit.read_addr.eq(self.read_addr),
                unit.read_tile.eq(self.read_tile),
                unit.read_pick.eq(self.read_pick),
                self.start[j].eq(unit.start),
                self.done[j].eq(unit.done),
                self.done_slot[j].eq(unit.done_slot),
            ]
            wiring.connect(m, unit.edge, wiring.flipped(self.edge[j]))
            writes = [
                (unit.x_write, self.x_write, self.x_cols),
                (unit.w_write, self.w_write, self.w_cols),
            ]
            if self.config.scaled:
                writes += [
                    (unit.x_scale, self.x_scale, self.x_scale_cols),
                    (unit.w_scale, self.w_scale, self.w_scale_cols),
                ]
                if self.config.stochastic:
                    writes.append((unit.w_random, self.w_random, self.w_random_cols))
                m.d.comb += [
                    unit.read_scaled.eq(self.read_scaled),
                    unit.read_pick_scaled.eq(self.read_pick_scaled),
                ]
                if j:
                    m.d.comb += unit.left_block.eq(units[j - 1].right_block)
            if self.config.chained:
                stages = self.config.array.band_cols // self.config.unit_lanes
                for n in range(stages):
                    m.d.comb += [
                        self.to_chain[j * stages + n].eq(unit.to_chain[n]),
                        unit.from_chain[n].eq(self.from_chain[j * stages + n]),
                    ]
            for mine, all_units, cols in writes:
                m.d.comb += [
                    mine.en.eq(Mux(cols[j], all_units.en, 0)),
                    mine.addr.eq(all_units.addr),
                    mine.data.eq(all_units.data),
                ]
            if j:
                m.d.comb += [
                    unit.left_weights.eq(units[j - 1].right_weights),
                    unit.left_y.eq(units[j - 1].right_y),
                ]

        word = Signal(y_word(self.config), name="word", reset_less=True)
        for k in range(self.config.array.tile):
            words = [unit.read_word[k] for unit in units]
            m.d.sync += word[k].eq(picked(words, self.read_pick_col[k]))
        m.d.comb += [
            self.read_word.eq(word),
            self.read_busy.eq(picked([unit.read_busy for unit in units], self.read_col)),
        ]
        return m
