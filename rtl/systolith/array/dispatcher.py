"""Dispatcher: checks commands, gives each its start time and hands it to its group's queue."""

from functools import reduce
from operator import or_
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.checks import bad_group, bad_shape, group_bands, memory_ends
from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import layout
from systolith.array.pace import Pace
from systolith.array.packed import PackedArray
from systolith.array.queue import entry_layout, now_width
from systolith.array.schedule import Schedule
from systolith.array.sequencer import place_fields
from systolith.hierarchy import Block, place
from systolith.numerics.multiplier import Multiplier

__all__ = ["Dispatcher"]


class Dispatcher(Block):
    """Takes commands in program order, one in :attr:`EngineConfig.dispatch_cycles` cycles.

    Steps, each one cycle: 0 waits for space and checks group and shape; 1 is the schedule's
    snapshot; one multiplier forms ``k_tiles*m``, ``n_tiles*m``, the tiles and the total cycles,
    each two steps after its operands, and one adder behind it the ends of X, Y and W in the
    memories; the last step refuses the command with a code, or the cycle after it commits it.
    A refused command changes nothing. Commands of a batch share an earliest start, late enough for
    the whole batch to be taken by then.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    command : In(stream of the command layout)
        From the host.
    space : In(bands)
        This band's queue takes another entry.
    slot_free, slot : In(1), In
        A free slot for an outstanding command.
    push : Out(bands)
        Append to the queues of the group's leftmost bands.
    entry : Out(entry_layout)
        What to append, but for the fields that each row band has its own of:
    fuse, bottom, k_rows, ... : Out per row band
        Those fields of the job, see :func:`systolith.array.sequencer.place_fields`.
    taken, tag : Out(1), Out
        ``slot`` is used now, for the command with ``tag``.
    refusal : Out(stream of the completion layout)
        Refused commands.
    clocks : Out(now_width) per row band
        Clocks of the start times.
    snapshot : Out(1)
        Cycle from which a command, accepted in the end or not, is scheduled.
    """

    command: stream.Interface
    space: Signal
    slot_free: Signal
    slot: Signal
    push: Signal
    entry: data.View
    taken: Signal
    tag: Signal
    refusal: stream.Interface
    clocks: data.View
    snapshot: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        rows = config.array.row_bands
        super().__init__(
            {
                "command": In(stream.Signature(layout("command", config))),
                "space": In(config.array.bands),
                "slot_free": In(1),
                "slot": In(bits_for(config.control.outstanding - 1)),
                "push": Out(config.array.bands),
                "entry": Out(entry_layout(config)),
                **{
                    name: Out(PackedArray(width, rows))
                    for name, width in place_fields(config).items()
                },
                "taken": Out(1),
                "tag": Out(config.control.tag_width),
                "refusal": Out(stream.Signature(layout("completion", config))),
                "clocks": Out(PackedArray(now_width(config), config.array.row_bands)),
                "snapshot": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        last_step = config.dispatch_steps

        command = Signal(layout("command", config))
        active = Signal()
        step = Signal(last_step + 1, init=1)  # one-hot
        ready = Signal()  # step 0 may be left
        skew = Signal(bits_for(config.max_skew))
        code = Signal(Code)
        pace = Pace(config) if array.mac else None
        chained = config.chained
        if pace:
            m.submodules.pace = place(pace, platform)
            m.d.comb += pace.command.eq(command)

        m.d.comb += self.command.ready.eq(~active)
        with m.If(self.command.valid & ~active):
            m.d.sync += [command.eq(self.command.payload), active.eq(1), step.eq(1)]

        sizes, heads, members = group_bands(m, array, command)
        m.submodules.schedule = schedule = Schedule(config)
        period = Signal(config.period_width)
        if pace and config.scaled:
            m.d.comb += period.eq(pace.period)
        else:
            m.d.comb += period.eq(Mux(command.m > array.band_rows, command.m, array.band_rows))
        m.d.comb += [
            ready.eq((self.space | ~heads).all() & self.slot_free & ~schedule.full),
            skew.eq(command.row * array.band_rows + command.col * array.band_cols),
        ]
        repeats = pace.repeats_log2 if pace and array.digits > 1 else Const(0, 1)
        product = self._products(m, command, period, repeats, step, platform)
        total: Value = product
        if last_step > 6:  # the product is there in step 6 only
            total = Signal(len(schedule.total))
            with m.If(step[6]):
                m.d.sync += total.eq(product + (pace.drain if pace and config.scaled else 0))

        m.d.comb += [
            schedule.snapshot.eq(active & step[1]),
            schedule.gap.eq(
                Mux(
                    command.accumulate,
                    config.accumulate_gap + (pace.lag if pace and chained else 0),
                    0,
                )
            ),
            schedule.total.eq(total),
            self.clocks.eq(schedule.clocks),
            self.snapshot.eq(schedule.snapshot),
        ]
        m.d.sync += [
            schedule.members.eq(members),
            schedule.skew.eq(skew),
            schedule.column_skew.eq(command.col * array.band_cols),
        ]
        self._epoch(m, command, schedule, step)

        # Checks, in the order of their codes; each sets its bit in its step.
        shape = self._shapes(m, schedule, command)
        end = memory_ends(m, config, command, product, step)
        checks = [
            (0, Code.BAD_GROUP, bad_group(array, command)),
            (0, Code.BAD_SHAPE, bad_shape(array, command, sizes)),
            *([(Pace.latency, Code.BAD_FORMAT, pace.bad)] if pace else []),
            (3, Code.X_RANGE, end > config.memory.x_depth),
            (5, Code.W_RANGE, end > config.memory.w_depth),
            (4, Code.Y_RANGE, end > config.memory.y_depth),
            (1, Code.BUSY, command.idle_only & (schedule.busy & schedule.members & shape).any()),
        ]
        failures = Signal(len(checks))
        for n, (at, _, failed) in enumerate(checks):
            with m.If(step[at]):
                m.d.sync += failures[n].eq(failed)
        for n, (_, reason, _) in reversed(list(enumerate(checks))):
            with m.If(failures[n]):
                m.d.comb += code.eq(reason)
        with m.If(active & (~step[0] | ready) & ~step[last_step]):
            m.d.sync += step.eq(step << 1)

        finish = Signal()
        m.d.comb += [
            finish.eq(active & step[last_step]),
            self.taken.eq(schedule.commit),
            self.tag.eq(command.tag),
            self.push.eq(Mux(schedule.commit, heads, 0)),
            self.refusal.valid.eq(finish & (code != Code.OK)),
            self.refusal.p.tag.eq(command.tag),
            self.refusal.p.code.eq(code),
        ]
        m.d.comb += self.entry.start.eq(schedule.start)
        self._job(m, command, *sizes)
        self._places(m, command, sizes[0], pace.span_log2 if pace and chained else None)
        if pace:
            job = self.entry.job
            names = [name for name, field in pace.layout if field.width]
            m.d.comb += (job[name].eq(pace.fields[name]) for name in names)
        m.d.sync += schedule.commit.eq(finish & (code == Code.OK))
        with m.If(finish & ((code == Code.OK) | self.refusal.ready)):
            m.d.sync += active.eq(0)
        return m

    def _job(self, m: Module, command: data.View, row_size: Value, col_size: Value) -> None:
        """The job, but for what depends on the row band."""
        array, job = self.config.array, self.entry.job
        inner = Mux(command.n_inside, command.n_tiles, command.k_tiles)
        outer = Mux(command.n_inside, command.k_tiles, command.n_tiles)
        m.d.comb += [
            *(
                job[name].eq(command[name])
                for name in ("n_last", "x_base", "w_base", "y_base", "n_inside", "accumulate")
            ),
            job.m_end.eq(command.m - 1),
            job.row_one.eq(command.m == 1),
            job.short.eq(command.m < array.band_rows),
            job.inner_end.eq(inner - 1),
            job.outer_end.eq(outer - 1),
            job.inner_one.eq(inner == 1),
            job.outer_one.eq(outer == 1),
            job.reach.eq(col_size - 1),
            job.slot.eq(self.slot),
        ]

    def _places(
        self, m: Module, command: data.View, row_size: Value, span_log2: Value | None
    ) -> None:
        """Of each row band its place in the group of ``row_size``, and its rows in use.

        ``span_log2``: log2 of the row bands of a block, where groups can be taller.
        """
        array = self.config.array
        whole = command.k_last >> ceil_log2(array.band_rows)  # row bands that are full in the last
        rest = command.k_last & (array.band_rows - 1)  # K tile, and the rows of the one after them
        last = row_size - 1  # groups are aligned
        span = Signal(array.row_bands.bit_length())
        joined = last
        if span_log2 is not None:
            m.d.comb += span.eq(1 << span_log2)
            joined = last & (span - 1)
        for i in range(array.row_bands):
            at = SimpleNamespace(
                **{name: getattr(self, name)[i] for name in place_fields(self.config)}
            )
            rank, within = (
                Signal(range(array.row_bands), name=f"{name}_{i}") for name in ("rank", "within")
            )
            m.d.comb += [
                rank.eq(i & last),
                within.eq(i & joined),
                at.fuse.eq(within != 0),
                at.bottom.eq(within == joined),
                at.k_rows.eq(Mux(rank < whole, array.band_rows, Mux(rank == whole, rest, 0))),
            ]
            if span_log2 is not None:
                first = rank & ~joined  # band of the block
                m.d.comb += [
                    at.head.eq(rank == 0),
                    at.foot.eq(rank == last),
                    at.accumulate.eq(command.accumulate | (first != 0)),
                    at.empty.eq((first > whole) | ((first == whole) & (rest == 0))),
                    # The block above; of the first one, the last: none but itself if it is alone.
                    at.source.eq((i & ~last) | ((i - span) & last)),
                ]

    def _products(
        self,
        m: Module,
        command: data.View,
        period: Value,
        repeats: Value,
        step: Value,
        platform: object,
    ) -> Signal:
        """The shared multiplier: its product is that of the operands of two steps before."""
        config = self.config
        widest = max(config.tiles_width, config.period_width)
        runs = config.tiles_width + 2 * (config.array.digits > 1)  # of all tiles
        multiplier = Multiplier(a_width=runs, b_width=widest)
        m.submodules.multiplier = place(multiplier, platform)
        # Words of X, words of Y, tiles; then cycles: more tiles than fit have been found by then.
        k, n, rows = command.k_tiles, command.n_tiles, command.m
        factors = {0: (k, rows), 1: (n, rows), 2: (k, n), 4: (multiplier.p << repeats, period)}
        for port, operands in zip(
            (multiplier.a, multiplier.b), zip(*factors.values(), strict=True), strict=True
        ):
            offered = [Mux(step[at], value, 0) for at, value in zip(factors, operands, strict=True)]
            m.d.comb += port.eq(reduce(or_, offered))
        return multiplier.p

    def _epoch(self, m: Module, command: data.View, schedule: Schedule, step: Value) -> None:
        """Earliest start: a fixed lead, and the same cycle for all commands of a batch."""
        config = self.config
        extra = Signal(config.epoch_width)  # cycles beyond the lead to the start of the batch
        joined = Signal()  # the command belongs to the batch of the one before
        m.d.comb += schedule.epoch.eq(extra + config.dispatch_lead)
        with m.If(step[0] & ~joined):
            m.d.sync += extra.eq(command.follow << config.batch_log2)
        with m.Elif(extra != 0):
            m.d.sync += extra.eq(extra - 1)
        with m.If(schedule.snapshot):
            m.d.sync += joined.eq(command.follow != 0)

    def _shapes(self, m: Module, schedule: Schedule, command: data.View) -> Value:
        """Bands whose latest command came from a group of another shape."""
        array = self.config.array
        shape = Cat(command.rows_log2, command.cols_log2)
        other = []
        for n in range(array.bands):
            latest = Signal(len(shape), name=f"shape_{n}")
            with m.If(schedule.commit & schedule.members[n]):
                m.d.sync += latest.eq(shape)
            other.append(latest != shape)
        return Cat(other)
