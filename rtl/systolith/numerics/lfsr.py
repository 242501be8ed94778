"""Random bits of stochastic rounding: a function of the element's index, never of time."""

from functools import cache

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block

__all__ = [
    "RANDOM_BITS",
    "ROW_PITCH",
    "STATE_BITS",
    "ElementLfsr",
    "leap_matrix",
    "start_state",
]

RANDOM_BITS = 16
ROW_PITCH = 1 << 16
"""Difference of the indices of an output and the one below it, whatever the matrix's shape."""

STATE_BITS = 32
_SPREAD = 0x9E3779B1  # odd: neighbouring seeds get unrelated start states
_TAPS = sum(1 << power - 1 for power in (32, 22, 2, 1))  # x^32 + x^22 + x^2 + x + 1
_STEPS = 16  # per element: as many as bits are taken


@cache
def leap_matrix(elements: int) -> tuple[int, ...]:
    """Rows of the GF(2) matrix that moves the state on by ``elements`` >= 0 elements.

    Bit ``i`` of the new state is the parity of the old one under mask ``i``.
    """
    # One step of a right-shifting Galois register: bit i comes from bit i + 1, and from bit 0
    # where there is a tap.
    one = [(1 << i + 1 if i + 1 < STATE_BITS else 0) | (_TAPS >> i & 1) for i in range(STATE_BITS)]
    result = [1 << i for i in range(STATE_BITS)]
    count = elements * _STEPS
    while count:
        if count & 1:
            result = _product(one, result)
        one = _product(one, one)
        count >>= 1
    return tuple(result)


def start_state(seed: int, column: int = 0) -> int:
    """State of the element in row 0 and ``column`` for a ``seed``, any integer; never zero."""
    state = (seed * _SPREAD) % (1 << STATE_BITS) or 1
    rows = leap_matrix(column)
    return sum(((state & mask).bit_count() & 1) << i for i, mask in enumerate(rows))


def _product(after: list[int], before: list[int]) -> list[int]:
    rows = []
    for mask in after:
        row = 0
        for i, other in enumerate(before):
            row ^= other if mask >> i & 1 else 0
        rows.append(row)
    return rows


class ElementLfsr(Block):
    """Random bits for the outputs that one lane visits, column by column and row by row.

    The state is that of a 32-bit Galois register after 16 steps per element from the start state,
    where the element at row ``m``, column ``n`` has the index ``65536 m + n``. Moving on is a
    constant matrix each. Nothing moves unless asked to, so stalls change nothing.

    Parameters
    ----------
    first : int
        Column of the lane's first element.
    pitch : int
        Columns between the lane's elements, at least 1.

    Members
    -------
    load : In(1)
        Go to row 0 of the start state ``start``. Wins over the moves.
    start : In(32)
        Of :func:`start_state`; software works it out.
    column : In(1)
        Go ``pitch`` columns on.
    row : In(1)
        Go to the lane's first element of the next row. Wins over ``column``.
    random : Out(16)
        Bits of the current element, from a register; one cycle after each of the above.
    """

    load: Signal
    start: Signal
    column: Signal
    row: Signal
    random: Signal

    def __init__(self, *, first: int = 0, pitch: int = 1) -> None:
        if not 0 <= first < ROW_PITCH:
            raise ValueError(f"ElementLfsr.first must be in 0..{ROW_PITCH - 1}, not {first!r}")
        if not 1 <= pitch <= ROW_PITCH:
            raise ValueError(f"ElementLfsr.pitch must be in 1..{ROW_PITCH}, not {pitch!r}")
        self.first = first
        self.pitch = pitch
        super().__init__(
            {
                "load": In(1),
                "start": In(STATE_BITS),
                "column": In(1),
                "row": In(1),
                "random": Out(RANDOM_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        return f"element_lfsr_{self.first}_{self.pitch}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        state = Signal(STATE_BITS, init=1)
        row_start = Signal(STATE_BITS, init=1)
        next_row = Signal(STATE_BITS)
        m.d.comb += [
            next_row.eq(Mux(self.load, _leap(self.start, self.first), _leap(row_start, ROW_PITCH))),
            self.random.eq(state),
        ]
        with m.If(self.load | self.row):
            m.d.sync += [state.eq(next_row), row_start.eq(next_row)]
        with m.Elif(self.column):
            m.d.sync += state.eq(_leap(state, self.pitch))
        return m


def _leap(state: Value, elements: int) -> Value:
    bits = [
        Cat(state[i] for i in range(STATE_BITS) if mask >> i & 1) for mask in leap_matrix(elements)
    ]
    return Cat(bit.xor() for bit in bits)
