"""Combinational shifts of floating-point units: right with a sticky bit, left to the first one.

Each function adds named signals to a module and no register. One signal per level keeps the
expressions small: slicing an expression again and again would copy it every time.
"""

from collections.abc import Iterable

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

__all__ = ["leading_zeros", "normalise", "powers_below", "shift_left", "shift_right"]


def powers_below(width: int) -> tuple[int, ...]:
    """Powers of two that are less than ``width``, largest first: levels of a shifter."""
    return tuple(1 << bit for bit in reversed(range((width - 1).bit_length())))


def shift_right(m: Module, value: Value, amount: Value, name: str) -> Value:
    """``value`` shifted right; bit 0 collects every one that is shifted out (sticky)."""
    width = len(value)
    for bit in reversed(range(len(amount))):
        step = 1 << bit
        lost = value[: step + 1].any()
        moved = Cat(lost, value[step + 1 :]) if step + 1 < width else lost
        level = Signal(width, name=f"{name}_{step}")
        m.d.comb += level.eq(Mux(amount[bit], moved, value))
        value = level
    return value


def shift_left(m: Module, value: Value, amount: Value, name: str) -> Value:
    """``value`` shifted left in its own width."""
    width = len(value)
    for bit in reversed(range(len(amount))):
        step = 1 << bit
        level = Signal(width, name=f"{name}_{step}")
        m.d.comb += level.eq(Mux(amount[bit], value << step, value))
        value = level
    return value


def normalise(
    m: Module, value: Value, steps: Iterable[int], name: str
) -> tuple[Value, list[Value]]:
    """``value`` shifted left by each of ``steps``, largest first, that only moves zeros out.

    Returns the shifted value and, in the same order, whether each step was taken. With all powers
    of two below the width, the top bit becomes one unless ``value`` is zero.
    """
    taken: list[Value] = []
    for step in steps:
        level = Signal(len(value), name=f"{name}_{step}")
        empty = Signal(name=f"{name}_empty_{step}")
        m.d.comb += [
            empty.eq(~value[-step:].any()),
            level.eq(Mux(empty, value << step, value)),
        ]
        taken.append(empty)
        value = level
    return value, taken


def leading_zeros(m: Module, value: Value, name: str) -> Value:
    """Zeros above the first one of ``value``; meaningless if there is no one."""
    levels = -(-len(powers_below(len(value))) // 2)
    # Four parts make the next larger one: each knows whether it is empty, and where its first
    # one is.
    empty: list[Value] = [~bit for bit in reversed(list(value))]
    empty += [Const(1, 1)] * ((1 << 2 * levels) - len(empty))
    where: list[Value] = [Const(0, 0) for _ in empty]
    for level in range(levels):
        counts: list[Value] = []
        for at in range(0, len(empty), 4):
            first = Signal(2, name=f"{name}_first_{level}_{at >> 2}")
            count = Signal(2 * level + 2, name=f"{name}_{level}_{at >> 2}")
            a, b, c = empty[at : at + 3]
            m.d.comb += [
                first.eq(Cat(a & (~b | c), a & b)),
                count.eq(
                    Cat(
                        Mux(
                            first[1],
                            Mux(first[0], where[at + 3], where[at + 2]),
                            Mux(first[0], where[at + 1], where[at]),
                        ),
                        first,
                    )
                ),
            ]
            counts.append(count)
        both: list[Value] = []
        for at in range(0, len(empty), 4):
            none = Signal(name=f"{name}_none_{level}_{at >> 2}")
            m.d.comb += none.eq(Cat(empty[at : at + 4]).all())
            both.append(none)
        empty, where = both, counts
    return where[0]
