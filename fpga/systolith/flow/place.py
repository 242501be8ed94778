"""Place, route and pack: arguments and constraint files of the two tool families."""

from systolith.boards.board import Board

__all__ = ["constraints", "pack_arguments", "place_arguments"]


def constraints(board: Board) -> str:
    """Pin and clock constraints of ``board``: LPF for ECP5, PCF for iCE40."""
    pins = (*board.pins, *board.held_high)
    if board.family == "ice40":
        return "".join(f"set_io {pin.name} {pin.site}\n" for pin in pins)
    lines = []
    for pin in pins:
        lines.append(f'LOCATE COMP "{pin.name}" SITE "{pin.site}";')
        lines.append(f'IOBUF PORT "{pin.name}" IO_TYPE={pin.standard};')
    lines.append(f'FREQUENCY PORT "clk" {board.clock_hz / 1e6:g} MHZ;')
    return "\n".join([*lines, ""])


def place_arguments(board: Board, *, shell: bool, seed: int) -> list[str]:
    """Arguments of nextpnr for ``netlist.json`` in the working directory.

    Parameters
    ----------
    board
        Device and pins.
    shell
        True: the ports are the board's pins, and ``routed.txt`` is written for the packer. False:
        the ports go wherever there is a pin, to measure the frequency.
    seed
        Of placement.
    """
    mhz = board.clock_hz / 1e6 if shell else board.explore_mhz
    arguments = [*board.place_options, "--json", "netlist.json", "--report", "timing.json"]
    # Which frequency is needed is the caller's decision: a slow design is a result, not an error.
    arguments += ["--freq", f"{mhz:g}", "--seed", str(seed), "--timing-allow-fail"]
    # Blocks lie far apart in columns: the default weights leave them there (139 and 150 MHz for
    # two seeds of an engine, 153 and 154 MHz with these).
    arguments += ["--placer-heap-timingweight", "25", "--placer-heap-critexp", "3"]
    suffix, routed = ("lpf", "--textcfg") if board.family == "ecp5" else ("pcf", "--asc")
    if shell:
        return [*arguments, f"--{suffix}", f"pins.{suffix}", routed, "routed.txt"]
    return [*arguments, f"--{suffix}-allow-unconstrained"]


def pack_arguments(board: Board, name: str) -> tuple[str, list[str], str]:
    """Packer, its arguments and the file it writes."""
    if board.family == "ecp5":
        return "ecppack", ["--compress", "routed.txt", f"{name}.bit"], f"{name}.bit"
    return "icepack", ["routed.txt", f"{name}.bin"], f"{name}.bin"
