"""Row of band units: what surrounds one row band of the array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.band_row import band_signature
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.layouts import act_word, weight_word, y_word
from systolith.array.packed import PackedArray, PackedStruct
from systolith.array.queue import entry_layout, now_width
from systolith.array.sequencer import job_layout
from systolith.array.unit import BandUnit, write_signature
from systolith.hierarchy import Block, place

__all__ = ["UnitRow", "summed"]


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
    above_load, above, below_load, below
        Jobs handed down between row bands, for each unit.
    edge : Out(band_signature).array(col_bands)
        Edges of the row band.
    x_write, w_write : In(write_signature)
        Writes into the banks of the columns in ``x_cols`` and ``w_cols``.
    read_addr, read_tile, read_cols : In
        Read-out: word, column tile (one-hot), columns to sum over.
    read_busy : Out(col_bands)
        That tile's accumulator is in use.
    read_word : Out(y_word)
        Sum over the columns, ``memory.latency + log2(col_bands)`` cycles after the address.
    start, done, done_slot : Out
        Observed of each unit.
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
                "above_load": In(cols),
                "above": In(PackedArray(job_layout(config), cols)),
                "below_load": Out(cols),
                "below": Out(PackedArray(job_layout(config), cols)),
                "edge": Out(band_signature(array)).array(cols),
                "x_cols": In(cols),
                "x_write": In(write_signature(config.x_width, act_word(array), array.row_tiles)),
                "w_cols": In(cols),
                "w_write": In(write_signature(config.w_width, weight_word(array), array.col_tiles)),
                "read_addr": In(config.y_width),
                "read_tile": In(array.col_tiles),
                "read_cols": In(cols),
                "read_busy": Out(cols),
                "read_word": Out(y_word(config)),
                "start": Out(cols),
                "done": Out(cols),
                "done_slot": Out(PackedArray(slot, cols)),
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
                unit.above_load.eq(self.above_load[j]),
                unit.above.eq(self.above[j]),
                self.below_load[j].eq(unit.below_load),
                self.below[j].eq(unit.below),
                unit.read_addr.eq(self.read_addr),
                unit.read_tile.eq(self.read_tile),
                self.read_busy[j].eq(unit.read_busy),
                self.start[j].eq(unit.start),
                self.done[j].eq(unit.done),
                self.done_slot[j].eq(unit.done_slot),
            ]
            wiring.connect(m, unit.edge, wiring.flipped(self.edge[j]))
            for mine, all_units, cols in (
                (unit.x_write, self.x_write, self.x_cols),
                (unit.w_write, self.w_write, self.w_cols),
            ):
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

        chosen = Signal(PackedStruct({"cols": len(units)}))
        m.d.comb += chosen.cols.eq(self.read_cols)
        late = delayed(m, chosen, self.config.memory.latency, "chosen")
        words = []
        for j, unit in enumerate(units):
            picked = Signal(y_word(self.config), name=f"picked_{j}")
            m.d.comb += picked.eq(Mux(late.cols[j], unit.read_word.as_value(), 0))
            words.append(picked)
        m.d.comb += self.read_word.eq(summed(m, words))
        return m


def summed(m: Module, words: list[data.View]) -> data.View:
    """Lane-wise sum of ``words``, registered at each of its ``log2(len(words))`` levels."""
    depth = 0
    while len(words) > 1:
        pairs = list(zip(words[::2], words[1::2], strict=True))
        words = []
        for n, (a, b) in enumerate(pairs):
            total = Signal(a.shape(), name=f"sum_{depth}_{n}", reset_less=True)
            m.d.sync += [total[k].eq(a[k] + b[k]) for k in range(a.shape().length)]
            words.append(total)
        depth += 1
    return words[0]
