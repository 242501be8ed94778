"""What went wrong with data, counted, and where it did first."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import correction_layout
from systolith.memory.hbm.picking import population

__all__ = ["ERRORS", "ERROR_BITS", "ErrorLog"]

ERROR_BITS = 32
ERRORS = ("corrected", "uncorrectable", "poisoned", "lost", "extra", "refused")
"""Atoms corrected; beyond correction, but for those stored as bad data; those; beats that did not
come; beats that nobody waited for; writes that could not be done as asked."""


class ErrorLog(Block):
    """Counts errors of a controller; every counter stops at its end.

    An error is counted whenever it is met, so one that the scrubber repairs counts twice: as it is
    read, and as it is put right.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller, with ECC.

    Members
    -------
    correction0, ... : In(correction_layout)
        What was found in the atoms that came back.
    lost, extra, refused : In(1)
        From the controller.
    clear : In(1)
        Everything starts anew.
    counts : Out(array)
        In the order of :data:`ERRORS`.
    events : Out(len(ERRORS))
        What has just been counted, for interrupts.
    first_valid, first : Out(1), Out(atom_bits)
        Address of the first atom beyond correction.
    last_valid, last : Out(1), Out(atom_bits)
        Address of the last one that was corrected.
    """

    lost: Signal
    extra: Signal
    refused: Signal
    clear: Signal
    counts: data.View
    events: Signal
    first_valid: Signal
    first: Signal
    last_valid: Signal
    last: Signal

    def __init__(self, config: ControllerConfig) -> None:
        if not config.codec:
            raise ValueError("ControllerConfig.ecc must not be none for a log of errors")
        self.config = config
        super().__init__(
            {
                **{f"correction{p}": In(correction_layout(config)) for p in range(config.ports)},
                "lost": In(1),
                "extra": In(1),
                "refused": In(1),
                "clear": In(1),
                "counts": Out(PackedArray(ERROR_BITS, len(ERRORS))),
                "events": Out(len(ERRORS)),
                "first_valid": Out(1),
                "first": Out(config.atom_bits),
                "last_valid": Out(1),
                "last": Out(config.atom_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        found: list[Any] = [getattr(self, f"correction{p}") for p in range(self.config.ports)]
        bad = [Signal(name=f"bad_{p}") for p in range(len(found))]
        m.d.comb += [b.eq(f.uncorrectable & ~f.poisoned) for b, f in zip(bad, found, strict=True)]
        steps: dict[str, Value] = {
            "corrected": population(Cat(f.corrected for f in found)),
            "uncorrectable": population(Cat(bad)),
            "poisoned": population(Cat(f.poisoned for f in found)),
            "lost": self.lost,
            "extra": self.extra,
            "refused": self.refused,
        }
        for n, name in enumerate(ERRORS):
            step, count = Signal(2, name=f"step_{name}"), Signal(ERROR_BITS, name=name)
            after = Signal(ERROR_BITS + 1, name=f"after_{name}")
            m.d.comb += [
                step.eq(steps[name]),
                after.eq(count + step),
                self.counts[n].eq(count),
            ]
            m.d.sync += [
                count.eq(Mux(self.clear, 0, Mux(after[ERROR_BITS], ~0, after))),
                self.events[n].eq(step.any()),
            ]

        # Of two in one cycle the first port is the older one.
        last = Array(f.atom for f in found)[found[-1].corrected if len(found) > 1 else 0]
        with m.If(Cat(f.corrected for f in found).any()):
            m.d.sync += [self.last_valid.eq(1), self.last.eq(last)]
        first = found[0].atom if len(found) == 1 else Mux(bad[0], found[0].atom, found[1].atom)
        with m.If(Cat(bad).any() & ~self.first_valid):
            m.d.sync += [self.first_valid.eq(1), self.first.eq(first)]
        with m.If(self.clear):
            m.d.sync += [self.first_valid.eq(0), self.last_valid.eq(0)]
        return m
