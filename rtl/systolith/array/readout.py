"""Read-out: one accumulator word of every masked band, summed by a tree."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.interface import layout, port_signature
from systolith.array.layouts import y_word
from systolith.array.packed import PackedStruct
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
    addr, tile : Out
        Address and, one-hot, column tile for every band.
    busy : In(bands)
        That tile's accumulator is in use.
    words : In(y_word).array(bands)
        What the bands read, ``memory.latency`` cycles after ``addr``.
    """

    request: stream.Interface
    data: wiring.PureInterface
    addr: Signal
    tile: Signal
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
                "busy": In(array.bands),
                "words": In(y_word(config)).array(array.bands),
            }
        )

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from an accepted request to its sum."""
        return config.memory.latency + 1 + ceil_log2(config.array.bands)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        request = self.request.p
        control = Signal(PackedStruct({"valid": 1, "chosen": array.bands}))
        m.d.comb += [
            control.chosen.eq(
                Cat(
                    request.row_mask[i] & request.col_mask[j]
                    for i in range(array.row_bands)
                    for j in range(array.col_bands)
                )
            ),
            control.valid.eq(self.request.valid & self.request.ready),
            self.request.ready.eq(~(control.chosen & self.busy).any()),
            self.addr.eq(request.addr),
            self.tile.eq(Cat(request.tile == t for t in range(array.col_tiles))),
        ]

        late = delayed(m, control, config.memory.latency, "read")
        level = []
        for n, word in enumerate(self.words):
            picked = Signal(y_word(config), name=f"picked_{n}", reset_less=True)
            m.d.sync += picked.eq(Mux(late.chosen[n], word.as_value(), 0))
            level.append(picked)
        depth = 0
        while len(level) > 1:
            pairs = zip(level[::2], level[1::2], strict=True)
            level = []
            for n, (a, b) in enumerate(pairs):
                total = Signal(y_word(config), name=f"sum_{depth}_{n}", reset_less=True)
                m.d.sync += [total[k].eq(a[k] + b[k]) for k in range(array.tile)]
                level.append(total)
            depth += 1
        valid = delayed(m, late, 1 + depth, "sum").valid
        m.d.comb += [self.data.valid.eq(valid), self.data.payload.data.eq(level[0])]
        return m
