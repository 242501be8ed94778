"""A controller and its memory, played on run by run: what is written and read is told in full."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.benches.player_layouts import (
    control_layout,
    event_layout,
    flip_of,
    play_run_layout,
    status_layout,
    users,
    written_layout,
)
from systolith.devices.activation_count import ActivationCount
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.devices.parity_link import ParityLink
from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.data_path import correction_layout, response_layout
from systolith.memory.hbm.error_log import ERRORS, ErrorLog
from systolith.memory.hbm.parts import Part
from systolith.memory.hbm.retry import Retry
from systolith.memory.hbm.scrubber import Scrubber

__all__ = ["MemoryPlayer"]


_TOLD = ("lost", "extra", "refused")


class MemoryPlayer(Block):
    """Takes runs one after the other, and tells of every atom.

    Members
    -------
    control__valid, control__payload : In
        Sets the registers.
    run__valid, run__ready, run__payload : In, Out, In
        Runs, each accepted by its stream.
    flip__valid, flip__payload : In
        With ECC: flips bits of the next beat.
    correction0__... : Out
        With ECC: what was corrected, and what could not be.
    written0__..., response0__..., done0__..., status__..., event__... : Out
        Atoms as they are fetched and as they come back, streams whose writes are done, counts,
        what went wrong.
    """

    def __init__(self, config: ControllerConfig, *, ref_groups: int = 16) -> None:
        self.config, self.ref_groups = config, ref_groups
        members = {
            "control__valid": In(1),
            "control__payload": In(control_layout(config)),
            "run__valid": In(1),
            "run__ready": Out(1),
            "run__payload": In(play_run_layout(config)),
            "status__valid": Out(1),
            "status__payload": Out(status_layout(config)),
            "event__valid": Out(1),
            "event__payload": Out(event_layout()),
        }
        if config.codec:
            members |= {"flip__valid": In(1), "flip__payload": In(flip_of(config))}
            for p in range(config.ports):
                members |= {
                    f"correction{p}__valid": Out(1),
                    f"correction{p}__payload": Out(correction_layout(config)),
                }
        for p in range(config.ports):
            for name, layout in (
                ("written", written_layout(config)),
                ("response", response_layout(config)),
                ("done", config.stream_bits),
            ):
                members |= {f"{name}{p}__valid": Out(1), f"{name}{p}__payload": Out(layout)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        controller: Any = Controller(config)
        device = DramDevice(
            part,
            slots=config.slots,
            ref_groups=self.ref_groups,
            debt=config.debt,
            check_bits=config.check_bits,
        )
        slots = CommandSlots(config)
        for name, block in (("controller", controller), ("device", device), ("slots", slots)):
            m.submodules[name] = place(block, platform)
        this: Any = self
        edge: Any = self._edge(m, platform, controller, device)
        control: Any = Signal(control_layout(config))
        with m.If(this.control__valid):
            m.d.sync += control.eq(this.control__payload)
            m.d.comb += [
                device.lose.eq(this.control__payload.lose),
                device.extra.eq(this.control__payload.extra),
            ]
        count = ActivationCount(config.organisation, slots=config.slots)
        m.submodules.count = place(count, platform)
        m.d.comb += [
            count.row.eq(edge.row),
            count.threshold.eq(control.threshold),
            count.most.eq(control.most),
        ]
        if config.managed:
            m.d.comb += [
                controller.threshold.eq(control.threshold),
                controller.most.eq(control.most),
            ]
        if config.codec:
            m.d.comb += [
                controller.correct.eq(~control.raw),
                device.flip.eq(this.flip__payload),
                device.flip.valid.eq(this.flip__valid),
            ]
        noise = Signal(32, init=0x5EED)
        m.d.sync += noise.eq(_noise(m, noise))

        columns = Signal(config.slots)  # of one cycle, always as far apart as accesses have to be
        apart = range(0, config.slots, config.timing["ccd_s"])
        even = sum(1 << s for s in apart) if config.slots > 1 else 1
        shift = noise[9] if config.slots > 1 else 0
        m.d.comb += columns.eq(noise[17 : 17 + config.slots] & (even << shift))

        stream = this.run__payload.stream
        m.d.comb += [
            *(
                controller.run_valid[n].eq(this.run__valid & (stream == n))
                for n in range(users(config))
            ),
            this.run__ready.eq(controller.run_ready.bit_select(stream, 1)),
            *(controller.run[n].eq(this.run__payload.run) for n in range(users(config))),
            *(
                getattr(controller, name).eq(control[name])
                for name in ("map", "mode", "debt_bound", "hotter", "sleep")
            ),
            controller.latency.eq(device.latency),
            *(
                port.eq(Mux(control.no_slots, 0, Mux(control.random_slots, drawn, offered)))
                for port, offered, drawn in (
                    (edge.row_offer, slots.row, noise[3 : 3 + config.slots]),
                    (edge.long_offer, slots.long, noise[3 : 3 + config.slots]),
                    (edge.column_offer, slots.column, columns),
                )
            ),
        ]
        for p in range(config.ports):
            self._port(m, p, controller, edge, device, control, noise)

        status: Any = Signal(status_layout(config))
        recovered = Signal(16)
        if config.alert:
            m.d.sync += recovered.eq(recovered + edge.recovered)
            m.d.comb += [status.recovered.eq(recovered), status.failed.eq(edge.failed)]
        m.d.comb += [
            status.violations.eq(device.violations),
            status.late.eq(device.late),
            status.decayed.eq(device.decayed),
            status.broken.eq(count.broken),
            status.worst.eq(count.worst),
            status.asleep.eq(controller.asleep),
            status.ready.eq(controller.ready),
        ]
        told: Any = Signal(status_layout(config))
        if config.codec:
            self._house(m, platform, controller, control, status)
        extra, refused = Signal(), Signal()
        m.d.sync += [told.eq(status), extra.eq(extra | controller.extra)]
        if config.merges:
            m.d.sync += refused.eq(refused | controller.refused)
        overdue = Signal()
        m.d.sync += overdue.eq(controller.overdue)
        event = this.event__payload
        m.d.comb += [
            event.lost.eq(controller.lost),
            event.extra.eq(controller.extra),
            event.overdue.eq(controller.overdue & ~overdue),
            this.event__valid.eq(event.as_value().any()),
        ]
        if config.merges:
            m.d.comb += event.refused.eq(controller.refused)
        if config.alert:
            m.d.comb += event.recovered.eq(edge.recovered)
        m.d.comb += [status.extra.eq(extra), status.refused.eq(refused)]
        m.d.comb += [
            this.status__payload.eq(status),
            this.status__valid.eq(status.as_value() != told.as_value()),
        ]
        return m

    def _edge(self, m: Module, platform: object, controller: Any, device: DramDevice) -> Any:
        """Return what is at the boundary: the controller, or what recovers from alerts."""
        config = self.config
        this: Any = self
        if not config.alert:
            m.d.comb += [device.row.eq(controller.row), device.column.eq(controller.column)]
            return controller
        retry: Any = Retry(config)
        link = ParityLink(config)
        m.submodules.retry = place(retry, platform)
        m.submodules.link = place(link, platform)
        strike = this.control__payload
        m.d.comb += [
            *(getattr(link, n).eq(strike[n]) for n in ("kind", "column_bus", "delay")),
            link.strike.eq(this.control__valid & strike.strike),
            link.row.eq(retry.row),
            link.column.eq(retry.column),
            device.row.eq(link.row_done),
            device.column.eq(link.column_done),
            retry.alert.eq(link.alert),
        ]
        retry.serve(m, controller)
        return retry

    def _house(
        self, m: Module, platform: object, controller: Any, control: Any, status: Any
    ) -> None:
        """Error log, and the scrubber as the last stream."""
        config = self.config
        this: Any = self
        n = config.streams - 1
        log, scrubber = ErrorLog(config), Scrubber(config)
        m.submodules.log = place(log, platform)
        m.submodules.scrubber = place(scrubber, platform)
        run = scrubber.run
        m.d.comb += [
            controller.run_valid[n].eq(run.valid),
            controller.run[n].eq(run.run),
            run.ready.eq(controller.run_ready[n]),
            scrubber.first.eq(0),
            scrubber.last.eq(-1),
            scrubber.fill.eq(this.control__valid & this.control__payload.fill),
            *(getattr(scrubber, name).eq(control[name]) for name in ("repair", "interval")),
            *(getattr(log, name).eq(getattr(controller, name)) for name in _TOLD),
            status.filled.eq(scrubber.filled),
            status.first.eq(log.first),
            *(
                status[name].eq(log.counts[ERRORS.index(name)])
                for name in ("corrected", "uncorrectable", "poisoned")
            ),
        ]
        for p in range(config.ports):
            fetch, done = getattr(controller, f"fetch{p}"), getattr(controller, f"done{p}")
            correction = getattr(controller, f"correction{p}")
            late = Signal(name=f"scrubs_{p}")
            m.d.sync += late.eq(fetch.valid & (fetch.stream == n))
            m.d.comb += [
                run.fetch[p].eq(fetch.valid & (fetch.stream == n)),
                run.done[p].eq(done.valid & (done.stream == n)),
                getattr(scrubber, f"correction{p}").eq(correction),
                getattr(log, f"correction{p}").eq(correction),
            ]
            with m.If(late):
                m.d.comb += getattr(controller, f"write{p}").eq(getattr(run, f"write{p}"))

    def _port(
        self,
        m: Module,
        p: int,
        controller: Any,
        edge: Any,
        device: DramDevice,
        control: Any,
        noise: Value,
    ) -> None:
        config = self.config
        fetch, write = getattr(controller, f"fetch{p}"), getattr(controller, f"write{p}")
        out, back = getattr(edge, f"data{p}"), getattr(edge, f"back{p}")
        words = config.organisation.atom // 4
        fresh: Any = Signal(written_layout(config), name=f"fresh{p}")
        valid = Signal(name=f"fresh_valid{p}")
        m.d.sync += [
            valid.eq(fetch.valid & (fetch.stream < users(config))),
            fresh.stream.eq(fetch.stream),
            fresh.write.data.eq(
                Cat(noise ^ ((0x9E3779B9 * (2 * k + p + 1)) % 2**32) for k in range(words))
            ),
            fresh.write.mask.eq(
                Mux(control.masked.bit_select(fetch.stream, 1), noise * 0x5DEECE66D >> 7, -1)
            ),
        ]
        m.d.comb += [
            write.eq(fresh.write),
            getattr(self, f"written{p}__valid").eq(valid),
            getattr(self, f"written{p}__payload").eq(fresh),
            device.write[p].data.eq(out.data),
            back.valid.eq(device.read[p].valid),
            back.data.eq(device.read[p].data),
        ]
        if config.organisation.mask:
            m.d.comb += device.write[p].mask.eq(out.mask)
        if config.codec:
            correction = getattr(controller, f"correction{p}")
            found = correction.corrected | correction.uncorrectable
            m.d.comb += [
                device.write[p].check.eq(out.check),
                back.check.eq(device.read[p].check),
                getattr(self, f"correction{p}__valid").eq(found),
                getattr(self, f"correction{p}__payload").eq(correction),
            ]
        for name in ("response", "done"):
            told = getattr(controller, f"{name}{p}")
            payload = told if name == "response" else told.stream
            m.d.comb += [
                getattr(self, f"{name}{p}__valid").eq(told.valid & (told.stream < users(config))),
                getattr(self, f"{name}{p}__payload").eq(payload),
            ]


def _noise(m: Module, state: Signal) -> Value:
    value: Value = state
    for step in (13, -17, 5):
        shifted = Signal(32, name=f"noise_{abs(step)}")
        m.d.comb += shifted.eq(value ^ (value << step if step > 0 else value >> -step))
        value = shifted
    return value
