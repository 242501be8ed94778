"""The pins of SDR memories, on a memory that judges by its data sheet; and the calibration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out
from memory_bench import SMALL
from numerics_pipeline import refuses
from sdr_bench import Run, SdrBench, config_of, random_runs, windows

from systolith.devices.command_slots import CommandSlots
from systolith.devices.dram import DramDevice, device_verilog
from systolith.devices.sdram_pins import DATA_SHEETS
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import build
from systolith.harness.script import Script
from systolith.harness.sim import simulate
from systolith.hierarchy import Block, place
from systolith.memory.hbm.calibrate import Calibrator, pattern
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.parts import Part
from systolith.memory.hbm.returns import MOST_LATENCY
from systolith.memory.sdr.pins import SdrPins

PARTS = {
    "x16": ("sdr-mt48lc16m16", "mt48lc16m16a2-75"),
    "x32": ("sdr-m12l64322a", "m12l64322a-5"),
}
GOOD = {"violations": 0, "late": 0, "extra": 0, "refused": 0, "failed": 0, "calibrated": 1}


def models(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return (base.parent if base.name.startswith("popen") else base) / "models"


@pytest.fixture(scope="module", params=["x16", pytest.param("x32", marks=pytest.mark.slow)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SdrBench:
    part, sheet = PARTS[request.param]
    folder = models(tmp_path_factory)
    return SdrBench(config_of(part), DATA_SHEETS[sheet].quick(), folder)


@pytest.mark.cosim
@pytest.mark.parametrize("far", [0, 1])
def test_every_atom_is_right_and_nothing_is_forbidden(bench: SdrBench, far: int) -> None:
    config = bench.config
    runs = random_runs(config, seed=11 + far, number=500, longest=40)
    script = bench.send(Script().send("control", bench.control(far=far)), runs)
    # Then bytes are left out, by runs of one atom: streams 0 and 1 have been written everywhere.
    places = windows(config)
    whole = [Run(s, True, places[s][0], 300) for s in range(2)]
    single = [Run(n % 2, True, places[n % 2][0] + 7 * n % 300, 1, True) for n in range(200)]
    reads = [replace(run, write=False) for run in whole]
    bench.send(script, whole).idle(8000).send("control", bench.control(far=far, masked=3))
    bench.send(script, single).idle(3000).send("control", bench.control(far=far))
    played = [*runs, *whole, *single, *reads]
    outcome = bench.play(bench.send(script, reads), played, rest=6000)
    assert outcome.wrong == []
    assert (outcome.lost, outcome.codes) == (0, set())
    assert outcome.status == {**outcome.status, **GOOD}
    assert outcome.status["setting"] == far
    # Pins, CAS latency, words; the last one captured.
    latency = 1 + config.timing["cl"] + config.timing["burst"]
    assert outcome.status["latency"] == latency + far
    # A refresh every tREFI, on average.
    assert abs(len(outcome.refreshes) - outcome.cycles / config.timing["refi"]) < 12


@pytest.mark.cosim
@pytest.mark.parametrize("write", [True, False], ids=["write", "read"])
def test_long_runs_at_the_pins(bench: SdrBench, write: bool) -> None:
    """Share of the clocks with a word on the pins, between two refreshes that are far apart."""
    config = bench.config
    runs = [Run(0, write, n * config.turn, config.turn) for n in range(8)]
    script = bench.send(Script().send("control", bench.control(far=1)), runs)
    script.wait("done" if write else "response", 8 if write else 8 * config.turn)
    moved = bench.simulation.run([script], deadline=60_000).transfers["moved"]
    # Behind the calibration, and before the end.
    inside = [t for t in moved if t.payload > 3000][:-1]
    first, last = inside[0], inside[-1]
    efficiency = (last.payload - first.payload) / (last.cycle - first.cycle)
    print(f"{'write' if write else 'read'} {efficiency:.4f} over {last.cycle - first.cycle}")
    assert efficiency >= 0.975


@pytest.mark.cosim
@pytest.mark.parametrize("cycles", [1, 3, 25_000])
def test_self_refresh(bench: SdrBench, cycles: int) -> None:
    runs = random_runs(bench.config, seed=5, number=100, longest=20)
    reads = [Run(r.stream, False, r.atom, r.count) for r in runs]
    script = bench.send(Script().send("control", bench.control()), runs).idle(3000)
    script.send("control", bench.control(sleep=1)).idle(cycles).send("control", bench.control())
    outcome = bench.play(bench.send(script, reads), runs + reads)
    assert (outcome.wrong, outcome.codes) == ([], set())
    assert outcome.status == {**outcome.status, **GOOD, "asleep": 0}


@pytest.mark.cosim
def test_without_refresh_the_memory_forgets(bench: SdrBench) -> None:
    runs = random_runs(bench.config, seed=5, number=100, longest=20)
    reads = [Run(r.stream, False, r.atom, r.count) for r in runs]
    script = bench.send(Script().send("control", bench.control()), runs).idle(3000)
    script.send("control", bench.control(mode=0)).idle(25 * bench.config.timing["refi"])
    outcome = bench.play(bench.send(script, reads), runs + reads)
    assert len(outcome.wrong) > 20
    assert outcome.codes == {"late"}


@pytest.mark.cosim
def test_reset_in_the_middle_of_a_burst(bench: SdrBench) -> None:
    """The memory is brought up anew, whatever it was doing; what was refreshed is still there."""
    runs = random_runs(bench.config, seed=9, number=60, longest=20)
    reads = [Run(r.stream, False, r.atom, r.count) for r in runs]
    script = bench.send(Script().send("control", bench.control()), runs).idle(3000)
    bench.send(script, reads[:20]).idle(20).reset(3).send("control", bench.control())
    bench.send(script, reads).idle(3000)
    result = bench.simulation.run([script], deadline=60_000)
    status = bench.layouts["status"].from_bits(result.transfers["status"][-1].payload)
    assert {n: int(status[n]) for n in GOOD} == GOOD
    words = [bench.layouts["response"].from_bits(t.payload) for t in result.transfers["response"]]
    assert not any(int(word.lost) for word in words)


@pytest.mark.cosim
@pytest.mark.slow
def test_times_as_they_are(tmp_path_factory: pytest.TempPathFactory) -> None:
    """100 us to the first command, 8192 refreshes in 64 ms: on for 70 ms, nothing is late."""
    config = config_of("sdr-mt48lc16m16")
    bench = SdrBench(config, DATA_SHEETS["mt48lc16m16a2-75"], models(tmp_path_factory))
    runs = random_runs(config, seed=2, number=100, longest=30)
    reads = [Run(r.stream, False, r.atom, r.count) for r in runs]
    script = bench.send(Script().send("control", bench.control()).idle(14_000), runs)
    script.idle(70_000_000_000 // config.timing["tck_ps"])
    outcome = bench.play(bench.send(script, reads), runs + reads)
    assert (outcome.wrong, outcome.codes) == ([], set())
    assert outcome.refreshes[0][0] >= 100_000_000 // config.timing["tck_ps"]
    assert len(outcome.refreshes) > 8192


def test_a_memory_that_does_not_fit_is_refused() -> None:
    config = config_of("sdr-mt48lc16m16")
    refuses(lambda: SdrPins(SMALL["tight"]), "timing.generation must be sdr, not hbm3")
    refuses(lambda: SdrPins(config, power_up_us=0), "power_up_us must be at least 1, not 0")
    flat = replace(config.organisation, banks=1)
    refuses(
        lambda: SdrPins(replace(config, organisation=flat)), "two banks or more, not 1, 1 and 1"
    )
    late = replace(config.timing, cwl=1)
    refuses(lambda: SdrPins(replace(config, timing=late)), "timing.cwl must be 0, not 1")
    odd = replace(config.timing, burst=5)
    refuses(lambda: SdrPins(replace(config, timing=odd)), "timing.burst must be 2, 4 or 8")
    refuses(lambda: Calibrator(config, settings=0), "settings must be from 1 to 64, not 0")


def test_a_partial_write_without_mask_pins_is_told() -> None:
    """The controller merges such writes; should one come all the same, it is not silent."""
    pins: Any = SdrPins(config_of("sdr-m12l64322a"), power_up_us=1)

    async def bench(ctx: Any) -> None:
        ctx.set(pins.sent, {"data": 0, "mask": -1})
        ctx.set(pins.column[0].valid, 1)
        for op, mask, refused in ((Op.WR, -1, 0), (Op.RD, 1, 0), (Op.WRA, -2, 1), (Op.WR, -1, 1)):
            ctx.set(pins.column[0].op, op)
            ctx.set(pins.sent.mask, mask)
            await ctx.tick()
            assert ctx.get(pins.refused) == refused

    simulate(pins, bench)


# Calibration -----------------------------------------------------------------------------------


class _Fake(Block):
    """A calibrator on a memory whose data is right for some settings only."""

    def __init__(self, settings: int, good: set[int], *, unsteady: bool = False) -> None:
        self.settings, self.good, self.unsteady = settings, good, unsteady
        super().__init__(
            {
                "done": Out(1),
                "failed": Out(1),
                "latency": Out(7),
                "setting": Out(6),
                "writes": Out(3),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = SMALL["sdr"]
        calibrator: Any = Calibrator(config, settings=self.settings)
        m.submodules.calibrator = calibrator
        started, clock, write = Signal(3), Signal(8), Signal()
        waiting, number = Signal(), Signal(2)
        this: Any = self
        m.d.sync += started.eq((started << 1) | 1)
        right = Signal()
        with m.Switch(calibrator.setting):
            for setting in self.good:
                with m.Case(setting):
                    m.d.comb += right.eq(1)
        m.d.comb += [calibrator.start.eq(started == 3), calibrator.run_ready.eq(~waiting)]
        with m.If(calibrator.run_valid & ~waiting):
            m.d.sync += [waiting.eq(1), clock.eq(0), write.eq(calibrator.run.write)]
            m.d.sync += number.eq(calibrator.run.atom)
        with m.Elif(waiting):
            m.d.sync += clock.eq(clock + 1)
        m.d.comb += [
            calibrator.fetch0.valid.eq(waiting & write & (clock == 4)),
            calibrator.column[0].valid.eq(waiting & (clock == 5)),
            calibrator.column[0].op.eq(Op.RDA),
        ]
        words = Signal(128)
        for n in range(4):
            with m.If(number == n):
                m.d.comb += words.eq(pattern(16, n))
        late = Signal(8)
        m.d.comb += late.eq(5 + 9 + calibrator.setting + (number if self.unsteady else 0))
        with m.If(waiting & write & (clock == 5)):
            m.d.sync += [
                waiting.eq(0),
                this.writes.eq(this.writes + (calibrator.write0.data == words)),
            ]
        with m.If(waiting & ~write & (clock == late)):
            m.d.comb += [calibrator.back0.valid.eq(1), calibrator.back0.data.eq(words ^ ~right)]
            m.d.sync += waiting.eq(0)
        m.d.comb += [
            getattr(this, n).eq(getattr(calibrator, n))
            for n in ("done", "failed", "latency", "setting")
        ]
        return m


@pytest.mark.parametrize(
    ("settings", "good", "chosen"),
    [
        (1, {0}, 0),
        (2, {1}, 1),
        (8, {2, 3, 4, 5, 6}, 4),
        (8, {1, 2, 6, 7}, 1),
        (5, {0, 1, 2, 3, 4}, 2),
        (3, set(), None),
    ],
)
def test_the_middle_of_the_good_settings_is_taken(
    settings: int, good: set[int], chosen: int | None
) -> None:
    fake: Any = _Fake(settings, good)

    async def bench(ctx: Any) -> None:
        await ctx.tick().until(fake.done)
        assert ctx.get(fake.writes) == 4
        assert ctx.get(fake.failed) == (chosen is None)
        if chosen is not None:
            assert (ctx.get(fake.setting), ctx.get(fake.latency)) == (chosen, 9 + chosen)

    simulate(fake, bench, deadline_cycles=12_000)


def test_a_latency_that_is_not_steady_fails() -> None:
    fake: Any = _Fake(1, {0}, unsteady=True)

    async def bench(ctx: Any) -> None:
        await ctx.tick().until(fake.done)
        assert ctx.get(fake.failed) == 1

    simulate(fake, bench, deadline_cycles=4000)


class _Hbm(Block):
    """A controller of HBM that calibrates itself on the model of the memory."""

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "delay__valid": In(1),
                "delay__payload": In(4),
                "lose__valid": In(1),
                "lose__payload": In(1),
                "found__valid": Out(1),
                "found__payload": Out(8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, this = self.config, self
        t: Any = this
        part = Part(name="device", organisation=config.organisation, timing=config.timing)
        controller: Any = Controller(config)
        calibrator: Any = Calibrator(config)
        device = DramDevice(part, slots=config.slots, ref_groups=16, debt=config.debt)
        slots = CommandSlots(config)
        for name, block in (
            ("controller", controller),
            ("calibrator", calibrator),
            ("device", device),
            ("slots", slots),
        ):
            m.submodules[name] = place(block, platform)
        going, ended, delay = Signal(), Signal(), Signal(4)
        with m.If(t.delay__valid):
            m.d.sync += [going.eq(1), delay.eq(t.delay__payload)]
        started = Signal()
        m.d.sync += [started.eq(controller.ready & going), ended.eq(calibrator.done)]
        m.d.comb += [
            calibrator.start.eq(controller.ready & going & ~started),
            device.delay.eq(delay),
            device.lose.eq(t.lose__valid),
            controller.run_valid.eq(calibrator.run_valid),
            calibrator.run_ready.eq(controller.run_ready[0]),
            controller.run[0].eq(calibrator.run),
            controller.mode.eq(1),
            controller.debt_bound.eq(config.debt),
            controller.latency.eq(calibrator.latency),
            controller.row_offer.eq(slots.row),
            controller.long_offer.eq(slots.long),
            controller.column_offer.eq(slots.column),
            device.row.eq(controller.row),
            device.column.eq(controller.column),
            calibrator.column.eq(controller.column),
            t.found__valid.eq(calibrator.done & ~ended),
            t.found__payload.eq(calibrator.latency | (calibrator.failed << 7)),
        ]
        for p in range(config.ports):
            back = getattr(controller, f"back{p}")
            m.d.comb += [
                device.write[p].data.eq(getattr(controller, f"data{p}").data),
                device.write[p].mask.eq(getattr(controller, f"data{p}").mask),
                back.valid.eq(device.read[p].valid),
                back.data.eq(device.read[p].data),
                getattr(calibrator, f"back{p}").eq(back),
                getattr(calibrator, f"fetch{p}").eq(getattr(controller, f"fetch{p}")),
                getattr(controller, f"write{p}").eq(getattr(calibrator, f"write{p}")),
            ]
        return m


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tight", "tight4"])
def test_the_latency_of_hbm_is_measured(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = SMALL[name]
    verilog, top = device_verilog(_Hbm(config), "dut")
    inputs = [StreamPort("delay", 4, has_ready=False), StreamPort("lose", 1, has_ready=False)]
    outputs = [StreamPort("found", 8, has_ready=False)]
    simulation = build(verilog, top, inputs, outputs, models(tmp_path_factory))
    part = Part(name="device", organisation=config.organisation, timing=config.timing)
    device = DramDevice(part, slots=config.slots, ref_groups=16, debt=config.debt)
    device._MustUse__silence = True  # type: ignore[attr-defined]
    for delay in (0, 1, 7, 15):
        script = Script().idle(5).send("delay", delay).wait("found", 1)
        result = simulation.run([script], deadline=5000)
        assert [t.payload for t in result.transfers["found"]] == [device.latency + delay]
    # A beat that is lost once spoils the measurement, and ends it.
    script = Script().send("delay", 3).idle(800).send("lose", 1).wait("found", 1)
    result = simulation.run([script], deadline=5000)
    assert result.transfers["found"][0].payload >> 7 == 1
    assert device.latency + 15 < MOST_LATENCY
