"""Measure the block-format cells: ``python tests/numerics_cost.py -o build/cells.json``.

Logic of one processing element's multiplier, aligner, adder and flags, without multiplier blocks,
and of one decoder of activations at the edge. ``slots`` counts a carry cell as the two lookup
tables whose place it takes.
"""

import argparse
import json
import re
import tempfile
from pathlib import Path

from systolith.emit.verilog import emit_design
from systolith.flow.tools import Deadline, find_tool, run_tool
from systolith.hierarchy import Block
from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.block_mac import BlockMac
from systolith.numerics.element import ElementDecode
from systolith.numerics.pairs import PAIRS, Pair, pair

__all__ = ["cells", "main", "table"]

_SYNTH = {"ecp5": "synth_ecp5 -nodsp", "ice40": "synth_ice40"}
_CELLS = {"ecp5": ("LUT4", "CCU2C"), "ice40": ("SB_LUT4", "SB_CARRY")}


def enabled(*left_out: str) -> tuple[Pair, ...]:
    """Every legal pair without the formats ``left_out``."""
    return tuple(p for p in PAIRS if not {p.x.name, p.w.name} & set(left_out))


BUILDS = {
    **{
        name: (pair(name, name),)
        for name in ("e2m1", "nvfp4", "int4", "int8", "e2m3", "e3m2", "e4m3", "e5m2", "mxint16")
    },
    "e4m3 x e2m1": (pair("e4m3", "e2m1"),),
    "all but e5m2, mxint16": enabled("e5m2", "mxint16"),
    "all but e5m2": enabled("e5m2"),
    "all": PAIRS,
}


def cells(block: Block, family: str, work: Path) -> tuple[int, int]:
    """Lookup tables and carry cells of a block."""
    design = emit_design(block, "cell")
    (work / "cell.il").write_text(design.rtlil)
    script = (
        f"read_rtlil cell.il; {_SYNTH[family]} -no-rw-check -top {design.top}; "
        "tee -o cell.stat stat"
    )
    run_tool(
        find_tool("yosys"),
        ["-q", "-p", script],
        work_dir=work,
        log=work / "cell.log",
        deadline=Deadline(600),
    )
    text = (work / "cell.stat").read_text()
    found = [re.findall(rf"(\d+)\s+{name}\b", text) for name in _CELLS[family]]
    return tuple(int(counts[-1]) if counts else 0 for counts in found)  # type: ignore[return-value]


def table(latency: int, work: Path) -> list[dict[str, object]]:
    """One row per build."""
    rows: list[dict[str, object]] = []
    for name, pairs in BUILDS.items():
        config = BlockMacConfig(pairs=pairs, latency=latency)
        lut, carry = cells(BlockMac(config), "ecp5", work)
        edge, edge_carry = cells(ElementDecode(config.x), "ecp5", work)
        small, small_carry = cells(BlockMac(config), "ice40", work)
        rows.append(
            {
                "formats": name,
                "sum bits": config.sum_bits,
                "accumulator bits": config.accumulator_bits,
                "x bits": config.x.bits,
                "w bits": config.w.bits,
                "ecp5 LUT4": lut,
                "ecp5 CCU2C": carry,
                "ecp5 slots": lut + 2 * carry,
                "ecp5 decoder slots": edge + 2 * edge_carry,
                "ice40 LUT4": small,
                "ice40 carry": small_carry,
            }
        )
    return rows


def main() -> None:
    """Measure, print a table and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("build/cells.json"))
    parser.add_argument("--latency", type=int, default=1, help="register stages before the adder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = table(arguments.latency, Path(name))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n")
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        print(
            "  ".join(
                str(value).rjust(max(len(key), 21 * (key == "formats")))
                for key, value in row.items()
            )
        )


if __name__ == "__main__":
    main()
