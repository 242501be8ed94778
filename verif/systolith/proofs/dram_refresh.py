"""Refresh: every bank once in every round, no round too soon, and none later than its bound."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cover, Elaboratable, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from systolith.memory.hbm import refresh as refresh_module
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.refresh import RefreshMode, forced_margin
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["debt_bounded"]


class _Debt(Elaboratable):
    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        self.single = config.timing.rfc_pb is not None
        margin, interval = forced_margin(config), config.timing["refi"] >> 2
        if margin + config.slots > interval:
            raise ValueError(f"refi must leave {margin} clocks in a quarter, not {interval}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, slots = self.config, self.config.slots
        refi = config.timing["refi"]
        m.submodules.refresh = refresh = refresh_module.Refresh(config)
        running = free(m, 1, "running")
        # Run-time registers are not changed during a run.
        hotter = free(m, 2, "hotter", constant=True)
        debt_bound = free(m, 4, "debt_bound", constant=True)
        interval = Mux(hotter == 0, refi, Mux(hotter == 1, refi >> 1, refi >> 2))
        m.d.comb += [
            refresh.mode.eq(RefreshMode.PER_BANK if self.single else RefreshMode.ALL_BANK),
            refresh.debt_bound.eq(debt_bound),
            refresh.hotter.eq(hotter),
            refresh.running.eq(running),
            Assume((hotter < 3) & (debt_bound >= 2)),
        ]
        pending, left = self._answers(m, refresh)

        # Clocks since the nominal start of the round, and those for which refresh is forced.
        clock = Signal(refresh.age_bits)
        since = Signal(bits_for(forced_margin(config) + slots))
        start, begun = Signal(), Signal()  # a round begins in the next cycle; did so in this one
        before, second, third = Signal.like(left), Signal(), Signal()
        limit, forced_at = Signal(refresh.age_bits), Signal(refresh.age_bits)
        m.d.comb += [
            start.eq(running & ~pending.any() & (clock >= interval)),
            limit.eq(debt_bound * interval),
            forced_at.eq(limit - forced_margin(config)),
        ]
        m.d.sync += [
            clock.eq(clock + Mux(running, slots, 0) - Mux(start, interval, 0)),
            begun.eq(start),
            before.eq(left),
            second.eq(1),
            third.eq(second),
        ]
        with m.If(~refresh.forced):
            m.d.sync += since.eq(0)
        with m.Elif(running):
            m.d.sync += since.eq(since + slots)
        m.d.comb += [
            # Whoever refreshes does so within the margin; see the proof of the row sequencer.
            Assume(since + slots <= forced_margin(config)),
            # A round begins when it is due, with all banks; each of them leaves it once.
            Assert(pending == Mux(begun, (1 << len(pending)) - 1, before)),
            Assert(~begun | (before == 0)),
            # The registers of the bound are late in the first cycles only.
            Assert(~third | ~(pending.any() & (clock >= forced_at)) | refresh.forced),
            Assert(~third | ~refresh.forced | (pending.any() & (clock >= forced_at))),
            Assert(~left.any() | (clock < limit)),
            Assert(refresh.debt_max < limit),
            Cover(begun & (hotter != 0)),
        ]
        # For the induction: the block's own clock and balance, and how long it was forced.
        pace = interval >> (config.banks - 1).bit_length()
        done = config.banks - sum(pending[n] for n in range(len(pending)))
        owed = interval - done * pace if self.single else Mux(pending, interval, 0)
        known = Signal()  # from the first round on
        with m.If(start):
            m.d.sync += known.eq(1)
        m.d.comb += [
            Assert(begun | (refresh.behind == (pending.any() | (clock >= interval)))),
            Assert(refresh.age == clock),
            Assert(known | (pending == 0)),
            Assert(third | (clock <= 2 * slots)),
            Assert(~begun | known),
            Assert(
                (~known & self.single) | (refresh.balance == (clock + owed)[: len(refresh.balance)])
            ),
            Assert(~refresh.forced | (clock < forced_at + slots + since)),
            Assert(left.any() | (clock < limit + slots)),
        ]
        return m

    def _answers(self, m: Module, refresh: refresh_module.Refresh) -> tuple[Value, Signal]:
        """What is to be refreshed in this round, and what is left of it behind this cycle."""
        pending = refresh.pending if self.single else refresh.all_pending
        done = free(m, len(pending), "done")
        left = Signal(len(pending), name="left")
        m.d.comb += [
            (refresh.done if self.single else refresh.all_done).eq(done),
            left.eq(pending & ~done),
            Assume((done & ~pending) == 0),
            Assume((done & (done - 1)) == 0),
            *([Assert(~refresh.all_pending)] if self.single else []),
        ]
        return pending, left


def debt_bounded(config: ControllerConfig, mutants: Iterable[Mutant] = ()) -> str:
    """A round begins in its time, has every bank once, and is never later than ``debt_bound``.

    The environment refreshes in any order, at any time, but all that is left within
    :func:`~systolith.memory.hbm.refresh.forced_margin` memory clocks of being forced to. Banks
    are refreshed one by one if the memory can do that, and all at once otherwise.

    Parameters
    ----------
    config
        Memory and slots.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Debt(config))
