"""Geometry of the array: what its bands, tiles and elements are."""

from functools import cached_property
from typing import Annotated, Literal

from amaranth.utils import ceil_log2
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from systolith.numerics.block_config import BlockMacConfig
from systolith.numerics.formats import FORMATS, Format, lookup
from systolith.numerics.pairs import PAIRS, Pair

__all__ = ["STRICT", "ArrayConfig", "FormatsConfig", "power_of_two"]

STRICT = ConfigDict(extra="forbid")
"""Unknown keys are refused."""

_Count = Annotated[int, Field(strict=True, ge=1)]


def power_of_two(owner: object, *names: str) -> None:
    """Refuse attributes of ``owner`` that are no power of two."""
    for name in names:
        value = getattr(owner, name)
        if value < 1 or value & (value - 1):
            raise ValueError(f"{name} must be a power of two, not {value}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FormatsConfig:
    """Number formats that the processing elements multiply.

    Parameters
    ----------
    acts, weights
        Names of operand formats; every legal pair of them is enabled.
    limit
        Most bits that the exact sum of a block may take.
    unit_lanes
        Columns that share a unit of stage B, a power of two from the tile's edge to a band's
        columns; by default as many as cost no cycles while every band runs alone.
    frac, rounding
        Fraction bits that the accumulators of block formats keep, 23 for binary32, and how their
        sums are rounded: "rne" to nearest, "rz" toward zero, "sr" stochastically.
    """

    acts: tuple[str, ...]
    weights: tuple[str, ...]
    limit: Annotated[int, Field(strict=True, ge=1)] = 80
    unit_lanes: Annotated[int, Field(strict=True, ge=1)] | None = None
    frac: Annotated[int, Field(strict=True, ge=1, le=23)] = 23
    rounding: Literal["rne", "rz", "sr"] = "rne"

    @model_validator(mode="after")
    def _check(self) -> "FormatsConfig":
        for side, names, partners in (
            ("acts", self.acts, self.weights),
            ("weights", self.weights, self.acts),
        ):
            if not names or len(set(names)) != len(names):
                raise ValueError(f"{side} must name one or more formats, each once, not {names!r}")
            for name in names:
                if name not in FORMATS or not FORMATS[name].operand:
                    known = ", ".join(form.name for form in FORMATS.values() if form.operand)
                    raise ValueError(f"{side} must be among {known}, not {name!r}")
                if not any(
                    lookup(name).family == FORMATS[p].family for p in partners if p in FORMATS
                ):
                    raise ValueError(
                        f"{side}: {name!r} has no partner of its family among {', '.join(partners)}"
                    )
        widest = max(self.pairs, key=lambda p: p.block_bits)
        if widest.block_bits > self.limit:
            raise ValueError(
                f"limit must be at least {widest.block_bits} bits, the exact sum of a block of "
                f"{widest.name}, not {self.limit}"
            )
        return self

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The enabled pairs."""
        return tuple(p for p in PAIRS if p.x.name in self.acts and p.w.name in self.weights)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ArrayConfig:
    """Geometry of the splittable weight-stationary array.

    Parameters
    ----------
    rows, cols
        Processing elements along K (``R``) and N (``C``).
    row_bands, col_bands
        Bands that can run alone (``b`` and ``s``); a band is ``r = R/b`` by ``c = C/s`` elements.
    tile
        Edge ``T`` of the square tiles that a band is built from: the lanes of one memory bank.
    act_width, weight_width
        Bits of the two's-complement operands of an array of plain integers.
    formats
        Number formats in place of plain integers of those widths.
    mac_latency
        Register stages between a multiplier's operands and its product.
    """

    rows: _Count
    cols: _Count
    row_bands: _Count = 1
    col_bands: _Count = 1
    tile: _Count = 1
    act_width: Annotated[int, Field(strict=True, ge=2, le=16)] = 8
    weight_width: Annotated[int, Field(strict=True, ge=2, le=16)] = 8
    mac_latency: Annotated[int, Field(strict=True, ge=0, le=4)] = 1
    formats: FormatsConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "ArrayConfig":
        power_of_two(self, "rows", "cols", "row_bands", "col_bands", "tile")
        for bands, lanes in (("row_bands", "rows"), ("col_bands", "cols")):
            if getattr(self, bands) > getattr(self, lanes):
                raise ValueError(
                    f"{bands} must be at most {lanes} = {getattr(self, lanes)}, "
                    f"not {getattr(self, bands)}"
                )
        if self.tile > min(self.band_rows, self.band_cols):
            raise ValueError(
                f"tile must be at most the shorter side of a band, "
                f"{min(self.band_rows, self.band_cols)}, not {self.tile}"
            )
        shared = self.formats.unit_lanes if self.formats else None
        if shared is not None and (
            shared & (shared - 1) or not self.tile <= shared <= self.band_cols
        ):
            raise ValueError(
                f"formats.unit_lanes must be a power of two from tile = {self.tile} to the columns "
                f"of a band, {self.band_cols}, not {shared}"
            )
        return self

    @property
    def band_rows(self) -> int:
        """Rows of one band, ``r``."""
        return self.rows // self.row_bands

    @property
    def band_cols(self) -> int:
        """Columns of one band, ``c``."""
        return self.cols // self.col_bands

    @property
    def row_tiles(self) -> int:
        """Tiles down one band."""
        return self.band_rows // self.tile

    @property
    def col_tiles(self) -> int:
        """Tiles across one band."""
        return self.band_cols // self.tile

    @property
    def bands(self) -> int:
        """Bands in all."""
        return self.row_bands * self.col_bands

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Enabled pairs of formats; none without :attr:`formats`."""
        return self.formats.pairs if self.formats else ()

    @cached_property
    def mac(self) -> BlockMacConfig | None:
        """Cell of the enabled formats; None for plain integers."""
        if not self.formats:
            return None
        return BlockMacConfig(
            pairs=self.pairs,
            rows=self.rows,
            limit=self.formats.limit,
            latency=self.mac_latency,
        )

    @cached_property
    def x_forms(self) -> tuple[Format, ...]:
        """Formats of X in the order of the command's selector."""
        return self.mac.x.formats if self.mac else ()

    @cached_property
    def w_forms(self) -> tuple[Format, ...]:
        """Formats of W in the order of the command's selector."""
        return self.mac.w.formats if self.mac else ()

    @cached_property
    def x_bits(self) -> int:
        """Bits of an activation in memory."""
        return self.mac.x.code_bits if self.mac else self.act_width

    @cached_property
    def w_bits(self) -> int:
        """Bits of a weight in memory."""
        return self.mac.w.code_bits if self.mac else self.weight_width

    @cached_property
    def digits(self) -> int:
        """Most digits of an element: wider ones take several passes."""
        return max(self.mac.x.digits, self.mac.w.digits) if self.mac else 1

    @property
    def psum_width(self) -> int:
        """Bits of a partial sum: a whole column of extreme products cannot overflow it."""
        if self.mac:
            return self.mac.sum_bits
        return self.act_width + self.weight_width + ceil_log2(self.rows)

    @property
    def weight_lead(self) -> int:
        """Cycles from weight row 0 on a band's port to its first activation at the array's edge.

        One cycle for the bus register of each tile row, one for the shadow register.
        """
        return 1 + self.row_tiles

    @property
    def multiply_cycles(self) -> int:
        """Cycles ``D`` from an activation at the edge to its product: operand register and MAC."""
        return 1 + self.mac_latency
