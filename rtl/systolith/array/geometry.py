"""Geometry of the array: what its bands, tiles and elements are."""

from typing import Annotated

from amaranth.utils import ceil_log2
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

__all__ = ["STRICT", "ArrayConfig", "power_of_two"]

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
        Bits of the two's-complement operands.
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
    def psum_width(self) -> int:
        """Bits of a partial sum: a whole column of extreme products cannot overflow it."""
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
