"""A controller, its memory and its traffic: the design that memory benches simulate."""

from dataclasses import dataclass, replace
from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.devices.activation_count import ActivationCount
from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice
from systolith.hierarchy import Block, place
from systolith.memory.ecc import AtomEncoder
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.counters import COUNTER_BITS, COUNTERS
from systolith.memory.hbm.management import ACTIVATION_BITS
from systolith.memory.hbm.parts import Part
from systolith.memory.hbm.refresh import Refresh
from systolith.memory.hbm.traffic import Traffic, pattern_layout

__all__ = [
    "REF_GROUPS",
    "MemoryDesign",
    "Users",
    "command_layout",
    "sample_layout",
    "setup_layout",
]

REF_GROUPS = 16
"""Refreshes that refresh a bank of the simulated memory: few, so that each row ages quickly."""


def setup_layout(config: ControllerConfig) -> data.StructLayout:
    """Registers of controller and traffic."""
    return PackedStruct(
        {
            "pattern": pattern_layout(config),
            "map": range(max(2, len(config.maps))),
            "mode": 2,
            "debt_bound": 4,
            "hotter": 2,
            "threshold": ACTIVATION_BITS,
            "most": ACTIVATION_BITS,
            "trace": 1,
        }
    )


def command_layout(config: ControllerConfig) -> data.StructLayout:
    """Everything on the command buses in a cycle."""
    shape = config.organisation
    return PackedStruct(
        {
            "row": PackedArray(row_command(shape), config.slots),
            "column": PackedArray(column_command(shape), config.slots),
        }
    )


def sample_layout(config: ControllerConfig) -> data.StructLayout:
    """What is counted, at one instant."""
    age = Refresh.age_width(config)
    return PackedStruct(
        {
            "atoms": 32,
            "balance": age + 1,
            "debt_max": age,
            "violations": 32,
            "late": 32,
            "decayed": 32,
            "overrun": 32,
            "wrong": 32,
            "lost": 1,
            "overflow": 1,
            "counters": PackedArray(COUNTER_BITS, len(COUNTERS)),
        }
    )


@dataclass(frozen=True)
class Users:
    """What users of a memory did in a cycle.

    Parameters
    ----------
    submitted, ended
        Streams whose runs have been accepted, have ended.
    moved, wrong
        Atoms that moved; that came back wrong.
    """

    submitted: Value
    ended: Value
    moved: Value
    wrong: Value


class MemoryDesign(Block):
    """Runs a pattern from ``setup`` on, and tells of every run and, now and then, of all counts.

    Parameters
    ----------
    config : ControllerConfig
        The controller.
    every : int
        Cycles from sample to sample.
    hot : int
        The memory loses data as at a temperature at which refreshes are this power of two as
        frequent, and with them what may be owed.

    Members
    -------
    setup__valid, setup__payload : In
        Starts the traffic with these registers, as soon as the memory is up.
    submit__valid, submit__payload, done__valid, done__payload : Out
        Streams whose runs have been accepted, have ended.
    sample__valid, sample__payload : Out
        Counts.
    command__valid, command__payload : Out
        Commands, if they are to be traced.
    """

    setup__valid: Signal
    setup__payload: data.View
    submit__valid: Signal
    submit__payload: Signal
    done__valid: Signal
    done__payload: Signal
    sample__valid: Signal
    command__valid: Signal
    command__payload: data.View
    sample__payload: data.View

    def __init__(
        self, config: ControllerConfig, *, every: int, alone: bool = False, hot: int = 0
    ) -> None:
        self.config, self.every, self.alone, self.hot = config, every, alone, hot
        streams = config.streams
        super().__init__(
            {
                "setup__valid": In(1),
                "setup__payload": In(setup_layout(config)),
                "submit__valid": Out(1),
                "submit__payload": Out(streams),
                "done__valid": Out(1),
                "done__payload": Out(streams),
                "sample__valid": Out(1),
                "command__valid": Out(1),
                "command__payload": Out(command_layout(config)),
                "sample__payload": Out(sample_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        timing = replace(config.timing, refi=config.timing["refi"] >> self.hot)
        part = Part(name="device", organisation=config.organisation, timing=timing)
        controller = Controller(config)
        device = DramDevice(
            part, slots=config.slots, ref_groups=REF_GROUPS, debt=config.debt, fatal=False
        )
        slots = CommandSlots(config, alone=self.alone)
        for name, block in (
            ("controller", controller),
            ("device", device),
            ("slots", slots),
        ):
            m.submodules[name] = place(block, platform)

        setup: Any = Signal(setup_layout(config))
        waiting, start = Signal(), Signal()  # for the memory to be up
        with m.If(self.setup__valid):
            m.d.sync += [setup.eq(self.setup__payload), waiting.eq(1)]
        with m.Elif(waiting & controller.ready):
            m.d.sync += waiting.eq(0)
            m.d.comb += start.eq(1)
        m.d.comb += [
            controller.map.eq(setup.map),
            controller.mode.eq(setup.mode),
            controller.debt_bound.eq(setup.debt_bound),
            controller.hotter.eq(setup.hotter),
            controller.latency.eq(device.latency),
            controller.row_offer.eq(slots.row),
            controller.long_offer.eq(slots.long),
            controller.column_offer.eq(slots.column),
            device.row.eq(controller.row),
            device.column.eq(controller.column),
        ]

        count = ActivationCount(config.organisation, slots=config.slots)
        m.submodules.count = place(count, platform)
        m.d.comb += [
            count.row.eq(controller.row),
            count.threshold.eq(setup.threshold),
            count.most.eq(setup.most),
        ]
        if config.managed:
            m.d.comb += [controller.threshold.eq(setup.threshold), controller.most.eq(setup.most)]

        for p in range(config.ports):
            data_out, back = getattr(controller, f"data{p}"), getattr(controller, f"back{p}")
            m.d.comb += [
                device.write[p].data.eq(data_out.data),
                back.valid.eq(device.read[p].valid),
                back.data.eq(device.read[p].data),
            ]
            if config.codec:
                # What was never written has valid check bits, as if it had been: the pattern runs
                # all over a memory that would take longer to fill than to measure.
                codec = AtomEncoder(config.codec)
                m.submodules[f"filled_{p}"] = place(codec, platform)
                m.d.comb += [codec.data.eq(back.data), back.check.eq(codec.check)]
            if config.organisation.mask:
                m.d.comb += device.write[p].mask.eq(data_out.mask)
        users = self.users(m, platform, controller, setup.pattern, start)

        # What is told.
        atoms, wrong = Signal(32), Signal(32)
        lost = Signal()
        m.d.sync += [atoms.eq(atoms + users.moved), wrong.eq(wrong + users.wrong)]
        lost_now = [getattr(controller, f"response{p}") for p in range(config.ports)]
        m.d.sync += lost.eq(lost | controller.extra | Cat(r.valid & r.lost for r in lost_now).any())
        timer = Signal(range(self.every))
        m.d.sync += timer.eq(timer + 1)
        with m.If(timer == self.every - 1):
            m.d.sync += timer.eq(0)
            m.d.comb += self.sample__valid.eq(1)
        sample = self.sample__payload
        m.d.comb += [
            self.command__payload.row.eq(controller.row),
            self.command__payload.column.eq(controller.column),
            self.command__valid.eq(
                setup.trace
                & Cat(
                    bus[s].valid
                    for bus in (controller.row, controller.column)
                    for s in range(config.slots)
                ).any()
            ),
            self.submit__valid.eq(self.submit__payload.any()),
            self.submit__payload.eq(users.submitted),
            self.done__valid.eq(self.done__payload.any()),
            self.done__payload.eq(users.ended),
            sample.atoms.eq(atoms),
            sample.balance.eq(controller.balance),
            sample.debt_max.eq(controller.debt_max),
            sample.violations.eq(device.violations),
            sample.late.eq(device.late),
            sample.decayed.eq(device.decayed),
            sample.lost.eq(lost),
            sample.overrun.eq(count.broken),
            sample.wrong.eq(wrong),
            sample.overflow.eq(device.overflow),
            sample.counters.eq(controller.counters),
        ]
        return m

    def users(
        self, m: Module, platform: object, controller: Any, pattern: Any, start: Value
    ) -> Users:
        """Connect the traffic to the streams of the controller."""
        config = self.config
        traffic: Any = Traffic(config)
        m.submodules.traffic = place(traffic, platform)
        m.d.comb += [
            traffic.start.eq(start),
            traffic.pattern.eq(pattern),
            traffic.run_ready.eq(controller.run_ready),
            controller.run_valid.eq(traffic.run_valid),
            controller.run.eq(traffic.run),
        ]
        ended: list[Any] = [0] * config.streams
        wrong: list[Any] = []
        for p in range(config.ports):
            response, done = getattr(controller, f"response{p}"), getattr(controller, f"done{p}")
            m.d.comb += [
                getattr(traffic, f"fetch{p}").eq(getattr(controller, f"fetch{p}")),
                getattr(controller, f"write{p}").eq(getattr(traffic, f"write{p}")),
            ]
            read = response.valid & response.last
            for n in range(config.streams):
                ended[n] |= (read & (response.stream == n)) | (done.valid & (done.stream == n))
            if config.codec:
                found = getattr(controller, f"correction{p}")
                wrong.append(found.corrected | found.uncorrectable)
        if config.codec:
            m.d.comb += controller.correct.eq(1)
        m.d.comb += traffic.done.eq(Cat(ended))
        moved = sum(controller.column[s].valid for s in range(config.slots))
        return Users(traffic.submitted, traffic.done, Value.cast(moved), Value.cast(sum(wrong)))
