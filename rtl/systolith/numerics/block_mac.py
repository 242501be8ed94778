"""Multiply and add of the block formats: exact, in fixed point, with sticky flags."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.numerics.block_align import Later, align
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_multiply import multiply
from systolith.numerics.element import element_layout

__all__ = ["BlockMac", "partial_layout"]


def partial_layout(config: BlockMacConfig) -> data.StructLayout:
    """Fields of a partial sum; flags that no enabled format can raise have no bits.

    Members
    -------
    sum
        Exact sum in units of the pair (of its digits).
    nan, plus, minus
        Sticky: a NaN element or infinity times zero; plus infinity; minus infinity.
    """
    infinity = int(config.x.infinity or config.w.infinity)
    return data.StructLayout(
        {
            "sum": signed(config.sum_bits),
            "nan": int(config.x.nan or config.w.nan),
            "plus": infinity,
            "minus": infinity,
        }
    )


class BlockMac(Block):
    """Adds the exact product of two decoded elements to a partial sum.

    ::

        x, w --> multiply --[1]--> shift, sign --[2]--> (+) --> s
                                                         ^
                                                         n

    Magnitudes are multiplied and the sign makes the sum an addition or a subtraction: the ones'
    complement here, the missing one through the carry of the adder. A single multiplier serves
    all formats; four small ones with recombination, as for several narrow products per cycle,
    measured larger. The first registers of ``latency`` are those in brackets (without a shift
    only [1]), further ones delay the operands.

    Parameters
    ----------
    config : BlockMacConfig
        Enabled pairs and sizes.

    Members
    -------
    x, w : In(element_layout(config.x)), In(element_layout(config.w))
        Operands, new in every cycle.
    n : In(partial_layout(config))
        Partial sum, ``config.latency`` cycles after its operands.
    s : Out(partial_layout(config))
        ``n`` plus the product, in the same cycle as ``n``.
    """

    x: data.View
    w: data.View
    n: data.View
    s: data.View

    def __init__(self, config: BlockMacConfig) -> None:
        self.config = config
        super().__init__(
            {
                "x": In(element_layout(config.x)),
                "w": In(element_layout(config.w)),
                "n": In(partial_layout(config)),
                "s": Out(partial_layout(config)),
            }
        )

    @property
    def module_name(self) -> str:
        return f"block_mac_{self.config.name}"

    @property
    def clocked(self) -> bool:
        return self.config.latency > 0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, n, s = self.config, self.n, self.s
        x, w = self.x, self.w
        for stage in range(config.latency - 2):
            x, w = _late_element(m, x, f"x_{stage}"), _late_element(m, w, f"w_{stage}")

        def at(stage: int) -> Later:
            """Registers at a place counted from the adder, as far as the latency goes."""

            def later(value: Value, name: str) -> Value:
                signal = Signal(len(value), name=name, reset_less=True)
                m.d["sync" if config.latency >= stage else "comb"] += signal.eq(value)
                return signal

            return later

        places = Signal(config.place_bits)
        m.d.comb += places.eq(x.shift + w.shift)
        places = at(2)(places, "late_places")
        product = at(2)(multiply(m, x.magnitude, w.magnitude), "late_product")
        negative = at(2)(x.negative ^ w.negative, "negative")
        flags = at(2)(_flags(m, x, w), "flags")
        term = align(
            m,
            product,
            places,
            negative,
            fold=config.fold,
            width=config.product_bits,
            middle=at(1),
        )
        nan, plus, minus = at(1)(flags, "late_flags")
        negative = at(1)(negative, "late_negative")
        m.d.comb += [
            s.sum.eq(n.sum + term.as_signed() + negative),
            s.nan.eq(n.nan | nan),
            s.plus.eq(n.plus | plus),
            s.minus.eq(n.minus | minus),
        ]
        return m


def _flags(m: Module, x: data.View, w: data.View) -> Value:
    """What the product is besides a number: NaN, plus infinity, minus infinity."""

    def has(element: data.View, name: str) -> Value:
        """A field; without bits, because no format needs it, it is 0 (also when inverted)."""
        field: Value = element[name]
        return field if len(field) else Const(0, 1)

    used = x.used if len(x.used) else Const(1, 1)
    x_nan, x_infinite, x_zero = (has(x, name) for name in ("nan", "infinite", "zero"))
    w_nan, w_infinite, w_zero = (has(w, name) for name in ("nan", "infinite", "zero"))
    nan, infinite = Signal(name="product_nan"), Signal(name="product_infinite")
    m.d.comb += [
        nan.eq(x_nan | (w_nan & used) | (x_infinite & w_zero) | (x_zero & w_infinite)),
        infinite.eq((x_infinite | (w_infinite & used)) & ~nan),
    ]
    negative = x.negative ^ w.negative
    return Cat(nan, infinite & ~negative, infinite & negative)


def _late_element(m: Module, value: data.View, name: str) -> data.View:
    late: data.View = Signal(value.shape(), name=f"late_{name}", reset_less=True)
    m.d.sync += late.eq(value)
    return late
