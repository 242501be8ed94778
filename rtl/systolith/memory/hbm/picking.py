"""Choosing one among many: first, in rotation, oldest."""

from amaranth.hdl import Array, Module, Mux, Signal, Value

__all__ = ["before", "first_of", "oldest_of", "population", "round_robin"]


def first_of(m: Module, mask: Value, name: str) -> Signal:
    """Return the number of the lowest bit that is set; of the highest one if none is."""
    choice = Signal(range(max(2, len(mask))), name=name)
    m.d.comb += choice.eq(len(mask) - 1)
    for n in reversed(range(len(mask) - 1)):
        with m.If(mask[n]):
            m.d.comb += choice.eq(n)
    return choice


def round_robin(m: Module, mask: Value, *, advance: Value) -> tuple[Signal, Value]:
    """Return the next bit in rotation behind the one of the last ``advance``, and if there is any.

    The choice is meaningful only while a bit is set.
    """
    size = len(mask)
    turn = Signal(range(max(2, size)), name="turn_of")
    above = Signal(size, name="above")
    m.d.comb += above.eq(mask & Array(-1 << (n + 1) for n in range(size))[turn])
    choice = Signal(range(max(2, size)), name="choice")
    m.d.comb += choice.eq(
        Mux(above.any(), first_of(m, above, "after_turn"), first_of(m, mask, "from_start"))
    )
    with m.If(advance):
        m.d.sync += turn.eq(choice)
    return choice, mask.any()


def before(a: Value, b: Value) -> Value:
    """Return whether ``a`` is earlier than ``b``: numbers that wrap, less than half of it apart."""
    return (a - b)[len(a) - 1]


def oldest_of(
    m: Module, entries: list[tuple[Value, Value]], name: str
) -> tuple[Value, Value, Signal]:
    """Return whether any is valid, the earliest key, and its number, of pairs (valid, key)."""
    width = max(1, (len(entries) - 1).bit_length())
    level: list[tuple[Value, Value, Value]] = []
    for n, (valid, key) in enumerate(entries):
        number = Signal(width, init=n, name=f"{name}_{n}")
        m.d.comb += number.eq(n)
        level.append((valid, key, number))
    depth = 0
    while len(level) > 1:
        depth += 1
        following = []
        for n in range(0, len(level) - 1, 2):
            (a_ok, a_key, a_at), (b_ok, b_key, b_at) = level[n], level[n + 1]
            second = Signal(name=f"{name}_{depth}_{n}")
            ok = Signal(name=f"{name}_ok_{depth}_{n}")
            key, at = Signal.like(a_key, name=f"{name}_key_{depth}_{n}"), Signal(width)
            m.d.comb += [
                second.eq(b_ok & (~a_ok | before(b_key, a_key))),
                ok.eq(a_ok | b_ok),
                key.eq(Mux(second, b_key, a_key)),
                at.eq(Mux(second, b_at, a_at)),
            ]
            following.append((ok, key, at))
        level = following + level[len(level) & ~1 :]
    valid, key, at = level[0]
    chosen = Signal(width, name=name)
    m.d.comb += chosen.eq(at)
    return valid, key, chosen


def population(mask: Value) -> Value:
    """Return the number of bits that are set."""
    total: Value = mask[0]
    for bit in mask[1:]:
        total = total + bit
    return total
