"""States of banks: what the sequencers of the memory controller issue is legal, whenever it is.

Row sequencer, column sequencer and maintenance are wired as in the controller. Timing is free:
any command may be allowed or not in any cycle. Visits are free as well, up to what the queues of
the banks promise: a visit stays the first one until its final access.

The commands of a cycle here are just those that the proofs of timing assume.
"""

from collections.abc import Iterable

from amaranth.hdl import (
    Array,
    Assert,
    Assume,
    Cat,
    Const,
    Cover,
    Elaboratable,
    Module,
    Mux,
    Signal,
    Value,
)
from amaranth.lib import data

from systolith.memory.hbm import column_pipeline, maintenance, row_sequencer
from systolith.memory.hbm.column_pipeline import ColumnPipeline
from systolith.memory.hbm.column_sequencer import ColumnSequencer
from systolith.memory.hbm.commands import PER_BANK, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.guard import ALL_OPS, BANK_OPS
from systolith.memory.hbm.head_place import where_layout
from systolith.memory.hbm.maintenance import Maintenance
from systolith.memory.hbm.row_sequencer import RowSequencer
from systolith.memory.hbm.run_queue import head_layout
from systolith.proofs.dram_foresight import foreseen, lasting
from systolith.proofs.substitute import Mutant, free, installed, to_rtlil

__all__ = ["legal_commands"]


Columns = ColumnSequencer | ColumnPipeline


class _Legal(Elaboratable):
    def __init__(self, config: ControllerConfig) -> None:
        self.config = config

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.rows = rows = row_sequencer.RowSequencer(config)
        m.submodules.columns = columns = column_pipeline.column_sequencer(config)
        m.submodules.maintenance = upkeep = maintenance.Maintenance(config)
        visits = self._visits(m, rows, columns)
        self._wire(m, rows, columns, upkeep)
        opened = self._opened(m, rows, columns, visits)
        self._row(m, rows, columns, opened)
        self._column(m, rows, columns, opened, visits)
        return m

    def _visits(
        self,
        m: Module,
        rows: RowSequencer,
        columns: Columns,
    ) -> list[data.View]:
        """First visit of each bank; what is open is the row of one."""
        config = self.config
        valid, final = free(m, config.banks, "valid"), free(m, config.banks, "final")
        stays, ended, alone, was = (Signal(config.banks) for _ in range(4))
        m.d.sync += [
            stays.eq(valid & ~columns.ends),
            alone.eq(valid & ~columns.access),
            was.eq(final),
        ]
        m.d.comb += [
            rows.valid.eq(valid),
            columns.final.eq(final),
            columns.usable.eq(rows.usable & valid),
            rows.ends.eq(columns.ends),
            ended.eq(columns.access & final),
            Assume((stays & ~valid) == 0),
            # One access is left until it is issued; and it becomes one by an access.
            Assume((alone & (was ^ final)) == 0),
            Assert(columns.ends == ended),
        ]
        visits = []
        for bank in range(config.banks):
            word = free(m, config.visit.size, f"visit_{bank}")
            visit = data.View(config.visit, word)
            before = Signal(config.visit, name=f"before_{bank}")
            m.d.sync += before.eq(word)
            m.d.comb += [
                rows.due[bank].eq(visit.due),
                rows.row[bank].eq(visit.row),
                columns.owner[bank].eq(visit.owner),
                Assume(~stays[bank] | (visit.row == before.row)),
                Assume(~stays[bank] | (visit.owner == before.owner)),
            ]
            visits.append(visit)
        return visits

    def _wire(
        self,
        m: Module,
        rows: RowSequencer,
        columns: Columns,
        upkeep: Maintenance,
    ) -> None:
        config = self.config
        for block, names in (
            (rows, ["offer", "offer_long", "issued"]),
            (
                rows,
                [
                    f"{op.name.lower()}_ok"
                    for op in (*_bank_ops(rows), *ALL_OPS)
                    if op is not Op.RFMPB
                ],
            ),
            (rows, ["pending", "wanted", "forced"] if rows.single else []),
            (rows, ["managed", "blocked"] if config.managed else []),
            (rows, ["act_soon"] if config.foresight else []),
            (rows, ["refpb_soon"] if config.foresight and rows.single else []),
            (columns, ["map"] if isinstance(columns, ColumnSequencer) else []),
            (columns, ["heads_valid"]),
            (columns, [f"{n}{p}" for p in range(config.ports) for n in _PORT]),
            (upkeep, ["refresh", "sleep"]),
        ):
            for name in names:
                port = getattr(block, name)
                m.d.comb += port.eq(free(m, len(port), name))
        layout = head_layout(config)
        for n in range(config.streams):
            head = data.View(layout, free(m, layout.size, f"head_{n}"))
            m.d.comb += [columns.heads[n].eq(head), Assume(head.count != 0)]
            if config.merges:
                m.d.comb += Assume(~head.partial | (head.write & (head.count == 1)))
            if isinstance(columns, ColumnPipeline):
                self._head(m, columns, n)
        if isinstance(columns, ColumnSequencer):
            m.d.comb += Assume(columns.map < len(config.maps))
        if config.merges:
            self._merge(m, columns)
        m.d.comb += [
            rows.hold.eq(upkeep.hold),
            rows.ask.eq(upkeep.ask),
            rows.ask_op.eq(upkeep.ask_op),
            rows.ask_row.eq(upkeep.ask_row),
            upkeep.open.eq(rows.open.any()),
            upkeep.asked.eq(rows.asked),
        ]
        if config.timing.generation == "sdr" and isinstance(columns, ColumnPipeline):
            m.d.comb += rows.column_busy.eq(columns.busy)

    def _merge(self, m: Module, columns: Columns) -> None:
        """Old data comes after it was read, at any time, or not at all."""
        access = columns.access0
        comes, fails = free(m, 1, "comes"), free(m, 1, "fails")
        ends = access.valid & access.partial & access.write
        begins = access.valid & access.partial & ~access.write
        waits = columns.merging & ~columns.merge_ready
        merging, there = Signal(), Signal()
        m.d.comb += [columns.merging.eq(merging), columns.merge_ready.eq(there)]
        m.d.sync += [
            merging.eq(((merging & ~(waits & fails & ~comes)) | begins) & ~ends),
            there.eq((there | (waits & comes)) & ~ends),
        ]

    def _head(self, m: Module, columns: ColumnPipeline, n: int) -> None:
        """A head and its place stay as they are until its atom moves."""
        layout = where_layout(self.config)
        place = data.View(layout, free(m, layout.size, f"place_{n}"))
        number = Cat(place.bank, place.group, place.sid)
        stays = Signal(name=f"head_{n}_stays")
        old_head, old_place = Signal.like(columns.heads[n].as_value()), Signal(layout.size)
        m.d.sync += [
            stays.eq(columns.heads_valid[n] & ~columns.moved[n]),
            old_head.eq(columns.heads[n]),
            old_place.eq(place),
        ]
        m.d.comb += [
            columns.places[n].eq(place),
            Assume(place.number == number),
            Assume(~stays | columns.heads_valid[n]),
            Assume(~stays | (columns.heads[n].as_value() == old_head)),
            Assume(~stays | (place.as_value() == old_place)),
        ]

    def _opened(
        self, m: Module, rows: RowSequencer, columns: Columns, visits: list[data.View]
    ) -> Signal:
        """Banks that are open, by the commands alone; and what is open is the first visit's."""
        config, row = self.config, rows.issue
        opened = Signal(config.banks)
        acts, shuts = (row.valid & (row.op == op) for op in (Op.ACT, Op.PRE))
        closed = Mux(shuts, row.banks, 0)
        for port in range(config.ports):
            issue = getattr(columns, f"issue{port}")
            closed |= Mux(issue.valid & issue.auto, issue.banks, 0)
        with m.If(row.valid & (row.op == Op.PREA)):
            m.d.sync += opened.eq(0)
        with m.Else():
            m.d.sync += opened.eq((opened & ~closed) | Mux(acts, row.banks, 0))
        m.d.comb += Assert(opened == rows.open)
        for bank, visit in enumerate(visits):
            number = Signal.like(visit.row, name=f"open_row_{bank}")
            with m.If(acts & row.banks[bank]):
                m.d.sync += number.eq(rows.issue_row)
            m.d.comb += Assert(~opened[bank] | (rows.valid[bank] & (number == visit.row)))
        return opened

    def _row(self, m: Module, rows: RowSequencer, columns: Columns, opened: Signal) -> None:
        row, config = rows.issue, self.config
        single = Cat(row.op == op for op in PER_BANK).any()
        one = (row.banks != 0) & ((row.banks & (row.banks - 1)) == 0)
        asleep = Signal()
        with m.If(row.valid & ((row.op == Op.SRE) | (row.op == Op.SRX))):
            m.d.sync += asleep.eq(row.op == Op.SRE)
        idle = Cat(row.op == op for op in (Op.REFAB, Op.MRS, Op.SRE)).any()
        shut = Cat(row.op == op for op in (Op.ACT, Op.REFPB, Op.RFMPB)).any()
        known = [*_bank_ops(rows), *ALL_OPS]
        rules = [
            rows.offer,
            (row.op != Op.ACT) | rows.offer_long,
            Cat(row.op == op for op in known).any(),
            Mux(single, one, row.banks == 0),
            ~single | (row.banks == 1 << rows.issue_bank),
            (row.op == Op.SRX) == asleep,
            ~idle | (opened == 0),
            ~shut | ((row.banks & opened) == 0),
            (row.op != Op.PRE) | ((row.banks & ~opened) == 0),
            (row.op != Op.ACT) | ((row.banks & ~rows.valid) == 0),
        ]
        if self.config.managed:
            # What is decided a clock before its issue is right by what was known then.
            managed, blocked = rows.managed, rows.blocked
            if config.row_foresight:
                managed, blocked = Signal.like(rows.managed), Signal.like(rows.blocked)
                m.d.sync += [managed.eq(rows.managed), blocked.eq(rows.blocked)]
            rules += [
                (row.op != Op.RFMPB) | ((row.banks & ~managed) == 0),
                (row.op != Op.ACT) | ((row.banks & blocked) == 0),
            ]
        if rows.single:
            done = Mux(row.valid & (row.op == Op.REFPB), row.banks, 0)
            left = Signal(config.banks)
            m.d.sync += left.eq(rows.pending & ~rows.done)
            m.d.comb += [Assert(rows.done == done), Assume((left & ~rows.pending) == 0)]
            rules.append((row.op != Op.REFPB) | ((row.banks & ~rows.pending) == 0))
        # What the guard allowed, if no command has been issued since that it did not know of.
        accessed = Cat(getattr(columns, f"issue{p}").valid for p in range(config.ports)).any()
        for op in known:
            name = f"{op.name.lower()}_ok"
            ok = rows.refpb_ok if op is Op.RFMPB else getattr(rows, name)
            touched = columns.access if op in PER_BANK else accessed & (op is not Op.SRX)
            touched = lasting(m, config, touched, name)
            spoiled = touched | row.valid.replicate(len(ok))
            ok = foreseen(m, ok, config.row_foresight, spoiled, name)[-1]
            rules.append((row.op != op) | (((row.banks if op in PER_BANK else 1) & ~ok) == 0))
            if rows.single or op is not Op.PRE:  # others are closed all at once or by themselves
                m.d.comb += Cover(row.valid & (row.op == op))
        m.d.comb += [Assert(~row.valid | rule) for rule in rules]

    def _column(
        self,
        m: Module,
        rows: RowSequencer,
        columns: Columns,
        opened: Signal,
        visits: list[data.View],
    ) -> None:
        config, row = self.config, rows.issue
        ports = range(config.ports)
        everywhere = row.valid & ~Cat(row.op == op for op in (*PER_BANK, Op.SRX)).any()
        busy = Mux(row.valid, row.banks, 0) | Mux(everywhere, (1 << config.banks) - 1, 0)
        oks = {}
        accessed = Cat(getattr(columns, f"issue{p}").valid for p in ports).any()
        every = lasting(m, config, accessed, "any").replicate(config.banks)
        for name in (f"{n}{p}" for p in ports for n in ("read_ok", "write_ok")):
            # Nothing has been accessed or opened since.
            ok = getattr(columns, name) & opened if config.foresight else getattr(columns, name)
            oks[name] = foreseen(m, ok, config.foresight, every | ~opened, name)[-1]
        for p in ports:
            issue, access = (getattr(columns, f"{n}{p}") for n in ("issue", "access"))
            number = Cat(access.bank, access.group, access.sid)
            ok = Mux(issue.write, oks[f"write_ok{p}"], oks[f"read_ok{p}"])
            owned = Cat(visit.owner == access.stream for visit in visits)
            head = Array(columns.heads[n] for n in range(config.streams))[access.stream]
            ends: Value = Const(-1, config.banks)  # a read before a write in part closes nothing
            if config.merges:
                part = access.partial
                ends = (~part | access.write).replicate(config.banks)
                m.d.comb += [
                    Assert(~issue.valid | (part == (head.partial & (p == 0)))),
                    Assert(~(issue.valid & part & issue.write) | columns.merge_ready),
                    Assert(~(issue.valid & part & ~issue.write) | ~columns.merge_ready),
                ]
            rules = [
                getattr(columns, f"offer{p}"),
                columns.heads_valid.bit_select(access.stream, 1),
                (head.write == issue.write) | (access.partial if config.merges else 0),
                issue.banks == (1 << number)[: config.banks],
                (issue.banks & ~(opened & owned & ok & ~busy)) == 0,
                issue.auto == (issue.banks & columns.final & ends).any(),
                (access.write == issue.write) & (access.auto == issue.auto),
            ]
            m.d.comb += [
                Assert(access.valid == issue.valid),
                *(Assert(~issue.valid | rule) for rule in rules),
                Cover(issue.valid & issue.auto),
            ]
            if config.timing.generation == "sdr":
                m.d.comb += Assert(~(row.valid & issue.valid))
        if config.ports > 1:
            one, two = columns.access0, columns.access1
            apart = (one.group != two.group) & (one.sid == two.sid) & (one.write == two.write)
            m.d.comb += [
                Assert(~(one.valid & two.valid) | apart),
                Cover(one.valid & two.valid & (one.stream == two.stream)),
                Cover(one.valid & two.valid & (one.stream != two.stream)),
            ]


_PORT = ("offer", "read_ok", "write_ok")


def _bank_ops(rows: RowSequencer) -> list[Op]:
    single = [op for op in BANK_OPS if rows.single or op is not Op.REFPB]
    return [*single, *([Op.RFMPB] if rows.config.managed else [])]


def legal_commands(config: ControllerConfig, mutants: Iterable[Mutant] = ()) -> str:
    """Only commands that the state of the memory, the slots and timing allow.

    Activations and refreshes go to closed banks, accesses to the row and on behalf of the owner
    of the first visit of an open one; refreshes of all banks, mode registers and self-refresh
    find every bank closed. Only banks that are due are managed, and none that has to be before is
    activated. What is read to be written leaves its row open. No column command meets a row command
    of its bank in a cycle; two have one direction, one stack, and different bank groups.

    Parameters
    ----------
    config
        Memory, slots and streams.
    mutants
        Planted faults.
    """
    with installed(mutants):
        return to_rtlil(_Legal(config))
