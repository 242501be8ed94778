"""Scales that a command must not heed: of blocks of its group for which K leaves no rows."""

from collections.abc import Iterator, Mapping

from systolith.array.config import EngineConfig
from systolith.golden.images import Images
from systolith.perf.cycles import command_pair, stacked_blocks

__all__ = ["idle_scales", "stored_scales"]

Payload = dict[str, int]
Write = tuple[str, Payload]  # port, payload


def idle_scales(config: EngineConfig, command: Mapping[str, int]) -> list[Write]:
    """Writes of NaN to every scale that a legal ``command`` must not heed."""
    return list(_writes(config, command))


def stored_scales(images: Images, writes: list[Write]) -> list[Write]:
    """Writes to the same places of what they hold."""
    size = images.config.array.tile
    held = []
    for port, payload in writes:
        bands = (payload["row_mask"].bit_length() - 1, payload["col_mask"].bit_length() - 1)
        if port == "x_scale":
            data = int(images.x_scale[(*bands, payload["addr"])])
        else:
            lanes = images.w_scale[(*bands, payload["tile"], payload["addr"])]
            data = sum(int(lanes[k]) << 8 * k for k in range(size))
        held.append((port, {**payload, "data": data}))
    return held


def _writes(config: EngineConfig, command: Mapping[str, int]) -> Iterator[Write]:
    pair = command_pair(config, command)
    if pair is None or not pair.block:
        return
    array, m, block = config.array, command["m"], pair.block
    last, n_tiles = command["k_tiles"] - 1, command["n_tiles"]
    stacked = stacked_blocks(config, command, block)
    turns = [
        last * n_tiles + nt if command["n_inside"] else nt * command["k_tiles"] + last
        for nt in range(n_tiles)
    ]
    for idle in range(-(-command["k_last"] // block), stacked):
        # Scales belong to the lowest row band of their block.
        band = command["row"] + (idle + 1) * (1 << command["rows_log2"]) // stacked - 1
        for i in range(m):
            place = {"addr": command["x_base"] + last * m + i}
            masks = {"row_mask": 1 << band, "col_mask": 1 << command["col"]}
            yield "x_scale", {"data": 0xFF, **place, **masks}
        for j in range(1 << command["cols_log2"]):
            masks = {"row_mask": 1 << band, "col_mask": 1 << command["col"] + j}
            for tile in range(array.col_tiles):
                for turn in turns:
                    place = {"addr": command["w_base"] // array.band_rows + turn, "tile": tile}
                    yield "w_scale", {"data": (1 << 8 * array.tile) - 1, **place, **masks}
