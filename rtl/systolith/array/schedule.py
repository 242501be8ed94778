"""Start times: the max-plus recurrence over bands, in hardware."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.config import EngineConfig
from systolith.array.packed import PackedArray
from systolith.array.queue import now_width
from systolith.hierarchy import Block

__all__ = ["Schedule"]


class Schedule(Block):
    """Computes when a command may start, and remembers when its bands are free again.

    A group starts when each member, seen from its own lag behind the leader, is free. Band (i, j)
    lags ``i*r + j*c`` cycles behind band (0, 0) when all are fused; times are kept in a frame from
    which that lag is taken off. There, a command of ``total`` cycles on a group starts at

        A = max(free times of the members, earliest),   after which they are all free at A + total.

    All times are later than they seem by ``max_skew`` cycles, the largest lag: a band that is free
    by then binds nobody, and its time may be forgotten. Times are values of a clock that wraps;
    they are compared by the sign of their difference, and ``full`` keeps that short.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    members : In(bands)
        Bands of the group; stable from ``snapshot`` to ``commit``.
    skew, column_skew : In
        Lag of the group's first band, and the part of it that comes from its column.
    snapshot : In(1)
        Starts a computation.
    epoch : In
        Earliest start of the command, in cycles from the snapshot; given with it.
    gap : In
        Cycles by which the command must keep clear of the command before, because it adds to
        stored results. Stable from four cycles before ``commit`` on.
    total : In
        Cycles of the command, in the cycle before ``commit``.
    commit : In(1)
        ``dispatch_steps`` cycles after the snapshot, or never: occupy the members.
    start : Out
        For every row band of the group, the value of its clock in the cycle before it starts.
        Valid with ``commit``.
    clocks : Out(now_width) per row band
        Each runs ``r`` cycles behind the one above.
    busy : Out(bands)
        The band has work left, or had until at most ``max_skew`` cycles ago.
    full : Out(1)
        The latest command ends so late that the next one must wait for its snapshot.
    """

    members: Signal
    skew: Signal
    column_skew: Signal
    snapshot: Signal
    epoch: Signal
    gap: Signal
    total: Signal
    commit: Signal
    start: Signal
    busy: Signal
    full: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "members": In(config.array.bands),
                "skew": In(bits_for(config.max_skew)),
                "column_skew": In(bits_for(config.max_skew)),
                "snapshot": In(1),
                "epoch": In(config.epoch_width),
                "gap": In(bits_for(config.longest_gap)),
                "total": In(bits_for(config.longest_command)),
                "commit": In(1),
                "start": Out(now_width(config)),
                "clocks": Out(PackedArray(now_width(config), config.array.row_bands)),
                "busy": Out(config.array.bands),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        width = now_width(config)
        now = Signal(width)
        m.d.sync += now.eq(now + 1)
        for i in range(array.row_bands):
            # `start` below is late by max_skew, and names the cycle before.
            init = (config.max_skew + 1 - i * array.band_rows) % (1 << width)
            clock = Signal(width, name=f"clock_{i}", init=init)
            m.d.sync += clock.eq(clock + 1)
            m.d.comb += self.clocks[i].eq(clock)

        begin, released = Signal(width), Signal(width)
        times: list[tuple[Value, Value]] = []  # binds, until when
        for n in range(array.bands):
            free = Signal(width, name=f"free_{n}", reset_less=True)
            bound = Signal(name=f"bound_{n}")
            with m.If(self.commit & self.members[n]):
                m.d.sync += [free.eq(released), bound.eq(1)]
            with m.Elif(free == now):
                m.d.sync += bound.eq(0)
            m.d.comb += self.busy[n].eq(bound)
            times.append((bound & self.members[n], free))

        # While a command is on its way the bands' times stay, so the tree needs no alignment.
        binds, latest = self._latest(m, times)
        earliest, taken, floor = Signal(width), Signal(width), Signal(width)
        with m.If(self.snapshot):
            m.d.sync += [
                earliest.eq(self.epoch + (config.max_skew - self.skew)),
                taken.eq(now),
            ]
        clear, waits = Signal(width), Signal()
        m.d.sync += [
            floor.eq(earliest + taken),
            clear.eq(latest + self.gap),
            waits.eq(binds),
            begin.eq(Mux(waits & _later(clear, floor), clear, floor)),
        ]
        m.d.sync += released.eq(begin + self.total)
        m.d.comb += self.start.eq(begin + self.column_skew)
        # Every command waits here for the one before, so none that is earlier ends later.
        end, latest_end, left = Signal(width), Signal(width), Signal(width)
        m.d.comb += [
            latest_end.eq(Mux(self.commit, released, end)),
            left.eq(latest_end - now),
        ]
        m.d.sync += [
            end.eq(latest_end),
            self.full.eq((self.commit | self.full) & left[config.backlog_log2 :].any()),
        ]
        return m

    def _latest(self, m: Module, times: list[tuple[Value, Value]]) -> tuple[Value, Value]:
        """Whether any of ``times`` binds and the latest that does, registered at every level."""
        level = 0
        while len(times) > 1:
            pairs = list(zip(times[::2], times[1::2], strict=True))
            times = []
            for n, ((left_binds, left), (right_binds, right)) in enumerate(pairs):
                binds = Signal(name=f"binds_{level}_{n}")
                latest = Signal(now_width(self.config), name=f"latest_{level}_{n}")
                rightmost = right_binds & (~left_binds | _later(right, left))
                m.d.sync += [
                    binds.eq(left_binds | right_binds),
                    latest.eq(Mux(rightmost, right, left)),
                ]
                times.append((binds, latest))
            level += 1
        return times[0]


def _later(a: Value, b: Value) -> Value:
    """``a`` comes after ``b`` on a clock that wraps."""
    difference: Value = (b - a)[: len(b)]
    return difference[-1]
