"""The table of boards, and what the tools are told about them."""

import re
from collections import Counter
from fractions import Fraction

import pytest
from amaranth.hdl import Fragment

from systolith.boards.pll import Pll
from systolith.boards.table import BOARDS, find_board
from systolith.flow.place import constraints, place_arguments
from systolith.host.self_test import memory_pll, self_test_config
from systolith.memory.sdr.self_test import SelfTest

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


# SDR memory --------------------------------------------------------------------------------------


def test_pins_of_the_memory_are_those_of_its_adapter() -> None:
    sdram = ULX3S.sdram
    assert sdram is not None
    config = self_test_config(ULX3S)
    test = SelfTest(config)
    Fragment.get(test, None)  # or Amaranth would complain that it was never used
    widths = Counter(re.sub(r"\[\d+\]", "", pin.name) for pin in sdram.pins)
    needed = {
        f"sdram_{name}": len(getattr(test, name))
        for name in test.pin_names
        if name not in ("dq_o", "dq_oe", "dq_i")
    }
    assert widths == {**needed, "sdram_clk": 1, "sdram_dq": len(test.dq_i)}
    for name, bits in widths.items():
        if bits > 1:
            found = [pin.name for pin in sdram.pins if pin.name.startswith(f"{name}[")]
            assert found == [f"{name}[{n}]" for n in range(bits)]
    sites = [p.site for p in (*ULX3S.pins, *ULX3S.held_high, *ULX3S.leds, *sdram.pins)]
    assert len(set(sites)) == len(sites)


def test_a_board_without_memory_has_no_self_test() -> None:
    message = "board must be one with SDR SDRAM to test it (ulx3s-85f), not 'icebreaker'"
    with pytest.raises(ValueError, match=re.escape(message)):
        self_test_config(ICEBREAKER)


def test_the_clock_of_the_memory() -> None:
    pll = memory_pll(ULX3S)
    assert pll.output_hz == Fraction(400_000_000, 3)
    assert self_test_config(ULX3S).controller.timing.tck_ps == 7500
    # Never above what is asked for, and close to it.
    for tck_ps in (5000, 6000, 7000, 7501, 8333, 10_000, 20_000):
        hz = Pll.fastest(25_000_000, tck_ps).output_hz
        assert 0.97 < hz * tck_ps / 10**12 <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": 0}, "Pll.reference must be in 1..128, not 0"),
        ({"feedback": 81}, "Pll.feedback must be in 1..80, not 81"),
        ({"output": 129}, "Pll.output must be in 1..128, not 129"),
        ({"output": 2}, "Pll must have its oscillator in 400..800 MHz, not 266.667 MHz"),
        ({"output": 7}, "Pll must have its oscillator in 400..800 MHz, not 933.333 MHz"),
        (
            {"reference": 9, "feedback": 48},
            "Pll must have its phase detector in 3.125..400 MHz, not 2.77778 MHz",
        ),
        ({"input_hz": 7_000_000}, "Pll must have its input in 8..400 MHz, not 7 MHz"),
    ],
)
def test_settings_that_the_clock_multiplier_does_not_have(
    change: dict[str, int], message: str
) -> None:
    good = {"input_hz": 25_000_000, "reference": 3, "feedback": 16, "output": 5}
    with pytest.raises(ValueError, match=re.escape(message)):
        Pll(**{**good, **change})
