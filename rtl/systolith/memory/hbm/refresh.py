"""Refresh: what is due, how urgent it is, and which banks still need it in this round."""

from enum import IntEnum

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig

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
        This one has been refreshed; all have.
    overdue : Out(1)
        The debt is beyond its bound: too few slots were offered. A cycle behind.
    age : Out
        Memory clocks since the nominal start of the round.
    debt_max : Out
        Largest debt so far, in memory clocks.
    balance : Out
        Memory clocks of refreshing that are owed, less those that are ahead: equal at two
        instants, they did as much as was due in between. From the first round on.
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
    age: Signal
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
                "age": Out(self.age_bits),
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
        config, slots = self.config, self.config.slots
        refi = config.timing["refi"]
        interval = Signal(range(refi + 1))
        m.d.comb += interval.eq(refi)
        for n in range(1, HOTTEST + 1):
            with m.If(self.hotter == n):
                m.d.comb += interval.eq(refi >> n)
        age = self.age
        single = config.timing.rfc_pb is not None

        # Rounds. Comparisons are made a cycle ahead, for the age as it will be.
        owing, due, over = Signal(), Signal(), Signal()
        m.d.comb += [
            owing.eq(self.all_pending | (self.pending.any() if single else 0)),
            over.eq(due & ~owing & self.running),
        ]
        m.d.sync += due.eq(~over & (age >= Mux(self.running, interval - slots, interval)))
        with m.If(self.running):
            m.d.sync += age.eq(age + Mux(over, slots - interval, slots))
        with m.If(self.all_done):
            m.d.sync += self.all_pending.eq(0)
        if single:  # a refresh of all banks counts for each of them
            m.d.sync += self.pending.eq(Mux(self.all_done, 0, self.pending & ~self.done))
        with m.If(over):
            m.d.sync += self.all_pending.eq(
                (self.mode == RefreshMode.ALL_BANK) | ((self.mode != 0) & (not single))
            )
            if single:
                all_banks = (1 << config.banks) - 1
                m.d.sync += self.pending.eq(Mux(self.mode == RefreshMode.PER_BANK, all_banks, 0))

        # Limits.
        late = Signal()
        bound = self._bound(m)
        again = Signal(self.age_bits + 1)  # the same for the round behind this one
        m.d.sync += [
            again.eq(bound + interval - slots),
            late.eq(
                Mux(over, age >= again, age >= Mux(self.running, bound - slots, bound)),
            ),
        ]
        m.d.comb += [self.forced.eq(owing & late), self.behind.eq(owing | due)]
        limit = Signal(self.age_bits)
        m.d.sync += [
            limit.eq(bound + forced_margin(config)),
            self.overdue.eq(owing & (age >= limit)),
        ]
        with m.If(owing & (age > self.debt_max)):
            m.d.sync += self.debt_max.eq(age)
        if single:
            self._pace(m, interval, due)
            pace_bits = (config.banks - 1).bit_length()
            pace = Signal(range(refi + 1))
            ahead = Signal(range(2 * refi), init=refi >> pace_bits << pace_bits)
            m.d.comb += [
                pace.eq(interval >> pace_bits),
                self.balance.eq(age + interval - ahead),
            ]
            with m.If(over):
                m.d.sync += ahead.eq(0)
            with m.Elif(self.all_done):
                m.d.sync += ahead.eq(pace << pace_bits)
            with m.Elif(self.done.any()):
                m.d.sync += ahead.eq(ahead + pace)
        else:
            m.d.comb += [
                self.wanted.eq(0),
                self.balance.eq(age + Mux(self.all_pending, interval, 0)),
            ]
        return m

    def _bound(self, m: Module) -> Signal:
        """Age from which refreshes are forced, from a table: two registers choose among it."""
        refi, margin = self.config.timing["refi"], forced_margin(self.config)
        bound = Signal(self.age_bits)
        limit: Value = Const(0, self.age_bits)
        for hotter in range(HOTTEST + 1):
            for debt in range(1 << len(self.debt_bound)):
                value = (refi >> hotter) * max(debt, LEAST_DEBT) - margin
                # Other numbers of times stand for none.
                there = Cat(self.hotter == n for n in range(1, HOTTEST + 1)).any() == 0
                there = self.hotter == hotter if hotter else there
                limit = limit | Mux(there & (self.debt_bound == debt), value, 0)
        m.d.sync += bound.eq(limit)
        return bound

    def _pace(self, m: Module, interval: Value, due: Value) -> None:
        """From one interval on, refreshes are wanted at their average pace."""
        config, slots = self.config, self.config.slots
        refi = config.timing["refi"]
        pace, counter = Signal(range(refi + 1)), Signal(range(2 * refi))
        m.d.comb += pace.eq(interval >> (config.banks - 1).bit_length())
        m.d.comb += self.wanted.eq(due & (counter == 0))
        with m.If(self.wanted & self.done.any()):
            m.d.sync += counter.eq(pace)
        with m.Elif(counter > slots):
            m.d.sync += counter.eq(counter - slots)
        with m.Else():
            m.d.sync += counter.eq(0)
