"""The whole of an interleaved memory, between any user and channels of any latency.

In every run of a bounded length, with channels that serve requests in order whenever they like:

``reads``
    Any read is answered in order: its atoms, the error of each, ``last`` with the last of them.
``accesses``
    The accesses to any one atom reach its channel in the order of the user, each write with its
    own data.
``dones``
    Any write is done once each of its atoms is visible, not before.
``moves``
    If nobody waits and something is under way, something moves within a few clocks.

No channel is ever asked for nothing, or beyond its end.
"""

from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)

from systolith.memory import interleave as interleave_module
from systolith.memory.dma import fifo as fifo_module
from systolith.memory.interleave_map import InterleaveConfig
from systolith.memory.sram import RegisterFile
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["STATEMENTS", "whole"]

STATEMENTS = ("reads", "accesses", "dones", "moves")

_NUMBER = 3  # bits of numbers of requests and of accesses
_PATIENCE = 8


class _Registers(RegisterFile):
    """The same with a register for each word: solvers are slow with memories."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = Array(Signal(self.width, name=f"word_{n}") for n in range(self.depth))
        m.d.comb += self.r_data.eq(words[self.r_addr])
        with m.If(self.w_en):
            m.d.sync += words[self.w_addr].eq(self.w_data)
        return m


class _Channel:
    """Serves requests in order whenever it likes; tells accesses to one place.

    Atoms that are read are their address at the user.
    """

    def __init__(
        self, m: Module, config: InterleaveConfig, port: Any, n: int, local: Value, eager: bool
    ) -> None:
        asked = fifo_module.Fifo(depth=2, width=port.request.p.shape().size)
        told = fifo_module.Fifo(depth=2, width=1)
        m.submodules[f"asked_{n}"], m.submodules[f"told_{n}"] = asked, told
        go = [Const(1) if eager else free(m, 1, f"go_{n}_{k}") for k in range(4)]
        head: Any = Signal(port.request.p.shape(), name=f"head_{n}")
        before = Signal(config.channel_count_bits, name=f"before_{n}")
        at, low = Signal(config.atom_bits, name=f"at_{n}"), config.granule_bits
        ends, step, covers = (Signal(name=f"{k}_{n}") for k in ("ends", "step", "covers"))
        self.access, self.write = Signal(name=f"access_{n}"), head.write
        self.data, self.done = port.write.p.data, Signal(name=f"visible_{n}")
        first = config.hash(at[low:]) if config.hashed else 0
        tag = Cat(at[:low], (first ^ n)[: config.channel_bits], at[low:])
        beyond = Signal(config.atom_bits + 1, name=f"beyond_{n}")
        m.d.comb += [
            port.request.ready.eq(go[0] & asked.space),
            asked.put.eq(port.request.ready & port.request.valid),
            asked.entry.eq(port.request.payload),
            beyond.eq(port.request.p.atom + port.request.p.count),
            Assert(~port.request.valid | (port.request.p.count != 0)),
            Assert(~port.request.valid | (beyond <= 1 << config.atom_bits)),
            head.eq(asked.head),
            at.eq(head.atom + before),
            ends.eq(before + 1 == head.count),
            port.write.ready.eq(go[1] & asked.valid & head.write & told.space),
            port.read.valid.eq(go[2] & asked.valid & ~head.write),
            port.read.p.data.eq(tag),
            port.read.p.error.eq(tag[0]),
            step.eq((port.write.ready & port.write.valid) | (port.read.ready & port.read.valid)),
            self.access.eq(step & (at == local)),
            asked.take.eq(step & ends),
            covers.eq((head.atom <= local) & (local < head.atom + head.count)),
            told.put.eq(asked.take & head.write),
            told.entry.eq(covers),
            port.done.eq(told.valid & go[3]),
            told.take.eq(port.done),
            self.done.eq(port.done & told.head[0]),
        ]
        with m.If(step):
            m.d.sync += before.eq(Mux(ends, 0, before + 1))


class _Whole(Elaboratable):
    """The block, its channels, a user, and one of the statements."""

    def __init__(self, config: InterleaveConfig, statement: str) -> None:
        self.config, self.statement = config, statement

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, eager = self.config, self.statement == "moves"
        m.submodules.dut = dut = interleave_module.Interleave(config)
        self.user = user = dut.user
        request, write, read = user.request, user.write, user.read
        self.atom = atom = free(m, config.address_bits, "atom", constant=True)
        low, width = config.granule_bits, config.channel_bits
        channel = Signal(width)
        self.beyond, self.written = Signal(config.address_bits + 1), Signal(5)
        m.d.comb += [
            channel.eq(config.channel_of(atom[low:])),
            request.valid.eq(free(m, 1, "request")),
            request.p.eq(free(m, request.p.shape().size, "asked")),
            read.ready.eq(Const(1) if eager else free(m, 1, "read")),
            write.valid.eq(Const(1) if eager else free(m, 1, "write")),
            write.p.data.eq(self.written),  # their number
            self.beyond.eq(request.p.atom + request.p.count),
            Assume((request.p.count != 0) & (self.beyond <= 1 << config.address_bits)),
        ]
        local = Cat(atom[:low], atom[low + width :])
        served = [
            _Channel(m, config, getattr(dut, f"channel{n}"), n, local, eager)
            for n in range(config.channels)
        ]
        self.takes = Signal()
        m.d.comb += self.takes.eq(write.valid & write.ready)
        m.d.sync += self.written.eq(self.written + self.takes)
        # The accesses to the atom, where it is.
        self.access, self.writing, self.visible = Signal(), Signal(), Signal()
        self.given = Signal(8)
        for n, one in enumerate(served):
            with m.If(channel == n):
                m.d.comb += [
                    self.access.eq(one.access),
                    self.writing.eq(one.write),
                    self.visible.eq(one.done),
                    self.given.eq(one.data),
                ]
        self.reading, self.ordering = Signal(), Signal()  # requests that are taken
        self.covers = Signal()
        taken = request.valid & request.ready
        m.d.comb += [
            self.reading.eq(taken & ~request.p.write),
            self.ordering.eq(taken & request.p.write),
            self.covers.eq(taken & (request.p.atom <= atom) & (atom < self.beyond)),
        ]
        # As many as can be numbered.
        number = Signal(_NUMBER)
        m.d.sync += number.eq(number + taken)
        m.d.comb += Assume(~taken | ~number.all())
        if self.statement == "reads":
            m.d.comb += Assume(~request.p.write)
        getattr(self, f"_{self.statement}")(m)
        return m

    def _reads(self, m: Module) -> None:
        request, read = self.user.request, self.user.read
        chosen = free(m, _NUMBER, "chosen", constant=True)
        asks, answered = Signal(_NUMBER), Signal(_NUMBER)
        known, next_ = Signal(), Signal(self.config.address_bits)
        left, reads = Signal(self.config.count_bits), Signal()
        m.d.comb += reads.eq(read.valid & (answered == chosen))
        with m.If(self.reading):
            m.d.sync += asks.eq(asks + 1)
            with m.If(asks == chosen):
                m.d.sync += [known.eq(1), next_.eq(request.p.atom), left.eq(request.p.count)]
        with m.If(read.valid & read.ready):
            m.d.sync += answered.eq(answered + read.p.last)
        with m.If(reads & read.ready):
            m.d.sync += [next_.eq(next_ + 1), left.eq(left - 1)]
        m.d.comb += [
            Assert(~reads | known),
            Assert(~reads | (read.p.data == next_)),
            Assert(~reads | (read.p.error == read.p.data[0])),
            Assert(~reads | (read.p.last == (left == 1))),
            Cover(reads & read.p.last & (chosen == 1) & (next_ == 3)),
        ]

    def _accesses(self, m: Module) -> None:
        request = self.user.request
        wanted = free(m, _NUMBER, "wanted", constant=True)
        mine, theirs = Signal(_NUMBER), Signal(_NUMBER)
        noted, kind, value, sent = Signal(), Signal(), Signal(5), Signal(5)
        met = Signal()
        m.d.comb += met.eq(self.access & (theirs == wanted))
        m.d.sync += [mine.eq(mine + self.covers), theirs.eq(theirs + self.access)]
        with m.If(self.ordering):
            m.d.sync += sent.eq(sent + request.p.count)
        with m.If(self.covers & (mine == wanted)):
            m.d.sync += [
                noted.eq(1),
                kind.eq(request.p.write),
                value.eq(sent + (self.atom - request.p.atom)),
            ]
        m.d.comb += [
            Assert(~met | noted),
            Assert(~met | (self.writing == kind)),
            Assert(~(met & self.writing) | (self.given == value)),
            Cover(met & self.writing & (wanted == 1)),
        ]

    def _dones(self, m: Module) -> None:
        number = free(m, _NUMBER, "chosen", constant=True)
        orders, dones, seen = Signal(_NUMBER), Signal(_NUMBER), Signal(_NUMBER)
        ordered, within, earlier = Signal(), Signal(), Signal(_NUMBER)
        before, told = Signal(_NUMBER), Signal()  # writes of the atom so far
        with m.If(self.ordering):
            m.d.sync += [orders.eq(orders + 1), before.eq(before + self.covers)]
            with m.If(orders == number):
                m.d.sync += [ordered.eq(1), within.eq(self.covers), earlier.eq(before)]
        m.d.sync += [dones.eq(dones + self.user.done), seen.eq(seen + self.visible)]
        m.d.comb += [
            told.eq(self.user.done & (dones == number)),
            Assert(~told | ordered),
            Assert(~(told & within) | (seen > earlier)),
            Cover(told & within & (number == 1)),
        ]

    def _moves(self, m: Module) -> None:
        read, done = self.user.read, self.user.done
        still, requests = Signal(range(_PATIENCE + 1)), Signal(_NUMBER + 1)
        moves = Signal()
        m.d.comb += [
            moves.eq(self.takes | (read.valid & read.ready) | done | (requests == 0)),
            Assert(still < _PATIENCE),
            Cover((requests == 3) & read.valid),
        ]
        ended: Value = (read.valid & read.ready & read.p.last) + done
        m.d.sync += [
            still.eq(Mux(moves, 0, still + 1)),
            requests.eq(requests + self.reading + self.ordering - ended),
        ]


def whole(config: InterleaveConfig, statement: str, mutants: Iterable[Mutant] = ()) -> str:
    """One of the statements above, for a bounded check.

    Parameters
    ----------
    config
        Small sizes: data are numbers of up to 5 bits.
    statement
        One of :data:`STATEMENTS`.
    mutants
        Planted faults.
    """
    with installed(mutants), patch.object(fifo_module, "RegisterFile", _Registers):
        return to_rtlil(_Whole(config, statement))
