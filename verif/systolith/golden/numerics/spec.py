"""How the terms of the blocks are added: a narrower accumulator, or somebody else's rule."""

from dataclasses import dataclass

from systolith.golden.numerics.rounding import check_rounding

__all__ = ["BLACKWELL", "BLACKWELL_FP4", "HOPPER", "HOPPER_PROMOTED", "AccSpec", "FusedSpec"]


@dataclass(frozen=True, slots=True)
class AccSpec:
    """Accumulator of the contract: ``acc = round(acc + t)``, one block after the other.

    ``t`` is always rounded to binary32 first. The exponent range is that of binary32, with
    subnormals.

    Parameters
    ----------
    frac
        Fraction bits kept, 1 to 23; 23 is binary32, 7 is bf16.
    rounding
        "rne", "rz" or "sr".
    seed
        Seed of the random bits of "sr"; block b takes those of ``seed + b``.
    """

    frac: int = 23
    rounding: str = "rne"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.frac <= 23:
            raise ValueError(f"AccSpec.frac must be in 1..23, not {self.frac!r}")
        check_rounding(self.rounding, "AccSpec")


@dataclass(frozen=True, slots=True)
class FusedSpec:
    """A fused dot-product-add as published for tensor cores; for studies, not for hardware here.

    The accumulator and the products of a group are aligned to the largest exponent among them, cut
    toward zero, added exactly, and the sum is cut toward zero.

    Parameters
    ----------
    group
        Products per step, along K.
    align
        Fraction bits kept of each aligned addend.
    out
        Fraction bits kept of the sum, 23 at most.
    exact
        Products that are summed exactly before they are aligned as one; 1 for none.
    promote
        After so many products the sum goes to a binary32 accumulator (to nearest) and the inner
        one starts at zero; 0 for never.
    """

    group: int
    align: int
    out: int
    exact: int = 1
    promote: int = 0

    def __post_init__(self) -> None:
        if self.group < 1 or self.exact < 1 or self.group % self.exact:
            raise ValueError(
                f"FusedSpec.group must be a positive multiple of exact = {self.exact!r}, "
                f"not {self.group!r}"
            )
        if self.promote % self.group:
            raise ValueError(
                f"FusedSpec.promote must be a multiple of group = {self.group}, "
                f"not {self.promote!r}"
            )
        if not (1 <= self.align <= 40 and 1 <= self.out <= 23):
            raise ValueError(
                "FusedSpec.align must be in 1..40 and out in 1..23, "
                f"not {self.align!r} and {self.out!r}"
            )


HOPPER = FusedSpec(group=32, align=13, out=13)
"""FP8 of Hopper's wgmma, after the bit-accurate model MMA-Sim (arXiv 2511.10909)."""

HOPPER_PROMOTED = FusedSpec(group=32, align=13, out=13, promote=128)
"""The same with the software fix of moving every 128 products to binary32."""

BLACKWELL = FusedSpec(group=32, align=25, out=23)
"""FP8 and the MX formats of 6 and 8 bits on Blackwell's tcgen05, after the same model."""

BLACKWELL_FP4 = FusedSpec(group=64, align=35, out=23, exact=16)
"""MXFP4 and NVFP4 on Blackwell's tcgen05: sums of 16 are exact before they are aligned."""
