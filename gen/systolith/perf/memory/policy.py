"""Other ways to refresh single banks, as baselines for the model of the controller."""

from typing import Literal, get_args

from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.commands import COLUMN, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.perf.memory.refresh import Refresh, Rounds
from systolith.perf.memory.requests import Run
from systolith.perf.memory.scheduler import Scheduler

__all__ = ["Blind", "Policy", "Rotation", "Stock", "scheduler_class"]

Policy = Literal["ours", "blind", "stock"]

_CLOSED = -1


class Rotation(Rounds):
    """Refreshes of one bank each, in the order of the banks, one every tREFI over their number.

    ``pending`` has those that are due, the oldest first; only that one may be done next.

    Parameters
    ----------
    config
        Of the controller.
    """

    def __init__(self, config: ControllerConfig) -> None:
        super().__init__(config)
        self._due = 0

    def advance(self, clock: int) -> None:
        """Note the next refresh if it is due."""
        if clock * self._banks >= (self._due + 1) * self._refi:
            self.pending.append(self._due % self._banks)
            self._due += 1
            self._date()

    def done(self, bank: int, clock: int, *, far: bool) -> None:
        """Take the oldest refresh from those that are due."""
        super().done(bank, clock, far=far)
        self._date()

    def _date(self) -> None:
        oldest = self._due - len(self.pending)
        self.nominal = (oldest + 1) * self._refi // self._banks


class Blind(Scheduler):
    """Controller that refreshes the banks in rotation, whatever the traffic needs next.

    A refresh waits for the visit of the row that is open in its bank to end, and goes before the
    next one; it blocks no other bank. A row that is not left before ``config.debt`` is used up is
    closed. Everything else is as in :class:`Scheduler`: what is compared is the choice of the bank.

    Parameters
    ----------
    config, address_map, refresh, keep
        As those of :class:`Scheduler`; rounds of single banks are replaced by a rotation.
    """

    def __init__(
        self, config: ControllerConfig, address_map: AddressMap, refresh: Refresh, *, keep: bool
    ) -> None:
        super().__init__(config, address_map, refresh, keep=keep)
        if self.rounds is not None:
            self.rounds = Rotation(config)

    def _closing(self, bank: int) -> bool:
        return self.rounds is not None and self.rounds.pending[:1] == [bank]

    def _urgent(self) -> bool:
        """Whether the row that is open in the way of a refresh is closed before its visit ends."""
        return self._forced

    def _refresh(self, rounds: Rounds, clock: int) -> bool:
        bank = rounds.pending[0]
        if self._row[bank] != _CLOSED:
            if not self._urgent() or not self.timers.allowed(Op.PRE, bank, clock):
                return False
            self._row[bank] = _CLOSED
            self._issue(Op.PRE, bank, clock)
        elif self.timers.allowed(Op.REFPB, bank, clock):
            self._age_max = max(self._age_max, clock - rounds.nominal)
            self._issue(Op.REFPB, bank, clock)
            rounds.done(bank, clock, far=True)
        else:
            return False
        return True


class Stock(Blind):
    """Controller that treats a refresh as simulators of memories do by default.

    The rule is that of Ramulator 2.1 (CMU-SAFARI/ramulator2), as published in
    ``src/ramulator/controller/impl/hbm_controller_base.cpp`` and ``controller_base.cpp``, and in
    ``src/ramulator/controller/refresh/impl/hbm34_per_bank_refresh.cpp``: single banks are refreshed
    in fixed rotation. A refresh that is due goes to a queue of its own, and as long as it waits
    there, nothing is started from the queues of reads and writes: no row is opened in any bank, and
    of the rows that are open each gets no more than the access for which it was opened. The row in
    the way is closed as soon as the timing allows, in the middle of its visit or not.

    Only that rule is taken over. The accesses of a stream keep their order here, so that a stream
    waits for a bank that is refreshed, which accesses behind it in an unordered queue do not; and
    there is no second pseudo-channel of which refreshes go to the same queue.
    """

    def __init__(
        self, config: ControllerConfig, address_map: AddressMap, refresh: Refresh, *, keep: bool
    ) -> None:
        super().__init__(config, address_map, refresh, keep=keep)
        self._fresh: set[int] = set()  # banks opened, not yet accessed

    def _waiting(self) -> bool:
        return self.rounds is not None and bool(self.rounds.pending)

    def _urgent(self) -> bool:
        return True

    def _able(self, run: Run, clock: int) -> bool:
        if self._waiting() and run.bank not in self._fresh:
            return False
        return super()._able(run, clock)

    def _row_command(self, clock: int, *, activate: bool) -> None:
        super()._row_command(clock, activate=activate and not self._waiting())

    def _issue(self, op: Op, bank: int, clock: int, row: int = 0, column: int = 0) -> None:
        super()._issue(op, bank, clock, row, column)
        if op is Op.ACT:
            self._fresh.add(bank)
        elif op in COLUMN or op is Op.PRE:
            self._fresh.discard(bank)


_SCHEDULERS: dict[Policy, type[Scheduler]] = {"ours": Scheduler, "blind": Blind, "stock": Stock}


def scheduler_class(policy: Policy, refresh: Refresh) -> type[Scheduler]:
    """Return the scheduler of a policy; ValueError if there is none for that refresh."""
    if policy not in get_args(Policy):
        raise ValueError(f"policy must be one of {', '.join(get_args(Policy))}, not {policy!r}")
    if policy != "ours" and refresh != "per-bank":
        raise ValueError(f"policy must be ours if refresh is {refresh}, not {policy!r}")
    return _SCHEDULERS[policy]
