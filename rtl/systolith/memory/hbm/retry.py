"""Recovery from alerts: what the memory may not have done is done again, unseen from above."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.command_log import CommandLog, log_depth
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.data_path import back_layout, sent_layout
from systolith.memory.hbm.retry_bus import RetryBus
from systolith.memory.hbm.returns import MOST_LATENCY
from systolith.memory.sram import RegisterFile

__all__ = ["MOST_TRIES", "Retry", "recovery_clocks", "rest_behind"]

MOST_TRIES = 8
"""Alerts of one recovery after which the memory is given up."""

_SLEEP = (Op.SRE, Op.SRX)


class _Next(IntEnum):
    """What follows a command of a recovery."""

    WALK = 0
    ACCESS = 1
    OPEN = 2


def rest_behind(config: ControllerConfig, op: Op) -> int:
    """Fabric clocks after which every rule allows any command, and the alert has come."""
    longest = max(
        (r.latency for r in config.rules if op in r.first and op not in _SLEEP), default=0
    )
    return max(-(-longest // config.slots) + 1, config.alert + LEAD + 2)


def recovery_clocks(config: ControllerConfig) -> int:
    """Most fabric clocks of a recovery without another alert, if slots come within 4 clocks.

    Every clock of the log has one row command and an access for each port at most.
    """
    rest = {op: rest_behind(config, op) + 4 for op in Op}
    depth, late = log_depth(config), MOST_LATENCY + LEAD + 2
    access = rest[Op.ACT] + max(rest[Op.WRA], rest[Op.RDA], late) + depth
    row = max(rest[Op.REFAB], rest[Op.MRS])
    settle = max(rest.values()) + late
    walk = depth * (row + config.ports * access + 1)
    return LEAD + settle + rest[Op.PREA] + walk + config.banks * (rest[Op.ACT] + 1) + late


class Retry(Block):
    """Between controller and memory: makes commands with bad parity good.

    An alert says that a command of the last ``alert`` clocks had bad parity, and that it is
    unknown which of the commands from it on the memory has done. So nothing more is sent, all
    banks are closed, and every access, refresh and mode register of these clocks is done once
    more, in order, each after all rules have run out; then the rows are opened that the controller
    takes for open. It sees none of this but that no slots are offered: reads that are under way
    are not due until it is over, and come back as if nothing had been.

    What cannot be undone is told as lost data: a read, if the same place of the bank is written
    within the clocks that are done again. Given up is a memory that goes to or comes from
    self-refresh in these clocks, or that alerts :data:`MOST_TRIES` times in one recovery:
    ``failed`` until reset, the memory gets no more commands, and every read is lost.

    Refreshes are held up by a recovery, :func:`recovery_clocks` at most. Activations that are
    repeated are not counted by refresh management.

    Parameters
    ----------
    config : ControllerConfig
        Memory and slots; ``alert`` is not 0.

    Members
    -------
    alert : In(1)
        From the memory, at most ``config.alert`` clocks behind a command on ``row``, ``column``.
    latency : In
        As of the controller.
    given_row, given_column, given_data0, ..., given_back0, ... : In, In, In, Out
        The boundary at the controller.
    row_given, long_given, column_given, pause : Out
        Its offers; see :class:`~systolith.memory.hbm.controller.Controller`.
    row, column, data0, ..., back0, ..., row_offer, long_offer, column_offer : Out, Out, Out, In
        The boundary at the memory.
    recovered, failed : Out(1)
        A cycle at the end of each recovery; the memory has been given up.
    """

    alert: Signal
    latency: Signal
    given_row: data.View
    given_column: data.View
    row_given: Signal
    long_given: Signal
    column_given: Signal
    pause: Signal
    row: data.View
    column: data.View
    row_offer: Signal
    long_offer: Signal
    column_offer: Signal
    recovered: Signal
    failed: Signal

    def __init__(self, config: ControllerConfig) -> None:
        if not config.alert:
            raise ValueError("alert must be at least 1 for a memory with alerts, not 0")
        self.config = config
        slots, shape = config.slots, config.organisation
        rows = PackedArray(row_command(shape), slots)
        columns = PackedArray(column_command(shape), slots)
        kinds = ("row", "long", "column")
        super().__init__(
            {
                "alert": In(1),
                "latency": In(range(MOST_LATENCY + 1)),
                "given_row": In(rows),
                "given_column": In(columns),
                **{f"{kind}_given": Out(slots) for kind in kinds},
                "pause": Out(1),
                "row": Out(rows),
                "column": Out(columns),
                **{f"{kind}_offer": In(slots) for kind in kinds},
                **{f"given_data{p}": In(sent_layout(config)) for p in range(config.ports)},
                **{f"given_back{p}": Out(back_layout(config)) for p in range(config.ports)},
                **{f"data{p}": Out(sent_layout(config)) for p in range(config.ports)},
                **{f"back{p}": In(back_layout(config)) for p in range(config.ports)},
                "recovered": Out(1),
                "failed": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, depth, ports = self.config, log_depth(self.config), range(self.config.ports)
        log: Any = CommandLog(config)
        bus: Any = RetryBus(config)
        m.submodules.log = place(log, platform)
        m.submodules.bus = place(bus, platform)
        m.d.comb += [
            log.row.eq(self.given_row),
            log.column.eq(self.given_column),
            *(getattr(log, f"data{p}").eq(getattr(self, f"given_data{p}")) for p in ports),
        ]

        # What is sent, and the clocks since it was.
        command: Any = Signal(row_command(config.organisation))
        access: Any = Signal(log.entry0.shape())
        port = Signal(range(max(2, config.ports)))
        settle = max(max(rest_behind(config, op) for op in Op), MOST_LATENCY + LEAD + 2)
        since = Signal(bits_for(settle) + 2)
        following, rest, go = Signal(_Next), Signal.like(since), Signal()
        m.d.comb += rest.eq(Array(rest_behind(config, op) for op in Op)[command.op])
        m.d.sync += since.eq(since + 1)

        # Where in the log, and how often it was begun.
        at, part, index = Signal(range(depth + 1)), Signal(range(config.ports + 1)), Signal(6)
        scan, stale, bank = Signal.like(at), Signal(), Signal(range(config.banks + 1))
        tries, again, before = Signal(range(MOST_TRIES + 1)), Signal(), Signal()
        m.d.sync += before.eq(self.alert)
        entries = [getattr(log, f"entry{p}") for p in ports]
        chosen: Any = Signal(access.shape())
        m.d.comb += chosen.eq(Array(e.as_value() for e in entries)[part - 1])
        m.d.comb += [log.at.eq(at), log.bank.eq(bank)]
        kept = _Kept(m, self, platform)
        m.d.comb += kept.at.eq(since)

        def give_up() -> None:
            m.d.sync += [self.failed.eq(1), since.eq(0)]
            m.next = "Return"

        def send(op: Value | Op, place: Any, then: _Next) -> None:
            m.d.sync += [command.op.eq(op), following.eq(then)]
            m.d.sync += [command[name].eq(place[name]) for name in ("sid", "group", "bank")]
            m.next = "Send"

        with m.FSM() as fsm:
            idle, returning = fsm.ongoing("Idle"), fsm.ongoing("Return")
            m.d.comb += [
                log.record.eq(idle | fsm.ongoing("Drain") | returning),
                self.pause.eq(~log.record),
            ]
            with m.State("Idle"):
                m.d.sync += [since.eq(0), again.eq(0), tries.eq(0)]
                with m.If(self.alert & ~self.failed):
                    m.next = "Drain"
            # What has been decided still comes, but goes no further.
            with m.State("Drain"), m.If(since == LEAD - 1):
                m.d.sync += since.eq(0)
                m.next = "Settle"
            with m.State("Settle"):
                m.d.comb += kept.write.eq(Mux((since <= MOST_LATENCY) & ~again, -1, 0))
                m.d.comb += kept.good.eq(since + depth < self.latency)
                with m.If((since >= settle) & ~self.alert):
                    m.d.sync += [at.eq(0), part.eq(0), bank.eq(0), again.eq(1)]
                    send(Op.PREA, chosen, _Next.WALK)
                with m.If(since.all() | ((since == settle) & (self.latency < depth))):
                    give_up()  # the alert stays; some of it has been passed on
            with m.State("Send"):
                m.d.sync += since.eq(0)
                with m.If(go):
                    m.next = "Rest"
            with m.State("Rest"):
                reads = command.op == Op.RDA
                m.d.comb += [
                    kept.at.eq(index + self.latency - depth),
                    kept.write.eq((reads & (since == self.latency + LEAD - 1)) << port),
                    kept.good.eq(~stale),
                ]
                with m.If((since >= rest) & ~(reads & (since < self.latency + LEAD))):
                    with m.If(following == _Next.ACCESS):
                        write = (access.op == Op.WR) | (access.op == Op.WRA)
                        send(Mux(write, Op.WRA, Op.RDA), access, _Next.WALK)
                    with m.Elif(following == _Next.OPEN):
                        m.next = "Open"
                    with m.Else():
                        m.next = "Walk"
                with m.If(self.alert & ~before):
                    m.d.sync += [since.eq(0), tries.eq(tries + 1)]
                    m.next = "Settle"
                    with m.If(tries == MOST_TRIES - 1):
                        give_up()
            with m.State("Walk"):
                last = part == config.ports
                m.d.sync += [part.eq(Mux(last, 0, part + 1)), at.eq(at + last)]
                m.d.sync += [index.eq(at), scan.eq(at + 1), stale.eq(0)]
                m.d.sync += [access.eq(chosen), port.eq(part - 1)]
                row, op = log.entry_row, log.entry_row.op
                with m.If(at == depth):
                    m.next = "Open"
                with m.Elif((part != 0) & chosen.valid):
                    m.next = "Scan"
                with m.Elif((part == 0) & row.valid & ((op == Op.SRE) | (op == Op.SRX))):
                    give_up()
                with m.Elif((part == 0) & row.valid & ~_opens_or_closes(op)):
                    m.d.sync += command.row.eq(row.row)
                    send(op, row, _Next.WALK)
            with m.State("Scan"):  # is the place written behind this access?
                m.d.comb += log.at.eq(scan)
                m.d.sync += scan.eq(scan + 1)
                with m.If(scan != depth):
                    m.d.sync += stale.eq(stale | _written(entries, access))
                with m.Else():
                    m.d.sync += command.row.eq(access.row)
                    send(Op.ACT, access, _Next.ACCESS)
            with m.State("Open"):
                m.d.sync += [bank.eq(bank + 1), command.row.eq(log.bank_row), since.eq(0)]
                m.d.sync += Cat(command.bank, command.group, command.sid).eq(bank)
                m.d.sync += [command.op.eq(Op.ACT), following.eq(_Next.OPEN)]
                with m.If(bank == config.banks):
                    m.next = "Return"
                with m.Elif(log.open.bit_select(bank, 1)):
                    m.next = "Send"
            # What was under way comes back, each at its time.
            with m.State("Return"), m.If(since + 1 >= self.latency):
                m.d.comb += self.recovered.eq(~self.failed)
                m.next = "Idle"
            sending = fsm.ongoing("Send")

        for kind in ("row", "long", "column"):
            offer = getattr(self, f"{kind}_offer")
            m.d.comb += getattr(self, f"{kind}_given").eq(Mux(idle, offer, 0))
        m.d.comb += [
            bus.passes.eq(idle & ~self.failed),
            bus.send.eq(sending),
            bus.command.eq(command),
            bus.access.eq(access),
            bus.port.eq(port),
            go.eq(bus.goes),
        ]
        for name in ("given_row", "given_column", "row_offer", "long_offer", "column_offer"):
            m.d.comb += getattr(bus, name).eq(getattr(self, name))
        m.d.comb += [self.row.eq(bus.row), self.column.eq(bus.column)]
        for p in ports:
            m.d.comb += [
                getattr(bus, f"given_data{p}").eq(getattr(self, f"given_data{p}")),
                getattr(self, f"data{p}").eq(getattr(bus, f"data{p}")),
            ]
        for p in ports:
            back = getattr(self, f"given_back{p}")
            m.d.comb += back.eq(Mux(returning, kept.beats[p], getattr(self, f"back{p}")))
            with m.If(self.failed):
                m.d.comb += back.valid.eq(0)
        return m

    def serve(self, m: Module, controller: Any) -> None:
        """Connect the controller."""
        m.d.comb += [
            self.latency.eq(controller.latency),
            controller.pause.eq(self.pause),
            self.given_row.eq(controller.row),
            self.given_column.eq(controller.column),
        ]
        for kind in ("row", "long", "column"):
            m.d.comb += getattr(controller, f"{kind}_offer").eq(getattr(self, f"{kind}_given"))
        for p in range(self.config.ports):
            m.d.comb += [
                getattr(self, f"given_data{p}").eq(getattr(controller, f"data{p}")),
                getattr(controller, f"back{p}").eq(getattr(self, f"given_back{p}")),
            ]


class _Kept:
    """Beats by the clock in which they are due, counted from the pause on."""

    def __init__(self, m: Module, block: Retry, platform: object) -> None:
        config = block.config
        layout: Any = back_layout(config)
        self.at, self.write, self.good = Signal(6), Signal(config.ports), Signal()
        self.beats: list[Any] = []
        for p in range(config.ports):
            store: Any = RegisterFile(depth=MOST_LATENCY + 1, width=layout.size)
            m.submodules[f"kept_{p}"] = place(store, platform)
            word: Any = Signal(layout, name=f"kept_word_{p}")
            back = getattr(block, f"back{p}")
            m.d.comb += [
                word.eq(back),
                word.valid.eq(back.valid & self.good),
                store.w_en.eq(self.write[p]),
                store.w_addr.eq(self.at),
                store.w_data.eq(word),
                store.r_addr.eq(self.at),
            ]
            self.beats.append(data.View(layout, store.r_data))


def _opens_or_closes(op: Value) -> Value:
    return (op == Op.ACT) | (op == Op.PRE) | (op == Op.PREA)


def _written(entries: list[Any], access: Any) -> Value:
    """Whether one of these commands writes to the column of this access, in whatever row."""
    found: Value = Value.cast(0)
    for entry in entries:
        same = Cat(entry[name] == access[name] for name in ("sid", "group", "bank", "column"))
        found = found | (entry.valid & ((entry.op == Op.WR) | (entry.op == Op.WRA)) & same.all())
    return found
