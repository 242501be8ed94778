"""Programs that stress the engine: random GEMMs, groups, splits, gaps and illegal commands."""

from typing import Any

import numpy as np
from amaranth.utils import ceil_log2
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.benches.idle_scales import idle_scales, stored_scales
from systolith.benches.program import Program
from systolith.benches.random_codes import random_codes, random_scales
from systolith.compiler.split import Split, legal_splits
from systolith.numerics.pairs import Pair

__all__ = ["fill_memories", "random_program"]


def fill_memories(program: Program, rng: np.random.Generator) -> None:
    """Random operands in every bank word, different in every band."""
    config = program.config
    a, memory = config.array, config.memory
    for stream, depth, tiles, bits in (
        ("x_write", memory.x_depth, a.row_tiles, a.x_bits),
        ("w_write", memory.w_depth, a.col_tiles, a.w_bits),
    ):
        shape = (a.row_bands, a.col_bands, tiles, depth, a.tile)
        if a.mac is None:
            words: NDArray[Any] = rng.integers(-128, 128, shape).astype(np.int8)
        else:
            side = a.mac.x if stream == "x_write" else a.mac.w
            words = random_codes(rng, side.formats, shape)
        _send(program, stream, words, bits)
    if config.scaled:
        forms = {pair.x.scale for pair in config.block_pairs}
        shape = (a.row_bands, a.col_bands, 1, memory.x_depth, 1)
        _send(program, "x_scale", random_scales(rng, forms, shape), 8)
        shape = (a.row_bands, a.col_bands, a.col_tiles, config.max_tiles, a.tile)
        _send(program, "w_scale", random_scales(rng, forms, shape), 8)
    if config.stochastic:
        stages = a.band_cols // config.unit_lanes
        states = rng.integers(0, 1 << 32, (a.row_bands, a.col_bands, stages, config.max_tiles, 1))
        _send(program, "w_random", states, 32)


def _send(program: Program, stream: str, words: NDArray[Any], bits: int) -> None:
    """Write [row bands, col bands, tiles, words, lanes] of ``bits`` each."""
    mask = (1 << bits) - 1
    row_bands, col_bands, tiles, depth, lanes = words.shape
    program.send(
        stream,
        (
            {
                "data": sum(
                    (int(words[i, j, t, n, lane]) & mask) << lane * bits for lane in range(lanes)
                ),
                "addr": n,
                **({} if stream == "x_scale" else {"tile": t}),
                "row_mask": 1 << i,
                "col_mask": 1 << j,
            }
            for i in range(row_bands)
            for j in range(col_bands)
            for t in range(tiles)
            for n in range(depth)
        ),
    )


def _tiles(config: EngineConfig, rng: np.random.Generator, k_most: int = 3) -> tuple[int, int]:
    """Numbers of tiles along K and N; K of up to ``k_most``, as far as a command can have them."""
    while True:
        k_tiles, n_tiles = (int(v) for v in rng.integers(1, [k_most + 1, 4]))
        if k_tiles * n_tiles <= config.max_tiles:
            return k_tiles, n_tiles


def _command(
    config: EngineConfig, split: Split, rng: np.random.Generator, pair: Pair | None
) -> dict[str, int]:
    a, memory = config.array, config.memory
    groups = split.groups(a)
    group = groups[rng.integers(len(groups))]
    m = int(rng.integers(1, 2 * a.band_rows + 3))
    k_tiles, n_tiles = (int(v) for v in rng.integers(1, 4, 2))
    rows, cols = group.rows(a), group.cols(a)
    passes = max(1, pair.block // rows) if pair else 1

    while k_tiles * n_tiles > config.max_tiles:
        k_tiles, n_tiles = (int(v) for v in rng.integers(1, 4, 2))
    if passes > 1 and rng.random() < 0.8:  # several blocks, the last one mostly short
        k_tiles, n_tiles = _tiles(config, rng, min(3 * passes + 1, config.max_tiles))
        m = min(m, max(1, memory.x_depth // k_tiles))

    def base(depth: int, need: int) -> int:
        # Often the same place, so that commands meet their predecessors' results.
        return 0 if rng.random() < 0.5 or need > depth else int(rng.integers(depth - need + 1))

    command = {
        "tag": 0,
        "row": group.row,
        "col": group.col,
        "rows_log2": group.row_bands.bit_length() - 1,
        "cols_log2": group.col_bands.bit_length() - 1,
        "m": m,
        "k_tiles": k_tiles,
        "n_tiles": n_tiles,
        "k_last": int(rng.integers(1, rows + 1)),
        "n_last": int(rng.integers(1, cols + 1)),
        "x_base": base(memory.x_depth, k_tiles * m),
        "w_base": base(memory.w_depth, k_tiles * n_tiles * a.band_rows),
        "y_base": base(memory.y_depth, n_tiles * m),
        "n_inside": int(rng.integers(2)),
        "accumulate": int(rng.integers(2)),
        "idle_only": 0,
        "follow": 0,
    }
    if pair and pair.block and passes * pair.passes > 1:
        command["n_inside"] = 0
    if a.mac and pair:
        command["x_form"] = a.mac.x.formats.index(pair.x)
        command["w_form"] = a.mac.w.formats.index(pair.w)
    return command


def _spoil(command: dict[str, int], config: EngineConfig, rng: np.random.Generator) -> None:
    """Make a command illegal in one of the ways that its fields can express."""
    a = config.array
    last = {
        "x_base": config.memory.x_depth - 1,
        "w_base": config.memory.w_depth - 1,
        "y_base": config.memory.y_depth - 1,
        "m": 0,
        "k_tiles": 0,
        "n_tiles": 0,
        "k_last": 0,
        "n_last": 0,
        "rows_log2": a.row_bands.bit_length(),
    }
    if a.mac:
        # Not illegal in every engine; the golden model knows. As likely as all others together.
        widths = {"x_form": len(a.mac.x.formats), "w_form": len(a.mac.w.formats)}
        forms = {
            name: int(rng.integers(1 << max(1, ceil_log2(count)))) for name, count in widths.items()
        }
        if rng.random() < 0.5:
            command.update(forms)
            command["n_inside"] = int(rng.integers(2))
            return
    name = list(last)[rng.integers(len(last))]
    command[name] = last[name]
    if name in ("x_base", "y_base"):
        command["m"] = max(command["m"], 2)


def _taller(config: EngineConfig, pair: Pair) -> list[Split]:
    """Splits whose groups are taller than a block, so that several lie one below the other."""
    rows = config.array.rows
    if not config.array.band_rows <= pair.block < rows:
        return []
    return [s for s in legal_splits(config.array) if rows // s.row_groups > pair.block]


def _run(program: Program, command: dict[str, int], rng: np.random.Generator) -> None:
    """Send ``command``; now and then with NaN for the scales that it must not heed.

    Other commands need those: so long it has the engine to itself.
    """
    legal = program.golden.check(command) is Code.OK
    idle = idle_scales(program.config, command) if legal else []
    if not idle or rng.random() < 0.5:
        program.command(command)
        return
    before = stored_scales(program.golden, idle)
    program.drain()
    for port, payload in idle:
        program.send(port, [payload])
    program.command(command)
    program.drain()
    for port, payload in before:
        program.send(port, [payload])


def random_program(
    config: EngineConfig, *, seed: int, commands: int, resplit: bool = True, illegal: float = 0.1
) -> Program:
    """Fill the memories, run commands back to back or with gaps, read everything back.

    Parameters
    ----------
    config
        The engine.
    seed
        Of all choices.
    commands
        How many.
    resplit
        Choose a new split for every command; otherwise one for the program.
    illegal
        Share of commands that are made illegal.
    """
    rng = np.random.default_rng(seed)
    program = Program(config)
    program.initialise()
    fill_memories(program, rng)
    splits = legal_splits(config.array)
    split = splits[rng.integers(len(splits))]
    pairs = config.array.pairs
    follow = 0
    for _ in range(commands):
        pair = pairs[rng.integers(len(pairs))] if pairs else None
        if resplit:
            usable = splits
            if pair and rng.random() < 0.3:
                usable = _taller(config, pair) or splits
            split = usable[rng.integers(len(usable))]
        command = _command(config, split, rng, pair)
        if rng.random() < illegal:
            _spoil(command, config, rng)
        if follow:
            follow -= 1
        elif rng.random() < 0.3:
            follow = int(rng.integers(0, config.array.bands))
        command["follow"] = follow
        _run(program, command, rng)
        if rng.random() < 0.2:
            program.idle(int(rng.integers(1, 40)))
    program.drain()
    program.read_all()
    return program
