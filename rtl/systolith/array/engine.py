"""The matrix engine: array, banks, sequencers and control, wired."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.array.array import Array
from systolith.array.chain import Chain
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.dispatcher import Dispatcher
from systolith.array.interface import event_layout, layout, port_signature, ports
from systolith.array.packed import PackedStruct
from systolith.array.readout import Readout
from systolith.array.reporter import Reporter
from systolith.array.sequencer import place_fields
from systolith.array.unit_row import UnitRow
from systolith.hierarchy import Block, place

__all__ = ["Engine"]


class Engine(Block):
    """Splittable matrix engine with operand memories and accumulators.

    The host writes X and W into the banks, sends commands, waits for completions and reads Y. The
    ports, fields and codes are the table in :mod:`systolith.array.interface`. Writing a bank word
    that a running command reads, or reading results before their completion, is not prevented.
    Reset returns every state machine to idle and drops all commands without completion; the
    memories keep their contents.

    Parameters
    ----------
    config : EngineConfig
        Sizes.

    Members
    -------
    x_write, w_write, command, y_request : In(stream)
        From the host. The write ports are always ready.
    completion : Out(stream)
        To the host.
    y_data : Out(stream without ready)
        To the host.
    event : Out(stream without ready)
        For observation only: starts and ends of commands.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        members = {}
        for port in ports(config):
            signature = port_signature(layout(port.name, config), waits=port.waits)
            members[port.name] = In(signature) if port.to_engine else Out(signature)
        event = port_signature(event_layout(config), waits=False)
        super().__init__({**members, "event": Out(event)})

    @property
    def module_name(self) -> str:
        return "engine"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        wide = array.col_bands

        core, dispatcher = Array(array), Dispatcher(config)
        reporter, readout = Reporter(config), Readout(config)
        rows = [UnitRow(config) for _ in range(array.row_bands)]
        m.submodules.core = place(core, platform)
        m.submodules.dispatcher = place(dispatcher, platform)
        m.submodules.reporter = place(reporter, platform)
        m.submodules.readout = place(readout, platform)

        wiring.connect(m, wiring.flipped(self.command), dispatcher.command)
        wiring.connect(m, dispatcher.refusal, reporter.refusal)
        wiring.connect(m, reporter.completion, wiring.flipped(self.completion))
        wiring.connect(m, wiring.flipped(self.y_request), readout.request)
        wiring.connect(m, readout.data, wiring.flipped(self.y_data))
        event = self.event.payload
        m.d.comb += [
            dispatcher.slot.eq(reporter.slot),
            dispatcher.slot_free.eq(reporter.slot_free),
            reporter.taken.eq(dispatcher.taken),
            reporter.tag.eq(dispatcher.tag),
            event.taken.eq(dispatcher.snapshot),
            self.event.valid.eq(event.taken | event.start.any() | event.done.any()),
        ]
        for i, row in enumerate(rows):
            m.submodules[f"row_{i}"] = place(row, platform)
            mine = slice(i * wide, (i + 1) * wide)
            m.d.comb += [
                row.push.eq(dispatcher.push[mine]),
                dispatcher.space[mine].eq(row.space),
                row.entry.eq(dispatcher.entry),
                *(
                    row.entry.job[name].eq(getattr(dispatcher, name)[i])
                    for name in place_fields(config)
                ),
                row.now.eq(dispatcher.clocks[i]),
                row.read_addr.eq(readout.addr),
                row.read_tile.eq(readout.tile),
                row.read_col.eq(readout.col),
                row.read_pick.eq(readout.pick),
                row.read_pick_col.eq(readout.pick_col),
                readout.busy[i].eq(row.read_busy),
                readout.words[i].eq(row.read_word),
                reporter.done[mine].eq(row.done),
                event.start[mine].eq(row.start),
                event.done[mine].eq(row.done),
            ]
            for j in range(wide):
                wiring.connect(m, row.edge[j], core.edge[i][j])
                m.d.comb += [
                    reporter.done_slot[i * wide + j].eq(row.done_slot[j]),
                    event.slot[i * wide + j].eq(Mux(row.done[j], row.done_slot[j], 0)),
                ]
        self._host_writes(m, "x", self.x_write, array.row_tiles, rows)
        self._host_writes(m, "w", self.w_write, array.col_tiles, rows)
        if config.scaled:
            self._scales(m, readout, rows, platform)
        return m

    def _scales(self, m: Module, readout: Readout, rows: list[UnitRow], platform: object) -> None:
        """Writes of the scales, read-out of stage B's results, and its sums from band to band."""
        names = ["x_scale", "w_scale", *(["w_random"] if self.config.stochastic else [])]
        for name in names:
            port = getattr(self, name)
            request = Signal(
                PackedStruct({"valid": 1, "p": port.p.shape()}), name=f"{name}_request"
            )
            m.d.comb += [request.valid.eq(port.valid), request.p.eq(port.p), port.ready.eq(1)]
            late = delayed(m, request, 1, f"{name}_late")
            for i, row in enumerate(rows):
                bank = getattr(row, name)
                chosen = late.valid & late.p.row_mask[i]
                tiles = 1 if name == "x_scale" else 1 << late.p.tile
                m.d.comb += [
                    bank.en.eq(Mux(chosen, tiles, 0)),
                    bank.addr.eq(late.p.addr),
                    bank.data.eq(late.p.data),
                    getattr(row, f"{name}_cols").eq(late.p.col_mask),
                ]
        config = self.config
        if config.chained:
            for n in range(config.array.cols // config.unit_lanes):
                chain = Chain(config)
                m.submodules[f"chain_{n}"] = place(chain, platform)
                for i, row in enumerate(rows):
                    m.d.comb += [
                        chain.stages[i].eq(row.to_chain[n]),
                        row.from_chain[n].eq(chain.back[i]),
                    ]
        for row in rows:
            m.d.comb += [
                row.read_scaled.eq(readout.scaled),
                row.read_pick_scaled.eq(readout.pick_scaled),
            ]

    def _host_writes(
        self, m: Module, name: str, port: stream.Interface, tiles: int, rows: list[UnitRow]
    ) -> None:
        """Register the host's writes once and spread them to the masked bands."""
        request = Signal(PackedStruct({"valid": 1, "p": port.p.shape()}), name=f"{name}_request")
        m.d.comb += [request.valid.eq(port.valid), request.p.eq(port.p), port.ready.eq(1)]
        late = delayed(m, request, 1, f"{name}_write")
        for i, row in enumerate(rows):
            bank = getattr(row, f"{name}_write")
            chosen = late.valid & late.p.row_mask[i]
            m.d.comb += [
                *(bank.en[t].eq(chosen & (late.p.tile == t)) for t in range(tiles)),
                bank.addr.eq(late.p.addr),
                bank.data.eq(late.p.data),
                getattr(row, f"{name}_cols").eq(late.p.col_mask),
            ]
