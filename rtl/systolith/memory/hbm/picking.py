"""Choosing one among many: first, in rotation, oldest."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value

__all__ = [
    "before",
    "earliest_of",
    "first_of",
    "oldest_of",
    "one_of",
    "order_of",
    "pairs_of",
    "population",
    "round_robin",
]


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
    m: Module, entries: list[tuple[Value, Value]], name: str, *, staged: bool = False
) -> tuple[Value, Value, Signal]:
    """Return whether any is valid, the earliest key, and its number, of pairs (valid, key).

    ``staged`` puts registers behind every round of comparisons, one for each doubling of entries.
    """
    domain = m.d.sync if staged else m.d.comb
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
            m.d.comb += second.eq(b_ok & (~a_ok | before(b_key, a_key)))
            domain += [
                ok.eq(a_ok | b_ok),
                key.eq(Mux(second, b_key, a_key)),
                at.eq(Mux(second, b_at, a_at)),
            ]
            following.append((ok, key, at))
        rest = level[len(level) & ~1 :]
        if staged and rest:
            raise ValueError(f"entries must be a power of two in number, not {len(entries)}")
        level = following + rest
    valid, key, at = level[0]
    chosen = Signal(width, name=name)
    m.d.comb += chosen.eq(at)
    return valid, key, chosen


def earliest_of(m: Module, valid: Value, order: list[list[Value]], name: str) -> Signal:
    """Return one bit for the earliest of those that are valid; ``order[a][b]``: a is before b."""
    first = Signal(len(valid), name=name)
    for n in range(len(valid)):
        earlier = [valid[k] & order[k][n] for k in range(len(valid)) if k != n]
        m.d.comb += first[n].eq(valid[n] & ~Cat(earlier).any())
    return first


def order_of(m: Module, keys: list[Value], known: Value, name: str) -> list[list[Value]]:
    """Return for every pair whether a is before b, by registers that are a cycle late.

    Those that are not ``known`` come last: keys that are new in this cycle.
    """
    order: list[list[Value]] = [[Const(0) for _ in keys] for _ in keys]
    for a in range(len(keys)):
        for b in range(a + 1, len(keys)):
            earlier, first = Signal(name=f"{name}_{a}_{b}_key"), Signal(name=f"{name}_{a}_{b}")
            m.d.sync += earlier.eq(before(keys[a], keys[b]))
            m.d.comb += first.eq(~known[b] | (known[a] & earlier))
            order[a][b], order[b][a] = first, ~first
    return order


def pairs_of(keys: list[Value]) -> list[list[Value]]:
    """Return for every pair whether a is before b; of equal keys the first one is."""
    order: list[list[Value]] = [[Const(0) for _ in keys] for _ in keys]
    for b in range(len(keys)):
        for a in range(b):
            order[b][a] = before(keys[b], keys[a])
            order[a][b] = ~order[b][a]
    return order


def one_of(chosen: Value, values: list[Value]) -> Value:
    """Return the value whose bit is set in ``chosen``, zero if none is."""
    picked: Value = Const(0)
    for n, value in enumerate(values):
        word = Value.cast(value)
        picked = picked | (word & chosen[n].replicate(len(word)))
    return picked


def population(mask: Value) -> Value:
    """Return the number of bits that are set."""
    total: Value = mask[0]
    for bit in mask[1:]:
        total = total + bit
    return total
