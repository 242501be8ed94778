"""Leaves as the generator emits and describes them, for the tests of their replacements."""

from pathlib import Path
from typing import Any

from amaranth.back import verilog

from systolith.flow.run import synthesize
from systolith.memory.sram import Sram
from systolith.numerics.mac import MacCell
from systolith.numerics.multiplier import Multiplier

__all__ = ["build", "mac_leaf", "multiplier_leaf", "portable", "sram_leaf"]

_BLOCKS = {"mac": MacCell, "multiplier": Multiplier, "sram": Sram}


def mac_leaf(latency: int, *, a: int = 8, b: int = 8, module: str = "mac") -> dict[str, Any]:
    return {"kind": "mac", "module": module, "a_width": a, "b_width": b, "latency": latency}


def multiplier_leaf(a: int, b: int, *, module: str = "multiplier") -> dict[str, Any]:
    return {"kind": "multiplier", "module": module, "a_width": a, "b_width": b}


def sram_leaf(
    depth: int,
    width: int,
    *,
    lanes: int = 1,
    latency: int = 2,
    clears: bool = False,
    module: str = "sram",
) -> dict[str, Any]:
    sizes = {"depth": depth, "width": width, "lanes": lanes, "latency": latency, "clears": clears}
    return {"kind": "sram", "module": module, **sizes}


def portable(leaf: dict[str, Any]) -> str:
    """The leaf as the generator emits it."""
    sizes = {k: v for k, v in leaf.items() if k not in ("kind", "module")}
    return verilog.convert(_BLOCKS[leaf["kind"]](**sizes), name=leaf["module"], emit_src=False)


def build(leaf: dict[str, Any], board: Any, folder: Path) -> dict[str, int]:
    """Cells of one leaf, replaced and mapped."""
    source = folder / "leaf.v"
    source.write_text(portable(leaf))
    work = folder / "work"
    report = synthesize([source], [leaf], leaf["module"], board, work, route=False)
    return report.cells
