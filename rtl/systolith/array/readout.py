"""Read-out: one accumulator word of every masked band, summed by a tree."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.interface import layout, port_signature
from systolith.array.layouts import y_word
from systolith.array.packed import PackedStruct
from systolith.array.unit_row import summed
from systolith.hierarchy import Block

__all__ = ["Readout"]


class Readout(Block):
    """Adds the words of all masked bands, so that groups may share K of an exact int32 GEMM.

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
    addr, tile, cols : Out
        Address, column tile (one-hot) and columns for every row band.
    busy : In(bands)
        That tile's accumulator is in use.
    words : In(y_word).array(row_bands)
        Sum over the columns of each row band.
    """

    request: stream.Interface
    addr: Signal
    tile: Signal
    cols: Signal
    busy: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        array = config.array
        super().__init__(
            {
                "request": In(stream.Signature(layout("y_request", config))),
                "data": Out(port_signature(layout("y_data", config), waits=False)),
                "addr": Out(config.y_width),
                "tile": Out(array.col_tiles),
                "cols": Out(array.col_bands),
                "busy": In(array.bands),
                "words": In(y_word(config)).array(array.row_bands),
            }
        )

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from an accepted request to its sum."""
        return config.memory.latency + ceil_log2(config.array.bands)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        request = self.request.p
        chosen = Cat(
            request.row_mask[i] & request.col_mask[j]
            for i in range(array.row_bands)
            for j in range(array.col_bands)
        )
        control = Signal(PackedStruct({"valid": 1, "rows": array.row_bands}))
        m.d.comb += [
            self.request.ready.eq(~(chosen & self.busy).any()),
            control.valid.eq(self.request.valid & self.request.ready),
            control.rows.eq(request.row_mask),
            self.addr.eq(request.addr),
            self.tile.eq(Cat(request.tile == t for t in range(array.col_tiles))),
            self.cols.eq(request.col_mask),
        ]

        across = config.memory.latency + ceil_log2(array.col_bands)
        late = delayed(m, control, across, "row_sums")
        words = []
        for i, word in enumerate(self.words):
            picked = Signal(y_word(config), name=f"picked_{i}")
            m.d.comb += picked.eq(Mux(late.rows[i], word.as_value(), 0))
            words.append(picked)
        total = summed(m, words)
        valid = delayed(m, late, ceil_log2(array.row_bands), "total").valid
        m.d.comb += [self.data.valid.eq(valid), self.data.payload.data.eq(total)]
        return m
