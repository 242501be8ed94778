"""The table of boards, and what the tools are told about them."""

import re

import pytest

from systolith.boards.table import BOARDS, find_board
from systolith.flow.place import constraints, place_arguments

ULX3S = BOARDS["ulx3s-85f"]
ICEBREAKER = BOARDS["icebreaker"]


def test_boards_have_the_pins_of_the_shell() -> None:
    for name, board in BOARDS.items():
        assert board.name == name
        assert [pin.name for pin in board.pins] == ["clk", "rx", "tx"]
        for pin in (*board.pins, *board.held_high):
            assert pin.site in constraints(board)
    assert 'FREQUENCY PORT "clk" 25 MHZ;' in constraints(ULX3S)
    assert "set_io clk 35\n" in constraints(ICEBREAKER)


def test_unknown_board() -> None:
    message = "board must be one of ulx3s-85f, icebreaker, not 'arty'"
    with pytest.raises(ValueError, match=re.escape(message)):
        find_board("arty")


def test_place_arguments() -> None:
    alone = place_arguments(ULX3S, shell=False, seed=3)
    assert alone[alone.index("--freq") + 1] == "200"
    assert "--lpf-allow-unconstrained" in alone and "--textcfg" not in alone
    board = place_arguments(ICEBREAKER, shell=True, seed=3)
    assert board[board.index("--freq") + 1] == "12"
    assert board[board.index("--pcf") + 1] == "pins.pcf"
