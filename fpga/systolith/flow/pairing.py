"""Two 8 by 8 products in one SB_MAC16: cells that use one half are merged two by two."""

from typing import Any

from systolith.numerics.mac_backends import HALF_USED

__all__ = ["pair_multipliers"]

_HALF = 8
_PRODUCT = 16


def pair_multipliers(netlist: dict[str, Any]) -> int:
    """Merge marked SB_MAC16 cells of a mapped netlist in place.

    The leaf module holds one product in the upper half of a cell and marks it. Here two such
    cells of one module become one: the upper half of the second moves into the lower half of the
    first. Only cells with the same parameters, clock and tied inputs are merged, in the order of
    their names, which keeps neighbours of an array together.

    Parameters
    ----------
    netlist
        Yosys JSON, after mapping.

    Returns
    -------
    int
        Cells saved.
    """
    saved = 0
    for module in netlist["modules"].values():
        cells = module["cells"]
        waiting: dict[str, str] = {}
        for name in sorted(cells, key=_natural):
            cell = cells[name]
            if cell["type"] != "SB_MAC16" or int(cell["attributes"].get(HALF_USED, "0"), 2) != 1:
                continue
            shared = {p: bits for p, bits in cell["connections"].items() if p not in "ABO"}
            key = repr((sorted(cell["parameters"].items()), sorted(shared.items())))
            if key not in waiting:
                waiting[key] = name
                continue
            full = cells[waiting.pop(key)]
            del full["attributes"][HALF_USED]
            upper, lower = full["connections"], cell["connections"]
            for port in "AB":
                upper[port] = lower[port][_HALF:] + upper[port][_HALF:]
            upper["O"] = lower["O"][_PRODUCT:] + upper["O"][_PRODUCT:]
            del cells[name]
            saved += 1
    return saved


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which ``pe_10`` follows ``pe_9``."""
    words: list[str] = []
    for character in name:
        if words and words[-1][-1].isdecimal() == character.isdecimal():
            words[-1] += character
        else:
            words.append(character)
    return [(0, int(w), "") if w.isdecimal() else (1, 0, w) for w in words]
