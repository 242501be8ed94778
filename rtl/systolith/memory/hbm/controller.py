"""The controller of one pseudo-channel: streams of runs in, decoded commands out."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.hbm.bank_queue import BankQueue
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.column_pipeline import ColumnPipeline, column_sequencer
from systolith.memory.hbm.column_sequencer import ColumnSequencer, moves
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.counters import COUNTER_BITS, COUNTERS, Counters
from systolith.memory.hbm.data_path import (
    DataPath,
    back_layout,
    correction_layout,
    named_layout,
    response_layout,
    sent_layout,
    write_layout,
)
from systolith.memory.hbm.guard import Guard
from systolith.memory.hbm.head_place import HeadPlace, place_of
from systolith.memory.hbm.maintenance import Maintenance
from systolith.memory.hbm.management import ACTIVATION_BITS, Management
from systolith.memory.hbm.offered_slots import send_columns, send_row
from systolith.memory.hbm.refresh import Refresh
from systolith.memory.hbm.returns import MOST_LATENCY
from systolith.memory.hbm.row_sequencer import RowSequencer
from systolith.memory.hbm.run_queue import RunQueue
from systolith.memory.hbm.walker import Walker

__all__ = ["Controller"]

_Columns = ColumnSequencer | ColumnPipeline


class Controller(Block):
    """Controller of one pseudo-channel.

    A run is a promise: the data of a write can be fetched, and the data of a read taken, in any
    clock from its acceptance on. So nothing outside can make the controller wait, and the time
    until a run is done is bounded by those before it.

    Parameters
    ----------
    config : ControllerConfig
        Memory and sizes.

    Members
    -------
    run_valid, run_ready, run : In(streams), Out(streams), In(array of config.run)
        Runs of each stream, carried out in order.
    fetch0, ... : Out
        ``valid, stream``: the next atom to be written of this stream is wanted in ``write`` in
        the next clock; one per port.
    write0, ... : In(write_layout)
        Its data.
    response0, ... : Out(response_layout)
        Atoms that were read, in order for each stream.
    done0, ... : Out
        ``valid, stream``: the last write of a run is on its way; every read that is accepted from
        now on sees it.
    map, mode, debt_bound, hotter, sleep, latency : In
        Run-time registers: number of the address map (stable while there are runs), refresh mode,
        see :class:`~systolith.memory.hbm.refresh.Refresh`, self-refresh, latency of read data
        from the boundary and back, in fabric clocks.
    pause : In(1)
        Only with alerts: reads are not due until it falls, see
        :class:`~systolith.memory.hbm.retry.Retry`. Nothing is offered meanwhile.
    threshold, most : In(10)
        HBM3: see :class:`~systolith.memory.hbm.management.Management`.
    ready, asleep : Out(1)
        The memory is up; in self-refresh.
    row_offer, long_offer, column_offer : In(slots)
        Slots of the clock in which what is decided now reaches the boundary, ``LEAD`` clocks
        later: for a row command, an activation, a column command. Those of one clock for column
        commands are ``ccd_s`` apart.
    row, column : Out(array of row_command), Out(array of column_command)
        The boundary, one of each per slot.
    data0, ... : Out(sent_layout)
        Data of the write in the slots of a port.
    back0, ... : In(back_layout)
        Read data from the memory, in order for each port.
    lost, extra : Out(1)
        Read data did not come when it was due; came though nothing waited for it.
    correct, correction0, ... : In(1), Out(correction_layout)
        With ECC, see :class:`~systolith.memory.hbm.data_path.DataPath`.
    refused : Out(1)
        Only if the controller merges: a write could not be done as asked, see there.
    clear, counters : In(1), Out
        See :class:`~systolith.memory.hbm.counters.Counters`.
    overdue, debt_max, balance : Out
        See :class:`~systolith.memory.hbm.refresh.Refresh`.
    """

    run_valid: Signal
    run_ready: Signal
    run: data.View
    map: Signal
    mode: Signal
    debt_bound: Signal
    hotter: Signal
    sleep: Signal
    latency: Signal
    pause: Signal
    threshold: Signal
    most: Signal
    ready: Signal
    asleep: Signal
    row_offer: Signal
    long_offer: Signal
    column_offer: Signal
    row: data.View
    column: data.View
    lost: Signal
    extra: Signal
    correct: Signal
    refused: Signal
    clear: Signal
    counters: data.View
    overdue: Signal
    debt_max: Signal
    balance: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        slots, streams = config.slots, config.streams
        shape = config.organisation
        managed = {name: In(ACTIVATION_BITS) for name in ("threshold", "most")}
        members = {
            "run_valid": In(streams),
            "run_ready": Out(streams),
            "run": In(PackedArray(config.run, streams)),
            "map": In(range(len(config.maps))),
            "mode": In(2),
            "debt_bound": In(4),
            "hotter": In(2),
            "sleep": In(1),
            "latency": In(range(MOST_LATENCY + 1)),
            **(managed if config.managed else {}),
            "ready": Out(1),
            "asleep": Out(1),
            "row_offer": In(slots),
            "long_offer": In(slots),
            "column_offer": In(slots),
            "row": Out(PackedArray(row_command(shape), slots)),
            "column": Out(PackedArray(column_command(shape), slots)),
            "lost": Out(1),
            "extra": Out(1),
            "clear": In(1),
            "counters": Out(PackedArray(COUNTER_BITS, len(COUNTERS))),
            "overdue": Out(1),
            "debt_max": Out(Refresh.age_width(config)),
            "balance": Out(Refresh.age_width(config) + 1),
        }
        if config.alert:
            members |= {"pause": In(1)}
        if config.codec:
            members |= {"correct": In(1)}
        if config.merges:
            members |= {"refused": Out(1)}
        for p in range(config.ports):
            members |= {
                f"fetch{p}": Out(named_layout(config)),
                f"write{p}": In(write_layout(config)),
                f"response{p}": Out(response_layout(config)),
                f"done{p}": Out(named_layout(config)),
                f"data{p}": Out(sent_layout(config)),
                f"back{p}": In(back_layout(config)),
            }
            if config.codec:
                members |= {f"correction{p}": Out(correction_layout(config))}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        banks, ports = range(config.banks), range(config.ports)
        streams = range(config.streams)
        walker, rows = Walker(config), RowSequencer(config)
        columns = column_sequencer(config)
        guard, refresh, maintenance = Guard(config), Refresh(config), Maintenance(config)
        runs = [RunQueue(config) for _ in streams]
        queues = [BankQueue(config) for _ in banks]
        paths = [DataPath(config, merging=config.merges and p == 0) for p in ports]
        counters = Counters(config)
        for name, block in (
            ("walker", walker),
            ("columns", columns),
            ("rows", rows),
            ("guard", guard),
            ("refresh", refresh),
            ("maintenance", maintenance),
            ("counters", counters),
            *((f"runs_{n}", b) for n, b in enumerate(runs)),
            *((f"bank_{n}", b) for n, b in enumerate(queues)),
            *((f"data_{n}", b) for n, b in enumerate(paths)),
        ):
            m.submodules[name] = place(block, platform)

        # Streams, walker.
        m.d.comb += walker.map.eq(self.map)
        m.d.comb += [walker.oldest.eq(columns.oldest), walker.unfinished.eq(columns.unfinished)]
        for n, queue in enumerate(runs):
            m.d.comb += [
                queue.valid.eq(self.run_valid[n]),
                self.run_ready[n].eq(queue.ready),
                queue.run.eq(self.run[n]),
                walker.waiting[n].eq(queue.waiting),
                walker.fresh[n].eq(queue.fresh),
                walker.next[n].eq(queue.next),
                queue.walk.eq(walker.walk[n]),
                queue.turn.eq(walker.turn),
                columns.heads[n].eq(queue.head),
            ]

        self._places(m, columns, runs, platform)

        # Banks.
        for b, bank in enumerate(queues):
            m.d.comb += [
                bank.push.eq(walker.push[b]),
                bank.visit.eq(walker.visit),
                bank.same.eq(walker.same),
                walker.space[b].eq(bank.space),
                bank.access.eq(columns.access[b]),
                bank.ends.eq(columns.ends[b]),
                rows.valid[b].eq(bank.valid),
                rows.due[b].eq(bank.first.due),
                rows.row[b].eq(bank.first.row),
                columns.final[b].eq(bank.final),
                columns.owner[b].eq(bank.first.owner),
                columns.usable[b].eq(rows.usable[b] & bank.valid),
            ]
        m.d.comb += rows.ends.eq(columns.ends)
        moved = Signal(config.due_bits)
        m.d.sync += moved.eq(
            moved + sum(moves(config, getattr(columns, f"access{p}")) for p in ports)
        )
        m.d.comb += [rows.issued.eq(moved), walker.issued.eq(moved)]

        # Timing.
        for op in guard.bank_ops:
            name = f"{op.name.lower()}_ok"
            m.d.comb += getattr(rows, name).eq(getattr(guard, name))
        for op in guard.soon_ops:
            name = f"{op.name.lower()}_soon"
            m.d.comb += getattr(rows, name).eq(getattr(guard, name))
        for name in ("prea_ok", "refab_ok", "mrs_ok", "sre_ok", "srx_ok"):
            m.d.comb += getattr(rows, name).eq(getattr(guard, name))
        m.d.comb += guard.row.eq(rows.issue)
        for p in ports:
            m.d.comb += getattr(guard, f"column{p}").eq(getattr(columns, f"issue{p}"))
            for kind in ("read_ok", "write_ok"):
                m.d.comb += getattr(columns, f"{kind}{p}").eq(getattr(guard, f"{kind}{p}"))

        # Refresh and maintenance.
        m.d.comb += [
            refresh.mode.eq(self.mode),
            refresh.debt_bound.eq(self.debt_bound),
            refresh.hotter.eq(self.hotter),
            refresh.running.eq(~maintenance.asleep),
            maintenance.refresh.eq(refresh.all_pending),
            maintenance.behind.eq(refresh.behind),
            refresh.all_done.eq(maintenance.refreshed),
            maintenance.sleep.eq(self.sleep),
            maintenance.open.eq(rows.open.any()),
            maintenance.asked.eq(rows.asked),
            rows.hold.eq(maintenance.hold),
            rows.ask.eq(maintenance.ask),
            rows.ask_op.eq(maintenance.ask_op),
            rows.ask_row.eq(maintenance.ask_row),
            self.ready.eq(maintenance.ready),
            self.asleep.eq(maintenance.asleep),
            self.overdue.eq(refresh.overdue),
            self.debt_max.eq(refresh.debt_max),
        ]
        m.d.sync += self.balance.eq(refresh.balance)
        if rows.single:
            m.d.comb += [
                rows.pending.eq(refresh.pending),
                rows.wanted.eq(refresh.wanted),
                rows.forced.eq(refresh.forced),
                refresh.done.eq(rows.done),
            ]
        if config.managed:
            m.submodules.management = place(management := Management(config), platform)
            m.d.comb += [
                management.threshold.eq(self.threshold),
                management.most.eq(self.most),
                management.row.eq(rows.issue),
                rows.managed.eq(management.due),
                rows.blocked.eq(management.blocked),
            ]
        m.d.comb += [
            counters.clear.eq(self.clear),
            counters.row.eq(rows.issue),
            counters.unfinished.eq(columns.unfinished),
            counters.oldest_open.eq(columns.oldest_open),
            counters.oldest_refreshed.eq(rows.refreshing.bit_select(columns.oldest_bank, 1)),
            counters.hold.eq(maintenance.hold),
            self.counters.eq(counters.values),
        ]
        for p in ports:
            m.d.comb += [
                counters.offers[p].eq(getattr(columns, f"offer{p}")),
                getattr(counters, f"access{p}").eq(getattr(columns, f"access{p}")),
            ]
        send_row(m, self, guard, rows)
        send_columns(m, self, guard, columns)
        if config.timing.generation == "sdr" and isinstance(columns, ColumnPipeline):
            m.d.comb += rows.column_busy.eq(columns.busy)
        self._data(m, columns, paths)
        return m

    def _places(self, m: Module, columns: _Columns, runs: list[RunQueue], platform: object) -> None:
        """Places of the heads: in registers, if there is time for them."""
        if isinstance(columns, ColumnSequencer):
            m.d.comb += columns.map.eq(self.map)
        for n, queue in enumerate(runs):
            atom, moved = queue.head.atom, columns.moved[n]
            if not isinstance(columns, ColumnPipeline) or self.config.foresight < 2:
                m.d.comb += [columns.heads_valid[n].eq(queue.head_valid), queue.moved.eq(moved)]
                if isinstance(columns, ColumnPipeline):
                    at = place_of(m, self.config, self.map, atom, f"head_{n}")
                    m.d.comb += columns.places[n].eq(at)
                continue
            # The run itself follows a clock later, still before its next atom is looked at.
            kept = HeadPlace(self.config)
            m.submodules[f"place_{n}"] = place(kept, platform)
            m.d.sync += queue.moved.eq(moved)
            m.d.comb += [
                kept.map.eq(self.map),
                kept.head_valid.eq(queue.head_valid),
                kept.atom.eq(atom),
                kept.moved.eq(moved),
                kept.ended.eq((moved & columns.access0.last) | queue.ended),
                columns.heads_valid[n].eq(kept.valid),
                columns.places[n].eq(kept.place),
            ]

    def _data(self, m: Module, columns: _Columns, paths: list[DataPath]) -> None:
        for p, path in enumerate(paths):
            m.d.comb += [
                path.access.eq(getattr(columns, f"access{p}")),
                path.write.eq(getattr(self, f"write{p}")),
                path.back.eq(getattr(self, f"back{p}")),
                path.latency.eq(self.latency),
                *(
                    getattr(self, f"{name}{p}").eq(getattr(path, name))
                    for name in ("fetch", "done", "response")
                ),
                getattr(self, f"data{p}").eq(path.sent),
            ]
            if self.config.alert:
                m.d.comb += path.pause.eq(self.pause)
            if self.config.codec:
                m.d.comb += [
                    path.correct.eq(self.correct),
                    getattr(self, f"correction{p}").eq(path.correction),
                ]
        m.d.comb += [
            self.lost.eq(Cat(path.lost for path in paths).any()),
            self.extra.eq(Cat(path.extra for path in paths).any()),
        ]
        if self.config.merges:
            m.d.comb += [
                columns.merging.eq(paths[0].busy),
                columns.merge_ready.eq(paths[0].ready),
                self.refused.eq(Cat(path.refused for path in paths).any()),
            ]
