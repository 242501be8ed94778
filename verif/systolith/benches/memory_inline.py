"""A controller under in-line ECC: the design that measures what ECC leaves of the bandwidth."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import connect

from systolith.benches.memory_design import MemoryDesign, Users
from systolith.hierarchy import place
from systolith.memory.port_buffer import PortBuffer
from systolith.memory.sdr.block_code import BLOCK, STRIDE, InlineConfig
from systolith.memory.sdr.inline_ecc import InlineEcc
from systolith.memory.streams import Streams
from systolith.perf.memory.patterns import Pattern

__all__ = ["REGION", "MemoryInlineDesign", "check_region", "fill_cycles"]

REGION = 1 << 12
"""Atoms that are written before the traffic starts, and within which its addresses must wrap."""

_DEPTH = 256  # of the buffer
_STEP = 0x9E3779B9


def fill_cycles(clocks: int) -> int:
    """Memory clocks until the region is written, at ``clocks`` an atom, and some more."""
    return REGION // BLOCK * STRIDE * clocks * 5 // 4


def check_region(pattern: Pattern) -> None:
    """Raise ValueError for a pattern that this design cannot have."""
    steps = (pattern.inner, pattern.outer)
    if pattern.streams != 1 or pattern.random or steps != (pattern.count, pattern.count):
        raise ValueError("pattern must be one stream of consecutive atoms with ECC in line")
    if pattern.span >= REGION or REGION % pattern.count:
        raise ValueError(f"pattern.span must be below {REGION}, a multiple of its count")


class MemoryInlineDesign(MemoryDesign):
    """As its base, with one user: a port with ECC, a buffer, a stream.

    Stream 0 of the pattern asks for consecutive atoms. Every one has been written before; reads of
    something else, and errors that are told, are wrong. Users' atoms alone are counted.
    """

    @property
    def module_name(self) -> str:
        return "memoryinlinedesign"

    def users(
        self, m: Module, platform: object, controller: Any, pattern: Any, start: Value
    ) -> Users:
        """Connect requests to the ECC, and that to a stream of the controller."""
        config = self.config
        size: Any = config.organisation.atom
        inline = InlineConfig(atom=size, atoms=1 << config.atom_bits, count_bits=config.run_bits)
        ecc: Any = InlineEcc(inline)
        buffer: Any = PortBuffer(config, depth=_DEPTH, count_bits=inline.memory.count_bits)
        streams: Any = Streams(config, 1)
        for name, block in (("ecc", ecc), ("buffer", buffer), ("streams", streams)):
            m.submodules[name] = place(block, platform)
        connect(m, ecc.memory, buffer.port)
        connect(m, buffer.run, streams.user0)
        m.d.comb += [
            controller.run_valid.eq(streams.run_valid),
            controller.run.eq(streams.run),
            controller.write0.eq(streams.write0),
            streams.run_ready.eq(controller.run_ready),
            *(
                getattr(streams, name).eq(getattr(controller, name))
                for name in ("fetch0", "response0", "done0")
            ),
        ]

        user = ecc.user
        filling, running, write = Signal(), Signal(), Signal()
        self._requests(m, user, pattern, start, filling, running, write)

        # Data follows from the address.
        put, taken = Signal(range(REGION)), Signal(range(REGION))
        wraps = Mux(filling, REGION - 1, pattern.span)
        puts, takes = user.write.valid & user.write.ready, user.read.valid
        m.d.comb += [
            user.write.valid.eq(write),
            user.write.p.mask.eq(-1),
            user.write.p.data.eq(_known(put & wraps, size)),
            user.read.ready.eq(1),
        ]
        m.d.sync += [put.eq(put + puts), taken.eq(taken + takes)]
        wrong = user.read.p.error | (user.read.p.data != _known(taken & wraps, size))
        submitted, ended = Signal(), Signal()
        m.d.comb += [
            submitted.eq(user.request.valid & user.request.ready),
            ended.eq(Mux(write, user.done, takes & user.read.p.last)),
        ]
        return Users(submitted, ended, running & (puts | takes), takes & wrong)

    def _requests(
        self,
        m: Module,
        user: Any,
        pattern: Any,
        start: Value,
        filling: Signal,
        running: Signal,
        write: Signal,
    ) -> None:
        """Writes all over the region, then what the pattern asks for."""
        request = user.request
        atom = Signal(len(request.p.atom))
        left, under_way = Signal(range(REGION + 1)), Signal.like(pattern.open)
        sent, ended = Signal(), Signal()
        m.d.comb += [
            write.eq(filling | (running & pattern.writes[0])),
            request.valid.eq((under_way != pattern.open) & (running | (filling & (left != 0)))),
            request.p.write.eq(write),
            request.p.atom.eq(atom),
            request.p.count.eq(pattern.count),
            sent.eq(request.valid & request.ready),
            ended.eq(Mux(write, user.done, user.read.valid & user.read.p.last)),
        ]
        m.d.sync += under_way.eq(under_way + sent - ended)
        with m.If(start):
            m.d.sync += [filling.eq(1), left.eq(REGION)]
        with m.Elif(filling & (left == 0) & (under_way == 0)):
            m.d.sync += [filling.eq(0), running.eq(1), atom.eq(0)]
        with m.Elif(sent):
            m.d.sync += [
                atom.eq((atom + pattern.count) & Mux(filling, REGION - 1, pattern.span)),
                left.eq(left - pattern.count),
            ]


def _known(at: Value, size: int) -> Value:
    return Cat((at + 1) * (2 * k + 1) ^ (_STEP * (k + 1) % 2**32) for k in range(size // 4))
