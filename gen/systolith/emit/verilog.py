"""Hierarchical Verilog: every distinct block is elaborated once and becomes one module."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
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


# Nothing relies on power-up values: state is reset, data is written before it is read. Names
# without a user only lengthen the text.
_PASSES = (
    "proc -norom",
    "delete t:$meminit_v2",
    "hierarchy -check -top TOP",
    "opt_clean -purge",
    "memory_collect",
    "attrmap -remove src -remove unused_bits -remove full_case -remove parallel_case -remove init",
    "attrmap -modattr -remove src -remove generator -remove top",
    "write_verilog",
)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Elaboration makes millions of small objects and no garbage: this halves its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def emit_design(top: Block, prefix: str) -> Design:
    """Elaborate ``top`` and every block below it once, in the order of first use."""
    emission = Emission(prefix)
    emission.instance(top)
    done: dict[str, str] = {}
    with _collector_paused():
        while waiting := [name for name in emission.blocks if name not in done]:
            for name in waiting:
                done[name] = rtlil.convert(
                    emission.blocks[name], name=name, platform=emission, emit_src=False
                )
    leaves = [
        {"module": name, **block.leaf}
        for name, block in sorted(emission.blocks.items())
        if block.leaf is not None
    ]
    modules = tuple(reversed(done))
    return Design(
        top=f"{prefix}_{top.module_name}",
        rtlil="".join(done[name] for name in modules),
        modules=modules,
        leaves=tuple(leaves),
    )
