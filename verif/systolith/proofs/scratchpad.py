"""Scratchpads: who touches a memory and when, and that a word is what was written last.

:func:`exclusive` and :func:`newest` are about control: what the memories hold is up to the solver,
so they speak of every content. :func:`contents` has real memories, and one word of them that the
solver chooses.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from unittest.mock import patch

from amaranth.hdl import Assert, Assume, Cat, Cover, Elaboratable, Module, Signal, Value
from amaranth.lib import data

from systolith.memory import scratchpad as scratchpad_module
from systolith.memory import scratchpad_codec
from systolith.memory.ecc import EccDecoder, EccEncoder
from systolith.memory.scratchpad_bank import ScratchBank
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scratchpad_modes import SplitMode, SubArray
from systolith.memory.scratchpad_port import ScratchPort
from systolith.proofs.substitute import Mutant, free, installed, recorded, to_rtlil

__all__ = ["contents", "exclusive", "newest", "proof_config"]


def proof_config(
    *, banks: int = 2, split: bool = True, depth: int = 2, **sizes: object
) -> ScratchpadConfig:
    """A small scratchpad: one chain, and two splits: into its banks, or fused.

    Parameters
    ----------
    banks, depth
        Of it.
    split
        Whether there is more than the split into single banks.
    sizes
        Other parameters.
    """
    single = tuple(SubArray(first=n, banks=((n,),)) for n in range(banks))
    fused = SubArray(first=0, banks=tuple((n,) for n in range(banks)))
    modes = [SplitMode(name="single", arrays=single)]
    if split:
        modes.append(SplitMode(name="fused", arrays=(fused,)))
    parameters = {
        "bytes": 2,
        "ecc": 16,
        "latency": 1,
        "interval_bits": 1,
        "counter_bits": 1,
        **sizes,
    }
    return ScratchpadConfig(
        banks=banks, chain=banks, segment=1, modes=tuple(modes), depth=depth, **parameters
    )


class _FreeBank(ScratchBank):
    """A bank whose memories hold what the solver likes, anew in each cycle."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.d.comb += [
            self.raw.eq(free(m, HALVES * config.stored_bits, "raw")),
            self.word.eq(free(m, 8 * config.bytes, "word")),
            self.error.eq(free(m, 1, "error")),
        ]
        return m


class _Threefold(EccEncoder):
    """In place of a code: the first bit is there three times, and no other one may be wrong."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.check.eq(self.data[0].replicate(2))
        return m


class _Majority(EccDecoder):
    """Its decoder."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beyond = self.syndrome[2:].any()
        wrong = ~beyond & (self.syndrome == 3)
        m.d.comb += [
            self.syndrome.eq(self.check ^ self.stored[0].replicate(2)),
            self.data.eq(self.stored ^ wrong),
            self.corrected.eq(~beyond & self.syndrome.any()),
            self.uncorrectable.eq(beyond),
        ]
        return m


Statement = Callable[[Module, scratchpad_module.Scratchpad, ScratchPort, list[ScratchBank]], None]


class _Proof(Elaboratable):
    """A scratchpad with every input free, and a statement about it."""

    def __init__(self, config: ScratchpadConfig, state: Statement, *, abstract: bool) -> None:
        self.config, self.state, self.abstract = config, state, abstract

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pad = scratchpad_module.Scratchpad(self.config)
        ports: list[ScratchPort] = []
        banks: list[ScratchBank] = []
        module = scratchpad_module.__name__
        with ExitStack() as stack:
            if self.abstract:
                stack.enter_context(patch.object(scratchpad_module, "ScratchBank", _FreeBank))
            stack.enter_context(recorded(module, "ScratchPort", ports))
            stack.enter_context(recorded(module, "ScratchBank", banks))
            pad._MustUse__silence = True  # elaborated by hand, for its parts
            m.submodules.pad = pad.elaborate(None)
        for name in ("request", "give", "back", "inject"):
            port = pad.port.request if name == "request" else getattr(pad, name)
            self._drive(m, port, name)
        for n in pad.heads:
            self._drive(m, getattr(pad, f"command{n}"), f"command{n}")
        for name in ("mode", "interval", "pause"):
            m.d.comb += getattr(pad, name).eq(free(m, len(getattr(pad, name)), name))
        self.state(m, pad, ports[0], banks)
        return m

    def _drive(self, m: Module, port: object, name: str) -> None:
        stream = port
        payload = Value.cast(stream.payload)
        m.d.comb += [
            stream.valid.eq(free(m, 1, f"{name}_valid")),
            payload.eq(free(m, len(payload), name)),
        ]


def _late(m: Module, value: Value, cycles: int, name: str) -> Signal:
    """``value`` some cycles ago, 0 before."""
    for n in range(cycles):
        old = Signal(len(Value.cast(value)), name=f"{name}_{n}")
        m.d.sync += old.eq(value)
        value = old
    return value


def _exclusive(
    m: Module, pad: scratchpad_module.Scratchpad, port: ScratchPort, banks: list[ScratchBank]
) -> None:
    config = pad.config
    # Accesses of the port are the scrubber's, which says whether they are made, or a request's.
    scrub, own = Signal(), Signal()
    filled = Signal()
    m.d.sync += filled.eq(port.filled)  # the access of a cycle was chosen in the one before
    m.d.comb += [scrub.eq(port.done | port.denied), own.eq(~scrub & filled)]
    reads = []
    for number, bank in enumerate(banks):
        for half in range(HALVES):
            uses = Signal(name=f"uses_{number}_{half}")
            owned = pad.owned[half][number // config.segment]
            read = bank.read[half]
            m.d.comb += uses.eq(bank.op_read[half] | bank.op_write[half])
            if config.ports == "1RW":
                m.d.comb += Assert(~(uses & read))
            else:
                same = bank.read_offset == bank.op_offset
                m.d.comb += Assert(~(bank.op_read[half] & read))
                m.d.comb += Assert(~(bank.op_write[half] & read & same))
                m.d.comb += Cover(bank.op_write[half] & read)
            m.d.comb += [
                Assert(~(bank.op_read[half] & bank.op_write[half])),
                Assert(~read | owned),
                Assert(~(uses & own & owned)),
                Cover(read & (bank.read_offset == config.depth - 1)),
                Cover(uses & scrub & owned),
            ]
            reads.append(read)
    # As many lane groups get a word as banks were read: none was read by two.
    asked, came = Signal(range(len(reads) + 1)), Signal(range(len(reads) + 1))
    m.d.comb += [
        asked.eq(sum(reads)),
        came.eq(sum(pad.lane[n].valid for n in range(config.banks))),
        Assert(came == _late(m, asked, config.latency + 1, "asked")),
        Cover(came == config.banks),
    ]
    # Every request is answered once, in order, after a fixed time, and waits for a bounded one.
    request = pad.port.request
    taken, waited = request.valid & request.ready, Signal(range(config.rmw_cycles + 1))
    with m.If(request.ready | ~port.filled):
        m.d.sync += waited.eq(0)
    with m.Else():
        m.d.sync += waited.eq(waited + 1)
    m.d.comb += [
        Assert(pad.port.response.valid == _late(m, taken, config.response_cycles, "taken")),
        Assert(waited < config.rmw_cycles),
        Cover(waited == config.rmw_cycles - 1),
        Cover(pad.port.response.valid & pad.port.response.refused),
    ]


def exclusive(config: ScratchpadConfig, mutants: Iterable[Mutant] = ()) -> str:
    """At a memory no two meet, a half is touched by its owner only, each request has one answer.

    The scrubber is nobody's: it may touch any half, but not beside another access of it; with
    ``"1R1W"``, not beside a read of the same word.
    """
    with installed(mutants):
        return to_rtlil(_Proof(config, _exclusive, abstract=True))


def _newest(
    m: Module, pad: scratchpad_module.Scratchpad, port: ScratchPort, banks: list[ScratchBank]
) -> None:
    config = pad.config
    place = data.View(config.place, free(m, config.place.size, "place", constant=True))
    bank = place.bank
    read, written = Signal(), Signal()
    m.d.comb += Assume(bank < config.banks)
    here = [
        (place.bank == n) & (place.half == half) & (port.op_offset == place.offset)
        for n in range(config.banks)
        for half in range(HALVES)
    ]
    for name, signal, ops in (("r", read, port.op_read), ("w", written, port.op_write)):
        bits = [ops[n][half] for n in range(config.banks) for half in range(HALVES)]
        hits = Signal(len(bits), name=f"hits_{name}")
        m.d.comb += [
            hits.eq(Cat(at & bit for at, bit in zip(here, bits, strict=True))),
            signal.eq(hits.any()),
        ]
    touched = Signal(init=1)  # by somebody else, since the scrubber has read it
    with m.If(written & ~port.done):
        m.d.sync += touched.eq(1)
    with m.Elif(read & port.done):
        m.d.sync += touched.eq(0)
    again = Signal()
    with m.If(written & port.done):
        m.d.sync += again.eq(1)
    m.d.comb += [
        Assert(~(written & port.done & touched)),
        Cover(written & port.done & again),
        Cover(read & port.done & again & touched),
    ]


def newest(config: ScratchpadConfig, mutants: Iterable[Mutant] = ()) -> str:
    """The scrubber writes a word only if nobody did since it has read it."""
    with installed(mutants):
        return to_rtlil(_Proof(config, _newest, abstract=True))


def _contents(
    m: Module, pad: scratchpad_module.Scratchpad, port: ScratchPort, banks: list[ScratchBank]
) -> None:
    config = pad.config
    place = data.View(config.place, free(m, config.place.size, "place", constant=True))
    m.d.comb += Assume((place.bank < config.banks) & (place.offset < config.depth))
    # One flip of one bit of the word, ever; other words may have any.
    inject = pad.inject
    flips = inject.valid & inject.ready & (inject.payload.place == place)
    bits = inject.payload.flip
    used = Signal()
    m.d.sync += used.eq(used | flips)
    few = 1 | 3 << config.ecc
    m.d.comb += Assume(~flips | (~used & ((bits & (bits - 1)) == 0)))
    m.d.comb += Assume(~inject.valid | ((bits & ~few) == 0))

    # Requests beside their responses, which come in order: what was written up to now.
    request = pad.port.request
    taken = request.valid & request.ready
    cycles = config.response_cycles
    old = data.View(
        pad.port.signature.request_layout,
        _late(m, request.payload.as_value(), cycles, "request"),
    )
    answered = _late(m, taken, cycles, "taken") & (old.address == place.as_value())
    word, poison = Signal(8 * config.bytes), Signal()
    done = answered & ~pad.port.response.refused
    whole = old.mask.all()
    with m.If(done & old.write & old.mask.any()):
        wide = Cat(old.mask[n].replicate(8) for n in range(config.bytes))
        m.d.sync += word.eq((old.data & wide) | (word & ~wide))
        m.d.sync += poison.eq(old.poison | (poison & ~whole))
    response = pad.port.response
    m.d.comb += [
        Assert(~(done & ~old.write) | (response.error == poison)),
        Assert(~(done & ~old.write & ~poison) | (response.data == word)),
        Cover(done & ~old.write & used & (word != 0) & ~poison & (pad.repaired != 0)),
        Cover(done & ~old.write & (word[:8] != 0) & (word[8:] != 0) & poison),
    ]
    for number, bank in enumerate(banks):
        hit = Signal(name=f"array_{number}")
        m.d.comb += hit.eq(
            bank.read.bit_select(place.half, 1)
            & (bank.read_offset == place.offset)
            & (place.bank == number)
        )
        came = _late(m, hit, config.latency + 1, f"came_{number}")
        lane = pad.lane[number]  # in these splits, lane groups read their own banks
        m.d.comb += [
            Assert(~came | lane.valid),
            Assert(~came | (lane.error == poison)),
            Assert(~(came & ~poison) | (lane.data == word)),
            Cover(came & (word != 0) & used),
        ]


def contents(config: ScratchpadConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Whoever reads a word gets what was written last, although one bit of it was flipped.

    Errors are told of poisoned words and of no others. Words have one code word, of a code that
    protects one bit only: that others protect them all is proved of the codes themselves.
    """
    if config.lanes != 1 or config.mark >> 2 == 0:
        raise ValueError("config must have one code word, and a mark beyond its lowest two bits")
    with (
        installed(mutants),
        patch.object(scratchpad_codec, "EccEncoder", _Threefold),
        patch.object(scratchpad_codec, "EccDecoder", _Majority),
    ):
        return to_rtlil(_Proof(config, _contents, abstract=False))
