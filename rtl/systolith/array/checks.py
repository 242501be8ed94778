"""What a command's fields say of its group, and whether they make sense."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.utils import bits_for, ceil_log2

from systolith.array.config import ArrayConfig, EngineConfig

__all__ = ["bad_group", "bad_shape", "group_bands", "memory_ends"]


def _sides(config: ArrayConfig, command: data.View) -> list[tuple[Value, Value, int]]:
    """In each direction: first band and log2 of the size of the group, bands of the array."""
    return [
        (command.row, command.rows_log2, config.row_bands),
        (command.col, command.cols_log2, config.col_bands),
    ]


def group_bands(
    m: Module, config: ArrayConfig, command: data.View
) -> tuple[list[Value], Value, Value]:
    """Size of the group in row and column bands; masks of its leftmost bands and of all of them."""
    sizes: list[Value] = []
    same, first = [], []
    for at, log2, bands in _sides(config, command):
        size = Signal(bits_for(bands), name=f"group_{len(sizes)}")
        m.d.comb += size.eq(1)
        for power in range(1, ceil_log2(bands) + 1):
            with m.If(log2 == power):
                m.d.comb += size.eq(1 << power)
        sizes.append(size)
        same.append([(at <= n) & (n < at + size) for n in range(bands)])
        first.append([at == n for n in range(bands)])
    pairs = [(i, j) for i in range(config.row_bands) for j in range(config.col_bands)]
    heads = Cat(same[0][i] & first[1][j] for i, j in pairs)
    return sizes, heads, Cat(same[0][i] & same[1][j] for i, j in pairs)


def bad_group(config: ArrayConfig, command: data.View) -> Value:
    """The group is larger than the array, outside it or not aligned to its own size."""
    wrong = []
    for at, log2, bands in _sides(config, command):
        wrong += [log2 > ceil_log2(bands), at >= bands]
        wrong += [
            (log2 == power) & ((at & ((1 << power) - 1)) != 0)
            for power in range(1, ceil_log2(bands) + 1)
        ]
    return Cat(wrong).any()


def bad_shape(config: ArrayConfig, command: data.View, sizes: list[Value]) -> Value:
    """A count is zero, or the last tile is larger than the group of ``sizes`` bands."""
    counts = (command.m, command.k_tiles, command.n_tiles, command.k_last, command.n_last)
    return (
        Cat(count == 0 for count in counts).any()
        | (command.k_last > sizes[0] * config.band_rows)
        | (command.n_last > sizes[1] * config.band_cols)
    )


def memory_ends(
    m: Module, config: EngineConfig, command: data.View, product: Value, step: Value
) -> Signal:
    """End of X, Y and W in their banks, in the steps after 2, 3 and 4.

    ``product`` is the number of words of X and Y and of tiles in those steps.
    """
    words = Signal(len(product) + ceil_log2(config.array.band_rows))
    base = Signal(max(config.x_width, config.y_width, config.w_width))
    end = Signal(len(words) + 1)
    m.d.comb += words.eq(product)
    with m.If(step[2]):
        m.d.comb += base.eq(command.x_base)
    with m.Elif(step[3]):
        m.d.comb += base.eq(command.y_base)
    with m.Else():
        m.d.comb += [
            base.eq(command.w_base),
            words.eq(product << ceil_log2(config.array.band_rows)),
        ]
    m.d.sync += end.eq(words + base)
    return end
