"""Number formats as a table: everything about a format derives from its row.

Nothing here knows any HDL, so that golden models, the compiler and reports read the same table as
the hardware. A new format of a known kind is one more row.
"""

from systolith.numerics.format import (
    FAMILIES,
    RULES,
    Family,
    Format,
    Kind,
    Overflow,
    Specials,
)

__all__ = [
    "FAMILIES",
    "FORMATS",
    "RULES",
    "Family",
    "Format",
    "Kind",
    "Overflow",
    "Specials",
    "lookup",
]


def _plain(name: str, width: int) -> Format:
    return Format(name=name, kind=Kind.INTEGER, width=width, family="plain")


def _mxint(name: str, width: int) -> Format:
    return Format(
        name=name,
        kind=Kind.INTEGER,
        width=width,
        fraction_bits=width - 2,
        family="mx",
        rule="rceil",
    )


def _float(
    name: str,
    exponent_bits: int,
    fraction_bits: int,
    *,
    specials: Specials = Specials.NONE,
    overflow: Overflow = Overflow.SATURATE,
    family: str = "mx",
    rule: str = "",
) -> Format:
    return Format(
        name=name,
        kind=Kind.FLOAT,
        width=1 + exponent_bits + fraction_bits,
        exponent_bits=exponent_bits,
        fraction_bits=fraction_bits,
        specials=specials,
        overflow=overflow,
        family=family,
        rule=rule,
    )


FORMATS = {
    row.name: row
    for row in (
        _plain("int8", 8),
        _plain("int4", 4),
        _mxint("mxint8", 8),
        _mxint("mxint16", 16),
        _float("e4m3", 4, 3, specials=Specials.NAN, overflow=Overflow.CHOICE, rule="rceil"),
        _float("e5m2", 5, 2, specials=Specials.IEEE, overflow=Overflow.CHOICE, rule="rceil"),
        _float("e3m2", 3, 2, rule="rceil"),
        _float("e2m3", 2, 3, rule="even"),
        _float("e2m1", 2, 1, rule="even"),
        _float("nvfp4", 2, 1, family="nvfp4"),
        Format(
            name="e8m0",
            kind=Kind.POWER,
            width=8,
            exponent_bits=8,
            specials=Specials.NAN,
            family="scale",
        ),
        _float("bf16", 8, 7, specials=Specials.IEEE, overflow=Overflow.INFINITY, family="storage"),
        _float("fp32", 8, 23, specials=Specials.IEEE, overflow=Overflow.INFINITY, family="storage"),
    )
}
"""Every format by name."""


def lookup(name: str) -> Format:
    """Return the format called ``name``; raises ValueError with the known names."""
    try:
        return FORMATS[name]
    except (KeyError, TypeError):
        known = ", ".join(FORMATS)
        raise ValueError(f"format must be one of {known}, not {name!r}") from None
