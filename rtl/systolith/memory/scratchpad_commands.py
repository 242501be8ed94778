"""Commands to the array side of a scratchpad: what they have to obey in each split."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scratchpad_head import ScratchHead, step_layout
from systolith.memory.scratchpad_modes import SubArray

__all__ = ["Refusal", "ScratchCommands"]


class Refusal(IntEnum):
    """Why a command to the array side was refused; the first reason that applies."""

    NO_HEAD = 0
    """In this split no sub-array begins here."""
    RANGE = 1
    """No steps, or steps beyond the banks."""
    SHAPE = 2
    """Rotated tiles that are not whole."""
    OWNER = 3
    """A half that the array does not own, or hands over in this cycle."""


class ScratchCommands(Block):
    """Starts the commands that are allowed, and changes the split between them.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    command0, ..., command_refused, mode, mode_now
        See :class:`~systolith.memory.scratchpad.Scratchpad`.
    filled : In(1)
        Commands wait for it.
    keeps : In(groups per half)
        Halves that the array owns and does not hand over in this cycle.
    reading : Out(groups per half)
        Halves of which a step is still to reach a bank.
    step : Out(array of step_layout)
        Of the head of each segment.
    """

    command_refused: data.View
    mode: Signal
    mode_now: Signal
    filled: Signal
    keeps: data.View
    reading: data.View
    step: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        sets = PackedArray(config.groups, HALVES)
        command = stream.Signature(config.command)
        super().__init__(
            {
                **{f"command{n}": In(command) for n in range(config.groups)},
                "command_refused": Out(
                    PackedArray(PackedStruct({"valid": 1, "code": 2}), config.groups)
                ),
                "mode": In(config.mode_bits),
                "mode_now": Out(config.mode_bits),
                "filled": In(1),
                "keeps": In(sets),
                "reading": Out(sets),
                "step": Out(PackedArray(step_layout(config), config.groups)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"commands_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        mode = Signal(config.mode_bits)
        heads: list[Any] = [ScratchHead(config) for _ in range(config.groups)]
        for n, head in enumerate(heads):
            m.submodules[f"head_{n}"] = place(head, platform)
        moves, settled = Signal(), Signal()
        known = self.mode < len(config.modes)
        resting = Signal()
        m.d.comb += [
            resting.eq(~Cat(*(head.busy.any() | head.start for head in heads)).any()),
            settled.eq((self.mode == mode) | ~known),
            moves.eq(~settled & resting),
            self.mode_now.eq(mode),
        ]
        with m.If(moves):
            m.d.sync += mode.eq(self.mode)

        reading = [
            [Signal(config.groups, name=f"reads_{n}_{h}") for h in range(HALVES)]
            for n in range(config.groups)
        ]
        for n, head in enumerate(heads):
            uses = Signal(config.groups, name=f"uses_{n}")
            exists = Signal(name=f"exists_{n}")
            capacity = Signal(config.count_bits, name=f"capacity_{n}")
            with m.Switch(mode):
                for number, split in enumerate(config.modes):
                    for part in split.arrays:
                        if part.first == n * config.segment:
                            with m.Case(number):
                                m.d.comb += [
                                    exists.eq(1),
                                    uses.eq(self._groups(part)),
                                    capacity.eq(config.depth * part.pool),
                                    head.drain.eq((len(part.banks) - 1) * config.spacing),
                                    head.most.eq(len(part.banks) - 1),
                                ]
            self._command(m, n, head, exists, capacity, uses, settled & self.filled)
            m.d.comb += self.step[n].eq(head.step)
            for half in range(HALVES):
                m.d.comb += reading[n][half].eq(uses & head.busy[half].replicate(config.groups))
        for half in range(HALVES):
            for group in range(config.groups):
                m.d.comb += self.reading[half][group].eq(
                    Cat(reads[half][group] for reads in reading).any()
                )
        return m

    def _groups(self, part: SubArray) -> int:
        """Groups of banks that a sub-array reads, as a mask."""
        return sum(1 << n for n in {bank // self.config.segment for bank in part.all_banks})

    def _command(
        self,
        m: Module,
        n: int,
        head: Any,
        exists: Signal,
        capacity: Signal,
        uses: Signal,
        open_: Any,
    ) -> None:
        """Take the commands of one segment, and start those that are allowed."""
        config = self.config
        port: Any = getattr(self, f"command{n}")
        command: Any = port.payload
        taken, ok = Signal(name=f"taken_{n}"), Signal(name=f"ok_{n}")
        code = Signal(Refusal, name=f"code_{n}")
        end = Signal(config.count_bits + 1, name=f"end_{n}")
        owned = Signal(config.groups, name=f"kept_{n}")
        ready = open_ & head.free
        shape: Any = 0
        if config.rotation:
            # Lane groups that still read in another way would meet those of this command.
            ready &= ~((command.rotate | head.rotating) & head.busy.any())
            shape = command.rotate & (command.count & head.most).any()
        with m.Switch(command.half):
            for half in range(HALVES):
                with m.Case(half):
                    m.d.comb += owned.eq(self.keeps[half])
        m.d.comb += [
            port.ready.eq(ready),
            taken.eq(port.valid & port.ready),
            end.eq(command.base + command.count),
            ok.eq(0),
        ]
        with m.If(~exists):
            m.d.comb += code.eq(Refusal.NO_HEAD)
        with m.Elif((command.count == 0) | (end > capacity)):
            m.d.comb += code.eq(Refusal.RANGE)
        with m.Elif(shape):
            m.d.comb += code.eq(Refusal.SHAPE)
        with m.Elif((uses & ~owned).any()):
            m.d.comb += code.eq(Refusal.OWNER)
        with m.Else():
            m.d.comb += ok.eq(1)
        told: Any = Signal(PackedStruct({"valid": 1, "code": 2}), name=f"told_{n}")
        m.d.sync += [told.valid.eq(taken & ~ok), told.code.eq(code)]
        m.d.comb += [
            head.start.eq(taken & ok),
            head.command.eq(command),
            self.command_refused[n].eq(told),
        ]
