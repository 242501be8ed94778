"""The table of supported boards."""

from systolith.boards.board import Board, Pin, Resources

__all__ = ["BOARDS", "find_board"]

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
