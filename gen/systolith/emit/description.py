"""What a design is, for machines: ports, fields, codes, sizes, cycle formulas, provenance."""

import hashlib
import importlib.metadata
from typing import Any

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import event_layout, ports
from systolith.array.readout import Readout
from systolith.compiler.split import legal_splits
from systolith.config.files import Config, to_dict, to_toml

__all__ = ["config_digest", "describe", "generator_version"]


def generator_version() -> str:
    """Version of the generator."""
    return importlib.metadata.version("systolith")


def config_digest(config: Config) -> str:
    """First 12 hex digits of the SHA-256 of the configuration's TOML text."""
    return hashlib.sha256(to_toml(config).encode()).hexdigest()[:12]


def _ports(config: EngineConfig) -> dict[str, Any]:
    described = {}
    for port in ports(config):
        fields, shift = [], 0
        for field in port.has(config):
            width = field.width(config)
            fields.append({"name": field.name, "bit": shift, "width": width, "doc": field.doc})
            shift += width
        described[port.name] = {
            "direction": "in" if port.to_engine else "out",
            "ready": port.waits,
            "width": shift,
            "doc": port.doc,
            "fields": fields,
        }
    return described


def describe(config: EngineConfig, top: str, leaves: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """Everything a host, a bench or a technology flow needs to know of the emitted design."""
    array = config.array
    return {
        "name": config.name,
        "top": top,
        "generator": {"name": "systolith", "version": generator_version()},
        "config": to_dict(config),
        "config_digest": config_digest(config),
        "clock": {"clk": "rising edge", "rst": "synchronous, active high"},
        "ports": _ports(config),
        "event": {
            "width": event_layout(config).size,
            "doc": "observation only: committed, start and done per band, slot of each done",
        },
        "codes": [{"value": int(c), "name": c.name, "meaning": c.meaning} for c in Code],
        "banks": {
            "x": {
                "count": array.bands * array.row_tiles,
                "words": config.memory.x_depth,
                "bits": array.tile * array.x_bits,
            },
            "w": {
                "count": array.bands * array.col_tiles,
                "words": config.memory.w_depth,
                "bits": array.tile * array.w_bits,
            },
            "y": {
                "count": array.bands * array.col_tiles,
                "words": config.memory.y_depth,
                "bits": array.tile * config.acc_width,
            },
        },
        "splits": [str(split) for split in legal_splits(array)],
        "cycles": {
            "form": "1 + (tiles - 1) * max(m, r, T) + m + D + rows + (cols - 1) + pipeline_cycles",
            "r": array.band_rows,
            "c": array.band_cols,
            "T": array.tile,
            "D": array.multiply_cycles,
            "pipeline_cycles": config.pipeline_cycles,
            "pipeline_stages": config.pipeline_stages,
            "accumulate_gap": config.accumulate_gap,
            "dispatch_cycles": config.dispatch_cycles,
            "read_latency": Readout.latency(config),
        },
        "leaves": list(leaves),
    }
