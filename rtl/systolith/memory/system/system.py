"""A memory controller as a product: AXI4, native ports, registers, start-up, pins or boundary."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block, place
from systolith.memory.axi.front import AxiFront
from systolith.memory.axi.lite import AxiLite
from systolith.memory.axi.memory_registers import EVENTS
from systolith.memory.axi.signature import Axi4, flat
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.calibrate import Calibrator
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.counters import COUNTERS
from systolith.memory.hbm.data_path import back_layout, sent_layout
from systolith.memory.hbm.error_log import ERRORS, ErrorLog
from systolith.memory.hbm.retry import Retry
from systolith.memory.hbm.scrubber import Scrubber
from systolith.memory.port_buffer import PortBuffer
from systolith.memory.port_guard import PortGuard
from systolith.memory.port_join import PortJoin
from systolith.memory.sdr.inline_ecc import InlineEcc
from systolith.memory.sdr.pins import CAPTURES, SdrPins
from systolith.memory.streams import Streams
from systolith.memory.system.boot import Boot
from systolith.memory.system.config import MemorySystemConfig
from systolith.memory.system.registers import system_registers

__all__ = ["MemorySystem"]

_PINS = ("cke", "cs_n", "ras_n", "cas_n", "we_n", "ba", "a", "dqm", "dq_o", "dq_oe", "dq_i")


class MemorySystem(Block):
    """A memory behind AXI4, with AXI4-Lite registers and an interrupt.

    After reset the memory is brought up, its read data calibrated, and, with ECC, filled; requests
    wait until then. The ports are independent: none holds up another by not taking its data.

    Parameters
    ----------
    config : MemorySystemConfig
        Sizes.

    Members
    -------
    s_axi_awvalid, ..., s_axil_awvalid, ... : In, Out
        AXI4 subordinate of the memory; AXI4-Lite subordinate of the registers.
    irq : Out(1)
        See the registers ``interrupt_status`` and ``interrupt_enable``.
    up : Out(1)
        Requests are carried out.
    port0, ... : In(MemoryPort)
        Native ports, each behind a :class:`~systolith.memory.port_guard.PortGuard`.
    cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm, dq_o, dq_oe, dq_i
        SDR: pins, see :class:`~systolith.memory.sdr.pins.SdrPins`.
    row, column, data0, back0, ..., row_offer, long_offer, column_offer
        HBM: the boundary, see :class:`~systolith.memory.hbm.controller.Controller`.
    alert : In(1)
        HBM, if it has alerts: see :class:`~systolith.memory.hbm.retry.Retry`. Before read
        data is calibrated an alert makes the start fail.
    """

    def __init__(self, config: MemorySystemConfig) -> None:
        self.config = config
        control = config.controller
        self.registers = AxiLite(system_registers(config), name="memory", bits=12)
        members: dict[str, Any] = {
            **flat("s_axi", Axi4(config.axi)),
            **flat("s_axil", self.registers.bus),
            "irq": Out(1),
            "up": Out(1),
        }
        native = wiring.Signature(config.port.members)
        members |= {f"port{n}": In(native) for n in range(config.native)}
        self.pins = SdrPins(control, power_up_us=config.power_up_us) if config.sdr else None
        if self.pins:
            known = self.pins.signature.members
            members |= {name: known[name] for name in _PINS if name in known}
        else:
            slots, shape = control.slots, control.organisation
            members |= {
                "row": Out(PackedArray(row_command(shape), slots)),
                "column": Out(PackedArray(column_command(shape), slots)),
                **{f"{kind}_offer": In(slots) for kind in ("row", "long", "column")},
            }
            if control.alert:
                members |= {"alert": In(1)}
            for p in range(control.ports):
                members |= {
                    f"data{p}": Out(sent_layout(control)),
                    f"back{p}": In(back_layout(control)),
                }
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return "system"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, control = self.config, self.config.controller
        settings = CAPTURES if config.sdr else 1
        controller: Any = Controller(control)
        streams: Any = Streams(control, config.users)
        calibrator: Any = Calibrator(control, settings=settings)
        boot = Boot(fills=config.ecc or config.inline_ecc)
        registers: Any = self.registers
        for name, block in (
            ("controller", controller),
            ("streams", streams),
            ("calibrator", calibrator),
            ("boot", boot),
            ("registers", registers),
        ):
            m.submodules[name] = place(block, platform)
        ports = range(control.ports)
        for name in ("run_valid", "run", *(f"write{p}" for p in ports)):
            m.d.comb += getattr(controller, name).eq(getattr(streams, name))
        for name in (
            "run_ready",
            *(f"{n}{p}" for n in ("fetch", "response", "done") for p in ports),
        ):
            m.d.comb += getattr(streams, name).eq(getattr(controller, name))

        recovery = self._outside(m, platform, controller, calibrator)
        refused = self._users(m, platform, streams, boot)
        self._calibration(
            m, controller, calibrator, boot, getattr(streams, f"user{config.calibrator}")
        )
        events = {
            "lost": controller.lost,
            "extra": controller.extra,
            "overdue": controller.overdue,
            "refused": refused | controller.refused if control.merges else refused,
            **recovery,
        }
        if config.ecc:
            events |= self._ecc(m, platform, controller, streams, boot, events)
        self._registers(m, controller, calibrator, boot, events)
        return m

    def _outside(
        self, m: Module, platform: object, controller: Any, calibrator: Any
    ) -> dict[str, Value]:
        """Pins, or the boundary as it is or behind recovery; what that tells of."""
        control = self.config.controller
        offers = [f"{kind}_offer" for kind in ("row", "long", "column")]
        backs = [f"back{p}" for p in range(control.ports)]
        if not self.pins:
            for name in backs:
                m.d.comb += getattr(calibrator, name).eq(getattr(self, name))
            if control.alert:
                return self._retry(m, platform, controller)
            for name in ("row", "column", *(f"data{p}" for p in range(control.ports))):
                m.d.comb += getattr(self, name).eq(getattr(controller, name))
            for name in (*offers, *backs):
                m.d.comb += getattr(controller, name).eq(getattr(self, name))
            return {}
        pins: Any = self.pins
        m.submodules.pins = place(pins, platform)
        m.d.comb += [
            pins.row.eq(controller.row),
            pins.column.eq(controller.column),
            pins.sent.eq(controller.data0),
            pins.capture.eq(calibrator.setting),
            controller.back0.eq(pins.back),
            calibrator.back0.eq(pins.back),
            *(getattr(controller, name).eq(pins.offer) for name in offers),
        ]
        for name in _PINS:
            if name == "dq_i":
                m.d.comb += pins.dq_i.eq(self.dq_i)
            elif name in pins.signature.members:
                m.d.comb += getattr(self, name).eq(getattr(pins, name))
        return {}

    def _retry(self, m: Module, platform: object, controller: Any) -> dict[str, Value]:
        retry: Any = Retry(self.config.controller)
        m.submodules.retry = place(retry, platform)
        outs = ("row", "column", *(f"data{p}" for p in range(retry.config.ports)))
        backs = [f"back{p}" for p in range(retry.config.ports)]
        retry.serve(m, controller)
        for name in outs:
            m.d.comb += getattr(self, name).eq(getattr(retry, name))
        for name in ("alert", "row_offer", "long_offer", "column_offer", *backs):
            m.d.comb += getattr(retry, name).eq(getattr(self, name))
        return {"recovered": retry.recovered, "given_up": retry.failed}

    def _users(self, m: Module, platform: object, streams: Any, boot: Boot) -> Value:
        """AXI and the native ports, which wait until the memory is up; a write was refused."""
        config = self.config
        front: Any = AxiFront(config.axi)
        m.submodules.front = place(front, platform)
        for name, member in flat("s_axi", Axi4(config.axi)).items():
            ours, theirs = getattr(self, name), getattr(front, name)
            m.d.comb += theirs.eq(ours) if member.flow == In else ours.eq(theirs)
        if config.inline_ecc:
            join = PortJoin(config.axi.memory)
            ecc: Any = InlineEcc(config.inline)
            m.submodules.join = place(join, platform)
            m.submodules.inline_ecc = place(ecc, platform)
            connect(m, front.reads, join.reads)
            connect(m, front.writes, join.writes)
            connect(m, join.memory, ecc.user)
            self._inline(m, ecc, boot)
            users = [(ecc.memory, config.inline.memory.count_bits)]
        else:
            users = [(side, config.axi.memory.count_bits) for side in (front.reads, front.writes)]
        for n in range(config.native):
            guard: Any = PortGuard(config.port, outstanding=16 * config.depth)
            m.submodules[f"guard_{n}"] = place(guard, platform)
            connect(m, flipped(getattr(self, f"port{n}")), guard.user)
            users.append((guard.memory, config.port.count_bits))
        for n, (user, bits) in enumerate(users):
            buffer: Any = PortBuffer(config.controller, depth=config.depth, count_bits=bits)
            m.submodules[f"buffer_{n}"] = place(buffer, platform)
            connect(m, user, buffer.port)
            run, stream = buffer.run, getattr(streams, f"user{n}")
            # In-line ECC lets nothing pass but its own fill before the memory is up.
            up: Value = Const(1) if config.inline_ecc else boot.up
            m.d.comb += [stream.valid.eq(run.valid & up), run.ready.eq(stream.ready & up)]
            ports = range(config.controller.ports)
            for name in ("run", *(f"write{p}" for p in ports)):
                m.d.comb += getattr(stream, name).eq(getattr(run, name))
            for name in ("fetch", "done", *(f"response{p}" for p in ports)):
                m.d.comb += getattr(run, name).eq(getattr(stream, name))
        return Cat(getattr(self, f"port{n}").refused for n in range(config.native)).any()

    def _inline(self, m: Module, ecc: Any, boot: Any) -> None:
        config, registers = self.config, self.registers
        atom_blocks = -(-config.fill_atoms // 8) if config.fill_atoms else config.inline.blocks
        value: Any = registers
        m.d.comb += [
            ecc.bypass.eq(value.inline.bypass),
            ecc.scrub.eq(value.inline.scrub),
            ecc.clear.eq(value.clear.errors),
            ecc.fill.eq(boot.fill),
            ecc.fill_block.eq(0),
            ecc.fill_blocks.eq(min(atom_blocks, config.inline.blocks)),
            boot.filling.eq(ecc.filling),
            value.start.filling.eq(ecc.filling),
            value.inline_first.atom.eq(ecc.first),
            value.inline_first.valid.eq(ecc.first_valid),
            *(
                getattr(value, f"inline_{name}").count.eq(getattr(ecc, name))
                for name in ("corrected", "uncorrectable", "scrubs")
            ),
        ]

    def _calibration(
        self, m: Module, controller: Any, calibrator: Any, boot: Boot, user: Any
    ) -> None:
        m.d.comb += [
            boot.ready.eq(controller.ready),
            calibrator.start.eq(boot.calibrate),
            boot.calibrated.eq(calibrator.done),
            boot.failed.eq(calibrator.failed),
            controller.latency.eq(calibrator.latency),
            calibrator.column.eq(controller.column),
            user.valid.eq(calibrator.run_valid),
            user.run.eq(calibrator.run),
            calibrator.run_ready.eq(user.ready),
        ]
        for p in range(self.config.controller.ports):
            m.d.comb += [
                getattr(calibrator, f"fetch{p}").valid.eq(user.fetch[p]),
                getattr(user, f"write{p}").eq(getattr(calibrator, f"write{p}")),
            ]

    def _ecc(
        self, m: Module, platform: object, controller: Any, streams: Any, boot: Any, events: Any
    ) -> dict[str, Value]:
        """Log and scrubber; what the log tells of."""
        config, control = self.config, self.config.controller
        value: Any = self.registers
        log: Any = ErrorLog(control)
        scrubber: Any = Scrubber(control)
        m.submodules.log = place(log, platform)
        m.submodules.scrubber = place(scrubber, platform)
        connect(m, scrubber.run, getattr(streams, f"user{config.scrubber}"))
        m.d.comb += [
            controller.correct.eq(value.control.correct),
            scrubber.first.eq(0),
            scrubber.last.eq((config.fill_atoms or 1 << control.atom_bits) - 1),
            scrubber.fill.eq(boot.fill | value.fill.all),
            boot.filling.eq(scrubber.filling),
            scrubber.repair.eq(value.scrub.repair),
            scrubber.interval.eq(value.scrub_interval.clocks),
            value.scrub_at.atom.eq(scrubber.at),
            value.start.filling.eq(scrubber.filling),
            log.clear.eq(value.clear.errors | ~boot.up),
            *(getattr(log, n).eq(events[n]) for n in ("lost", "extra", "refused")),
            value.first_uncorrectable.atom.eq(log.first),
            value.first_uncorrectable.valid.eq(log.first_valid),
            value.last_corrected.atom.eq(log.last),
            value.last_corrected.valid.eq(log.last_valid),
            *(getattr(value, f"errors_{n}").count.eq(log.counts[k]) for k, n in enumerate(ERRORS)),
        ]
        for p in range(control.ports):
            for block in (log, scrubber):
                correction = getattr(controller, f"correction{p}")
                m.d.comb += getattr(block, f"correction{p}").eq(correction)
        return {name: log.events[n] for n, name in enumerate(ERRORS)}

    def _registers(
        self, m: Module, controller: Any, calibrator: Any, boot: Boot, events: dict[str, Value]
    ) -> None:
        value: Any = self.registers
        for name, member in flat("s_axil", self.registers.bus).items():
            ours, theirs = getattr(self, name), getattr(value, name)
            m.d.comb += theirs.eq(ours) if member.flow == In else ours.eq(theirs)
        control = value.control
        m.d.comb += [
            self.irq.eq(value.irq),
            self.up.eq(boot.up),
            *(
                getattr(controller, name).eq(control[name])
                for name in ("map", "mode", "debt_bound", "hotter", "sleep")
            ),
            controller.clear.eq(value.clear.counters),
            value.status.ready.eq(controller.ready),
            value.status.asleep.eq(controller.asleep),
            value.latency.clocks.eq(calibrator.latency),
            value.debt_max.clocks.eq(controller.debt_max),
            value.balance.clocks.eq(controller.balance),
            value.start.up.eq(boot.up),
            value.start.calibrated.eq(calibrator.done & ~calibrator.failed),
            value.start.failed.eq(calibrator.failed),
            value.start.setting.eq(calibrator.setting),
            *(getattr(value, n).count.eq(controller.counters[k]) for k, n in enumerate(COUNTERS)),
            value.interrupt_status_set.eq(
                Mux(boot.up, Cat(events.get(name, Const(0)) for name in EVENTS), 0)
            ),
        ]
        if self.config.controller.managed:
            m.d.comb += [
                controller.threshold.eq(value.management.threshold),
                controller.most.eq(value.management.most),
            ]
