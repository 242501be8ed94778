"""The side of a scratchpad where the lane groups of an array read, in step with the array."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.delay import delayed
from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.scratchpad_config import HALVES, ScratchpadConfig
from systolith.memory.scratchpad_head import step_layout
from systolith.memory.scratchpad_modes import SubArray

__all__ = ["ScratchReader", "lane_layout"]


def lane_layout(config: ScratchpadConfig) -> data.StructLayout:
    """A word for a lane group; with ``error`` it is not to be used."""
    return PackedStruct({"valid": 1, "error": 1, "data": 8 * config.bytes})


class ScratchReader(Block):
    """Steps march from lane group to lane group, ``spacing`` cycles each, and read on their way.

    Addresses and enables are what is delayed, not data. In every split each bank is read by one
    lane group at most, so nothing is ever arbitrated; with ``rotation`` lane groups of a
    sub-array take turns at its banks, never two at one.

    Parameters
    ----------
    config : ScratchpadConfig
        Sizes.

    Members
    -------
    mode : In
        Number of the split; stable while there are steps.
    step : In(array of step_layout)
        From the head of each segment.
    read, read_offset : Out
        Of each bank: half and place, in the cycle after the step.
    word, error : In
        Of each bank: what was read, ``latency + 1`` cycles after.
    lane : Out(array of lane_layout)
        ``latency + 2`` cycles after the step.
    """

    mode: Signal
    step: data.View
    read: data.View
    read_offset: data.View
    word: data.View
    error: Signal
    lane: data.View

    def __init__(self, config: ScratchpadConfig) -> None:
        self.config = config
        super().__init__(
            {
                "mode": In(config.mode_bits),
                "step": In(PackedArray(step_layout(config), config.groups)),
                "read": Out(PackedArray(HALVES, config.banks)),
                "read_offset": Out(PackedArray(config.offset_bits, config.banks)),
                "word": In(PackedArray(8 * config.bytes, config.banks)),
                "error": In(config.banks),
                "lane": Out(PackedArray(lane_layout(config), config.banks)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"reader_{self.config.digest}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        modes = [Signal(name=f"mode_{n}") for n in range(len(config.modes))]
        m.d.comb += (chosen.eq(self.mode == n) for n, chosen in enumerate(modes))
        steps = self._march(m, modes)

        hits: dict[tuple[int, int], list[Value]] = {}
        for chosen, mode in zip(modes, config.modes, strict=True):
            for part in mode.arrays:
                self._reach(chosen, part, steps, hits)
        at: dict[tuple[int, int], Signal] = {}
        for (lane, bank), terms in hits.items():
            hit = Signal(name=f"hit_{lane}_{bank}")
            m.d.comb += hit.eq(steps[lane].valid & Cat(terms).any())
            at[lane, bank] = hit
        for bank in range(config.banks):
            lanes = [lane for lane, other in at if other == bank]
            read = Signal(HALVES, name=f"read_{bank}")
            offset = Signal(config.offset_bits, name=f"offset_{bank}", reset_less=True)
            for half in range(HALVES):
                wanted = Cat(at[lane, bank] & (steps[lane].half == half) for lane in lanes)
                m.d.sync += read[half].eq(wanted.any())
            places = [
                Mux(at[lane, bank], steps[lane].address[: config.offset_bits], 0) for lane in lanes
            ]
            m.d.sync += offset.eq(_either(places))
            m.d.comb += [self.read[bank].eq(read), self.read_offset[bank].eq(offset)]
        self._return(m, at)
        return m

    def _march(self, m: Module, modes: list[Signal]) -> list[Any]:
        """Step of each lane group in this cycle."""
        config = self.config
        layout = step_layout(config)
        steps: list[Any] = []
        for lane in range(config.banks):
            led, follows = (
                Cat(
                    chosen
                    for chosen, mode in zip(modes, config.modes, strict=True)
                    if any(lane in part.lanes[among] for part in mode.arrays)
                )
                for among in (slice(1), slice(1, None))
            )
            step: Any = Signal(layout, name=f"step_{lane}")
            if lane % config.chain:
                before = steps[-1]
                hop: Any = Signal(layout, name=f"hop_{lane}")
                # Nothing leaves its sub-array: another split could find it in the registers.
                m.d.comb += [hop.eq(before), hop.valid.eq(before.valid & follows.any())]
                if config.rotation:
                    m.d.comb += [
                        hop.address.eq(before.address + before.by_lane),
                        hop.turn.eq(before.turn + before.stride),
                    ]
                m.d.comb += step.eq(delayed(m, hop, config.spacing, f"march_{lane}"))
            if lane % config.segment == 0:
                with m.If(led.any()):
                    m.d.comb += step.eq(self.step[lane // config.segment])
            steps.append(step)
        return steps

    def _reach(
        self,
        chosen: Signal,
        part: SubArray,
        steps: list[Any],
        hits: dict[tuple[int, int], list[Value]],
    ) -> None:
        """Conditions, beside a valid step, on which lane groups of ``part`` read its banks."""
        config = self.config
        for number, banks in enumerate(part.banks):
            for lane in part.lanes:
                own = lane == part.lanes[number]
                if not own and not config.rotation:
                    continue
                step = steps[lane]
                condition: Value = chosen
                if config.rotation and len(part.banks) > 1:
                    turn = step.turn[: (len(part.banks) - 1).bit_length()] == number
                    condition &= Mux(step.rotate, turn, own)
                for index, bank in enumerate(banks):
                    term = condition
                    if part.pool > 1:
                        high = step.address[config.offset_bits :][: (part.pool - 1).bit_length()]
                        term &= high == index
                    hits.setdefault((lane, bank), []).append(term)

    def _return(self, m: Module, at: dict[tuple[int, int], Signal]) -> None:
        """Words from the banks back to the lane groups that asked."""
        config = self.config
        layout = PackedArray(1, max(1, len(at)))
        asked: Any = Signal(layout, name="asked")
        m.d.comb += asked.eq(Cat(at.values()))
        came = delayed(m, asked, config.latency + 2, "asked")
        back = dict(zip(at, came, strict=True))
        for lane in range(config.banks):
            mine = {bank: hit for (other, bank), hit in back.items() if other == lane}
            valid = Signal(name=f"valid_{lane}")
            single = len(mine) == 1
            words = [
                self.word[b] if single else Mux(hit, self.word[b], 0) for b, hit in mine.items()
            ]
            m.d.comb += [
                valid.eq(Cat(mine.values()).any()),
                self.lane[lane].valid.eq(valid),
                self.lane[lane].error.eq(Cat(self.error[b] & hit for b, hit in mine.items()).any()),
                self.lane[lane].data.eq(_either(words)),
            ]


def _either(words: list[Value]) -> Value:
    """All of them or-ed, as a tree; 0 without any."""
    while len(words) > 1:
        words = [
            words[n] | words[n + 1] if n + 1 < len(words) else words[n]
            for n in range(0, len(words), 2)
        ]
    return words[0] if words else Cat()
