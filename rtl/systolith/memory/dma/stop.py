"""Watchdog: stops the engine when an answer is missing."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.dma.codes import DmaCode
from systolith.memory.dma.config import DmaConfig

__all__ = ["WATCHDOG_BITS", "Stop"]

WATCHDOG_BITS = 24


class Stop(Block):
    """Counts the clocks in which something outside is waited for and nothing moves.

    Parameters
    ----------
    config : DmaConfig
        Sizes.

    Members
    -------
    waiting, moved : In(1)
        An answer or an acceptance is waited for; there was one.
    limit : In
        That many clocks stop the engine; 0: never.
    disorder : In(1)
        An answer that does not fit: stops it at once.
    restart, idle : In(1)
        Go on; no descriptor is under way any more, which a restart waits for.
    stopped, reason : Out(1), Out
        The engine is stopped, and why.
    clear : Out(1)
        Forget all requests, in the last clock of being stopped.
    """

    waiting: Signal
    moved: Signal
    limit: Signal
    disorder: Signal
    restart: Signal
    idle: Signal
    stopped: Signal
    reason: Signal
    clear: Signal

    def __init__(self, config: DmaConfig) -> None:
        super().__init__(
            {
                "waiting": In(1),
                "moved": In(1),
                "limit": In(WATCHDOG_BITS),
                "disorder": In(1),
                "restart": In(1),
                "idle": In(1),
                "stopped": Out(1),
                "reason": Out(config.code_bits),
                "clear": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return "dma_stop"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks = Signal(WATCHDOG_BITS)
        late, asked = Signal(), Signal()
        m.d.comb += [
            late.eq(self.waiting & ~self.moved & (self.limit != 0) & (clocks >= self.limit)),
            self.clear.eq(self.stopped & asked & self.idle),
        ]
        m.d.sync += clocks.eq(Mux(self.waiting & ~self.moved & ~late, clocks + 1, 0))
        with m.If(~self.stopped):
            m.d.sync += [
                self.stopped.eq(late | self.disorder),
                self.reason.eq(Mux(self.disorder, DmaCode.DISORDER, DmaCode.TIMEOUT)),
                asked.eq(0),
            ]
        with m.Else():
            m.d.sync += asked.eq(asked | self.restart)
            with m.If(self.clear):
                m.d.sync += self.stopped.eq(0)
        return m
