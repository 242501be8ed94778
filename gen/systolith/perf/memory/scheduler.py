"""Commands that a model of the controller chooses: for the column bus, and for the row bus."""

from collections import Counter

from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.perf.memory.refresh import Maintenance, Refresh, Rounds
from systolith.perf.memory.requests import Requests, Run
from systolith.perf.memory.timers import Timers

__all__ = ["Scheduler"]

_CLOSED = -1
_NEVER = 1 << 62
_Entry = tuple[int, Op, int, int, int]  # clock, command, bank, row, column


class Scheduler:
    """State of the memory, and the choice among what is allowed.

    HBM leaves half of the slots to the neighbour: in every four memory clocks row commands start
    at phases 0 and 1, activations, which take two clocks, at phase 0 alone. SDR has one bus.

    With one slot an access is chosen some clocks ahead of its issue, among rows that are open.

    Parameters
    ----------
    config
        Of the controller.
    address_map
        One of its maps.
    refresh
        Its mode.
    keep
        Whether to keep the trace of commands.
    """

    def __init__(
        self, config: ControllerConfig, address_map: AddressMap, refresh: Refresh, *, keep: bool
    ) -> None:
        self.requests = Requests(config, address_map)
        self.timers = Timers(config)
        self.rounds = Rounds(config) if refresh == "per-bank" else None
        self.maintenance = Maintenance(config, repeats=refresh == "all-bank")
        self.refreshing = refresh != "off"
        self.issued = 0
        self._age_max = 0  # of a refresh that is due
        self.counts: Counter[Op] = Counter()
        self.trace: list[_Entry] | None = [] if keep else None
        self.ended: list[Run] = []  # runs whose last command is issued
        self._sdr = config.timing.generation == "sdr"
        self._slots = config.slots
        self._row = [_CLOSED] * config.banks
        self._foresight = config.foresight
        self._choosable = [0] * config.banks  # clock from which the row may be accessed
        self._far = config.shadow
        shape = config.organisation
        self._forced = False
        self._group = [n // shape.banks for n in range(config.banks)]
        self._sid = [n // (shape.banks * shape.groups) for n in range(config.banks)]
        self._ops = ((Op.RD, Op.RDA), (Op.WR, Op.WRA))  # by direction, and whether last

    def step(self, clock: int) -> None:
        """Decide for the fabric clock that begins at memory clock ``clock``."""
        if clock >= self.maintenance.due:
            self.maintenance.advance(any_open=any(row != _CLOSED for row in self._row))
        if self.maintenance.steps:
            if self._slots > 1 or self._sdr or clock % 4 < 2:
                self._maintain(clock)
            return
        if self.rounds is not None:
            self.rounds.advance(clock)
            self._forced = self.rounds.forced(clock)
        if self._sdr:
            if not self._column(clock):
                self._row_command(clock, activate=True)
        elif self._slots > 1:
            first = self._column(clock)
            self._column(clock + 2, first)
            self._row_command(clock, activate=True)
        elif clock % 4 < 2:
            if clock % 2:
                self._column(clock)
            self._row_command(clock, activate=clock % 4 == 0)
        elif clock % 2:
            self._column(clock)

    def latest(self, clock: int) -> int:
        """Most that a refresh was late, those included that are not done at ``clock``."""
        open_round = self.rounds.age(clock) if self.rounds is not None else 0
        return max(self._age_max, open_round)

    def _issue(self, op: Op, bank: int, clock: int, row: int = 0, column: int = 0) -> None:
        self.timers.issue(op, bank, clock)
        self.counts[op] += 1
        if self.trace is not None:
            self.trace.append((clock, op, bank, row, column))

    # Column bus -----------------------------------------------------------------------------

    def _column(self, clock: int, first: tuple[Run, int] | None = None) -> tuple[Run, int] | None:
        """Issue an access, after ``first`` in the same fabric clock: return its run and bank."""
        heads = self.requests.heads
        if not heads or self.timers.held(self._ops[heads[0].write][0], clock):
            return None
        write = heads[0].write
        if first is not None and first[0].left:
            heads = [first[0], *(run for run in heads if run is not first[0])]
        for run in heads:
            if run.write != write or not self._able(run, clock):
                continue
            if first is not None and (
                self._group[run.bank] == self._group[first[1]]
                or self._sid[run.bank] != self._sid[first[1]]
            ):
                continue
            bank = run.bank
            self._access(run, clock)
            return run, bank
        return None

    def _able(self, run: Run, clock: int) -> bool:
        bank = run.bank
        if self._row[bank] == _CLOSED or (self._forced and self._closing(bank)):
            return False
        if clock < self._choosable[bank]:
            return False
        visit = self.requests.queues[bank][0]
        return visit.owner == run.stream and self.timers.allowed(
            self._ops[run.write][0], bank, clock
        )

    def _closing(self, bank: int) -> bool:
        """Whether accesses must leave a bank alone, or they would keep it from being precharged."""
        return self.rounds is not None and bank in self.rounds.pending

    def _access(self, run: Run, clock: int) -> None:
        bank = run.bank
        last = self.requests.queues[bank][0].left == 1
        self._issue(self._ops[run.write][last], bank, clock, run.row, run.column)
        if last:
            self._row[bank] = _CLOSED
        self.issued += 1
        if self.requests.advance(run):
            self.ended.append(run)

    # Row bus --------------------------------------------------------------------------------

    def _maintain(self, clock: int) -> None:
        op = self.maintenance.steps[0]
        if self.timers.allowed(op, 0, clock):
            self._age_max = max(self._age_max, self.maintenance.age(clock))
            self._issue(op, 0, clock)
            self._row = [_CLOSED] * len(self._row)
            self.maintenance.steps.pop(0)

    def _row_command(self, clock: int, *, activate: bool) -> None:
        if self.rounds is not None and self.rounds.pending and self._refresh(self.rounds, clock):
            return
        if not activate or self.timers.held(Op.ACT, clock):
            return
        best, due = None, _NEVER
        for bank, queue in enumerate(self.requests.queues):
            if (
                queue
                and self._row[bank] == _CLOSED
                and queue[0].due < due
                and self.timers.allowed(Op.ACT, bank, clock)
            ):
                best, due = queue[0], queue[0].due
        if best is not None:
            self._row[best.bank] = best.row
            self._choosable[best.bank] = clock + 1 + self._foresight
            self._issue(Op.ACT, best.bank, clock, best.row)

    def _refresh(self, rounds: Rounds, clock: int) -> bool:
        """Close or refresh a bank of this round; tell whether it did."""
        if self._forced:
            for bank in rounds.pending:
                if self._row[bank] != _CLOSED and self.timers.allowed(Op.PRE, bank, clock):
                    self._row[bank] = _CLOSED
                    self._issue(Op.PRE, bank, clock)
                    return True
        if self.timers.held(Op.REFPB, clock):
            return False
        chosen, far = None, False
        for bank in rounds.pending:
            if self._row[bank] == _CLOSED and self.timers.allowed(Op.REFPB, bank, clock):
                queue = self.requests.queues[bank]
                far = not queue or queue[0].due >= self.issued + self._far
                if far:
                    chosen = bank
                    break
                if chosen is None:
                    chosen = bank
        if chosen is None or not (far or self._forced or rounds.wanted(clock)):
            return False
        self._age_max = max(self._age_max, clock - rounds.nominal)
        self._issue(Op.REFPB, chosen, clock)
        rounds.done(chosen, clock, far=far)
        return True
