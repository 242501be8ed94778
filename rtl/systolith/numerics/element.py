"""From the code of an element to what a multiplier needs, once per row or column of the array."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.hierarchy import Block
from systolith.numerics.block_config import DIGIT_BITS, ElementConfig
from systolith.numerics.format import Format, Kind, Specials

__all__ = ["ElementDecode", "element_layout"]


def element_layout(config: ElementConfig) -> data.StructLayout:
    """Fields of a decoded element; flags that no enabled format needs have no bits.

    Members
    -------
    magnitude
        Unsigned factor; 0 for special values and unused elements.
    shift
        The value is ``magnitude << (shift << fold)`` in units of the format.
    negative
        Sign; zeros may have either.
    nan, infinite
        Special values.
    zero
        The value is zero; not set for special values and unused elements.
    used
        The product counts; otherwise neither operand sets a flag.
    """
    return data.StructLayout(
        {
            "magnitude": config.magnitude_bits,
            "shift": config.shift_bits,
            "negative": 1,
            "nan": int(config.nan),
            "infinite": int(config.infinity),
            "zero": int(config.zero),
            "used": int(config.used),
        }
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Decoded:
    magnitude: Value
    shift: Value
    negative: Value
    nan: Value
    infinite: Value


class ElementDecode(Block):
    """Decodes an element of any of the enabled formats; combinational.

    Every format is a row of the table and becomes one case; nothing here knows their names.

    Parameters
    ----------
    config : ElementConfig
        Enabled formats and what the other operand asks for.

    Members
    -------
    code : In
        Code, in the low bits.
    select : In
        Position of its format in ``config.formats``; absent with a single one.
    digit : In
        Which 8-bit digit of the magnitude to take, 0 the lowest; no matter to formats of a single
        one, absent if all are.
    used : In(1)
        0 for a row that takes no part: the element becomes nothing. Only if ``config.silenced``.
    element : Out(element_layout(config))
        The decoded element.
    """

    code: Signal
    select: Signal
    digit: Signal
    used: Signal
    element: data.View

    def __init__(self, config: ElementConfig) -> None:
        self.config = config
        ports = {"code": In(config.code_bits), "element": Out(element_layout(config))}
        if len(config.formats) > 1:
            ports["select"] = In(ceil_log2(len(config.formats)))
        if config.digits > 1:
            ports["digit"] = In(ceil_log2(config.digits))
        if config.silenced:
            ports["used"] = In(1)
        super().__init__(ports)

    @property
    def module_name(self) -> str:
        config, out = self.config, self.element
        flags = [name[0] for name in ("nan", "infinite", "zero", "used") if len(out[name])]
        side = "x" if config.silenced else "w"
        return "_".join([f"decode_{side}", config.name, *flags])

    @property
    def clocked(self) -> bool:
        return False

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, out = self.config, self.element
        used: Value = self.used if config.silenced else Const(1)
        finite = Signal()
        magnitude = Signal(config.magnitude_bits)

        def choose(form: Format) -> None:
            chosen = self._integer(m, form) if form.kind is Kind.INTEGER else self._float(m, form)
            m.d.comb += [
                magnitude.eq(chosen.magnitude),
                out.shift.eq(chosen.shift),
                out.negative.eq(chosen.negative),
                finite.eq(~(chosen.nan | chosen.infinite)),
                out.nan.eq(chosen.nan & used),
                out.infinite.eq(chosen.infinite & used),
            ]

        if len(config.formats) == 1:
            choose(config.formats[0])
        else:
            with m.Switch(self.select):
                for index, form in enumerate(config.formats[:-1]):
                    with m.Case(index):
                        choose(form)
                with m.Default():
                    choose(config.formats[-1])
        counts = finite & used
        m.d.comb += [
            out.magnitude.eq(magnitude & counts.replicate(len(magnitude))),
            out.zero.eq(counts & ~magnitude.any()),
            out.used.eq(used),
        ]
        return m

    def _integer(self, m: Module, form: Format) -> _Decoded:
        """Two's complement; the most negative code has a magnitude too."""
        code = self.code[: form.width]
        negative = code[-1]
        size = Signal(form.width, name=f"size_{form.name}")
        m.d.comb += size.eq((code ^ negative.replicate(form.width)) + negative)
        digit: Value = size
        if form.digits > 1:
            digit = size.word_select(self.digit[: ceil_log2(form.digits)], DIGIT_BITS)
        return _Decoded(
            magnitude=digit, shift=Const(0), negative=negative, nan=Const(0), infinite=Const(0)
        )

    def _float(self, m: Module, form: Format) -> _Decoded:
        """Sign, exponent and fraction; subnormals have the exponent of field 1."""
        fold = self.config.fold
        body = self.code[: form.width - 1]
        fraction, field = body[: form.fraction_bits], body[form.fraction_bits :]
        normal = field.any()
        shift = Signal(form.exponent_bits, name=f"shift_{form.name}")
        m.d.comb += shift.eq(field - normal)
        nan: Value = Const(0)
        infinite: Value = Const(0)
        if form.specials is not Specials.NONE:
            nan = body > form.max_code
        if form.specials is Specials.IEEE:
            infinite = body == form.infinity_code
            nan = nan & ~infinite
        return _Decoded(
            magnitude=Cat(fraction, normal) << shift[:fold],
            shift=shift[fold:],
            negative=self.code[form.width - 1],
            nan=nan,
            infinite=infinite,
        )
