"""What the flow needs to know about a board."""

from dataclasses import dataclass

__all__ = ["Board", "Pin", "Resources", "Sdram"]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One named signal of a board.

    Parameters
    ----------
    name
        Port of the top module.
    site
        Ball or pin of the package.
    standard
        Electrical standard in the words of the tools; empty where they take a default.
    """

    name: str
    site: str
    standard: str = ""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a device offers, or what a design takes.

    Parameters
    ----------
    lut
        Four-input tables; a two-bit carry cell of ECP5 counts as two.
    ff
        Flip-flops of the fabric.
    lc
        Logic cells, where a table and a flip-flop share one; 0 where they do not.
    dsp
        Multiplier blocks: MULT18X18D, SB_MAC16.
    ram
        Block RAMs: DP16KD of 18 kbit, SB_RAM40_4K of 4 kbit.
    large_ram
        SB_SPRAM256KA of 256 kbit.
    pins
        Pins that a design may use.
    """

    lut: int = 0
    ff: int = 0
    lc: int = 0
    dsp: int = 0
    ram: int = 0
    large_ram: int = 0
    pins: int = 0


@dataclass(frozen=True, kw_only=True)
class Sdram:
    """An SDR memory on a board.

    Parameters
    ----------
    part
        Its name among :func:`~systolith.memory.hbm.parts.sdr_parts`.
    tck_ps
        Shortest period of its clock, in picoseconds.
    pins
        ``sdram_clk``, and ``sdram_`` with the name of each port of
        :class:`~systolith.memory.sdr.pins.SdrPins` that the memory has: ``cke``, ..., ``ba[0]``.
    """

    part: str
    tck_ps: int
    pins: tuple[Pin, ...]


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board, or a device on its own when it has no pins that the shell knows.

    Parameters
    ----------
    name
        As given on the command line.
    family
        ``ecp5`` or ``ice40``: chooses synthesis, leaf replacements and tools.
    device
        Full part number, for reports.
    place_options
        Device, package and speed for nextpnr.
    clock_hz
        Frequency of the pin ``clk``, in hertz.
    pins
        ``clk``, ``rx`` (into the device), ``tx`` (out of it).
    resources
        Supply.
    explore_mhz
        Constraint for a core without a board's clock: above what is reachable, so that the tools
        keep trying; in megahertz.
    held_high
        Outputs that the shell drives high, so that the rest of the board leaves the device alone.
    leds
        ``led[0]``, ...: lit while high.
    sdram
        SDR memory, if there is one.
    """

    name: str
    family: str
    device: str
    place_options: tuple[str, ...]
    clock_hz: int
    pins: tuple[Pin, ...]
    resources: Resources
    explore_mhz: int
    held_high: tuple[Pin, ...] = ()
    leds: tuple[Pin, ...] = ()
    sdram: Sdram | None = None
