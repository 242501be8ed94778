"""Start times: the max-plus recurrence over bands, in hardware."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.config import EngineConfig
from systolith.array.queue import now_width
from systolith.hierarchy import Block

__all__ = ["Schedule"]


class Schedule(Block):
    """Computes when a command may start, and remembers when its bands are free again.

    A group starts when each member, seen from its own lag behind the leader, is free. Band (i, j)
    lags ``i*r + j*c`` cycles behind band (0, 0) when all are fused; times are kept in a frame from
    which that lag is taken off. There, a command of ``total`` cycles on a group starts at

        A = max(free times of the members, earliest),   after which they are all free at A + total.

    The free times count down, biased by the largest lag and stopping at zero: a band that has been
    free for longer than any lag cannot bind.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    members : In(bands)
        Bands of the group; stable from ``snapshot`` to ``commit``.
    skew : In
        Lag of the group's first band.
    snapshot : In(1)
        Starts a computation; all times are relative to this cycle.
    epoch : In
        Earliest start of the command, in cycles from the snapshot; given with it.
    gap : In(1)
        The command adds to stored results: keep clear of the command before.
    total : In
        Cycles of the command, with ``commit``.
    commit : In(1)
        ``dispatch_steps - 1`` cycles after the snapshot, or never: occupy the members.
    start : Out
        Clock value in the cycle before the leader starts, valid with ``commit``.
    now : Out
        The clock.
    busy : Out(bands)
        The band has work left.
    """

    members: Signal
    skew: Signal
    snapshot: Signal
    epoch: Signal
    gap: Signal
    total: Signal
    commit: Signal
    start: Signal
    now: Signal
    busy: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        width = config.time_width
        super().__init__(
            {
                "members": In(config.array.bands),
                "skew": In(bits_for(config.max_skew)),
                "snapshot": In(1),
                "epoch": In(width),
                "gap": In(1),
                "total": In(width),
                "commit": In(1),
                "start": Out(now_width(config)),
                "now": Out(now_width(config)),
                "busy": Out(config.array.bands),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        m.d.sync += self.now.eq(self.now + 1)

        free = [Signal(config.time_width, name=f"free_{n}") for n in range(array.bands)]
        released = Signal(config.time_width + 1)
        for n, left in enumerate(free):
            lag = (n // array.col_bands) * array.band_rows + (n % array.col_bands) * array.band_cols
            m.d.comb += self.busy[n].eq(left > config.max_skew - lag)
            with m.If(self.commit & self.members[n]):
                m.d.sync += left.eq(released)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)

        # A tree of maxima, one level per cycle; then the other two bounds.
        taken = Signal(now_width(config))
        floor = Signal(config.time_width + 1)
        latest = self._latest(m, [Mux(self.members[n], left, 0) for n, left in enumerate(free)])
        bias = Signal.like(self.skew)
        m.d.comb += bias.eq(config.max_skew - self.skew)
        with m.If(self.snapshot):
            m.d.sync += [taken.eq(self.now), floor.eq(self.epoch + bias)]
        clear = Signal(config.time_width + 1)
        begin = Signal(config.time_width + 1)
        m.d.comb += clear.eq(latest + Mux(self.gap, config.accumulate_gap, 0))
        m.d.sync += begin.eq(Mux(clear > floor, clear, floor))
        m.d.comb += [
            released.eq(begin + self.total - config.dispatch_steps),
            self.start.eq(taken + begin - bias - 1),
        ]
        return m

    def _latest(self, m: Module, values: Sequence[Value]) -> Value:
        """Maximum of ``values``, registered at every level of the tree and padded to its depth."""
        levels = self.config.dispatch_steps - 2
        for level in range(levels):
            if level >= ceil_log2(self.config.array.bands):
                pairs = [(value, value) for value in values]
            else:
                pairs = list(zip(values[::2], values[1::2], strict=True))
            values = []
            for n, (left, right) in enumerate(pairs):
                top = Signal(self.config.time_width, name=f"latest_{level}_{n}")
                m.d.sync += top.eq(Mux(left > right, left, right) if left is not right else left)
                values.append(top)
        return values[0]
