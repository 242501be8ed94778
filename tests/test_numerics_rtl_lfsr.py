"""The random bits of stochastic rounding in hardware, against the golden model."""

from typing import Any

import pytest
from numerics_pipeline import refuses

from systolith.golden.numerics import element_index, random_bits
from systolith.golden.numerics.lfsr import STEPS, leap, start_state
from systolith.harness.sim import simulate
from systolith.numerics.lfsr import ROW_PITCH, ElementLfsr, leap_matrix
from systolith.proofs.substitute import Mutant


def walk(block: ElementLfsr, seed: int, rows: int, columns: int, pause: int = 0) -> list[int]:
    """Random bits of a lane's elements, row by row, with ``pause`` idle cycles before each move."""
    got: list[int] = []

    async def bench(ctx: Any) -> None:
        async def move(port: Any) -> None:
            for _ in range(pause):
                await ctx.tick()
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        ctx.set(block.start, start_state(seed))
        await move(block.load)
        ctx.set(block.start, 0x12345678)
        for _ in range(rows):
            for _ in range(columns):
                got.append(ctx.get(block.random))
                await move(block.column)
            await move(block.row)

    simulate(block, bench)
    return got


@pytest.mark.parametrize(("first", "pitch"), [(0, 1), (0, 16), (3, 4), (65535, 65536)])
def test_elements_have_their_bits(first: int, pitch: int) -> None:
    rows, columns = 20, 12
    got = walk(ElementLfsr(first=first, pitch=pitch), 77, rows, columns)
    wanted = [
        int(random_bits(77, element_index(row, first + pitch * column)))
        for row in range(rows)
        for column in range(columns)
    ]
    assert got == wanted


def test_stalls_change_nothing() -> None:
    assert walk(ElementLfsr(pitch=4), 1, 3, 5, pause=3) == walk(ElementLfsr(pitch=4), 1, 3, 5)


def test_matrices_are_those_of_the_golden_model() -> None:
    """Rows here, columns there; the two are computed independently."""
    for elements in (1, 16, ROW_PITCH):
        columns = leap(elements * STEPS)
        rows = leap_matrix(elements)
        assert all(rows[i] >> k & 1 == columns[k] >> i & 1 for i in range(32) for k in range(32))


FAULTS = [
    ("m.d.sync += state.eq(_leap(state, self.pitch))", "m.d.sync += state.eq(_leap(state, 1))"),
    ("_leap(self.start, self.first)", "self.start"),
    ("[state.eq(next_row), row_start.eq(next_row)]", "[state.eq(next_row)]"),
    ("_leap(row_start, ROW_PITCH)", "_leap(state, ROW_PITCH)"),
    ("with m.Elif(self.column):", "with m.Else():"),
]


@pytest.mark.parametrize(("old", "new"), FAULTS, ids=[f[0] for f in FAULTS])
def test_planted_faults_are_found(old: str, new: str) -> None:
    mutant = Mutant(ElementLfsr, old, new).replacement(first=3, pitch=4)
    wanted = walk(ElementLfsr(first=3, pitch=4), 5, 3, 3, pause=1)
    assert walk(mutant, 5, 3, 3, pause=1) != wanted


def test_bad_input() -> None:
    message = r"ElementLfsr.first must be in 0\.\.65535, not -1"
    refuses(lambda: ElementLfsr(first=-1), message)
    message = r"ElementLfsr.pitch must be in 1\.\.65536, not 0"
    refuses(lambda: ElementLfsr(pitch=0), message)
