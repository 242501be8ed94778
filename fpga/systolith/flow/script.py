"""Yosys scripts: first read and replace leaves, then map to the family."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from systolith.flow.errors import FlowError
from systolith.memory.sram_backends import sram_verilog
from systolith.numerics.mac_backends import mac_verilog, multiplier_verilog

__all__ = ["elaborate_script", "leaf_verilog", "map_script", "ports"]

_SYNTH = {"ecp5": "synth_ecp5", "ice40": "synth_ice40"}
_BACKENDS = {"mac": mac_verilog, "multiplier": multiplier_verilog, "sram": sram_verilog}


def leaf_verilog(leaves: Iterable[Mapping[str, Any]], family: str) -> str:
    """Replacement modules of all leaves that have one for ``family``."""
    texts = []
    for leaf in leaves:
        if leaf["kind"] not in _BACKENDS:
            raise FlowError(
                f"leaf {leaf['module']}: kind must be one of {', '.join(_BACKENDS)}, "
                f"not {leaf['kind']!r}"
            )
        texts.append(_BACKENDS[leaf["kind"]](leaf, family))
    return "\n".join(text for text in texts if text is not None)


def elaborate_script(top: str, *, replace: bool) -> str:
    """``design.v`` with ``leaves.v`` over it, to ``design.il``.

    Going through RTLIL drops the parsed Verilog. Yosys would otherwise elaborate the top module
    again, after flattening, as soon as the library's blocks that it instantiates are read, and
    then fail because the modules below it are gone.
    """
    lines = ["read_verilog design.v"]
    if replace:
        lines.append("read_verilog -overwrite leaves.v")
    lines += [f"hierarchy -top {top}", "proc", "write_rtlil design.il"]
    return "\n".join([*lines, ""])


def map_script(top: str, family: str, *, core: str | None = None) -> str:
    """``design.il`` to ``netlist.json``.

    Parameters
    ----------
    top
        Module that becomes the design.
    family
        ``ecp5`` or ``ice40``.
    core
        Module inside ``wrapper.v`` whose boundary is kept, so that its cells can be counted and
        the wrapper is not optimised into it. None without a wrapper.
    """
    lines = ["read_rtlil design.il"]
    if core is not None:
        # The core was the top until here; two modules with that mark confuse later passes.
        lines += [
            "read_verilog wrapper.v",
            f"setattr -mod -unset top {core}",
            f"setattr -mod -set keep_hierarchy 1 {core}",
        ]
    lines.append(f"{_SYNTH[family]} -no-rw-check -top {top} -json netlist.json")
    return "\n".join([*lines, ""])


def ports(rtlil: str, module: str) -> dict[str, tuple[str, int]]:
    """Ports of ``module`` in RTLIL text: name to direction (``input``, ``output``) and bits."""
    inside = False
    found: dict[str, tuple[str, int]] = {}
    for line in rtlil.splitlines():
        if line.startswith("module "):
            inside = line.split()[1] == f"\\{module}"
        elif inside and line == "end":
            break
        elif inside and (
            match := re.fullmatch(
                r"\s*wire (?:width (\d+) )?(?:.*\s)?(input|output|inout) \d+ \\(\S+)", line
            )
        ):
            found[match[3]] = (match[2], int(match[1] or 1))
    if not found:
        raise FlowError(f"top must name a module with ports in the given Verilog, not {module!r}")
    return found
