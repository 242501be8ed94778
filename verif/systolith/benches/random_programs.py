"""Programs that stress the engine: random GEMMs, groups, splits, gaps and illegal commands."""

import numpy as np

from systolith.array.config import EngineConfig
from systolith.benches.program import Program
from systolith.compiler.split import Split, legal_splits

__all__ = ["fill_memories", "random_program"]


def fill_memories(program: Program, rng: np.random.Generator) -> None:
    """Random operands in every bank word, different in every band."""
    a, memory = program.config.array, program.config.memory
    for stream, depth, tiles in (
        ("x_write", memory.x_depth, a.row_tiles),
        ("w_write", memory.w_depth, a.col_tiles),
    ):
        words = rng.integers(-128, 128, (a.row_bands, a.col_bands, tiles, depth, a.tile))
        words = words.astype(np.int8)
        program.send(
            stream,
            (
                {
                    "data": int.from_bytes(words[i, j, t, n].tobytes(), "little"),
                    "addr": n,
                    "tile": t,
                    "row_mask": 1 << i,
                    "col_mask": 1 << j,
                }
                for i in range(a.row_bands)
                for j in range(a.col_bands)
                for t in range(tiles)
                for n in range(depth)
            ),
        )


def _command(config: EngineConfig, split: Split, rng: np.random.Generator) -> dict[str, int]:
    a, memory = config.array, config.memory
    groups = split.groups(a)
    group = groups[rng.integers(len(groups))]
    m = int(rng.integers(1, 2 * a.band_rows + 3))
    k_tiles, n_tiles = (int(v) for v in rng.integers(1, 4, 2))
    rows, cols = group.rows(a), group.cols(a)

    while k_tiles * n_tiles > config.max_tiles:
        k_tiles, n_tiles = (int(v) for v in rng.integers(1, 4, 2))

    def base(depth: int, need: int) -> int:
        # Often the same place, so that commands meet their predecessors' results.
        return 0 if rng.random() < 0.5 or need > depth else int(rng.integers(depth - need + 1))

    return {
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
    name = list(last)[rng.integers(len(last))]
    command[name] = last[name]
    if name in ("x_base", "y_base"):
        command["m"] = max(command["m"], 2)


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
    follow = 0
    for _ in range(commands):
        if resplit:
            split = splits[rng.integers(len(splits))]
        command = _command(config, split, rng)
        if rng.random() < illegal:
            _spoil(command, config, rng)
        if follow:
            follow -= 1
        elif rng.random() < 0.3:
            follow = int(rng.integers(0, config.array.bands))
        command["follow"] = follow
        program.command(command)
        if rng.random() < 0.2:
            program.idle(int(rng.integers(1, 40)))
    program.drain()
    program.read_all()
    return program
