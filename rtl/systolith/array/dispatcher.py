"""Dispatcher: checks commands, gives each its start time and hands it to its group's queue."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import layout
from systolith.array.queue import entry_layout, now_width
from systolith.array.schedule import Schedule
from systolith.hierarchy import Block

__all__ = ["Dispatcher"]


class Dispatcher(Block):
    """Takes commands in program order, one in :attr:`EngineConfig.dispatch_cycles` cycles.

    Steps, each one cycle: 0 waits for space and checks group and shape; 1 is the schedule's
    snapshot; one multiplier forms ``k_tiles*m``, ``n_tiles*m``, the tiles and the total cycles,
    each two steps after its operands; the last step refuses the command with a code or commits it.
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
        The queue led by this band takes another entry.
    slot_free, slot : In(1), In
        A free slot for an outstanding command.
    push, entry : Out(bands), Out(entry_layout)
        Append to the queue of the leading band.
    taken, tag : Out(1), Out
        ``slot`` is used now, for the command with ``tag``.
    refusal : Out(stream of the completion layout)
        Refused commands.
    now : Out
        Clock of the start times.
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
    now: Signal
    snapshot: Signal

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        super().__init__(
            {
                "command": In(stream.Signature(layout("command", config))),
                "space": In(config.array.bands),
                "slot_free": In(1),
                "slot": In(bits_for(config.control.outstanding - 1)),
                "push": Out(config.array.bands),
                "entry": Out(entry_layout(config)),
                "taken": Out(1),
                "tag": Out(config.control.tag_width),
                "refusal": Out(stream.Signature(layout("completion", config))),
                "now": Out(now_width(config)),
                "snapshot": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        last_step = config.dispatch_steps

        command = Signal(layout("command", config))
        active = Signal()
        step = Signal(range(last_step + 1))
        ready = Signal()  # step 0 may be left
        leader = Signal(array.bands)
        members = Signal(array.bands)
        skew = Signal(bits_for(config.max_skew))
        code = Signal(Code)

        m.d.comb += self.command.ready.eq(~active)
        with m.If(self.command.valid & ~active):
            m.d.sync += [command.eq(self.command.payload), active.eq(1), step.eq(0)]

        row_size, col_size = self._group(m, command, leader, members, skew)
        period = Signal(config.period_width)
        m.d.comb += [
            period.eq(Mux(command.m > array.band_rows, command.m, array.band_rows)),
            ready.eq((self.space & leader).any() & self.slot_free),
        ]
        product = self._products(m, command, period, step)

        m.submodules.schedule = schedule = Schedule(config)
        m.d.comb += [
            schedule.snapshot.eq(active & (step == 1)),
            schedule.gap.eq(command.accumulate),
            schedule.total.eq(product),
            self.now.eq(schedule.now),
            self.snapshot.eq(schedule.snapshot),
        ]
        m.d.sync += [schedule.members.eq(members), schedule.skew.eq(skew)]
        self._epoch(m, command, schedule)

        # Checks, in the order of their codes; the first that fails is reported.
        shape = self._shapes(m, schedule, command)
        checks = {
            0: [
                (Code.BAD_GROUP, self._bad_group(command)),
                (Code.BAD_SHAPE, self._bad_shape(command, row_size, col_size)),
            ],
            1: [
                (Code.BUSY, command.idle_only & (schedule.busy & schedule.members & shape).any()),
            ],
            2: [(Code.X_RANGE, command.x_base + product > config.memory.x_depth)],
            3: [(Code.Y_RANGE, command.y_base + product > config.memory.y_depth)],
            4: [
                (
                    Code.W_RANGE,
                    command.w_base + product * array.band_rows > config.memory.w_depth,
                )
            ],
        }
        with m.If(active):
            with m.Switch(step):
                for at, rules in checks.items():
                    with m.Case(at):
                        for reason, failed in reversed(rules):
                            worse = (code == Code.OK) | (code > reason)
                            with m.If(failed & (worse if at else 1)):
                                m.d.sync += code.eq(reason)
            with m.If((step != 0) | ready):
                m.d.sync += step.eq(step + 1)

        finish = Signal()
        job = self.entry.job
        m.d.comb += [
            finish.eq(active & (step == last_step)),
            schedule.commit.eq(finish & (code == Code.OK)),
            self.taken.eq(schedule.commit),
            self.tag.eq(command.tag),
            self.push.eq(Mux(schedule.commit, leader, 0)),
            self.refusal.valid.eq(finish & (code != Code.OK)),
            self.refusal.p.tag.eq(command.tag),
            self.refusal.p.code.eq(code),
            self.entry.start.eq(schedule.start),
            job.m_end.eq(command.m - 1),
            job.period_end.eq(period - 1),
            job.k_end.eq(command.k_tiles - 1),
            job.n_end.eq(command.n_tiles - 1),
            *(
                job[name].eq(command[name])
                for name in ("k_last", "n_last", "x_base", "w_base", "y_base")
            ),
            job.n_inside.eq(command.n_inside),
            job.accumulate.eq(command.accumulate),
            job.below.eq(row_size - 1),
            job.reach.eq(col_size - 1),
            job.slot.eq(self.slot),
        ]
        with m.If(finish & ((code == Code.OK) | self.refusal.ready)):
            m.d.sync += [active.eq(0), code.eq(Code.OK)]
        with m.Elif(finish):
            m.d.sync += step.eq(step)
        return m

    def _group(
        self, m: Module, command: data.View, leader: Signal, members: Signal, skew: Signal
    ) -> tuple[Value, Value]:
        """Drive the band masks of the command's group; return its size in row and column bands."""
        array = self.config.array
        sizes: list[Value] = []
        same, first = [], []
        for at, log2, bands in (
            (command.row, command.rows_log2, array.row_bands),
            (command.col, command.cols_log2, array.col_bands),
        ):
            size = Signal(bits_for(bands), name=f"group_{len(sizes)}")
            m.d.comb += size.eq(1)
            for power in range(1, ceil_log2(bands) + 1):
                with m.If(log2 == power):
                    m.d.comb += size.eq(1 << power)
            sizes.append(size)
            same.append([(at <= n) & (n < at + size) for n in range(bands)])
            first.append([at == n for n in range(bands)])
        pairs = [(i, j) for i in range(array.row_bands) for j in range(array.col_bands)]
        m.d.comb += [
            leader.eq(Cat(first[0][i] & first[1][j] for i, j in pairs)),
            members.eq(Cat(same[0][i] & same[1][j] for i, j in pairs)),
            skew.eq(command.row * array.band_rows + command.col * array.band_cols),
        ]
        return sizes[0], sizes[1]

    def _bad_group(self, command: data.View) -> Value:
        array = self.config.array
        wrong = []
        for at, log2, bands in (
            (command.row, command.rows_log2, array.row_bands),
            (command.col, command.cols_log2, array.col_bands),
        ):
            wrong += [log2 > ceil_log2(bands), at >= bands]
            wrong += [
                (log2 == power) & ((at & ((1 << power) - 1)) != 0)
                for power in range(1, ceil_log2(bands) + 1)
            ]
        return Cat(wrong).any()

    def _bad_shape(self, command: data.View, row_size: Value, col_size: Value) -> Value:
        array = self.config.array
        counts = (command.m, command.k_tiles, command.n_tiles, command.k_last, command.n_last)
        return (
            Cat(count == 0 for count in counts).any()
            | (command.k_last > row_size * array.band_rows)
            | (command.n_last > col_size * array.band_cols)
        )

    def _products(self, m: Module, command: data.View, period: Value, step: Value) -> Signal:
        """The shared multiplier: its product is that of the operands of two steps before."""
        config = self.config
        left = Signal(config.tiles_width)
        right = Signal(max(config.tiles_width, config.period_width))
        product = Signal(len(left) + len(right))
        with m.Switch(step):
            with m.Case(0):  # words of X
                m.d.sync += [left.eq(command.k_tiles), right.eq(command.m)]
            with m.Case(1):  # words of Y
                m.d.sync += [left.eq(command.n_tiles), right.eq(command.m)]
            with m.Case(2):  # tiles
                m.d.sync += [left.eq(command.k_tiles), right.eq(command.n_tiles)]
            with m.Case(4):  # cycles; more tiles than fit have been found by then
                m.d.sync += [left.eq(product), right.eq(period)]
        m.d.sync += product.eq(left * right)
        return product

    def _epoch(self, m: Module, command: data.View, schedule: Schedule) -> None:
        """Earliest start: a fixed lead, and the same cycle for all commands of a batch."""
        config = self.config
        left = Signal(config.time_width)  # cycles to the start of the current batch
        joined = Signal()  # the command belongs to the batch of the one before
        fresh = config.dispatch_lead + (command.follow << config.batch_log2)
        m.d.comb += schedule.epoch.eq(
            Mux(joined, Mux(left > config.dispatch_lead, left, config.dispatch_lead), fresh)
        )
        with m.If(schedule.snapshot):
            m.d.sync += [left.eq(schedule.epoch - 1), joined.eq(command.follow != 0)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)

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
