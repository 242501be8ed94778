"""Efficiency of a memory controller by a model of its commands, made from the timing rules."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from systolith.memory.hbm.commands import Address, Command, Op
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.perf.memory.patterns import Addresses, Pattern
from systolith.perf.memory.policy import Policy, scheduler_class
from systolith.perf.memory.refresh import Refresh, refresh_mode
from systolith.perf.memory.requests import Run, map_of
from systolith.perf.memory.scheduler import Scheduler

__all__ = ["MemoryResult", "default_cycles", "simulate", "warm_up_cycles"]

_ROUNDS = 44  # intervals of refreshes that are measured by default
_WARM_UP = 6
_LEAST = 250_000  # memory clocks: short intervals alone would be too few runs


def warm_up_cycles(config: ControllerConfig) -> int:
    """Memory clocks that do not count by default."""
    return _WARM_UP * config.timing["refi"]


def default_cycles(config: ControllerConfig) -> int:
    """Memory clocks of a measurement by default, the warm-up included."""
    return warm_up_cycles(config) + max(_ROUNDS * config.timing["refi"], _LEAST)


@dataclass(frozen=True, kw_only=True)
class MemoryResult:
    """What a simulated controller did.

    Parameters
    ----------
    efficiency
        Share of the peak rate, one atom in tCCDS, between two instants of equal refresh debt.
    window
        Memory clocks between the two.
    cycles
        Memory clocks of the whole simulation.
    latency_p50, latency_p99, latency_max
        Fabric clocks from a run's submission to its end, of those submitted after the warm-up.
    refresh_debt_max
        Most that a refresh was late, in tREFI.
    counts
        Commands of the whole simulation.
    trace
        All of them, if they were asked for.
    """

    efficiency: float
    window: int
    cycles: int
    latency_p50: int
    latency_p99: int
    latency_max: int
    refresh_debt_max: float
    counts: Mapping[Op, int]
    trace: tuple[Command, ...] | None = None


class _Streams:
    """Submits runs, at most one per fabric clock, and sees them end."""

    def __init__(self, config: ControllerConfig, pattern: Pattern, seed: int) -> None:
        self._addresses = Addresses(pattern, config, seed)
        self._pattern, self._runs = pattern, config.runs
        self._numbers = [n for n in range(config.streams) if pattern.streams >> n & 1]
        self._open = [0] * config.streams
        self._next = 0
        t = config.timing
        data = config.slots - 1 + t["cl"] + t["burst"]
        self._return = LEAD - -data // config.slots + 1
        self._ends: tuple[deque[tuple[int, int]], ...] = (deque(), deque())  # reads, writes
        self.latencies: list[tuple[int, int]] = []  # submission, latency

    def end(self, run: Run, clock: int) -> None:
        """Note the last command of a run in a fabric clock."""
        end = clock + (1 if run.write else self._return)
        self._ends[run.write].append((end + 1, run.stream))
        self.latencies.append((run.since, end - run.since))

    def submit(self, scheduler: Scheduler, clock: int) -> None:
        """Submit a run of the next stream that has room for it."""
        for ends in self._ends:
            while ends and ends[0][0] <= clock:
                self._open[ends.popleft()[1]] -= 1
        numbers, waiting = self._numbers, scheduler.requests.waiting
        for k in range(len(numbers)):
            at = (self._next + k) % len(numbers)
            n = numbers[at]
            if self._open[n] < self._pattern.open and len(waiting[n]) < self._runs:
                break
        else:
            return
        self._next = at + 1
        self._open[n] += 1
        write = bool(self._pattern.writes >> n & 1)
        atom = self._addresses.take(n)
        scheduler.requests.submit(Run(n, write, atom, self._pattern.count, clock))


def simulate(
    config: ControllerConfig,
    pattern: Pattern,
    *,
    refresh: Refresh | None = None,
    policy: Policy = "ours",
    address_map: int = 0,
    seed: int = 1,
    cycles: int | None = None,
    warm_up: int | None = None,
    trace: bool = False,
) -> MemoryResult:
    """Run the model of the controller.

    Parameters
    ----------
    config
        Of the controller.
    pattern
        Traffic.
    refresh
        "per-bank" if left out, "all-bank" for SDR.
    policy
        How single banks are refreshed: "ours" chooses them by the traffic; baselines are "blind",
        :class:`~systolith.perf.memory.policy.Blind`, and "stock",
        :class:`~systolith.perf.memory.policy.Stock`.
    address_map
        Number of one of ``config.maps``.
    seed
        Of random addresses.
    cycles
        Memory clocks; see :func:`default_cycles`.
    warm_up
        Memory clocks that do not count; 6 intervals of refreshes if left out.
    trace
        Whether to keep every command.

    Raises
    ------
    ValueError
        If the controller cannot have this traffic, refresh or policy, or the time is too short.
    """
    refi, refresh = config.timing["refi"], refresh_mode(config, refresh)
    warm_up = warm_up_cycles(config) if warm_up is None else warm_up
    cycles = default_cycles(config) if cycles is None else cycles
    if warm_up < 0:
        raise ValueError(f"warm_up must be 0 or more, not {warm_up!r}")
    if cycles < warm_up + 2 * refi:
        least = warm_up + 2 * refi
        raise ValueError(f"cycles must be at least warm_up + 2 tREFI = {least}, not {cycles!r}")
    make = scheduler_class(policy, refresh)
    scheduler = make(config, map_of(config, address_map), refresh, keep=trace)
    streams = _Streams(config, pattern, seed)
    samples = _run(scheduler, streams, config, cycles)
    atoms, window = _between_equals([s for s in samples if s[0] >= warm_up])
    late = sorted(n for since, n in streams.latencies if since * config.slots >= warm_up)
    return MemoryResult(
        efficiency=atoms * config.timing["ccd_s"] / window,
        window=window,
        cycles=cycles,
        latency_p50=_quantile(late, 0.50),
        latency_p99=_quantile(late, 0.99),
        latency_max=_quantile(late, 1.0),
        refresh_debt_max=scheduler.latest(cycles) / refi,
        counts=dict(scheduler.counts),
        trace=_commands(config, scheduler) if trace else None,
    )


_Sample = tuple[int, int, int]  # clock, refreshes ahead of those due, atoms


def _run(
    scheduler: Scheduler, streams: _Streams, config: ControllerConfig, cycles: int
) -> list[_Sample]:
    """Samples at every instant at which one more refresh of a bank is due."""
    samples, due, refi = [], 0, config.timing["refi"]
    step, walk, ended = scheduler.step, scheduler.requests.walk, scheduler.ended
    counts, slots = scheduler.counts, config.slots
    refreshing = scheduler.refreshing
    for number, clock in enumerate(range(0, cycles, slots)):
        if clock * config.banks >= due * refi:
            done = counts[Op.REFPB] + config.banks * counts[Op.REFAB]
            samples.append((clock, done - due if refreshing else 0, scheduler.issued))
            due += 1
        step(clock)
        if ended:
            for run in ended:
                streams.end(run, number)
            ended.clear()
        walk()
        streams.submit(scheduler, number)
    return samples


def _between_equals(samples: Sequence[_Sample]) -> tuple[int, int]:
    """Atoms and clocks between the two samples of equal balance that are furthest apart."""
    first: dict[int, _Sample] = {}
    best = (0, 0)
    for clock, balance, atoms in samples:
        since, _, before = first.setdefault(balance, (clock, balance, atoms))
        if clock - since > best[1]:
            best = (atoms - before, clock - since)
    return best


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0


def _commands(config: ControllerConfig, scheduler: Scheduler) -> tuple[Command, ...]:
    found = []
    for clock, op, bank, row, column in sorted(scheduler.trace or [], key=lambda entry: entry[0]):
        at = config.bank_fields(bank)
        place = Address(sid=at.sid, group=at.group, bank=at.bank, row=row, column=column)
        found.append(Command(clock, op, place))
    return tuple(found)
