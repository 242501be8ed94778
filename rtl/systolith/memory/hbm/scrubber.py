"""Fills the memory, repairs what was found wrong, and looks for more: a user of one stream."""

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block, place
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import correction_layout
from systolith.memory.sram import RegisterFile
from systolith.memory.streams import RunPort

__all__ = ["INTERVAL_BITS", "Scrubber"]

INTERVAL_BITS = 32
_WAITING = 8  # atoms to be repaired


class Scrubber(Block):
    """Keeps the check bits of a memory right.

    *Fill*: memory that was never written has no valid check bits, so all of it, or the part that is
    used, is written with zeros before it is first read. Runs are as long as they may be; the
    memory is busy with nothing else if nobody else asks.

    *Repair*: an atom that was read with an error that could be corrected is written back. Up to
    eight wait; what comes while they do is left to the patrol.

    *Patrol*: one atom per interval is read, corrected, and written back, from the first to the
    last and from the start again, so that errors are found before there are two of them.

    Repair and patrol write no byte of an atom: a partial run with an empty mask. The controller
    makes it atomic, so no write of anybody else is ever undone. An atom beyond correction becomes
    a poisoned one. Nobody has to wait for it but for its turn: a run of one atom.

    Parameters
    ----------
    config : ControllerConfig
        Of the controller, with ECC.

    Members
    -------
    run : Out(RunPort)
        A stream of the controller that is nobody else's.
    first, last : In(atom_bits)
        Addresses of the first and the last atom of the memory that is used; held while filling.
    fill : In(1)
        Start to fill, unless it is going on. A pulse.
    filling, filled : Out(1)
        It goes on; it has ended at least once.
    repair : In(1)
        Corrected reads are written back.
    interval : In(32)
        Clocks between two atoms of the patrol, 0 for no patrol. Atoms of the patrol are one at a
        time, so short intervals are not kept.
    correction0, ... : In(correction_layout)
        From the controller.
    at : Out(atom_bits)
        The next atom of the patrol.
    """

    run: Any
    first: Signal
    last: Signal
    fill: Signal
    filling: Signal
    filled: Signal
    repair: Signal
    interval: Signal
    at: Signal

    def __init__(self, config: ControllerConfig) -> None:
        if not config.codec:
            raise ValueError("ControllerConfig.ecc must not be none for a scrubber")
        self.config = config
        super().__init__(
            {
                "run": Out(RunPort(config)),
                "first": In(config.atom_bits),
                "last": In(config.atom_bits),
                "fill": In(1),
                "filling": Out(1),
                "filled": Out(1),
                "repair": In(1),
                "interval": In(INTERVAL_BITS),
                **{f"correction{p}": In(correction_layout(config)) for p in range(config.ports)},
                "at": Out(config.atom_bits),
            }
        )

    @property
    def module_name(self) -> str:
        return "memory_scrubber"  # scratchpads have another one

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, run = self.config, self.run
        m.submodules.waiting = place(
            waiting := RegisterFile(depth=_WAITING, width=config.atom_bits), platform
        )
        sent, done = Signal(), Signal(2)
        under_way = Signal(range(2 * config.runs + 4))
        m.d.comb += [sent.eq(run.valid & run.ready), done.eq(sum(run.done))]
        m.d.sync += under_way.eq(under_way + sent - done)

        # Fill.
        to, left = Signal(config.atom_bits), Signal(config.atom_bits + 1)
        step = Signal(config.run_bits)
        all_sent = left == 0
        m.d.comb += step.eq(Mux(left < config.turn, left, config.turn))
        with m.If(~self.filling), m.If(self.fill & (under_way == 0) & ~run.valid):
            m.d.sync += [
                self.filling.eq(1),
                to.eq(self.first),
                left.eq(self.last - self.first + 1),
            ]
        with m.Elif(all_sent & (under_way == 0)):
            m.d.sync += [self.filling.eq(0), self.filled.eq(1)]
        with m.Elif(sent):
            m.d.sync += [to.eq(to + step), left.eq(left - step)]

        # Repair.
        head, tail = Signal(range(2 * _WAITING)), Signal(range(2 * _WAITING))
        ports: list[Any] = [getattr(self, f"correction{p}") for p in range(config.ports)]
        wrong = [Signal(name=f"wrong_{p}") for p in range(config.ports)]
        for flag, found in zip(wrong, ports, strict=True):
            m.d.comb += flag.eq(found.corrected & ~found.uncorrectable & ~found.partial)
        found_at: Value = ports[0].atom
        if len(ports) > 1:  # of two in one clock one is left to the patrol
            found_at = Mux(wrong[0], ports[0].atom, ports[1].atom)
        full = (tail ^ head) == _WAITING
        m.d.comb += [
            waiting.w_addr.eq(tail),
            waiting.w_data.eq(found_at),
            waiting.w_en.eq(Cat(wrong).any() & self.repair & ~full),
            waiting.r_addr.eq(head),
        ]
        m.d.sync += tail.eq(tail + waiting.w_en)
        repairs = head != tail

        # Patrol.
        timer, due = Signal(INTERVAL_BITS), Signal()
        with m.If((timer >= self.interval) | self.filling):
            m.d.sync += [timer.eq(1), due.eq((self.interval != 0) & self.filled & ~self.filling)]
        with m.Else():
            m.d.sync += timer.eq(timer + 1)

        # One atom at a time, runs of a fill as many as there is room for.
        single = ~self.filling & (under_way == 0) & (repairs | due)
        atom = Array([Mux(repairs, waiting.r_data, self.at), to])[self.filling]
        m.d.comb += [
            run.valid.eq(Mux(self.filling, ~all_sent & (under_way < config.runs + 2), single)),
            run.run.write.eq(1),
            run.run.partial.eq(~self.filling),
            run.run.atom.eq(atom),
            run.run.count.eq(Mux(self.filling, step, 1)),
        ]
        outside = (self.at < self.first) | (self.at >= self.last)
        with m.If(sent & ~self.filling):
            with m.If(repairs):
                m.d.sync += head.eq(head + 1)
            with m.Else():
                m.d.sync += [due.eq(0), self.at.eq(Mux(outside, self.first, self.at + 1))]
        for p in range(config.ports):
            write = getattr(run, f"write{p}")
            m.d.comb += write.mask.eq(Mux(self.filling, ~0, 0))
        return m
