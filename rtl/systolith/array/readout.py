"""Read-out: one accumulator word of every masked row band, summed by a tree."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.delay import delayed, taps
from systolith.array.interface import layout, port_signature, tile_width
from systolith.array.layouts import y_word
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block

__all__ = ["Readout"]


class Readout(Block):
    """Adds the words of the masked row bands, so that groups may share K of an exact int32 GEMM.

    A request is taken in a cycle in which no masked band uses the accumulators of that tile. The
    sum follows :meth:`latency` cycles later; a request can be taken in every cycle.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    request : In(stream of the y_request layout)
        Word, tile and bands.
    data : Out(stream of the y_data layout, without ready)
        The sums.
    addr, tile, col : Out
        Address, column tile and column band for every row band.
    busy : In(row_bands)
        That tile's accumulator is in use.
    pick, pick_col : Out(tile)
        For each lane, ``tile`` and ``col`` of the request whose word the accumulators give now.
    scaled, pick_scaled : Out(1), Out(tile)
        With a stage B: the same for ``scaled`` of the request.
    words : In(y_word).array(row_bands)
        The word that they chose in each row band one cycle ago; lanes one cycle apart.
    """

    request: stream.Interface
    addr: Signal
    tile: Signal
    col: Signal
    busy: Signal
    pick: data.View
    pick_col: data.View

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        super().__init__(
            {
                "request": In(stream.Signature(layout("y_request", config))),
                "data": Out(port_signature(layout("y_data", config), waits=False)),
                "addr": Out(config.y_width),
                "tile": Out(tile_width(array.col_tiles)),
                "col": Out(tile_width(array.col_bands)),
                "busy": In(array.row_bands),
                "pick": Out(PackedArray(tile_width(array.col_tiles), array.tile)),
                "pick_col": Out(PackedArray(tile_width(array.col_bands), array.tile)),
                "words": In(y_word(config)).array(array.row_bands),
                **({"scaled": Out(1), "pick_scaled": Out(array.tile)} if config.scaled else {}),
            }
        )

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from an accepted request to its sum."""
        # Accumulator's and unit row's register, the tree, and the lanes brought together.
        return config.memory.latency + 2 + ceil_log2(config.array.row_bands) + config.array.tile - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        request = self.request.p
        control = Signal(
            PackedStruct(
                {
                    "valid": 1,
                    "rows": array.row_bands,
                    "tile": len(self.tile),
                    "col": len(self.col),
                    **({"scaled": 1} if config.scaled else {}),
                }
            )
        )
        m.d.comb += [
            self.request.ready.eq(~(request.row_mask & self.busy).any()),
            self.addr.eq(request.addr),
            self.tile.eq(request.tile),
            self.col.eq(request.col),
            control.valid.eq(self.request.valid & self.request.ready),
            control.rows.eq(request.row_mask),
            control.tile.eq(request.tile),
            control.col.eq(request.col),
        ]
        if config.scaled:
            m.d.comb += [self.scaled.eq(request.scaled), control.scaled.eq(request.scaled)]
        late = delayed(m, control, config.memory.latency + 1, "late")
        result = Signal(y_word(config))
        for k in range(array.tile):
            m.d.comb += [self.pick[k].eq(late.tile), self.pick_col[k].eq(late.col)]
            if config.scaled:
                m.d.comb += self.pick_scaled[k].eq(late.scaled)
            late = delayed(m, late, 1, f"lane_{k}")
            words = [Mux(late.rows[i], word[k], 0) for i, word in enumerate(self.words)]
            total = self._total(m, words, f"lane_{k}")
            aligned = taps(m, total, array.tile - 1 - k, f"aligned_{k}", reset_less=True)
            m.d.comb += result[k].eq(aligned[-1])
        valid = taps(m, late.valid, ceil_log2(array.row_bands), "valid")
        m.d.comb += [self.data.valid.eq(valid[-1]), self.data.payload.data.eq(result)]
        return m

    def _total(self, m: Module, words: list[Value], name: str) -> Value:
        """Sum of ``words``, registered at each of its ``log2(len(words))`` levels."""
        level = 0
        while len(words) > 1:
            pairs = list(zip(words[::2], words[1::2], strict=True))
            words = []
            for n, (a, b) in enumerate(pairs):
                total = Signal(
                    self.config.acc_width, name=f"{name}_sum_{level}_{n}", reset_less=True
                )
                m.d.sync += total.eq(a + b)
                words.append(total)
            level += 1
        return words[0]
