"""P3 alignment and P5 reconfiguration: each result is the sum over the rows of its own group."""

from collections.abc import Iterable

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Value
from amaranth.utils import bits_for

from systolith.array.config import ArrayConfig, EngineConfig, MemoryConfig
from systolith.proofs.fabric import Fabric, Parts, late
from systolith.proofs.substitute import Mutant, free

__all__ = ["alignment", "alignment_config"]


def alignment_config(
    *,
    rows: int,
    cols: int,
    tile: int,
    mac_latency: int = 0,
    memory_latency: int = 1,
    longest: int = 2,
) -> EngineConfig:
    """2 x 2 bands; activations are single bits, weights 1.

    Jobs have up to ``longest`` tiles of up to ``longest`` rows.
    """
    return EngineConfig(
        name="alignment",
        array=ArrayConfig(
            rows=rows,
            cols=cols,
            row_bands=2,
            col_bands=2,
            tile=tile,
            act_width=2,
            weight_width=2,
            mac_latency=mac_latency,
        ),
        memory=MemoryConfig(
            x_depth=longest,
            w_depth=longest * (rows // 2),
            y_depth=longest,
            latency=memory_latency,
        ),
    )


def _expected(m: Module, parts: Parts) -> list[Value]:
    """Drive the memories; return what each band's accumulator command has to find.

    Every row command carries one free bit for each row of its band. The lowest bits of the
    returned values are the sum of the bits over the rows that the command uses, those of the
    bands above included while the command says that they are fused. The two highest are the fuse
    and whether the command came from the left.
    """
    config, array = parts.config, parts.config.array
    width = bits_for(array.rows)
    bits: list[Value] = []
    totals: list[Value] = []
    for n, sequencer in enumerate(parts.sequencers):
        word = free(m, array.band_rows, f"x_bits_{n}")
        rows = sequencer.rows
        total: Value = Const(0, width)
        if n >= array.col_bands:
            above = late(m, totals[n - array.col_bands], array.band_rows, f"above_{n}")
            total = Mux(rows.fuse, above, 0)
        for k in range(array.band_rows):
            total = total + (word[k] & (rows.rows > k))
        bits.append(word)
        totals.append((total)[:width])
    parts.drive_x(m, bits, lanes=True)
    parts.drive_w(m, [Const(1, array.weight_width) for _ in bits])

    commands = [
        late(m, Cat(total, s.rows.fuse), config.acc_delay, f"result_{n}")
        for n, (total, s) in enumerate(zip(totals, parts.sequencers, strict=True))
    ]
    from_left = [u.left_y.valid for u in parts.units]
    marched = parts.marched(m, commands, from_left, "y_command")
    return [Cat(word, left) for word, left in zip(marched, from_left, strict=True)]


def _state(m: Module, parts: Parts) -> None:
    config, array = parts.config, parts.config.array
    width = bits_for(array.rows)
    for queue in parts.queues:  # sums are looked at one by one, so nothing is added to them
        k_end = Mux(queue.job.n_inside, queue.job.outer_end, queue.job.inner_end)
        m.d.comb += [Assume(~queue.job.accumulate), Assume(k_end == 0)]
    for n, word in enumerate(_expected(m, parts)):
        for t in range(array.col_tiles):
            tile = n * array.col_tiles + t
            # The first lane writes this long after its command, each other a cycle later.
            delay = 1 + config.memory.latency + config.sum_registers
            expected = late(m, word, t * array.tile + delay, f"expected_{n}_{t}")
            valid = late(m, parts.sums[tile].command.valid, delay, f"valid_{n}_{t}")
            for lane in range(array.tile):
                written = parts.y_banks[tile * array.tile + lane].w_data
                m.d.comb += Assert(~valid | (written == expected[:width]))
                expected = late(m, expected, 1, f"expected_{n}_{t}_{lane}")
                valid = late(m, valid, 1, f"valid_{n}_{t}_{lane}")
    for unit, sequencer in zip(parts.units, parts.sequencers, strict=True):
        m.d.comb += Assert(~(unit.left_y.valid & sequencer.y.valid))

    # The last band gives results in successive cycles: under one split, or under two.
    split = expected[width:]
    before = late(m, Cat(valid, split), 1, "before")
    for old, new in [(n, n) for n in range(4)] + [(0, 3), (3, 0), (1, 2), (2, 1)]:
        m.d.comb += Cover(valid & before[0] & (before[1:] == old) & (split == new))


def alignment(config: EngineConfig, mutants: Iterable[Mutant] = ()) -> str:
    """P3 and P5: each result is the sum over its group's rows of its own row of X.

    With every job another split, which changes between two tiles without a drain. A run of one
    split is one of those runs, so one statement is both properties.
    """
    return Fabric(config, _state).rtlil(mutants)
