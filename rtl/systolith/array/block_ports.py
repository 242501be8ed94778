"""Ports that units and rows of units have with a stage B."""

from typing import Any

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.array.chain import from_chain, to_chain
from systolith.array.config import EngineConfig
from systolith.array.layouts import block_row
from systolith.array.packed import PackedArray
from systolith.numerics.lfsr import STATE_BITS

__all__ = ["row_block_ports", "unit_block_ports"]


def unit_block_ports(config: EngineConfig) -> dict[str, Any]:
    """Of one band, see :class:`systolith.array.unit.BandUnit`."""
    if not config.scaled:
        return {}
    return {
        "left_block": In(block_row(config)),
        "right_block": Out(block_row(config)),
        **_shared(config, config.array.band_cols // config.unit_lanes),
    }


def row_block_ports(config: EngineConfig) -> dict[str, Any]:
    """Of a row of bands: writes name the column bands that take them."""
    if not config.scaled:
        return {}
    cols = config.array.col_bands
    return {
        **_shared(config, config.array.cols // config.unit_lanes),
        "x_scale_cols": In(cols),
        "w_scale_cols": In(cols),
        **({"w_random_cols": In(cols)} if config.stochastic else {}),
    }


def _shared(config: EngineConfig, stages: int) -> dict[str, Any]:
    array = config.array
    found: dict[str, Any] = {
        "x_scale": In(_write_signature(config.x_width, 8, 1)),
        "w_scale": In(_write_signature(config.scale_width, 8 * array.tile, array.col_tiles)),
        "read_scaled": In(1),
        "read_pick_scaled": In(array.tile),
    }
    if config.stochastic:  # an enable for each stage B of a band
        enables = array.band_cols // config.unit_lanes
        found["w_random"] = In(_write_signature(config.scale_width, STATE_BITS, enables))
    if config.chained:
        found["to_chain"] = Out(PackedArray(to_chain(config), stages))
        found["from_chain"] = In(PackedArray(from_chain(config), stages))
    return found


def _write_signature(addr: int, bits: int, enables: int) -> wiring.Signature:
    return wiring.Signature({"en": Out(enables), "addr": Out(addr), "data": Out(bits)})
