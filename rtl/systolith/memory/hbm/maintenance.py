"""Maintenance: what concerns all banks at once, after everything else has been held."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["Maintenance", "start_sequence"]

_OP = bits_for(max(Op))


def start_sequence(config: ControllerConfig) -> list[tuple[Op, int]]:
    """Commands after power is stable, with the values of mode registers.

    SDR: precharge, eight refreshes, the mode register with CAS latency and burst length. HBM:
    precharge, the mode registers as far as the controller depends on them, two refreshes.
    """
    t = config.timing
    if t.generation == "sdr":
        mode = (t["burst"].bit_length() - 1) | t["cl"] << 4
        return [(Op.PREA, 0), *[(Op.REFAB, 0)] * 8, (Op.MRS, mode)]
    mask = (1 << config.row_bits) - 1
    return [
        (Op.PREA, 0),
        (Op.MRS, t["cwl"] & mask),
        (Op.MRS, t["cl"] & mask),
        *[(Op.REFAB, 0)] * 2,
    ]


class Maintenance(Block):
    """Brings the memory up, refreshes all banks at once, and takes it into self-refresh.

    Parameters
    ----------
    config : ControllerConfig
        Memory.

    Members
    -------
    hold : Out(1)
        Banks are neither opened nor accessed nor refreshed one by one.
    open : In(1)
        Some bank is open.
    ask, ask_op, ask_row, asked : Out(1), Out, Out, In(1)
        Command for the row sequencer, in registers, held until ``asked``.
    refresh, refreshed : In(1), Out(1)
        A refresh of all banks is due; is issued.
    behind : In(1)
        Refreshes are owed, which are made up for before self-refresh.
    sleep, asleep : In(1), Out(1)
        Self-refresh is wanted, until it falls; is entered.
    ready : Out(1)
        The memory has been brought up.
    """

    hold: Signal
    open: Signal
    ask: Signal
    ask_op: Signal
    ask_row: Signal
    asked: Signal
    refresh: Signal
    behind: Signal
    refreshed: Signal
    sleep: Signal
    asleep: Signal
    ready: Signal

    def __init__(self, config: ControllerConfig) -> None:
        self.config = config
        super().__init__(
            {
                "hold": Out(1),
                "open": In(1),
                "ask": Out(1),
                "ask_op": Out(_OP),
                "ask_row": Out(config.row_bits),
                "asked": In(1),
                "refresh": In(1),
                "behind": In(1),
                "refreshed": Out(1),
                "sleep": In(1),
                "asleep": Out(1),
                "ready": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sequence = start_sequence(self.config)
        step = Signal(range(len(sequence) + 1))
        free = Signal()  # for what is not maintenance
        m.d.comb += self.hold.eq(~free)
        waking = Signal()  # a refresh follows the end of self-refresh
        drain = Signal(range(self.config.foresight + 1))
        with m.If(self.asked):
            m.d.sync += self.ask.eq(0)
        # A command that is asked for stays so, whatever becomes of its reason.
        with m.FSM():
            with m.State("Start"):
                m.d.sync += [
                    self.ask_op.eq(Array(op for op, _ in sequence)[step]),
                    self.ask_row.eq(Array(row for _, row in sequence)[step]),
                ]
                with m.If(~self.ask):
                    m.d.sync += self.ask.eq(1)
                with m.Elif(self.asked):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == len(sequence) - 1):
                        m.d.sync += [free.eq(1), self.ready.eq(1)]
                        m.next = "Idle"
            with m.State("Idle"):
                m.d.sync += drain.eq(self.config.foresight)
                with m.If(self.refresh | self.sleep):
                    m.d.sync += free.eq(0)
                    m.next = "Close"
            with m.State("Close"):
                # Accesses that have been chosen are still on their way.
                m.d.sync += [drain.eq(Mux(drain == 0, 0, drain - 1)), self.ask_op.eq(Op.PREA)]
                with m.If((drain == 0) & ~self.ask):
                    with m.If(self.open):
                        m.d.sync += self.ask.eq(1)
                    with m.Else():
                        m.next = "All"
            with m.State("All"):
                # A refresh that is due goes first.
                refresh = self.refresh | waking | (self.sleep & self.behind)
                with m.If(~self.ask):
                    m.d.sync += [
                        self.ask.eq(refresh | self.sleep),
                        self.ask_op.eq(Mux(refresh, Op.REFAB, Op.SRE)),
                    ]
                    with m.If(~refresh & ~self.sleep):
                        m.d.sync += free.eq(1)
                        m.next = "Idle"
                with m.Elif(self.asked):
                    m.d.comb += self.refreshed.eq(self.ask_op == Op.REFAB)
                    with m.If(self.refreshed):
                        m.d.sync += waking.eq(0)
                    with m.Else():
                        m.d.sync += self.asleep.eq(1)
                        m.next = "Asleep"
            with m.State("Asleep"):
                m.d.sync += self.ask_op.eq(Op.SRX)
                with m.If(self.asked):
                    m.d.sync += [self.asleep.eq(0), waking.eq(1)]
                    m.next = "All"
                with m.Elif(~self.sleep):
                    m.d.sync += self.ask.eq(1)
        return m
