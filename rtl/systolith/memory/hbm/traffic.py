"""Traffic generator: the patterns by which a controller is measured, and boards test themselves."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import write_layout
from systolith.memory.hbm.picking import round_robin

__all__ = ["Traffic", "pattern_layout"]

OPEN_BITS = 7


def pattern_layout(config: ControllerConfig) -> data.StructLayout:
    """What the traffic looks like.

    ``streams`` and ``writes`` have a bit for each stream: whether it takes part, and whether it
    writes. Every run has ``count`` atoms. With ``random`` runs are anywhere, aligned to their
    length, a power of two. Else stream ``n`` starts at ``n * apart`` and goes on by ``inner``
    atoms, but by ``outer`` every ``inner_count`` runs, and the address bits set in ``span`` wrap.
    Each stream keeps ``open`` runs under way.
    """
    address = config.atom_bits
    return PackedStruct(
        {
            "streams": config.streams,
            "writes": config.streams,
            "count": config.run_bits,
            "random": 1,
            "apart": address,
            "span": address,
            "inner": address,
            "outer": address,
            "inner_count": 16,
            "open": OPEN_BITS,
            "seed": 32,
        }
    )


class Traffic(Block):
    """Submits runs, at most one per cycle, and counts those under way.

    Random addresses are those of a 32-bit xorshift generator (Marsaglia, Journal of Statistical
    Software 8(14), 2003). Written data is a pattern that differs from atom to atom.

    Members
    -------
    pattern : In(pattern_layout)
        Held from ``start`` on.
    start, stop : In(1)
        Takes the seed and the first addresses; no run is submitted from ``stop`` on.
    run_valid, run_ready, run : Out(streams), In(streams), Out(config.run)
        For the streams of the controller; the run is the same for all.
    submitted, done : Out(streams), In(streams)
        Runs that are accepted in this cycle; that have ended.
    fetch0, ..., write0, ... : In, Out(write_layout)
        Data of writes, in the cycle after ``fetch``.
    """

    pattern: data.View
    start: Signal
    stop: Signal
    run_valid: Signal
    run_ready: Signal
    run: data.View
    submitted: Signal
    done: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        named = PackedStruct({"valid": 1, "stream": config.stream_bits})
        members = {
            "pattern": In(pattern_layout(config)),
            "start": In(1),
            "stop": In(1),
            "run_valid": Out(config.streams),
            "run_ready": In(config.streams),
            "run": Out(PackedArray(config.run, config.streams)),
            "submitted": Out(config.streams),
            "done": In(config.streams),
        }
        for p in range(config.ports):
            members |= {f"fetch{p}": In(named), f"write{p}": Out(write_layout(config))}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, pattern = self.config, self.pattern
        streams = range(config.streams)
        running = Signal()
        with m.If(self.start | self.stop):
            m.d.sync += running.eq(self.start)

        # Runs under way.
        able = Signal(config.streams)
        for n in streams:
            count = Signal(OPEN_BITS, name=f"open_{n}")
            room = Signal(name=f"room_{n}", init=1)
            # A run that ends in this cycle makes room in the next one.
            more, same = (count + change - self.done[n] for change in (1, 0))
            m.d.sync += [
                count.eq(Mux(self.submitted[n], more, same)),
                room.eq(Mux(self.submitted[n], more < pattern.open, same < pattern.open)),
            ]
            m.d.comb += able[n].eq(pattern.streams[n] & room)
        offered = able & self.run_ready & Cat([running] * config.streams)
        stream, any_offered = round_robin(m, offered, advance=offered.any())
        m.d.comb += [
            self.run_valid.eq(Mux(any_offered, 1 << stream, 0)),
            self.submitted.eq(self.run_valid),
        ]

        # Addresses.
        state = Signal(32)
        with m.If(self.start):
            m.d.sync += state.eq(pattern.seed)
        with m.Elif(any_offered):
            m.d.sync += state.eq(_xorshift(m, state))
        address = [Signal(config.atom_bits, name=f"address_{n}") for n in streams]
        inner = [Signal(16, name=f"inner_{n}") for n in streams]
        for n in streams:
            turn = Signal(name=f"turn_{n}")  # the next step is the outer one
            with m.If(self.start):
                m.d.sync += [
                    address[n].eq(n * pattern.apart),
                    inner[n].eq(0),
                    turn.eq(pattern.inner_count == 1),
                ]
            with m.Elif(self.submitted[n]):
                ahead = address[n] + Mux(turn, pattern.outer, pattern.inner)
                m.d.sync += [
                    inner[n].eq(Mux(turn, 0, inner[n] + 1)),
                    turn.eq(pattern.inner_count == Mux(turn, 1, inner[n] + 2)),
                    address[n].eq((address[n] & ~pattern.span) | (ahead & pattern.span)),
                ]
        aligned = state[: config.atom_bits] & ~(pattern.count - 1)
        chosen = Signal(config.run)
        m.d.comb += [
            chosen.write.eq(pattern.writes.bit_select(stream, 1)),
            chosen.count.eq(pattern.count),
            chosen.atom.eq(Mux(pattern.random, aligned, Array(address)[stream])),
            *(self.run[n].eq(chosen) for n in streams),
        ]

        # Data.
        for p in range(config.ports):
            fetch, write = getattr(self, f"fetch{p}"), getattr(self, f"write{p}")
            number = Signal(32, init=p << 31, name=f"number_{p}")
            with m.If(fetch.valid):
                m.d.sync += number.eq(number + 1)
            words = config.organisation.atom // 4
            m.d.sync += write.mask.eq(-1)
            m.d.sync += write.data.eq(Cat(number ^ (0x9E3779B9 * k % 2**32) for k in range(words)))
        return m


def _xorshift(m: Module, state: Value) -> Value:
    for k, step in enumerate((13, -17, 5)):
        after = Signal(32, name=f"shifted_{k}")
        m.d.comb += after.eq(state ^ (state << step if step > 0 else state >> -step))
        state = after
    return state
