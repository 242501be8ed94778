"""Stage C: blocks of binary32 words to elements with a scale."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block, place
from systolith.numerics.block_scale import BlockScale
from systolith.numerics.block_store import BlockStore, store_latency
from systolith.numerics.divide import REBIAS_BITS, Divide, places_of
from systolith.numerics.formats import RULES, Format, Kind, lookup
from systolith.numerics.fp32 import fp32
from systolith.numerics.lfsr import RANDOM_BITS
from systolith.numerics.rounder import Rounder
from systolith.numerics.target import Target

__all__ = ["Quantiser"]


class Quantiser(Block):
    """Blocks of words to codes: a scale from the largest magnitude, and words over that scale.

    ::

        word --+--> store of two blocks ---------------+
               |                                       v
               +--> largest, scale (BlockScale) --> divide --> round --> code, scale

    A word may come in every cycle, or now and then; there is no back-pressure. The last code of a
    block leaves :attr:`latency` cycles after the last word came (46 with blocks of 32), the others
    in the cycles just before it. So without gaps inside blocks every word takes the same time, even
    if blocks are short, and any number of blocks may follow each other.

    Quotients are exact and rounded once, saturating. A block of zeros has scale 0. A block with NaN
    or infinity has a NaN scale and codes +0. Formats whose scales have a fraction are refused:
    NVFP4 divides by numbers that are no powers of two, which is left to software.

    Parameters
    ----------
    formats : sequence of Format
        Element formats, at least one: of one family, whose scales are powers of two.
    stochastic : bool
        Whether there is stochastic rounding at all.

    Members
    -------
    valid : In(1), word : In(fp32)
        A word.
    last : In(1)
        With ``valid``: the block ends with this word. A full one ends by itself.
    select : In
        With a block's last word: position of its format in ``formats``; beyond the end, the last
        one. Absent with a single format.
    rule : In(2)
        With a block's last word: position in :data:`systolith.numerics.formats.RULES`; there is no
        illegal one.
    stochastic : In(1)
        With a block's last word: random bits decide, not the nearest. Absent without stochastic
        rounding, as the next two.
    draw : Out(1), random : In(16)
        In the cycle of ``draw``, ``random`` belongs to the code that leaves ``draw_lead`` cycles
        later. Every code draws once, in order. Bits of 0 round toward zero.
    leaves : Out(1), code : Out
        A code; high bits of narrower formats are zero.
    ends : Out(1)
        With ``leaves``: the last code of its block.
    scale : Out
        With every code: the scale of its block.
    """

    valid: Signal
    word: data.View
    last: Signal
    select: Signal
    rule: Signal
    stochastic: Signal
    draw: Signal
    random: Signal
    leaves: Signal
    code: Signal
    ends: Signal
    scale: Signal

    draw_lead = Rounder.latency

    def __init__(self, formats: Sequence[Format], *, stochastic: bool = True) -> None:
        self.formats = tuple(formats)
        self.has_stochastic = stochastic
        if not self.formats:
            raise ValueError("Quantiser.formats must name at least one format, not none")
        for form in self.formats:
            if not form.scale or lookup(form.scale).kind is not Kind.POWER:
                raise ValueError(
                    "Quantiser.formats must have scales that are powers of two, "
                    f"not {form.name!r}; software quantises the others"
                )
            if form.family != self.formats[0].family:
                raise ValueError(
                    f"Quantiser.formats must be of one family, {self.formats[0].family!r} here, "
                    f"not {form.name!r} of {form.family!r}"
                )
        self.block = self.formats[0].block
        self.select_bits = ceil_log2(len(self.formats))
        scale_bits = lookup(self.formats[0].scale).width
        self.note = data.StructLayout(
            {
                "scale": scale_bits,
                "rebias": REBIAS_BITS,
                "chosen": self.select_bits + stochastic,
            }
        )
        stored = store_latency(self.block, BlockScale.latency)
        self.latency = stored + Divide.latency + Rounder.latency
        ports = {
            "valid": In(1),
            "word": In(fp32),
            "last": In(1),
            "rule": In(ceil_log2(len(RULES))),
            "leaves": Out(1),
            "code": Out(max(form.width for form in self.formats)),
            "ends": Out(1),
            "scale": Out(scale_bits),
        }
        if self.select_bits:
            ports["select"] = In(self.select_bits)
        if stochastic:
            ports |= {"stochastic": In(1), "draw": Out(1), "random": In(RANDOM_BITS)}
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        names = (form.name for form in self.formats)
        return "_".join(["quantiser" if self.has_stochastic else "quantiser_nearest", *names])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        finder = BlockScale(self.formats)
        places = places_of(map(Target, self.formats), finder.form.bias)
        divide = Divide(places=places)
        rounder = Rounder(self.formats, stochastic=self.has_stochastic, divided=True)
        store = BlockStore(
            block=self.block,
            width=len(self.word.as_value()),
            note_width=self.note.size,
            lag=finder.latency,
        )
        m.submodules.finder = place(finder, platform)
        m.submodules.store = place(store, platform)
        m.submodules.divide = place(divide, platform)
        m.submodules.rounder = place(rounder, platform)

        # In: what is chosen for a block waits for its scale.
        chosen: list[Value] = [
            Cat(
                self.select if self.select_bits else Const(0, 0),
                self.stochastic if self.has_stochastic else Const(0, 0),
            )
        ]
        for stage in range(finder.latency):
            chosen.append(Signal(len(chosen[0]), name=f"chosen_{stage}", reset_less=True))
            m.d.sync += chosen[-1].eq(chosen[-2])
        note = data.View(self.note, store.note)
        m.d.comb += [
            store.valid.eq(self.valid),
            store.element.eq(self.word),
            store.last.eq(self.last),
            finder.valid.eq(self.valid),
            finder.size.eq(self.word.as_value()[:-1]),
            finder.first.eq(store.first),
            finder.rule.eq(self.rule),
            note.scale.eq(finder.scale),
            note.rebias.eq(finder.rebias),
            note.chosen.eq(chosen[-1]),
        ]
        if self.select_bits:
            m.d.comb += finder.select.eq(self.select)

        # Out: a scale that is no number makes every code +0.
        known = data.View(self.note, store.leaving_note)
        m.d.comb += [
            divide.word.as_value().eq(store.leaving),
            divide.rebias.eq(known.rebias),
            divide.clear.eq(known.scale == finder.form.nan_code),
            rounder.word.eq(divide.quotient),
            rounder.saturate.eq(1),
            self.code.eq(rounder.code),
        ]
        # The rest passes by the arithmetic.
        passing: list[Value] = [Cat(known.scale, known.chosen)]
        marks: list[Value] = [Cat(store.leaves, store.ends)]
        for stage in range(divide.latency + rounder.latency):
            passing.append(Signal(len(passing[0]), name=f"passing_{stage}", reset_less=True))
            marks.append(Signal(2, name=f"marks_{stage}"))
            m.d.sync += [passing[-1].eq(passing[-2]), marks[-1].eq(marks[-2])]
        m.d.comb += [
            self.scale.eq(passing[-1]),
            Cat(self.leaves, self.ends).eq(marks[-1]),
        ]
        choice = passing[divide.latency][len(self.scale) :]
        if self.select_bits:
            m.d.comb += rounder.select.eq(choice[: self.select_bits])
        if self.has_stochastic:
            m.d.comb += [
                rounder.stochastic.eq(choice[-1]),
                rounder.random.eq(self.random),
                self.draw.eq(marks[divide.latency][0]),
            ]
        return m
