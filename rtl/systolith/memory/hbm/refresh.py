"""Refresh: what is due, how urgent it is, and which banks still need it in this round."""

from enum import IntEnum

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.picking import population

__all__ = ["HOTTEST", "LEAST_DEBT", "Refresh", "RefreshMode", "forced_margin"]


LEAST_DEBT, HOTTEST = 2, 2
"""Smallest bound of the debt, in intervals; most times that the interval can be halved."""


class RefreshMode(IntEnum):
    """How the memory is refreshed."""

    OFF = 0  # for measurements only: contents are lost
    PER_BANK = 1
    ALL_BANK = 2


def forced_margin(config: ControllerConfig) -> int:
    """Memory clocks before the bound in which the last refreshes are forced.

    One bank needs its row closed, tRC at most behind its activation and as long behind a write,
    and then tRP; with all banks of a round due, their refreshes are tRREFD apart. The terms of
    one command slot in four are on top, and the bank may just have begun to be managed.
    """
    t = config.timing
    close = t["rc"] + t["cwl"] + t["burst"] + t["wr"] + t["rp"]
    if t.rfc_pb is None:
        return close + 16 * config.slots
    managed = t.rfc_pb if config.managed else 0
    return close + config.banks * (t["rrefd"] + 4 + (t.ppd or 0)) + 64 + managed


class Refresh(Block):
    """Counts time in rounds of one refresh interval, in which each bank is refreshed once.

    A round is not begun before its time, and ends when all banks are done, early or late: the
    time since its nominal start is the debt. Within a round the order is free. That is what
    bounds the age of a row: from the earliest moment of its round to the latest one ``n`` rounds
    on are at most ``n + debt`` intervals.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots.

    Members
    -------
    mode : In(RefreshMode)
        Taken at the start of a round.
    debt_bound : In
        Intervals by which a refresh may be late, at least 2.
    hotter : In(2)
        Intervals are halved this often, for temperature; up to 2.
    running : In(1)
        Time counts. Debt is kept while it does not.
    pending : Out(banks)
        Banks to refresh in this round.
    all_pending : Out(1)
        A refresh of all banks is due.
    behind : Out(1)
        A round is not finished, or the next one should have begun.
    wanted, forced : Out(1)
        A refresh should be done even where it disturbs; must be done at once.
    done, all_done : In(banks), In(1)
        These have been refreshed; all have.
    overdue : Out(1)
        The debt is beyond its bound: too few slots were offered.
    debt_max : Out
        Largest debt so far, in memory clocks.
    balance : Out
        Memory clocks of refreshing that are owed, less those that are ahead: equal at two
        instants, they did as much as was due in between.
    """

    mode: Signal
    debt_bound: Signal
    hotter: Signal
    running: Signal
    pending: Signal
    done: Signal
    all_pending: Signal
    behind: Signal
    wanted: Signal
    forced: Signal
    all_done: Signal
    overdue: Signal
    debt_max: Signal
    balance: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        least = LEAST_DEBT * (config.timing["refi"] >> HOTTEST)
        if forced_margin(config) >= least:
            raise ValueError(
                f"timing.refi must be more than {2 * forced_margin(config)} for forced refreshes "
                f"to be in time, not {config.timing['refi']}"
            )
        self.age_bits = self.age_width(config)
        per_bank = {"pending": Out(config.banks), "done": In(config.banks)}
        super().__init__(
            {
                "mode": In(2),
                "debt_bound": In(4),
                "hotter": In(2),
                "running": In(1),
                **(per_bank if config.timing.rfc_pb else {}),
                "all_pending": Out(1),
                "behind": Out(1),
                "wanted": Out(1),
                "forced": Out(1),
                "all_done": In(1),
                "overdue": Out(1),
                "debt_max": Out(self.age_bits),
                "balance": Out(self.age_bits + 1),
            }
        )

    @staticmethod
    def age_width(config: ControllerConfig) -> int:
        """Bits of a time in memory clocks."""
        return bits_for(16 * config.timing["refi"])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        refi = config.timing["refi"]
        interval = Signal(range(refi + 1))
        m.d.comb += interval.eq(refi)
        for n in range(1, HOTTEST + 1):
            with m.If(self.hotter == n):
                m.d.comb += interval.eq(refi >> n)
        age = Signal(self.age_bits)  # since the nominal start of the round
        active = Signal(2)  # mode of this round
        single = config.timing.rfc_pb is not None

        left: Value = Const(0)
        if single:  # a refresh of all banks counts for each of them
            left = Mux(self.all_done, 0, self.pending & ~self.done)[: config.banks]
        busy = Signal()
        m.d.comb += busy.eq((self.all_pending & ~self.all_done) | left.any())
        over = Signal()
        m.d.comb += over.eq(~busy & (age >= interval))
        slots = config.slots
        with m.If(self.running):
            m.d.sync += age.eq(age + slots - Mux(over, interval, 0))
        m.d.sync += self.all_pending.eq(self.all_pending & ~self.all_done)
        if single:
            m.d.sync += self.pending.eq(left)
        with m.If(over & self.running):
            m.d.sync += active.eq(self.mode)
            m.d.sync += self.all_pending.eq(
                (self.mode == RefreshMode.ALL_BANK) | ((self.mode != 0) & (not single))
            )
            if single:
                all_banks = (1 << config.banks) - 1
                m.d.sync += self.pending.eq(Mux(self.mode == RefreshMode.PER_BANK, all_banks, 0))

        # Limits.
        bound = Signal(self.age_bits)
        debt = Mux(self.debt_bound < LEAST_DEBT, LEAST_DEBT, self.debt_bound)
        m.d.sync += bound.eq(debt * interval - forced_margin(config))
        owing = self.all_pending | (self.pending.any() if single else 0)
        m.d.comb += [
            self.forced.eq(owing & (age >= bound)),
            self.overdue.eq(owing & (age >= bound + forced_margin(config))),
            self.behind.eq(owing | (age >= interval)),
        ]
        with m.If(owing & (age > self.debt_max)):
            m.d.sync += self.debt_max.eq(age)
        if single:
            # From one interval on, refreshes are wanted at their average pace.
            pace = Signal(range(refi + 1))
            counter = Signal(range(2 * refi))
            m.d.comb += pace.eq(interval >> (config.banks - 1).bit_length())
            late = Signal()
            m.d.comb += [late.eq(age >= interval), self.wanted.eq(late & (counter == 0))]
            with m.If(self.wanted & self.done.any()):
                m.d.sync += counter.eq(pace)
            with m.Elif(counter > slots):
                m.d.sync += counter.eq(counter - slots)
            with m.Else():
                m.d.sync += counter.eq(0)
            owed = Signal(range(config.banks + 1))
            m.d.comb += owed.eq(Mux(self.all_pending, config.banks, population(left)))
            m.d.comb += self.balance.eq(age + interval - (config.banks - owed) * pace)
        else:
            m.d.comb += [
                self.wanted.eq(0),
                self.balance.eq(age + Mux(self.all_pending, interval, 0)),
            ]
        return m
