"""The table of supported boards."""

from systolith.boards.board import Board, Pin, Resources, Sdram

__all__ = ["BOARDS", "find_board"]


def _bus(name: str, sites: str, standard: str) -> tuple[Pin, ...]:
    """Pins of a bus, bit 0 first."""
    return tuple(
        Pin(name=f"{name}[{n}]", site=site, standard=standard)
        for n, site in enumerate(sites.split())
    )


_FAST = "LVCMOS33 SLEWRATE=FAST"
# From doc/constraints/ulx3s_v20.lpf of the board's makers (emard/ulx3s).
_ULX3S_LEDS = _bus("led", "B2 C2 C1 D2 D1 E2 E1 H3", "LVCMOS33")
_ULX3S_SDRAM = (
    *(
        Pin(name=f"sdram_{name}", site=site, standard=_FAST)
        for name, site in (
            ("clk", "F19"),
            ("cke", "F20"),
            ("cs_n", "P20"),
            ("ras_n", "R20"),
            ("cas_n", "T19"),
            ("we_n", "T20"),
        )
    ),
    *_bus("sdram_ba", "P19 N20", _FAST),
    *_bus("sdram_a", "M20 M19 L20 L19 K20 K19 K18 J20 J19 H20 N19 G20 G19", _FAST),
    *_bus("sdram_dqm", "U19 E20", _FAST),
    *_bus("sdram_dq", "J16 L18 M18 N18 P18 T18 T17 U20 E19 D20 D19 C20 E18 F18 J18 J17", _FAST),
)

_TABLE = (
    Board(
        name="ulx3s-85f",
        family="ecp5",
        device="LFE5U-85F-6BG381C",
        place_options=("--85k", "--package", "CABGA381", "--speed", "6"),
        clock_hz=25_000_000,
        pins=(
            Pin(name="clk", site="G2", standard="LVCMOS33"),
            Pin(name="rx", site="M1", standard="LVCMOS33"),  # the FTDI's output
            Pin(name="tx", site="L4", standard="LVCMOS33"),
        ),
        resources=Resources(lut=83_640, ff=83_640, dsp=156, ram=208, pins=205),
        explore_mhz=200,
        # While it is low, old firmware of the ESP32 takes the board back after some seconds.
        held_high=(Pin(name="wifi_gpio0", site="L2", standard="LVCMOS33"),),
        leds=_ULX3S_LEDS,
        # 32 MB, or more with more columns, of which these are the first ones.
        sdram=Sdram(part="sdr-mt48lc16m16", tck_ps=7500, pins=_ULX3S_SDRAM),
    ),
    Board(
        name="icebreaker",
        family="ice40",
        device="iCE40UP5K-SG48",
        place_options=("--up5k", "--package", "sg48"),
        clock_hz=12_000_000,
        pins=(
            Pin(name="clk", site="35"),
            Pin(name="rx", site="6"),  # the FTDI's output
            Pin(name="tx", site="9"),
        ),
        resources=Resources(lut=5_280, ff=5_280, lc=5_280, dsp=8, ram=30, large_ram=4, pins=39),
        explore_mhz=48,
    ),
)

BOARDS = {board.name: board for board in _TABLE}
"""Boards by name."""


def find_board(name: str) -> Board:
    """Board called ``name``. Raises ``ValueError`` with the known names."""
    if name not in BOARDS:
        raise ValueError(f"board must be one of {', '.join(BOARDS)}, not {name!r}")
    return BOARDS[name]
