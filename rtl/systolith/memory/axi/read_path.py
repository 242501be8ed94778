"""AXI4 reads: bursts to requests, atoms to beats."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.array.packed import PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.axi.burst import Beats, Planner, piece_layout
from systolith.memory.axi.ring import Ring
from systolith.memory.axi.signature import OKAY, SLVERR, AxiConfig
from systolith.memory.axi.words import Gather

__all__ = ["ReadPath", "r_layout"]


def r_layout(config: AxiConfig) -> data.StructLayout:
    """Payload of channel R."""
    return PackedStruct({"id": config.id_bits, "data": config.data_bits, "resp": 2, "last": 1})


class ReadPath(Block):
    """Answers bursts in order, one beat per cycle once their atoms are there.

    Every beat shows the whole bus word that its bytes are in. Beats of bursts that were refused,
    and of atoms that are not to be used, are zero.

    Parameters
    ----------
    config : AxiConfig
        Bus and memory.

    Members
    -------
    ar, r : In(stream), Out(stream)
        Channels of the bus.
    piece, atom : Out(stream), In(stream)
        Atoms that are wanted, and those that were read, in order.
    """

    ar: stream.Interface
    r: stream.Interface
    piece: stream.Interface
    atom: stream.Interface

    def __init__(self, config: AxiConfig) -> None:
        self.config = config
        super().__init__(
            {
                "ar": In(stream.Signature(config.address)),
                "r": Out(stream.Signature(r_layout(config))),
                "piece": Out(stream.Signature(piece_layout(config))),
                "atom": In(stream.Signature(config.memory.read_layout)),
            }
        )

    @property
    def module_name(self) -> str:
        return "axi_read_path"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        planner, beats, gather = Planner(config), Beats(config), Gather(config)
        ring = Ring(depth=config.outstanding, layout=config.burst)
        for name, block in (
            ("planner", planner),
            ("ring", ring),
            ("beats", beats),
            ("gather", gather),
        ):
            m.submodules[name] = place(block, platform)
        connect(m, flipped(self.ar), planner.address)
        connect(m, planner.burst, ring.put)
        connect(m, planner.piece, flipped(self.piece))
        connect(m, ring.out, beats.burst)
        connect(m, flipped(self.atom), gather.atom)

        now, word, r = beats.now, gather.word, self.r
        free, allowed, good, chosen = Signal(), Signal(), Signal(), Signal(config.data_bits)
        lane = now.low[(config.bytes - 1).bit_length() : (config.word - 1).bit_length()]
        m.d.comb += [
            free.eq(~r.valid | r.ready),
            allowed.eq(now.resp == OKAY),
            beats.step.eq(beats.valid & free & (word.valid | ~allowed)),
            word.ready.eq(beats.valid & free & allowed & beats.ends),
            good.eq(allowed & ~word.payload.error),
            chosen.eq(word.payload.data.word_select(lane, config.data_bits)),
        ]
        with m.If(free):
            m.d.sync += [
                r.valid.eq(beats.step),
                r.payload.id.eq(now.id),
                r.payload.data.eq(Mux(good, chosen, 0)),
                r.payload.resp.eq(Mux(allowed & ~good, SLVERR, now.resp)),
                r.payload.last.eq(beats.last),
            ]
        return m
