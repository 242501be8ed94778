"""FuseSoC core description (CAPI2)."""

from systolith.emit.description import generator_version

__all__ = ["fusesoc_core"]


def fusesoc_core(identity: str, description: str, top: str, name: str) -> str:
    """CAPI2 text for the emitted files ``name.v`` and ``name.vlt``."""
    return f"""CAPI=2:
name: {identity}:{generator_version()}
description: {description}

filesets:
  rtl:
    files:
      - {name}.v
    file_type: verilogSource-2005
  lint:
    files:
      - {name}.vlt
    file_type: vlt

targets:
  default:
    filesets: [rtl]
    toplevel: {top}
  lint:
    default_tool: verilator
    filesets: [rtl, lint]
    toplevel: {top}
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
"""
