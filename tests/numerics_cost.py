"""Measure the block-format cells: ``python tests/numerics_cost.py``.

Writes the package data behind ``systolith numerics`` and prints the rows of docs/numerics.md.

A cell is one processing element's multiplier, aligner, adder and flags without multiplier blocks;
its operands come decoded from the edge of the array. ``alone`` is what other designs call a
multiply-accumulate unit: both decoders, the cell and the accumulator's register, codes to sum in
one cycle.
"""

import argparse
import importlib.metadata
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from systolith.cli.numerics import CELLS
from systolith.emit.verilog import emit_design
from systolith.flow.tools import Deadline, find_tool, run_tool
from systolith.hierarchy import Block
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac
from systolith.numerics.element import ElementDecode
from systolith.numerics.pairs import PAIRS, Pair, pair

__all__ = [
    "BOUNDS",
    "BUILDS",
    "FLOWS",
    "cells",
    "comparison",
    "main",
    "markdown",
    "measure",
    "tools",
]

FLOWS = {"ecp5": "synth_ecp5 -nodsp", "ice40": "synth_ice40"}
_CELLS = {
    "ecp5": {"lut4": "LUT4", "ccu2c": "CCU2C", "ff": "TRELLIS_FF"},
    "ice40": {"lut4": "SB_LUT4", "carry": "SB_CARRY", "ff": r"SB_DFF\w*"},
}
BOUNDS = {"e2m1": (75, 16), "int8": (311, 19), "e4m3": (240, 28), "e5m2": (300, 47)}
"""LUT4 that a unit alone must not exceed; CCU2C of the estimate the bound comes from."""

_LATENCY = 1  # of the cells in the array


def enabled(*left_out: str) -> tuple[Pair, ...]:
    """Every legal pair without the formats ``left_out``."""
    return tuple(p for p in PAIRS if not {p.x.name, p.w.name} & set(left_out))


BUILDS = {
    **{
        name: (pair(name, name),)
        for name in (
            *("int8", "int4", "mxint8", "mxint16"),
            *("e4m3", "e5m2", "e3m2", "e2m3", "e2m1", "nvfp4"),
        )
    },
    "mxint8 x e2m1": (pair("mxint8", "e2m1"),),
    "e4m3 x e2m1": (pair("e4m3", "e2m1"),),
    "all but e5m2, mxint16": enabled("e5m2", "mxint16"),
    "all but e5m2": enabled("e5m2"),
    "all": PAIRS,
}


class Alone(Block):
    """Multiply-accumulate unit from codes: decoders, cell, and a register that takes the sum."""

    def __init__(self, config: BlockMacConfig) -> None:
        self.mac = BlockMac(config)
        self.latency = 1
        self.decoders = {side: ElementDecode(getattr(config, side)) for side in "xw"}
        inputs = {
            f"{side}_{name}": In(member.shape)
            for side, decoder in self.decoders.items()
            for name, member in decoder.signature.members.items()
            if name != "element"
        }
        super().__init__({**inputs, "clear": In(1), "sum": Out(self.mac.s.shape().size)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.mac = self.mac
        for side, decoder in self.decoders.items():
            m.submodules[f"decode_{side}"] = decoder
            for name in decoder.signature.members:
                if name == "element":
                    m.d.comb += getattr(self.mac, side).eq(decoder.element)
                else:
                    m.d.comb += getattr(decoder, name).eq(getattr(self, f"{side}_{name}"))
        total = Signal(len(self.sum), reset_less=True)
        m.d.comb += [self.mac.n.as_value().eq(total), self.sum.eq(total)]
        m.d.sync += total.eq(self.mac.s.as_value())
        with m.If(self.clear):
            m.d.sync += total.eq(0)
        return m


def cells(block: Block, family: str, work: Path) -> dict[str, int]:
    """Lookup tables, carry cells and flip-flops of a block."""
    design = emit_design(block, "cell")
    (work / "cell.il").write_text(design.rtlil)
    script = (
        f"read_rtlil cell.il; {FLOWS[family]} -no-rw-check -top {design.top}; tee -o cell.stat stat"
    )
    run_tool(
        find_tool("yosys"),
        ["-q", "-p", script],
        work_dir=work,
        log=work / "cell.log",
        deadline=Deadline(600),
    )
    text = (work / "cell.stat").read_text()
    return {
        key: sum(int(n) for n in re.findall(rf"^\s*(\d+)\s+{name}$", text, flags=re.MULTILINE))
        for key, name in _CELLS[family].items()
    }


def measure(name: str, work: Path) -> dict[str, Any]:
    """Measure one build."""
    config = BlockMacConfig(pairs=BUILDS[name], latency=_LATENCY)
    single = BlockMacConfig(pairs=BUILDS[name], latency=0)
    return {
        "name": name,
        "x_formats": [form.name for form in config.x.formats],
        "w_formats": [form.name for form in config.w.formats],
        "x_bits": config.x.bits,
        "w_bits": config.w.bits,
        "sum_bits": config.sum_bits,
        "accumulator_bits": config.accumulator_bits,
        "latency": _LATENCY,
        "ecp5": cells(BlockMac(config), "ecp5", work),
        "ice40": cells(BlockMac(config), "ice40", work),
        "x_decoder": cells(ElementDecode(config.x), "ecp5", work),
        "w_decoder": cells(ElementDecode(config.w), "ecp5", work),
        "alone": cells(Alone(single), "ecp5", work),
    }


def tools() -> dict[str, str]:
    """Versions of what decides the figures."""
    return {
        "amaranth": importlib.metadata.version("amaranth"),
        "yosys": find_tool("yosys").version,
    }


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of the table in docs/numerics.md."""
    lines = []
    for r in rows:
        figures = [
            *(r["x_bits"], r["w_bits"], r["sum_bits"]),
            *(f"{r[part]['lut4']} + {r[part]['ccu2c']}" for part in ("ecp5", "alone")),
            f"{r['ice40']['lut4']}",
            *(f"{r[part]['lut4']} + {r[part]['ccu2c']}" for part in ("x_decoder", "w_decoder")),
        ]
        label = re.sub(r"\w*\d\w*", r"`\g<0>`", r["name"])
        lines.append(f"| {label} | {' | '.join(map(str, figures))} |")
    return lines


def comparison(rows: list[dict[str, Any]]) -> list[str]:
    """Rows of the table of bounds in docs/numerics.md; a carry cell has the place of two LUT4."""
    alone = {row["name"]: row["alone"] for row in rows}
    lines = []
    for name, (lut, carry) in BOUNDS.items():
        used, chained = alone[name]["lut4"], alone[name]["ccu2c"]
        places = f"{used + 2 * chained}, {lut + 2 * carry}"
        lines.append(f"| `{name}` | {used} | {lut} | {chained} | {carry} | {places} |")
    return lines


def main() -> None:
    """Measure, write, print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).parents[1] / "gen/systolith/cli" / CELLS
    parser.add_argument("-o", "--output", type=Path, default=default)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = [measure(name, Path(work)) for name in BUILDS]
    result = {"tools": tools(), "flows": FLOWS, "cells": rows}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("\n".join([*markdown(rows), "", *comparison(rows)]))


if __name__ == "__main__":
    main()
