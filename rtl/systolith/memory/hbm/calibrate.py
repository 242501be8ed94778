"""Finds the latency of read data, and when to capture it, with a pattern in the memory itself."""

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import back_layout, named_layout, write_layout
from systolith.memory.hbm.returns import MOST_LATENCY

__all__ = ["Calibrator", "pattern"]

_ATOMS = 4  # one written and one read after the other: two patterns and their complements
_REST = 2 * MOST_LATENCY  # cycles in which whatever still comes goes by


def pattern(atom: int, number: int) -> int:
    """Data of an atom of ``atom`` bytes: no word is like its neighbours, every bit takes turns."""
    word = sum(((59 * n + 90 + 37 * (number // 2)) & 255) << 8 * n for n in range(atom))
    return word ^ ((1 << 8 * atom) - 1 if number & 1 else 0)


class Calibrator(Block):
    """Measures the clocks from a read at the boundary to its data, for each setting of an adapter.

    To be run when the memory is up and before anybody uses it: it overwrites the first atoms of
    the memory through a stream that it has for itself meanwhile. It writes four of them, and for
    each setting reads them one by one, each with nothing else under way. A setting is good if
    all come back, in the same time, and are right: with a wrong one a memory without a strobe
    delivers words of another clock. Of the first settings in a row that are good the one in the
    middle is taken, and tried again. That takes some ``600 (settings + 1)`` cycles.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller.
    settings : int
        Settings of the adapter; 1 if there is only the latency to be found.

    Members
    -------
    start : In(1)
        Once, any time after the controller is ready.
    done, failed : Out(1)
        It has ended; no setting is good, or the chosen one was so only once. Nothing may use the
        memory then.
    latency : Out
        For the controller.
    setting : Out
        For the adapter; it changes while this runs.
    run_valid, run_ready, run : Out(1), In(1), Out(config.run)
        The stream.
    fetch0, ..., write0, ... : In, Out(write_layout)
        As of the controller.
    column : In
        The boundary.
    back0, ... : In(back_layout)
        Data from the adapter.
    """

    start: Signal
    done: Signal
    failed: Signal
    latency: Signal
    setting: Signal
    run_valid: Signal
    run_ready: Signal
    run: data.View
    column: data.View

    def __init__(self, config: ControllerConfig, *, settings: int = 1) -> None:
        if not 1 <= settings <= 64:
            raise ValueError(f"settings must be from 1 to 64, not {settings}")
        self.config, self.settings = config, settings
        members = {
            "start": In(1),
            "done": Out(1),
            "failed": Out(1),
            "latency": Out(range(MOST_LATENCY + 1)),
            "setting": Out(bits_for(max(settings - 1, 1))),
            "run_valid": Out(1),
            "run_ready": In(1),
            "run": Out(config.run),
            "column": In(PackedArray(column_command(config.organisation), config.slots)),
        }
        for p in range(config.ports):
            members |= {
                f"fetch{p}": In(named_layout(config)),
                f"write{p}": Out(write_layout(config)),
                f"back{p}": In(back_layout(config)),
            }
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"calibrator_{self.settings}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        atom = self.config.organisation.atom
        number = Signal(range(_ATOMS))
        expected = Signal(8 * atom)
        words = Array(Const(pattern(atom, n), 8 * atom) for n in range(_ATOMS))
        m.d.comb += [
            expected.eq(words[number]),
            self.run.atom.eq(number),
            self.run.count.eq(1),
        ]
        for p in range(self.config.ports):
            write: Any = getattr(self, f"write{p}")
            m.d.comb += [write.data.eq(expected), write.mask.eq(-1)]

        came, right = self._came(m, expected)
        timer, rest = Signal(range(MOST_LATENCY + 1)), Signal(range(_REST + 1))
        good, known = Signal(), Signal()  # of this setting so far; its latency is
        trial = Signal()  # the sweep is over
        any_good, ended = Signal(), Signal()
        first, last = Signal.like(self.setting), Signal.like(self.setting)
        with m.FSM():
            with m.State("Idle"), m.If(self.start):
                m.d.sync += number.eq(0)
                m.next = "Write"
            with m.State("Write"):
                m.d.comb += [self.run_valid.eq(1), self.run.write.eq(1)]
                with m.If(self.run_ready):
                    m.next = "Written"
            with m.State("Written"):  # the data is wanted in the cycle after this
                fetched = Signal()
                m.d.sync += fetched.eq(self._fetch())
                with m.If(fetched):
                    m.d.sync += number.eq(number + 1)
                    m.next = "Write"
                    with m.If(number == _ATOMS - 1):
                        m.d.sync += rest.eq(_REST)
                        m.next = "Setting"
            with m.State("Setting"):
                m.d.sync += [good.eq(1), known.eq(0), number.eq(0)]
                m.next = "Rest"
            with m.State("Read"):
                m.d.comb += self.run_valid.eq(1)
                with m.If(self.run_ready):
                    m.next = "Issue"
            with m.State("Issue"):
                m.d.sync += timer.eq(1)
                with m.If(self._issued()):
                    m.next = "Wait"
            with m.State("Wait"):
                m.d.sync += timer.eq(timer + 1)
                with m.If(came | (timer == MOST_LATENCY)):
                    same = ~known | (self.latency == timer)
                    m.d.sync += [
                        good.eq(good & came & right & same),
                        known.eq(1),
                        self.latency.eq(timer),
                        number.eq(number + 1),
                        rest.eq(_REST),
                    ]
                    m.next = "Rest"
                    with m.If(number == _ATOMS - 1):
                        m.next = "Judge"
            with m.State("Rest"):
                m.d.sync += rest.eq(rest - 1)
                with m.If(rest == 0):
                    m.next = "Read"
            with m.State("Judge"):
                m.d.sync += self.setting.eq(self.setting + 1)
                m.next = "Setting"
                with m.If(good & ~ended):
                    m.d.sync += [any_good.eq(1), last.eq(self.setting)]
                    with m.If(~any_good):
                        m.d.sync += first.eq(self.setting)
                with m.Elif(any_good):
                    m.d.sync += ended.eq(1)
                with m.If(trial):
                    m.d.sync += [
                        self.setting.eq(self.setting),
                        self.failed.eq(~good),
                        rest.eq(_REST),
                    ]
                    m.next = "End"
                with m.Elif(self.setting == self.settings - 1):
                    m.next = "Choose"
            with m.State("Choose"):
                middle = Signal(len(first) + 1)
                m.d.comb += middle.eq(first + last)
                m.d.sync += [self.setting.eq(middle >> 1), trial.eq(1)]
                m.next = "Setting"
                with m.If(~any_good):
                    m.d.sync += [self.failed.eq(1), self.setting.eq(0)]
                    m.next = "End"
            with m.State("End"):  # the controller forgets what it expected by another latency
                m.d.sync += rest.eq(Mux(rest == 0, 0, rest - 1))
                with m.If(rest == 0):
                    m.d.comb += self.done.eq(1)
        return m

    def _fetch(self) -> Value:
        ports = range(self.config.ports)
        return Cat(getattr(self, f"fetch{p}").valid for p in ports).any()

    def _issued(self) -> Value:
        reads = [
            command.valid & ((command.op == Op.RD) | (command.op == Op.RDA))
            for command in (self.column[s] for s in range(self.config.slots))
        ]
        return Cat(reads).any()

    def _came(self, m: Module, expected: Value) -> tuple[Signal, Signal]:
        """Whether data comes, and is what it has to be."""
        came, right = Signal(), Signal()
        for p in range(self.config.ports):
            back: Any = getattr(self, f"back{p}")
            with m.If(back.valid):
                m.d.comb += [came.eq(1), right.eq(back.data == expected)]
        return came, right
