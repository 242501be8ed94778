"""Start-up of a memory: calibrated, then filled, then open."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = ["Boot"]


class Boot(Block):
    """Waits for the memory, has the latency of read data found, and the memory filled.

    Parameters
    ----------
    fills : bool
        Memory has to be filled before it is read.

    Members
    -------
    ready : In(1)
        The memory is up.
    calibrate, calibrated, failed : Out(1), In(1), In(1)
        Start of the calibration, a pulse; its end. If it fails everything stays closed.
    fill, filling : Out(1), In(1)
        Start of the fill, a pulse; it goes on from the next cycle or the one behind. Only if it
        ``fills``.
    up : Out(1)
        Users may use the memory.
    """

    ready: Signal
    calibrate: Signal
    calibrated: Signal
    failed: Signal
    fill: Signal
    filling: Signal
    up: Signal

    def __init__(self, *, fills: bool) -> None:
        self.fills = fills
        super().__init__(
            {
                "ready": In(1),
                "calibrate": Out(1),
                "calibrated": In(1),
                "failed": In(1),
                **({"fill": Out(1), "filling": In(1)} if fills else {}),
                "up": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "boot_filling" if self.fills else "boot"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.FSM():
            with m.State("Memory"), m.If(self.ready):
                m.d.comb += self.calibrate.eq(1)
                m.next = "Calibration"
            with m.State("Calibration"), m.If(self.calibrated & ~self.failed):
                m.next = "Fill" if self.fills else "Up"
            if self.fills:
                with m.State("Fill"):
                    m.d.comb += self.fill.eq(1)
                    with m.If(self.filling):
                        m.next = "Filling"
                with m.State("Filling"), m.If(~self.filling):
                    m.next = "Up"
            with m.State("Up"):
                m.d.comb += self.up.eq(1)
        return m
