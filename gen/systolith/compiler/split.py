"""Splits of the array and GEMM shapes: the words that every tool shares."""

from dataclasses import dataclass

from systolith.array.config import ArrayConfig

__all__ = ["Gemm", "Group", "Split", "ceil_div", "legal_splits"]


def ceil_div(size: int, step: int) -> int:
    """Return how many ``step`` it takes to cover ``size``."""
    return -(size // -step)


@dataclass(frozen=True, kw_only=True, order=True)
class Gemm:
    """``Y[M, N] = X[M, K] @ W[K, N]``.

    Parameters
    ----------
    m, n, k
        Rows of X, columns of W, contraction.
    """

    m: int
    n: int
    k: int

    def __post_init__(self) -> None:
        for name in ("m", "n", "k"):
            if getattr(self, name) < 1:
                raise ValueError(f"gemm: {name} must be at least 1, not {getattr(self, name)}")

    @classmethod
    def parse(cls, text: str) -> "Gemm":
        """Read ``M,N,K``."""
        try:
            m, n, k = (int(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"gemm must be three integers M,N,K, not {text!r}") from None
        return cls(m=m, n=n, k=k)

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.m * self.n * self.k

    def __str__(self) -> str:
        return f"{self.m},{self.n},{self.k}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bands that are fused: an aligned power of two in each direction.

    Parameters
    ----------
    row, col
        First row band and column band.
    row_bands, col_bands
        Bands in the group.
    """

    row: int
    col: int
    row_bands: int
    col_bands: int

    def rows(self, array: ArrayConfig) -> int:
        """Array rows of the group."""
        return self.row_bands * array.band_rows

    def cols(self, array: ArrayConfig) -> int:
        """Array columns of the group."""
        return self.col_bands * array.band_cols

    @property
    def members(self) -> list[tuple[int, int]]:
        """Bands (i, j) of the group."""
        return [
            (self.row + p, self.col + q)
            for p in range(self.row_bands)
            for q in range(self.col_bands)
        ]


@dataclass(frozen=True, kw_only=True, order=True)
class Split:
    """The array as ``row_groups x col_groups`` groups of equal size.

    Parameters
    ----------
    row_groups, col_groups
        Number of groups in each direction; 1 and 1 is the whole array.
    """

    row_groups: int = 1
    col_groups: int = 1

    @classmethod
    def parse(cls, text: str, array: ArrayConfig) -> "Split":
        """Read ``GxH`` and check it against the array."""
        allowed = ", ".join(map(str, legal_splits(array)))
        try:
            rows, cols = (int(part) for part in text.lower().split("x"))
        except ValueError:
            raise ValueError(f"split must be GxH, one of {allowed}, not {text!r}") from None
        split = cls(row_groups=rows, col_groups=cols)
        if split not in legal_splits(array):
            raise ValueError(f"split must be one of {allowed} on this array, not {text!r}")
        return split

    def groups(self, array: ArrayConfig) -> list[Group]:
        """The groups, row by row."""
        high = array.row_bands // self.row_groups
        wide = array.col_bands // self.col_groups
        return [
            Group(row=i * high, col=j * wide, row_bands=high, col_bands=wide)
            for i in range(self.row_groups)
            for j in range(self.col_groups)
        ]

    def __str__(self) -> str:
        return f"{self.row_groups}x{self.col_groups}"


def legal_splits(array: ArrayConfig) -> list[Split]:
    """Every split of the array, from fused to all bands alone."""
    return [
        Split(row_groups=1 << i, col_groups=1 << j)
        for i in range(array.row_bands.bit_length())
        for j in range(array.col_bands.bit_length())
    ]
