"""Hierarchical Verilog: every distinct block is elaborated once and becomes one module."""

import importlib.metadata
import io
from dataclasses import dataclass
from typing import Any

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil

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

    def verilog(self, header: str = "") -> str:
        """Verilog-2005 text of all modules, converted in one Yosys run."""
        yosys = find_yosys(lambda version: version >= (0, 40))
        script = f"""
read_rtlil <<rtlil
{self.rtlil}
rtlil
proc -norom
delete t:$meminit_v2
hierarchy -check -top {self.top}
opt_clean -purge
memory_collect
attrmap -remove generator -remove src -tocase keep
attrmap -modattr -remove generator -remove src -remove top -remove amaranth.hierarchy
write_verilog -norename -noattr
"""
        text = yosys.run(["-q", "-"], script, src_loc_at=1)
        body = text[text.index("module ") :] if "module " in text else text
        return header + body


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


def generator_version() -> str:
    """Version of the generator, for provenance."""
    return importlib.metadata.version("systolith")
