"""What may be loaded into the sequencers, and when: assumed of the array, proved of admission."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.array.config import EngineConfig

__all__ = [
    "Reservations",
    "all_of",
    "group_sizes",
    "job_cycles",
    "job_period",
    "job_rows",
    "longest_job",
    "well_formed",
]


def all_of(conditions: Sequence[Value]) -> Value:
    """Conjunction."""
    result: Value = Const(1)
    for condition in conditions:
        result = result & condition.bool()
    return result


def longest_job(config: EngineConfig) -> int:
    """Most cycles that a job of at most ``max_tiles`` tiles takes."""
    return config.max_tiles * max(config.max_m, config.array.band_rows)


def job_rows(job: data.View) -> Value:
    """Rows of X, ``M``."""
    rows: Value = job.m_end + 1
    return rows


def job_period(job: data.View) -> Value:
    """Cycles of a tile."""
    cycles: Value = job.period_end + 1
    return cycles


def job_cycles(job: data.View) -> Value:
    """Cycles of all tiles."""
    cycles: Value = (job.k_end + 1) * (job.n_end + 1) * job_period(job)
    return cycles


class Reservations:
    """Calendar of the bands: which cycles, from now on, are given away.

    A job of ``total`` cycles that a group's first band takes now occupies each member for
    ``total`` cycles from its lag behind the first one: ``r`` cycles per row band, ``c`` per
    column band. A load is legal when it takes no cycle of any member twice.

    Parameters
    ----------
    m : Module
        Where the calendar's registers go.
    config : EngineConfig
        Sizes.
    loads, jobs : Sequence
        Load and job of each band as the first of a group, row by row.

    Attributes
    ----------
    legal : Signal
        All loads of this cycle are legal and their jobs are well-formed.
    idle : Signal
        No cycle from now on is given away.
    """

    def __init__(
        self,
        m: Module,
        config: EngineConfig,
        loads: Sequence[Value],
        jobs: Sequence[data.View],
    ) -> None:
        self.config = config
        array = config.array
        horizon = longest_job(config) + config.max_skew
        taken: list[Value] = []
        for n in range(array.bands):
            busy = Signal(horizon, name=f"calendar_{n}")
            taken.append(busy)
        calendars = list(taken)
        clash: list[Value] = []
        agree: list[Value] = []
        for n, (load, job) in enumerate(zip(loads, jobs, strict=True)):
            i, j = divmod(n, array.col_bands)
            agree.append(~load | well_formed(config, n, job))
            total = Signal(bits_for(longest_job(config)), name=f"total_{n}")
            m.d.comb += total.eq(job_cycles(job))
            span = Signal(longest_job(config), name=f"span_{n}")
            m.d.comb += span.eq((Const(1) << total) - 1)
            for down in range(array.row_bands - i):
                for right in range(array.col_bands - j):
                    lag = down * array.band_rows + right * array.band_cols
                    member = n + down * array.col_bands + right
                    mine = Signal(horizon, name=f"span_{n}_{member}")
                    joins = load & (job.below >= down) & (job.reach >= right)
                    m.d.comb += mine.eq(Mux(joins, span << lag, 0))
                    clash.append((taken[member] & mine).any())
                    taken[member] = taken[member] | mine
        m.d.sync += [busy.eq(after >> 1) for busy, after in zip(calendars, taken, strict=True)]
        self.legal = Signal()
        self.idle = Signal()
        m.d.comb += [
            self.legal.eq(all_of(agree) & all_of([~c for c in clash])),
            self.idle.eq(all_of([busy == 0 for busy in calendars])),
        ]


def well_formed(config: EngineConfig, band: int, job: data.View) -> Value:
    """The fields of a job that ``band`` takes as a group's first agree; its group is aligned."""
    array = config.array
    i, j = divmod(band, array.col_bands)
    low = array.band_rows
    groups = [
        (job.below == down) & (job.k_last <= (down + 1) * array.band_rows)
        for down in group_sizes(i, array.row_bands)
    ]
    spans = [
        (job.reach == right) & (job.n_last <= (right + 1) * array.band_cols)
        for right in group_sizes(j, array.col_bands)
    ]
    return all_of(
        [
            _any_of(groups),
            _any_of(spans),
            ~job.fuse,
            job.k_last != 0,
            job.n_last != 0,
            job_rows(job) <= config.max_m,
            job_period(job) == Mux(job_rows(job) > low, job_rows(job), low),
            (job.k_end + 1) * (job.n_end + 1) <= config.max_tiles,
        ]
    )


def group_sizes(at: int, bands: int) -> list[int]:
    """Bands after the first one of each legal group that starts at ``at``."""
    powers = [1 << n for n in range(bands.bit_length())]
    return [size - 1 for size in powers if at % size == 0 and at + size <= bands]


def _any_of(conditions: Sequence[Value]) -> Value:
    result: Value = Const(0)
    for condition in conditions:
        result = result | condition
    return result
