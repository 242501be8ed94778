"""Interleaved memory: its map, and what each channel is asked for.

- :func:`mapped`, without state: the map is bijective, and keeps the order of the atoms of each
  channel. From both together follows that the part of consecutive atoms that a channel has is
  consecutive there: it is all that channel's atoms between two of them, and none is left out.
- :func:`parted`: each atom of a piece is asked for once and in its channel, no other is, by at
  most one request to a channel. Any sequence of pieces.

The whole block is in :mod:`systolith.proofs.interleave_whole`.
"""

from collections.abc import Callable, Iterable

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Signal, Value

from systolith.memory import interleave_parts as parts_module
from systolith.memory.interleave_map import InterleaveConfig
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["mapped", "parted"]

State = Callable[[Module, InterleaveConfig], None]


class _Proof(Elaboratable):
    def __init__(self, config: InterleaveConfig, state: State) -> None:
        self.config, self.state = config, state

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self.state(m, self.config)
        return m


def _rtlil(config: InterleaveConfig, state: State, mutants: Iterable[Mutant]) -> str:
    with installed(mutants):
        return to_rtlil(_Proof(config, state))


def _place(m: Module, config: InterleaveConfig, atom: Value, name: str) -> tuple[Signal, Signal]:
    """Channel of an atom, and its address there."""
    low = config.granule_bits
    channel = Signal(config.channel_bits, name=f"{name}_channel")
    local = Signal(config.atom_bits, name=f"{name}_local")
    m.d.comb += [
        channel.eq(config.channel_of(atom[low:])),
        local.eq(Cat(atom[:low], atom[low + config.channel_bits :])),
    ]
    return channel, local


def _mapped(m: Module, config: InterleaveConfig) -> None:
    low = config.granule_bits
    one, other = (free(m, config.address_bits, name) for name in ("one", "other"))
    channel, local = _place(m, config, one, "one")
    second, beyond = _place(m, config, other, "other")
    alike = channel == second
    m.d.comb += [
        Assert((one == other) | ~alike | (local != beyond)),
        Assert(~(one < other) | ~alike | (local < beyond)),
        Cover(alike & (one < other)),
    ]
    # Every place is that of an atom.
    wanted, there = free(m, config.channel_bits, "channel"), free(m, config.atom_bits, "there")
    back = Signal(config.address_bits)
    first = config.hash(there[low:]) if config.hashed else 0
    m.d.comb += back.eq(Cat(there[:low], (wanted ^ first)[: config.channel_bits], there[low:]))
    found, at = _place(m, config, back, "back")
    m.d.comb += [Assert(found == wanted), Assert(at == there)]


def mapped(config: InterleaveConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Bijective, and in order within a channel; one clock is every run."""
    return _rtlil(config, _mapped, mutants)


def _parted(m: Module, config: InterleaveConfig) -> None:
    m.submodules.dut = dut = parts_module.InterleaveParts(config)
    piece, request = dut.piece, dut.request
    channels = range(config.channels)
    atom = free(m, config.address_bits, "atom", constant=True)
    channel, local = _place(m, config, atom, "atom")
    first, end = (free(m, config.address_bits, name) for name in ("first", "end"))
    most = min(config.longest, (1 << config.count_bits) - 1)
    m.d.comb += [
        piece.valid.eq(free(m, 1, "valid")),
        piece.p.write.eq(free(m, 1, "write")),
        piece.p.final.eq(free(m, 1, "final")),
        piece.p.atom.eq(first),
        piece.p.end.eq(end),
        dut.space.eq(free(m, config.channels, "space")),
        dut.closing.ready.eq(free(m, 1, "ready")),
        Assume((first <= end) & (end - first < most)),
    ]

    # The piece that is under way.
    busy, write, inside, hit, hits = Signal(), Signal(), Signal(), Signal(), Signal()
    loads = piece.valid & piece.ready
    asked = Signal(config.channels)
    beyond = Signal(config.atom_bits + 1)
    m.d.comb += [
        beyond.eq(request.atom + request.count),
        hit.eq(dut.put.bit_select(channel, 1).bool() & (request.atom <= local) & (local < beyond)),
        Assert(~dut.put.any() | busy),
        Assert(~(dut.put & (dut.put - 1)[: config.channels]).any()),
        Assert(~dut.put.any() | ((request.count != 0) & (beyond <= 1 << config.atom_bits))),
        Assert(~(dut.put & (asked | ~dut.space)).any()),
        Assert(~hit | inside & ~hits),
        Assert(~dut.put.any() | (request.write == write)),
        # It ends when the next one is taken, or none is.
        Assert(~(busy & piece.ready) | ((hits | hit) == inside)),
        Assert(dut.closing.valid == (busy & write & piece.ready)),
        *(
            Assert(~dut.closing.valid | (dut.closing.p.channels[n] == (asked | dut.put)[n]))
            for n in channels
        ),
        Cover(busy & piece.ready & loads & hits & (asked | dut.put).all()),
    ]
    m.d.sync += [asked.eq(asked | dut.put), hits.eq(hits | hit)]
    with m.If(piece.ready):
        m.d.sync += [
            busy.eq(piece.valid),
            write.eq(piece.p.write),
            inside.eq((first <= atom) & (atom <= end)),
            asked.eq(0),
            hits.eq(0),
        ]


def parted(config: InterleaveConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Each piece is asked for as its atoms lie; for ``"prove"``."""
    return _rtlil(config, _parted, mutants)
