"""FuseSoC core description (CAPI2)."""

from systolith.array.config import EngineConfig
from systolith.emit.description import generator_version

__all__ = ["fusesoc_core"]


def fusesoc_core(config: EngineConfig, top: str, verilog: str, waivers: str) -> str:
    """CAPI2 text for the emitted files."""
    return f"""CAPI=2:
name: systolith:engine:{config.name}:{generator_version()}
description: Splittable INT8 matrix engine {config.array.rows}x{config.array.cols}

filesets:
  rtl:
    files:
      - {verilog}
    file_type: verilogSource-2005
  lint:
    files:
      - {waivers}
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
