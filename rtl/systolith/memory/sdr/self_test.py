"""Self-test of an SDR memory on a board: every bit written and read back, then mixed traffic."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block, place
from systolith.memory.hbm.calibrate import Calibrator
from systolith.memory.hbm.controller import Controller
from systolith.memory.hbm.refresh import RefreshMode
from systolith.memory.hbm.traffic import Traffic
from systolith.memory.sdr.known_data import RUNS, KnownData
from systolith.memory.sdr.pins import CAPTURES, SdrPins
from systolith.memory.sdr.self_test_plan import SelfTestConfig
from systolith.memory.system.boot import Boot

__all__ = ["ERROR_BITS", "SelfTest"]

ERROR_BITS = 16
"""Of the number of wrong atoms, which stays at its largest value."""

_SEED = 0x5EED1234
_SETTLED = 16  # cycles from the last response on until all errors have been told


class SelfTest(Block):
    """Tests a memory at its pins, once, from reset on.

    The memory is brought up and calibrated as in the product. All of it is written with data that
    follows from the address, left alone, and compared; the same with the complement of every bit.
    Then all streams read and write anywhere, single atoms and longer runs: what they write is
    what is there already, so that every read can be compared, and a last pass over all of the
    memory finds what went elsewhere. Refresh is on all the time.

    Parameters
    ----------
    config : SelfTestConfig
        Memory and sizes.

    Members
    -------
    running, passed, failed : Out(1)
        The test goes on; it has ended without an error. ``failed`` is set with the first error,
        and if the calibration fails or a refresh is overdue.
    calibrated : Out(1)
        A setting of the pins was found by which the first atoms come back right.
    errors, first, bits : Out(16), Out, Out
        Wrong atoms, at most all ones; address of the first of them; pins that ever differed.
    number : Out
        Of the pass that goes on.
    cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm, dq_o, dq_oe, dq_i
        Pins, see :class:`~systolith.memory.sdr.pins.SdrPins`.
    """

    running: Signal
    passed: Signal
    failed: Signal
    calibrated: Signal
    errors: Signal
    first: Signal
    bits: Signal
    number: Signal
    dq_o: Signal
    dq_oe: Signal
    dq_i: Signal

    def __init__(self, config: SelfTestConfig) -> None:
        self.config = config
        control = config.controller
        self.pins = SdrPins(control, power_up_us=config.power_up_us, outside=config.outside)
        known = self.pins.signature.members
        self.pin_names = [
            name
            for name in known
            if name not in ("row", "column", "sent", "back", "offer", "capture", "refused")
        ]
        super().__init__(
            {
                **dict.fromkeys(("running", "passed", "failed", "calibrated"), Out(1)),
                "errors": Out(ERROR_BITS),
                "first": Out(control.atom_bits),
                "bits": Out(8 * self.pins.bytes),
                "number": Out(ceil_log2(len(config.passes))),
                **{name: known[name] for name in self.pin_names},
            }
        )

    @property
    def module_name(self) -> str:
        return "self_test"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.config.controller
        controller: Any = Controller(control)
        calibrator: Any = Calibrator(control, settings=CAPTURES)
        traffic: Any = Traffic(control)
        known: Any = KnownData(control, word=8 * self.pins.bytes)
        boot: Any = Boot(fills=False)
        pins: Any = self.pins
        for name, block in (
            ("controller", controller),
            ("calibrator", calibrator),
            ("traffic", traffic),
            ("known", known),
            ("boot", boot),
            ("pins", pins),
        ):
            m.submodules[name] = place(block, platform)
        self._memory(m, controller, calibrator, boot)
        self._users(m, controller, calibrator, traffic, known, boot)

        response, done = controller.response0, controller.done0
        ends = [
            (response.valid & response.last & (response.stream == n))
            | (done.valid & (done.stream == n))
            for n in range(control.streams)
        ]
        ended = Signal(control.streams)  # a cycle late: a register before the count of runs
        m.d.sync += ended.eq(Mux(boot.up, Cat(ends), 0))
        m.d.comb += [traffic.done.eq(ended), self.calibrated.eq(boot.up)]
        self._sequence(m, calibrator, traffic, known, boot)
        self._verdict(m, controller, calibrator, known, boot)
        return m

    def _verdict(self, m: Module, controller: Any, calibrator: Any, known: Any, boot: Any) -> None:
        refused = controller.refused if self.config.controller.merges else Const(0)
        wrong = Signal()
        m.d.sync += wrong.eq(known.wrong | ((controller.overdue | refused) & boot.up))
        with m.If(known.wrong):
            m.d.sync += [
                self.errors.eq(self.errors + ~self.errors.all()),
                self.bits.eq(self.bits | known.bits),
            ]
            with m.If(self.errors == 0):
                m.d.sync += self.first.eq(known.at)
        with m.If(wrong | calibrator.failed):
            m.d.sync += self.failed.eq(1)

    def _memory(self, m: Module, controller: Any, calibrator: Any, boot: Any) -> None:
        pins: Any = self.pins
        m.d.comb += [
            pins.row.eq(controller.row),
            pins.column.eq(controller.column),
            pins.sent.eq(controller.data0),
            pins.capture.eq(calibrator.setting),
            controller.back0.eq(pins.back),
            calibrator.back0.eq(pins.back),
            calibrator.column.eq(controller.column),
            *(
                getattr(controller, f"{kind}_offer").eq(pins.offer)
                for kind in ("row", "long", "column")
            ),
            controller.mode.eq(RefreshMode.ALL_BANK),
            controller.debt_bound.eq(self.config.controller.debt),
            controller.latency.eq(calibrator.latency),
            boot.ready.eq(controller.ready),
            boot.calibrated.eq(calibrator.done),
            boot.failed.eq(calibrator.failed),
            calibrator.start.eq(boot.calibrate),
        ]
        for name in self.pin_names:
            ours, theirs = getattr(self, name), getattr(pins, name)
            m.d.comb += theirs.eq(ours) if name == "dq_i" else ours.eq(theirs)

    def _users(
        self, m: Module, controller: Any, calibrator: Any, traffic: Any, known: Any, boot: Any
    ) -> None:
        """Stream 0 is the calibrator's at first. Runs of the traffic wait in a register."""
        up, streams = boot.up, self.config.controller.streams
        waits, run = Signal(streams), Signal(self.config.controller.run)
        taken = Signal(streams)
        with m.If(traffic.submitted.any()):
            m.d.sync += [waits.eq(traffic.submitted), run.eq(traffic.run[0])]
        with m.Elif(taken.any()):
            m.d.sync += waits.eq(0)
        m.d.comb += [
            traffic.run_ready.eq(Mux(waits.any(), 0, -1)),
            taken.eq(waits & controller.run_ready),
            controller.run_valid.eq(Mux(up, waits, calibrator.run_valid)),
            controller.run[0].eq(Mux(up, run, calibrator.run)),
            *(controller.run[n].eq(run) for n in range(1, streams)),
            calibrator.run_ready.eq(controller.run_ready[0]),
            calibrator.fetch0.eq(controller.fetch0),
            controller.write0.eq(Mux(up, known.write, calibrator.write0)),
            known.submitted.eq(taken),
            known.atom.eq(run.atom),
            known.count.eq(traffic.pattern.count),
            known.fetch.eq(controller.fetch0),
            known.fetch.valid.eq(controller.fetch0.valid & up),
            known.response.eq(controller.response0),
            known.response.valid.eq(controller.response0.valid & up),
        ]

    def _sequence(self, m: Module, calibrator: Any, traffic: Any, known: Any, boot: Any) -> None:
        """One pass after the other."""
        config, passes = self.config, self.config.passes

        def of_pass(values: list[int]) -> Value:
            return Array(values)[self.number]

        pattern = Signal.like(traffic.pattern)
        seed = Signal.like(known.seed)
        m.d.sync += [  # in time for what follows the start
            pattern.streams.eq(of_pass([p.streams for p in passes])),
            pattern.writes.eq(of_pass([p.writes for p in passes])),
            pattern.random.eq(of_pass([p.random for p in passes])),
            pattern.count.eq(of_pass([p.count for p in passes])),
            seed.eq(of_pass([_SEED ^ -p.inverted % 2**32 for p in passes])),
        ]
        m.d.comb += [
            pattern.span.eq(-1),
            pattern.outer.eq(config.run),
            pattern.inner_count.eq(1),
            pattern.open.eq(RUNS),
            pattern.seed.eq(_SEED ^ self.number),
            traffic.pattern.eq(pattern),
            known.seed.eq(seed),
        ]
        left = Signal(range(max(p.runs for p in passes) + 1))  # runs to be submitted
        under_way = Signal(range(RUNS * config.controller.streams + 1))
        timer = Signal(range(config.rest_cycles + _SETTLED))
        submits = Signal()  # a cycle late: meanwhile the run waits and none follows
        m.d.sync += [
            submits.eq(traffic.submitted.any()),
            under_way.eq(under_way + submits - traffic.done.any()),
        ]
        with m.FSM() as state:
            m.d.comb += self.running.eq(~state.ongoing("End"))
            with m.State("Start-up"):
                with m.If(calibrator.failed):
                    m.next = "End"
                with m.Elif(boot.up):
                    m.next = "Begin"
            with m.State("Begin"):
                m.d.comb += traffic.start.eq(1)
                m.d.sync += left.eq(of_pass([p.runs for p in passes]))
                m.next = "Pass"
            with m.State("Pass"), m.If(submits):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.d.comb += traffic.stop.eq(1)
                    m.next = "Drain"
            with m.State("Drain"):
                rests = [p.rest * config.rest_cycles + _SETTLED - 1 for p in passes]
                m.d.sync += timer.eq(of_pass(rests))
                with m.If(under_way == 0):
                    m.next = "Rest"
            with m.State("Rest"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += self.number.eq(self.number + 1)
                    m.next = "Begin"
                    with m.If(self.number == len(passes) - 1):
                        m.d.sync += self.number.eq(self.number)
                        m.next = "End"
            with m.State("End"):
                m.d.comb += self.passed.eq(~self.failed)
