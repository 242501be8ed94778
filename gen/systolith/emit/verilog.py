"""Hierarchical Verilog: every distinct block is elaborated once and becomes one module."""

import io
from dataclasses import dataclass
from typing import Any

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil  # type: ignore[attr-defined]

from systolith.hierarchy import Block, Emission

__all__ = ["Design", "emit_design"]


@dataclass(frozen=True, kw_only=True)
class Design:
    """Emitted RTL.

    Parameters
    ----------
    top
        Name of the top module.
    rtlil
        All modules in Yosys' own language.
    modules
        Names of the modules, children first.
    leaves
        Modules that a technology back end may replace, with their parameters.
    """

    top: str
    rtlil: str
    modules: tuple[str, ...]
    leaves: tuple[dict[str, Any], ...]

    def verilog(self) -> str:
        """Verilog-2005 text of all modules, converted in one Yosys run."""
        yosys = find_yosys(lambda version: version >= (0, 40))
        script = "\n".join(("read_rtlil <<RTLIL_END", self.rtlil, "RTLIL_END", *_PASSES))
        text: str = yosys.run(["-q", "-"], script.replace("TOP", self.top), src_loc_at=1)
        return text[text.index("module ") :]


# Memories have no contents at power-up; names without a user only lengthen the text.
_PASSES = (
    "proc -norom",
    "delete t:$meminit_v2",
    "hierarchy -check -top TOP",
    "opt_clean -purge",
    "memory_collect",
    "attrmap -remove src -remove unused_bits -remove full_case -remove parallel_case",
    "attrmap -modattr -remove src -remove generator -remove top",
    "write_verilog -norename",
)


def emit_design(top: Block, prefix: str) -> Design:
    """Elaborate ``top`` and every block below it once, in the order of first use."""
    emission = Emission(prefix)
    emission.instance(top)
    name = f"{prefix}_{top.module_name}"
    done: dict[str, str] = {}
    while waiting := [n for n in emission.blocks if n not in done]:
        for module in waiting:
            block = emission.blocks[module]
            done[module] = rtlil.convert(block, name=module, platform=emission, emit_src=False)
    leaves = [
        {"module": module, **block.leaf}
        for module, block in sorted(emission.blocks.items())
        if block.leaf is not None
    ]
    text = io.StringIO()
    for module in reversed(done):
        text.write(done[module])
    return Design(
        top=name, rtlil=text.getvalue(), modules=tuple(reversed(done)), leaves=tuple(leaves)
    )
