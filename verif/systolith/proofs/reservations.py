"""What may be loaded into the sequencers, and when: assumed of the array, proved of admission."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import bits_for

from systolith.array.config import EngineConfig

__all__ = [
    "Lead",
    "Reservations",
    "all_of",
    "any_of",
    "group_sizes",
    "job_cycles",
    "job_period",
    "job_rows",
    "job_tiles",
    "longest_job",
    "sound",
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


def job_period(job: data.View, low: int) -> Value:
    """Cycles of a tile on bands of ``low`` rows."""
    cycles: Value = Mux(job.short, low, job_rows(job))
    return cycles


def job_tiles(job: data.View) -> Value:
    """Tiles of a job."""
    tiles: Value = (job.inner_end + 1) * (job.outer_end + 1)
    return tiles


def job_cycles(job: data.View, low: int) -> Value:
    """Cycles of all tiles on bands of ``low`` rows."""
    cycles: Value = job_tiles(job) * job_period(job, low)
    return cycles


@dataclass
class Lead:
    """A group's job as its first band gets it.

    Parameters
    ----------
    load : Value
        The first band takes the job in this cycle.
    job : data.View
        The job; each row band has its own ``fuse``, ``bottom`` and ``k_rows``.
    below : Value
        Row bands of the group below the first.
    rows : Value
        Rows of the group that the last K tile uses.
    """

    load: Value
    job: data.View
    below: Value
    rows: Value


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
    leads : Sequence[Lead]
        Each band's as the first of a group, row by row.

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
        leads: Sequence[Lead],
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
        for n, lead in enumerate(leads):
            i, j = divmod(n, array.col_bands)
            agree.append(~lead.load | well_formed(config, n, lead))
            total = Signal(bits_for(longest_job(config)), name=f"total_{n}")
            m.d.comb += total.eq(job_cycles(lead.job, array.band_rows))
            span = Signal(longest_job(config), name=f"span_{n}")
            m.d.comb += span.eq((Const(1) << total) - 1)
            for down in range(array.row_bands - i):
                for right in range(array.col_bands - j):
                    lag = down * array.band_rows + right * array.band_cols
                    member = n + down * array.col_bands + right
                    mine = Signal(horizon, name=f"span_{n}_{member}")
                    joins = lead.load & (lead.below >= down) & (lead.job.reach >= right)
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


def well_formed(config: EngineConfig, band: int, lead: Lead) -> Value:
    """The fields of a job that ``band`` takes as a group's first agree; its group is aligned."""
    array = config.array
    i, j = divmod(band, array.col_bands)
    groups = [
        (lead.below == down) & (lead.rows <= (down + 1) * array.band_rows)
        for down in group_sizes(i, array.row_bands)
    ]
    spans = [
        (lead.job.reach == right) & (lead.job.n_last <= (right + 1) * array.band_cols)
        for right in group_sizes(j, array.col_bands)
    ]
    return all_of([any_of(groups), any_of(spans), lead.rows != 0, sound(config, lead.job)])


def sound(config: EngineConfig, job: data.View) -> Value:
    """The sizes of a job agree."""
    return all_of(
        [
            job.n_last != 0,
            job_rows(job) <= config.max_m,
            job.short == (job_rows(job) < config.array.band_rows),
            job_tiles(job) <= config.max_tiles,
            job.row_one == (job.m_end == 0),
            job.inner_one == (job.inner_end == 0),
            job.outer_one == (job.outer_end == 0),
        ]
    )


def group_sizes(at: int, bands: int) -> list[int]:
    """Bands after the first one of each legal group that starts at ``at``."""
    powers = [1 << n for n in range(bands.bit_length())]
    return [size - 1 for size in powers if at % size == 0 and at + size <= bands]


def any_of(conditions: Sequence[Value]) -> Value:
    """Disjunction."""
    result: Value = Const(0)
    for condition in conditions:
        result = result | condition
    return result
