"""The engine's host interface as one table; layouts, codecs, headers, documents derive from it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import bits_for, ceil_log2

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.packed import PackedArray, PackedStruct
from systolith.numerics.formats import Format
from systolith.numerics.lfsr import STATE_BITS

__all__ = [
    "PORTS",
    "Field",
    "Port",
    "decode",
    "encode",
    "event_layout",
    "layout",
    "port_signature",
    "ports",
    "tile_width",
]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a payload.

    Parameters
    ----------
    name
        Name in every language.
    width
        Bits, as a function of the configuration.
    doc
        Meaning and unit.
    when
        Whether an engine has the field.
    """

    name: str
    width: Callable[[EngineConfig], int]
    doc: str
    when: Callable[[EngineConfig], bool] = lambda _: True


@dataclass(frozen=True, kw_only=True)
class Port:
    """One valid/ready stream between host and engine; fields from bit 0 up.

    Parameters
    ----------
    name
        Prefix of ``__payload``, ``__valid`` and ``__ready``.
    to_engine
        Direction.
    waits
        Whether the receiver may refuse with ``ready``; otherwise there is no such signal.
    fields
        The payload, lowest bits first.
    doc
        What a transfer does.
    when
        Whether an engine has the port.
    """

    name: str
    to_engine: bool
    waits: bool = True
    fields: tuple[Field, ...]
    doc: str
    when: Callable[[EngineConfig], bool] = lambda _: True

    def has(self, config: EngineConfig) -> tuple[Field, ...]:
        """Fields that the port has in this engine."""
        return tuple(field for field in self.fields if field.when(config))


def _f(
    name: str,
    width: Callable[[EngineConfig], int],
    doc: str,
    when: Callable[[EngineConfig], bool] = lambda _: True,
) -> Field:
    return Field(name=name, width=width, doc=doc, when=when)


def _formats(config: EngineConfig) -> bool:
    return config.array.mac is not None


def _scaled(config: EngineConfig) -> bool:
    return config.scaled


def _form_width(forms: Sequence[Format]) -> int:
    return max(1, ceil_log2(len(forms))) if forms else 0


def tile_width(tiles: int) -> int:
    """Bits of the number of one of ``tiles`` tiles; at least one, so that the field exists."""
    return max(1, ceil_log2(tiles))


PORTS: tuple[Port, ...] = (
    Port(
        name="x_write",
        to_engine=True,
        doc="Writes T activations, K-neighbours of a row of X, into one bank of every masked band.",
        fields=(
            _f("data", lambda c: c.array.tile * c.array.x_bits, "T activations, lowest k first"),
            _f("addr", lambda c: c.x_width, "word of the bank"),
            _f("tile", lambda c: tile_width(c.array.row_tiles), "row tile within the band"),
            _f("row_mask", lambda c: c.array.row_bands, "row bands that take the word"),
            _f("col_mask", lambda c: c.array.col_bands, "column bands that take the word"),
        ),
    ),
    Port(
        name="w_write",
        to_engine=True,
        doc="Writes T weights, N-neighbours of one row of W, into one bank of every masked band.",
        fields=(
            _f("data", lambda c: c.array.tile * c.array.w_bits, "T weights, lowest n first"),
            _f("addr", lambda c: c.w_width, "word of the bank"),
            _f("tile", lambda c: tile_width(c.array.col_tiles), "column tile within the band"),
            _f("row_mask", lambda c: c.array.row_bands, "row bands that take the word"),
            _f("col_mask", lambda c: c.array.col_bands, "column bands that take the word"),
        ),
    ),
    Port(
        name="x_scale",
        to_engine=True,
        when=_scaled,
        doc="Writes the scale of one row of X for one block into every masked band.",
        fields=(
            _f("data", lambda c: 8, "code of the scale"),
            _f("addr", lambda c: c.x_width, "word of X whose K tile is the last one of the block"),
            _f("row_mask", lambda c: c.array.row_bands, "row bands that take it"),
            _f("col_mask", lambda c: c.array.col_bands, "column bands that take it"),
        ),
    ),
    Port(
        name="w_scale",
        to_engine=True,
        when=_scaled,
        doc="Writes the scales of T columns of W for one block into every masked band.",
        fields=(
            _f("data", lambda c: 8 * c.array.tile, "T codes of scales, lowest n first"),
            _f(
                "addr",
                lambda c: c.scale_width,
                "weight tile that ends the block: first word of its weights, divided by r",
            ),
            _f("tile", lambda c: tile_width(c.array.col_tiles), "column tile within the band"),
            _f("row_mask", lambda c: c.array.row_bands, "row bands that take the word"),
            _f("col_mask", lambda c: c.array.col_bands, "column bands that take the word"),
        ),
    ),
    Port(
        name="w_random",
        to_engine=True,
        when=lambda c: c.stochastic,
        doc="Writes the start state of the random bits of U columns for one block into every "
        "masked band.",
        fields=(
            _f("data", lambda c: STATE_BITS, "state of the block's seed, at the first column"),
            _f(
                "addr",
                lambda c: c.scale_width,
                "weight tile that ends the block, as in `w_scale`",
            ),
            _f(
                "tile",
                lambda c: tile_width(c.array.band_cols // c.unit_lanes),
                "which U columns of the band",
            ),
            _f("row_mask", lambda c: c.array.row_bands, "row bands that take the word"),
            _f("col_mask", lambda c: c.array.col_bands, "column bands that take the word"),
        ),
    ),
    Port(
        name="command",
        to_engine=True,
        doc="Runs one GEMM, all its tiles, on one group of bands.",
        fields=(
            _f("tag", lambda c: c.control.tag_width, "returned in the completion"),
            _f("row", lambda c: bits_for(c.array.row_bands - 1), "first row band of the group"),
            _f("col", lambda c: bits_for(c.array.col_bands - 1), "first column band of the group"),
            _f(
                "rows_log2",
                lambda c: bits_for(c.array.row_bands.bit_length()),
                "log2 of the row bands fused",
            ),
            _f(
                "cols_log2",
                lambda c: bits_for(c.array.col_bands.bit_length()),
                "log2 of the column bands fused",
            ),
            _f("m", lambda c: c.m_width, "rows of X"),
            _f("k_tiles", lambda c: c.tiles_width, "weight tiles along K"),
            _f("n_tiles", lambda c: c.tiles_width, "weight tiles along N"),
            _f("k_last", lambda c: bits_for(c.array.rows), "array rows used by the last K tile"),
            _f("n_last", lambda c: bits_for(c.array.cols), "array columns used by the last N tile"),
            _f(
                "x_base",
                lambda c: c.x_width,
                "first word of X; K tile t, row i at t * m + i",
            ),
            _f(
                "w_base",
                lambda c: c.w_width,
                "first word of W; r words a tile, tiles in running order",
            ),
            _f(
                "y_base",
                lambda c: c.y_width,
                "first word of Y; N tile t, row i at t * m + i",
            ),
            _f(
                "n_inside",
                lambda c: 1,
                "0: K tiles in the inner loop; 1: N tiles",
            ),
            _f("accumulate", lambda c: 1, "add to the stored results instead of overwriting them"),
            _f(
                "idle_only",
                lambda c: 1,
                "refuse rather than queue behind groups of another shape",
            ),
            _f(
                "follow",
                lambda c: bits_for(c.array.bands - 1),
                "commands that follow in this batch; a batch may start together",
            ),
            _f(
                "x_form",
                lambda c: _form_width(c.array.x_forms),
                "format of X: its place among those enabled",
                _formats,
            ),
            _f(
                "w_form",
                lambda c: _form_width(c.array.w_forms),
                "format of W: its place among those enabled",
                _formats,
            ),
        ),
    ),
    Port(
        name="completion",
        to_engine=False,
        doc="Reports one command, in the order of completion.",
        fields=(
            _f("tag", lambda c: c.control.tag_width, "of the command"),
            _f("code", lambda c: bits_for(max(Code)), "outcome, see the table of codes"),
        ),
    ),
    Port(
        name="y_request",
        to_engine=True,
        doc="Reads an accumulator word of the masked row bands; taken when none of them is in use.",
        fields=(
            _f("addr", lambda c: c.y_width, "word of the bank"),
            _f("tile", lambda c: tile_width(c.array.col_tiles), "column tile within the band"),
            _f("row_mask", lambda c: c.array.row_bands, "row bands to sum over"),
            _f("col", lambda c: tile_width(c.array.col_bands), "column band"),
            _f(
                "scaled",
                lambda c: 1,
                "1: binary32 results of block formats, of one row band; 0: int32, if there are any",
                _scaled,
            ),
        ),
    ),
    Port(
        name="y_data",
        to_engine=False,
        waits=False,
        doc="T sums over the masked row bands, a fixed time after the request. No ready.",
        fields=(
            _f(
                "data",
                lambda c: c.array.tile * c.acc_width,
                "T results, lowest n first: int32, or binary32 of block formats",
            ),
        ),
    ),
)


def ports(config: EngineConfig) -> tuple[Port, ...]:
    """Ports that the engine has."""
    return tuple(port for port in PORTS if port.when(config))


def _port(name: str) -> Port:
    return next(port for port in PORTS if port.name == name)


def layout(name: str, config: EngineConfig) -> data.StructLayout:
    """Layout of the payload of port ``name``."""
    return PackedStruct({f.name: f.width(config) for f in _port(name).has(config)})


def port_signature(shape: data.StructLayout, *, waits: bool = True) -> wiring.Signature:
    """Stream of ``shape``, seen from its source, with or without ``ready``."""
    if waits:
        return stream.Signature(shape)
    return wiring.Signature({"payload": Out(shape), "valid": Out(1)})


def event_layout(config: EngineConfig) -> data.StructLayout:
    """Layout of the observation port ``event``: bit ``i * s + j`` stands for band (i, j).

    ``taken``: a command, accepted in the end or not, is scheduled from this cycle on.
    ``start``: row 0 of a command's first tile is on this band's weight port. ``done``: the last
    result of ``slot`` is visible.
    """
    bands = config.array.bands
    slot = bits_for(config.control.outstanding - 1)
    return PackedStruct(
        {
            "taken": 1,
            "start": bands,
            "done": bands,
            "slot": PackedArray(slot, bands),
        }
    )


def encode(name: str, config: EngineConfig, values: Mapping[str, int]) -> int:
    """Payload of port ``name`` as an integer. Missing, unknown or oversized fields are refused."""
    fields = {f.name: f.width(config) for f in _port(name).has(config)}
    if set(values) != set(fields):
        wrong = sorted(set(values) ^ set(fields))
        raise ValueError(f"{name} takes exactly {', '.join(fields)}; check {', '.join(wrong)}")
    bits = shift = 0
    for field, width in fields.items():
        value = values[field]
        if not 0 <= value < 1 << width:
            raise ValueError(f"{name}.{field} must be in 0..{(1 << width) - 1}, not {value}")
        bits |= int(value) << shift
        shift += width
    return bits


def decode(name: str, config: EngineConfig, bits: int) -> dict[str, int]:
    """Fields of a payload of port ``name``."""
    values = {}
    for field in _port(name).has(config):
        width = field.width(config)
        values[field.name] = bits & ((1 << width) - 1)
        bits >>= width
    return values
