"""Unsigned multiplication from additions of two numbers, for logic without multiplier blocks."""

from amaranth.hdl import Cat, Module, Signal, Value

__all__ = ["multiply"]


def multiply(m: Module, a: Value, b: Value) -> Signal:
    """Return a new signal with ``a * b``, a tree of additions inside ``m``.

    Written as ``*``, Yosys builds the product from compressors of lookup tables. Rows of AND gates
    and carry chains take half the logic (8 x 8 on ECP5: 64 LUT4 and 36 CCU2C in place of 261
    and 8; on iCE40 128 instead of 158), and less than four 4 x 4 multipliers with recombination.
    The longer factor is the row. Passing low bits around each adder also keeps Yosys from fusing
    the additions into one compressor tree again.
    """
    if len(a) < len(b):
        a, b = b, a
    levels = [_named(m, a & bit.replicate(len(a)), f"row_{i}") for i, bit in enumerate(b)]
    step = 1  # places from one number of the level to the next
    while len(levels) > 1:
        sums = []
        for i in range(0, len(levels) - 1, 2):
            low, high = levels[i], levels[i + 1]
            upper = _named(m, low[step:] + high, f"upper_{step}_{i // 2}")
            sums.append(_named(m, Cat(low[:step], upper), f"sum_{step}_{i // 2}"))
        if len(levels) % 2:
            sums.append(levels[-1])
        levels, step = sums, 2 * step
    product = Signal(len(a) + len(b), name="product")
    m.d.comb += product.eq(levels[0])
    return product


def _named(m: Module, value: Value, name: str) -> Signal:
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal
