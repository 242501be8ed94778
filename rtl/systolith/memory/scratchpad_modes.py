"""Which banks feed which lanes of an array's edge when it is split, and that none feeds two."""

from collections.abc import Iterable
from itertools import product
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from systolith.array.geometry import STRICT, ArrayConfig

__all__ = ["Edge", "SplitMode", "SubArray", "bank_of_step", "clash", "split_modes"]

Edge = Literal["acts", "weights"]

_Index = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SubArray:
    """Neighbouring lane groups that are fed as one.

    Parameters
    ----------
    first
        Lane group at its head, which takes its commands.
    banks
        The banks that each of its lane groups reads, head first. Addresses of a lane group run
        through its banks one after the other.
    """

    first: _Index
    banks: tuple[tuple[_Index, ...], ...]

    @property
    def lanes(self) -> range:
        """Lane groups, in the order in which steps reach them."""
        return range(self.first, self.first + len(self.banks))

    @property
    def pool(self) -> int:
        """Banks of each lane group."""
        return len(self.banks[0])

    @property
    def all_banks(self) -> tuple[int, ...]:
        """Banks of all lane groups."""
        return tuple(bank for banks in self.banks for bank in banks)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SplitMode:
    """One way to split an array, seen from one of its edges.

    Parameters
    ----------
    name
        For messages.
    arrays
        The parts. A lane group outside of them is not fed.
    """

    name: str
    arrays: tuple[SubArray, ...]


def split_modes(array: ArrayConfig, edge: Edge) -> tuple[SplitMode, ...]:
    """Every split of ``array`` into equal groups of bands: row groups, then column groups.

    Lane group ``chain * groups + t`` is row tile ``t`` on the way into column band ``chain``, or
    column tile ``t`` of row band ``chain``. Both edges have the same modes in the same order.

    Activations of a group enter at its first column band only: its lane groups have the banks of
    its other column bands as well, so that no memory lies idle. Weights of fused row bands
    differ: all their lane groups are read.
    """
    acts = edge == "acts"
    chains, groups = (
        (array.col_bands, array.rows // array.tile)
        if acts
        else (array.row_bands, array.cols // array.tile)
    )
    modes = []
    for row_groups, col_groups in product(_powers(array.row_bands), _powers(array.col_bands)):
        fused = array.col_bands // col_groups if acts else 1
        lanes = groups // (row_groups if acts else col_groups)
        arrays = [
            SubArray(
                first=chain * groups + start,
                banks=tuple(
                    tuple((chain + other) * groups + start + lane for other in range(fused))
                    for lane in range(lanes)
                ),
            )
            for chain in range(0, chains, fused)
            for start in range(0, groups, lanes)
        ]
        modes.append(SplitMode(name=f"{row_groups}x{col_groups}", arrays=tuple(arrays)))
    return tuple(modes)


def _powers(most: int) -> Iterable[int]:
    return (1 << n for n in range(most.bit_length()))


def bank_of_step(step: int, lane: int, lanes: int, *, spacing: int, turned: bool) -> int:
    """Lane group whose banks hold what lane group ``lane`` reads in ``step`` of a rotated feed.

    The word of row ``row`` and column ``col`` is with lane group ``(row + k * col) mod lanes``.
    Rows are read by steps, columns by lane groups; ``turned`` it is the other way round. Lane
    group ``lane`` makes its step ``lane * spacing`` cycles later, so that those of one cycle are
    ``k - spacing``, or ``1 - k * spacing``, apart: odd, if ``k`` is 1 for an even spacing and 2
    for an odd one. With 1 everywhere all lane groups would meet at one bank if they are one cycle
    apart.
    """
    k = 2 if spacing % 2 else 1
    row, col = (lane, step) if turned else (step, lane)
    return (row + k * col) % lanes


def clash(mode: SplitMode, *, spacing: int, rotation: bool) -> str | None:
    """Two readers of one bank in one cycle, in words, or None."""
    owners: dict[int, int] = {}
    for part in mode.arrays:
        for lane, banks in zip(part.lanes, part.banks, strict=True):
            for bank in banks:
                if bank in owners:
                    return f"bank {bank} is read by lane groups {owners[bank]} and {lane}"
                owners[bank] = lane
    if not rotation:
        return None
    for part, turned in product(mode.arrays, (False, True)):
        count = len(part.banks)
        for cycle in range(count):
            used: dict[int, int] = {}
            for lane in range(count):
                step = (cycle - lane * spacing) % count  # which repeats
                bank = bank_of_step(step, lane, count, spacing=spacing, turned=turned)
                if bank in used:
                    return (
                        f"lane groups {part.first + used[bank]} and {part.first + lane} meet in a "
                        f"rotated feed"
                    )
                used[bank] = lane
    return None
