"""What a run found out: cells, resources, frequency."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from systolith.boards.board import Board, Resources
from systolith.flow.errors import CapacityError, FlowError

__all__ = [
    "Report",
    "check_capacity",
    "count_cells",
    "fmax_mhz",
    "logic_cells",
    "resources",
    "worst_path",
]

# Tables of one cell. A distributed RAM of ECP5 takes four for its words and two for its decoder.
_LUTS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6, "SB_LUT4": 1}
_DSPS = ("MULT18X18D", "SB_MAC16")
_RAMS = ("DP16KD", "PDPW16KD", "SB_RAM40_4K")
_LARGE_RAMS = ("SB_SPRAM256KA",)
_MEANING = {
    "lut": "LUT4",
    "ff": "flip-flops",
    "lc": "logic cells",
    "dsp": "DSP blocks",
    "ram": "block RAMs",
    "large_ram": "large RAMs",
    "pins": "pins",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of :func:`systolith.flow.run.synthesize`.

    Parameters
    ----------
    device
        Part number.
    lut, ff, dsp, ram
        As in :class:`systolith.boards.board.Resources`, of the design without the wrapper that
        measures it.
    fmax_mhz
        Frequency after routing, in megahertz; None if not routed.
    worst_path
        First and last cell of the path that sets ``fmax_mhz``; empty if not routed.
    cells
        Cells by type, without the wrapper.
    tool_versions
        One line per tool.
    seconds
        Wall-clock time in all.
    stages
        Wall-clock seconds of each stage.
    seed
        Of placement.
    bitstream
        File to load, when the design was built for the board's pins.
    """

    device: str
    lut: int
    ff: int
    dsp: int
    ram: int
    fmax_mhz: float | None
    worst_path: str
    cells: dict[str, int]
    tool_versions: dict[str, str]
    seconds: float
    stages: dict[str, float]
    seed: int
    bitstream: Path | None = None


def count_cells(netlist: Mapping[str, Any], top: str) -> dict[str, int]:
    """Technology cells of ``top`` and everything below it, by type, sorted."""
    modules = {name: m for name, m in netlist["modules"].items() if not _is_library(m)}
    if top not in modules:
        raise FlowError(f"module {top} is not in the mapped netlist")

    def count(name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for cell in modules[name]["cells"].values():
            kind = cell["type"]
            if kind in modules:
                total += count(kind)
            elif not kind.startswith("$"):  # $scopeinfo and the like are no hardware
                total[kind] += 1
        return total

    return dict(sorted(count(top).items()))


def _is_library(module: Mapping[str, Any]) -> bool:
    attributes = module.get("attributes", {})
    return "blackbox" in attributes or "whitebox" in attributes


def logic_cells(netlist: Mapping[str, Any], top: str) -> int:
    """Logic cells of iCE40 that ``top`` takes at least, where its hierarchy is flat.

    One logic cell holds a table and a flip-flop only if the table drives nothing but that
    flip-flop, so their numbers alone say little: both may fit and their sum may not.
    """
    module = netlist["modules"][top]
    users: Counter[Any] = Counter()
    for port in module["ports"].values():
        users.update(port["bits"])
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            if cell.get("port_directions", {}).get(port) == "input":
                users.update(bits)
    kinds: list[tuple[str, Any]] = [
        (cell["type"], cell["connections"]) for cell in module["cells"].values()
    ]
    tables = {c["O"][0] for kind, c in kinds if kind == "SB_LUT4" and users[c["O"][0]] == 1}
    flops = [c["D"][0] for kind, c in kinds if kind.startswith("SB_DFF")]
    alone = [data for data in flops if data not in tables]
    return len(alone) + sum(kind == "SB_LUT4" for kind, _ in kinds)


def resources(cells: Mapping[str, int], pins: int = 0, lc: int = 0) -> Resources:
    """Resources of a set of cells."""
    flops = sum(n for kind, n in cells.items() if kind == "TRELLIS_FF" or kind.startswith("SB_DFF"))
    return Resources(
        lut=sum(_LUTS.get(kind, 0) * number for kind, number in cells.items()),
        ff=flops,
        dsp=sum(cells.get(kind, 0) for kind in _DSPS),
        ram=sum(cells.get(kind, 0) for kind in _RAMS),
        large_ram=sum(cells.get(kind, 0) for kind in _LARGE_RAMS),
        pins=pins,
        lc=lc,
    )


def check_capacity(need: Resources, board: Board) -> None:
    """Refuse a design that cannot fit, before the placer spends minutes on it."""
    over = [
        f"{getattr(need, f.name)} {_MEANING[f.name]} of {getattr(board.resources, f.name)}"
        for f in fields(Resources)
        if getattr(need, f.name) > getattr(board.resources, f.name)
    ]
    if over:
        remedy = (
            'measure the core with io="registered"'
            if need.pins > board.resources.pins
            else "choose a smaller configuration or a larger board"
        )
        raise CapacityError(
            f"the design does not fit {board.name} ({board.device}): "
            f"it needs {', '.join(over)}; {remedy}"
        )


def fmax_mhz(report: Mapping[str, Any]) -> float:
    """Frequency of the slowest clock in nextpnr's JSON report, in megahertz."""
    clocks = report.get("fmax", {})
    if not clocks:
        raise FlowError("nextpnr reports no clock: the design has no path between two registers")
    return round(min(float(clock["achieved"]) for clock in clocks.values()), 2)


def worst_path(report: Mapping[str, Any]) -> str:
    """Where the slowest path between two registers of one clock begins and ends."""
    slowest = (0.0, "")
    for path in report.get("critical_paths", []):
        if path["from"] == path["to"] and path["path"]:
            delay = sum(step["delay"] for step in path["path"])
            begin, end = path["path"][0]["from"], path["path"][-1]["to"]
            text = f"{begin['cell']}.{begin['port']} -> {end['cell']}.{end['port']}"
            slowest = max(slowest, (delay, text))
    return slowest[1]
