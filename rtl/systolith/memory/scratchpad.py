"""A scratchpad at an edge of the array: banks with error correction that two sides use in turn."""

from enum import IntEnum
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from systolith.array.delay import delayed
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block, place
from systolith.memory.ports import LocalPort
from systolith.memory.scratchpad_bank import ScratchBank
from systolith.memory.scratchpad_commands import Refusal, ScratchCommands
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scratchpad_log import ScratchLog, noted_layout
from systolith.memory.scratchpad_port import ScratchPort
from systolith.memory.scratchpad_reader import ScratchReader, lane_layout
from systolith.memory.scratchpad_tokens import ScratchTokens
from systolith.memory.scrubber import Scrubber, inject_layout

__all__ = ["PortRefusal", "Refusal", "Scratchpad"]


class PortRefusal(IntEnum):
    """Why a request was refused; the first reason that applies."""

    RANGE = 0
    """There is no such word."""
    MASK = 1
    """A part of a code word, by a policy that refuses it."""
    OWNER = 2
    """The half is the array's."""


class Scratchpad(Block):
    """Two halves of each bank, each owned by the DMA or by the array.

    Whoever does not own a half never touches it: requests and commands are checked against the
    owner when they are carried out, and owners change by tokens only. So the sides never meet at
    a memory, and one port of it is enough. The scrubber takes cycles in which a half is not used.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    port : In(LocalPort)
        Words one by one, addressed as ``config.place``; answered in order after
        ``config.response_cycles``. Not ready for ``init_cycles`` after reset, while all words are
        zeroed, nor while a write of parts of code words takes its ``rmw_cycles``.
    refusal : Out
        ``valid, code, place``: with the response that is refused, a :class:`PortRefusal`.
    give, back : In(stream)
        Tokens of the DMA and of the array, see
        :class:`~systolith.memory.scratchpad_tokens.ScratchTokens`. A token follows all requests
        accepted before it and precedes those accepted with it. ``back`` waits for the steps of
        commands that read what it hands over.
    give_refused, back_refused : Out(1)
        In the cycle after acceptance: it was not to be given away. Nothing was changed.
    owned : Out(groups per half)
        Halves that are the array's.
    mode, mode_now : In, Out
        Number of the wanted split, and of that in effect. It changes when no step is under way,
        and commands wait until then. Numbers without a split are ignored.
    command0, ... : In(stream of config.command)
        To each segment. Accepted one after the other without a gap; rotated ones wait until the
        steps of the one before are over, and so does the one after.
    command_refused : Out(array)
        ``valid, code``: in the cycle after acceptance, a :class:`Refusal`. Nothing is read.
    lane : Out(array of lane_layout)
        Lane group ``n`` of the sub-array has step ``i`` of a command
        ``config.read_cycles + i + n * spacing`` cycles after its acceptance.
    interval, pause, inject, injected, inject_refused, looked, repaired, overtaken
        See :class:`~systolith.memory.scrubber.Scrubber`. A word takes the scrubber two accesses
        at most, in cycles without a request.
    clear, corrected, lost, first_lost, last_corrected
        See :class:`~systolith.memory.scratchpad_log.ScratchLog`. ``clear`` also zeroes the
        scrubber's counters.
    """

    port: Any
    refusal: data.View
    give: stream.Interface
    back: stream.Interface
    give_refused: Signal
    back_refused: Signal
    owned: data.View
    mode: Signal
    mode_now: Signal
    command_refused: data.View
    lane: data.View
    interval: Signal
    pause: Signal
    inject: stream.Interface
    injected: Signal
    inject_refused: Signal
    looked: Signal
    repaired: Signal
    overtaken: Signal
    clear: Signal
    corrected: data.View
    lost: data.View
    first_lost: data.View
    last_corrected: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        counts = PackedArray(config.counter_bits, config.banks)
        token = stream.Signature(config.token)
        super().__init__(
            {
                "port": In(LocalPort(bytes=config.bytes, address_bits=config.address_bits)),
                "refusal": Out(PackedStruct({"valid": 1, "code": 2, "place": config.place})),
                "give": In(token),
                "back": In(token),
                "give_refused": Out(1),
                "back_refused": Out(1),
                "owned": Out(PackedArray(config.groups, HALVES)),
                "mode": In(config.mode_bits),
                "mode_now": Out(config.mode_bits),
                **{f"command{n}": In(stream.Signature(config.command)) for n in self.heads},
                "command_refused": Out(
                    PackedArray(PackedStruct({"valid": 1, "code": 2}), config.groups)
                ),
                "lane": Out(PackedArray(lane_layout(config), config.banks)),
                "interval": In(config.interval_bits),
                "pause": In(1),
                "inject": In(stream.Signature(inject_layout(config))),
                **{name: Out(1) for name in ("injected", "inject_refused")},
                **{name: Out(config.counter_bits) for name in ("looked", "repaired", "overtaken")},
                "clear": In(1),
                "corrected": Out(counts),
                "lost": Out(counts),
                "first_lost": Out(noted_layout(config)),
                "last_corrected": Out(noted_layout(config)),
            }
        )

    @property
    def heads(self) -> range:
        """Numbers of the segments, which are also those of their groups of banks."""
        return range(self.config.groups)

    @property
    def module_name(self) -> str:
        return f"scratchpad_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        port, reader, tokens = ScratchPort(config), ScratchReader(config), ScratchTokens(config)
        scrubber, log = Scrubber(config), ScratchLog(config)
        commands: Any = ScratchCommands(config)
        for name, block in (
            ("access", port),
            ("reader", reader),
            ("tokens", tokens),
            ("scrubber", scrubber),
            ("log", log),
            ("commands", commands),
        ):
            m.submodules[name] = place(block, platform)
        self._banks(m, port, reader, log, platform)

        this: Any = self
        for stream_of, inner in (
            (this.port.request, port.port.request),
            (this.give, tokens.give),
            (this.back, tokens.back),
            (this.inject, scrubber.inject),
            *((getattr(self, f"command{n}"), getattr(commands, f"command{n}")) for n in self.heads),
        ):
            m.d.comb += [
                inner.valid.eq(stream_of.valid),
                inner.payload.eq(stream_of.payload),
                stream_of.ready.eq(inner.ready),
            ]
        refusal: Any = Signal(self.refusal.shape(), name="refused")
        told: Any = port.refusal
        m.d.comb += [
            refusal.valid.eq(told.valid),
            refusal.place.eq(told.place),
            refusal.code.eq(PortRefusal.RANGE),
        ]
        with m.If(told.mask):
            m.d.comb += refusal.code.eq(PortRefusal.MASK)
        with m.Elif(told.owner):
            m.d.comb += refusal.code.eq(PortRefusal.OWNER)
        m.d.comb += [
            self.port.response.eq(port.port.response),
            self.refusal.eq(delayed(m, refusal, config.latency + 2, "refused")),
            commands.mode.eq(self.mode),
            commands.filled.eq(port.filled),
            commands.keeps.eq(tokens.keeps),
            self.mode_now.eq(commands.mode_now),
            self.command_refused.eq(commands.command_refused),
            reader.mode.eq(commands.mode_now),
            reader.step.eq(commands.step),
            tokens.reading.eq(commands.reading),
            tokens.still.eq(port.still),
            port.owned.eq(tokens.owned),
            self.owned.eq(tokens.owned),
            self.give_refused.eq(tokens.give_refused),
            self.back_refused.eq(tokens.back_refused),
            port.want.eq(scrubber.want),
            port.access.eq(scrubber.access),
            port.word.eq(scrubber.word),
            scrubber.granted.eq(port.granted),
            scrubber.done.eq(port.done),
            scrubber.denied.eq(port.denied),
            scrubber.found.eq(port.found),
            scrubber.written.eq(port.written),
            *(
                getattr(scrubber, name).eq(getattr(self, name))
                for name in ("interval", "pause", "clear")
            ),
            *(
                getattr(self, name).eq(getattr(scrubber, name))
                for name in ("injected", "inject_refused", "looked", "repaired", "overtaken")
            ),
            log.port.eq(port.seen),
            log.clear.eq(self.clear),
            *(
                getattr(self, name).eq(getattr(log, name))
                for name in ("corrected", "lost", "first_lost", "last_corrected")
            ),
        ]
        return m

    def _banks(self, m: Module, port: Any, reader: Any, log: ScratchLog, platform: object) -> None:
        config = self.config
        for number in range(config.banks):
            bank: Any = ScratchBank(config)
            m.submodules[f"bank_{number}"] = place(bank, platform)
            m.d.comb += [
                bank.op_read.eq(port.op_read[number]),
                bank.op_write.eq(port.op_write[number]),
                bank.op_lanes.eq(port.op_lanes),
                bank.op_offset.eq(port.op_offset),
                bank.op_stored.eq(port.op_stored),
                port.raw[number].eq(bank.raw),
                bank.read.eq(reader.read[number]),
                bank.read_offset.eq(reader.read_offset[number]),
                port.busy[number].eq(reader.read[number]),
                port.busy_offset[number].eq(reader.read_offset[number]),
                reader.word[number].eq(bank.word),
                reader.error[number].eq(bank.error),
                log.bank[number].eq(bank.seen),
            ]
        m.d.comb += self.lane.eq(reader.lane)
