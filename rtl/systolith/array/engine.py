"""The matrix engine: array, banks, sequencers and control, wired."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from systolith.array.array import Array
from systolith.array.config import EngineConfig
from systolith.array.delay import delayed
from systolith.array.dispatcher import Dispatcher
from systolith.array.interface import PORTS, event_layout, layout, port_signature
from systolith.array.packed import PackedStruct
from systolith.array.readout import Readout
from systolith.array.reporter import Reporter
from systolith.array.unit import BandUnit
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
        for port in PORTS:
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
        grid = [(i, j) for i in range(array.row_bands) for j in range(array.col_bands)]

        core, dispatcher = Array(array), Dispatcher(config)
        reporter, readout = Reporter(config), Readout(config)
        units = {at: BandUnit(config) for at in grid}
        m.submodules.core = place(core, platform)
        m.submodules.dispatcher = place(dispatcher, platform)
        m.submodules.reporter = place(reporter, platform)
        m.submodules.readout = place(readout, platform)
        for i, j in grid:
            m.submodules[f"unit_{i}_{j}"] = place(units[i, j], platform)

        # Control: host -> dispatcher -> units, each row band starting the next; back by slots.
        wiring.connect(m, wiring.flipped(self.command), dispatcher.command)
        wiring.connect(m, dispatcher.refusal, reporter.refusal)
        wiring.connect(m, reporter.completion, wiring.flipped(self.completion))
        m.d.comb += [
            dispatcher.slot.eq(reporter.slot),
            dispatcher.slot_free.eq(reporter.slot_free),
            reporter.taken.eq(dispatcher.taken),
            reporter.tag.eq(dispatcher.tag),
        ]
        for n, (i, j) in enumerate(grid):
            unit = units[i, j]
            m.d.comb += [
                unit.push.eq(dispatcher.push[n]),
                unit.entry.eq(dispatcher.entry),
                unit.now.eq(dispatcher.now),
                dispatcher.space[n].eq(unit.space),
                reporter.done[n].eq(unit.done),
                reporter.done_slot[n].eq(unit.done_slot),
            ]
            wiring.connect(m, unit.edge, core.edge[i][j])
            if i:
                above = units[i - 1, j]
                m.d.comb += [unit.above_load.eq(above.below_load), unit.above.eq(above.below)]
            if j:
                left = units[i, j - 1]
                m.d.comb += [
                    unit.left_weights.eq(left.right_weights),
                    unit.left_y.eq(left.right_y),
                ]

        # Memories and observation.
        wiring.connect(m, wiring.flipped(self.y_request), readout.request)
        wiring.connect(m, readout.data, wiring.flipped(self.y_data))
        event = self.event.payload
        m.d.comb += [
            event.committed.eq(dispatcher.taken),
            self.event.valid.eq(event.committed | event.start.any() | event.done.any()),
        ]
        for n, at in enumerate(grid):
            unit = units[at]
            m.d.comb += [
                unit.read_addr.eq(readout.addr),
                unit.read_tile.eq(readout.tile),
                readout.words[n].eq(unit.read_word),
                readout.busy[n].eq(unit.read_busy),
                event.start[n].eq(unit.start),
                event.done[n].eq(unit.done),
                event.slot[n].eq(unit.done_slot),
            ]
        for name, port, tiles in (
            ("x_write", self.x_write, array.row_tiles),
            ("w_write", self.w_write, array.col_tiles),
        ):
            self._host_writes(m, name, port, tiles, units)
        return m

    def _host_writes(
        self,
        m: Module,
        name: str,
        port: stream.Interface,
        tiles: int,
        units: dict[tuple[int, int], BandUnit],
    ) -> None:
        """Register the host's writes once and spread them to the masked bands."""
        request = Signal(PackedStruct({"valid": 1, "p": port.p.shape()}), name=name)
        m.d.comb += [request.valid.eq(port.valid), request.p.eq(port.p), port.ready.eq(1)]
        late = delayed(m, request, 1, name)
        for (i, j), unit in units.items():
            bank = getattr(unit, name)
            chosen = late.valid & late.p.row_mask[i] & late.p.col_mask[j]
            m.d.comb += [
                *(bank.en[t].eq(chosen & (late.p.tile == t)) for t in range(tiles)),
                bank.addr.eq(late.p.addr),
                bank.data.eq(late.p.data),
            ]
