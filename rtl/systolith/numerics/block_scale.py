"""The scale of a block: integer rules on the word of the block's largest magnitude."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block
from systolith.numerics.divide import REBIAS_BITS
from systolith.numerics.formats import RULES, Format, lookup
from systolith.numerics.fp32 import FIELD_BITS, FRACTION_BITS
from systolith.numerics.pick import pick
from systolith.numerics.target import Target

__all__ = ["BlockScale", "threshold"]

_ALL_ONES = (1 << FRACTION_BITS) - 1
_SIZE_BITS = FIELD_BITS + FRACTION_BITS


def threshold(form: Format, rule: str) -> int:
    """Return the fraction of a block's largest magnitude above which the scale is one higher.

    Every rule is such a comparison: never, unless the fraction is 0, unless it fits beside the
    largest element, and whether rounding it to the element's fraction bits would carry.
    """
    return {
        "floor": _ALL_ONES,
        "even": _ALL_ONES - (1 << FRACTION_BITS - 1 - form.fraction_bits),
        "ceil": 0,
        "rceil": form.rceil_threshold,
    }[rule]


class BlockScale(Block):
    """Finds the largest magnitude of each block and the scale that follows from it.

    ::

        1 peak      largest word without its sign; the threshold of format and rule
        2 compare   its fraction with the threshold
        3 add       its exponent field, the outcome, less the exponent of the largest element
        4 clamp     to the codes of the scale; NaN if the word was NaN or infinity

    Elements may come in every cycle, and blocks one behind the other.

    Parameters
    ----------
    formats : sequence of Format
        Element formats, all with the same scale format: a power of two.

    Members
    -------
    valid : In(1), size : In(31)
        An element's word without its sign.
    first, last : In(1)
        With ``valid``: first and last element of a block; both for a block of one.
    select : In
        With ``last``: position in ``formats``; beyond the end, the last one. Absent with one.
    rule : In(2)
        With ``last``: position in :data:`systolith.numerics.formats.RULES`.
    scale : Out
        Scale code, :attr:`latency` cycles after ``last``, from a register, for one cycle.
    rebias : Out(signed(REBIAS_BITS))
        With ``scale``: exponent field of a word whose quotient by the scale has the field 0 in the
        element format. Meaningless beside a NaN.
    """

    valid: Signal
    size: Signal
    first: Signal
    last: Signal
    select: Signal
    rule: Signal
    scale: Signal
    rebias: Signal

    latency = 4

    def __init__(self, formats: Sequence[Format]) -> None:
        self.formats = tuple(formats)
        self.form = lookup(self.formats[0].scale)
        self.select_bits = ceil_log2(len(self.formats))
        ports = {
            "valid": In(1),
            "size": In(_SIZE_BITS),
            "first": In(1),
            "last": In(1),
            "rule": In(ceil_log2(len(RULES))),
            "scale": Out(self.form.width),
            "rebias": Out(signed(REBIAS_BITS)),
        }
        if self.select_bits:
            ports["select"] = In(self.select_bits)
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        return "_".join(["block_scale", *(form.name for form in self.formats)])

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forms, wide = self.formats, signed(REBIAS_BITS)
        select = self.select if self.select_bits else Const(0, 0)
        limits = [pick(select, [threshold(form, rule) for form in forms]) for rule in RULES]

        # 1: peak. Magnitudes compare like integers; infinity and NaN are above all others.
        peak = Signal(_SIZE_BITS, reset_less=True)
        limit = Signal(FRACTION_BITS, reset_less=True)
        select_1 = Signal(self.select_bits, reset_less=True)
        with m.If(self.valid & (self.first | (self.size > peak))):
            m.d.sync += peak.eq(self.size)
        m.d.sync += [limit.eq(pick(self.rule, limits)), select_1.eq(select)]

        # 2: compare.
        field, above = Signal(FIELD_BITS, reset_less=True), Signal(reset_less=True)
        select_2 = Signal(self.select_bits, reset_less=True)
        m.d.sync += [
            field.eq(peak[FRACTION_BITS:]),
            above.eq(peak[:FRACTION_BITS] > limit),
            select_2.eq(select_1),
        ]

        # 3: add. The rebias of the quotient is the scale code and a constant of the format.
        offsets = [Target(form).rebias - self.form.bias for form in forms]
        code, rebias = Signal(wide, reset_less=True), Signal(wide, reset_less=True)
        special = Signal(reset_less=True)
        select_3 = Signal(self.select_bits, reset_less=True)
        down = pick(select_2, [-form.emax for form in forms])
        across = pick(select_2, [at - f.emax for at, f in zip(offsets, forms, strict=True)])
        m.d.sync += [
            code.eq(field + down + above),
            rebias.eq(field + across + above),
            special.eq(field.all()),
            select_3.eq(select_2),
        ]

        # 4: clamp.
        scale = Signal(self.form.width, reset_less=True)
        clamped = Signal(wide, reset_less=True)
        offset = pick(select_3, offsets)
        most = self.form.max_code
        m.d.sync += [scale.eq(code), clamped.eq(rebias)]
        with m.If(special):
            m.d.sync += scale.eq(self.form.nan_code)
        with m.Elif(code < 0):
            m.d.sync += [scale.eq(0), clamped.eq(offset)]
        with m.Elif(code > most):
            m.d.sync += [scale.eq(most), clamped.eq(offset + most)]
        m.d.comb += [self.scale.eq(scale), self.rebias.eq(clamped)]
        return m
