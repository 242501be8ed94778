"""What ECP5 has between fabric and pins: registers in the pads, a clock that leaves, the PLL."""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, IOPort, Module, Signal, Value

from systolith.boards.pll import Pll

__all__ = ["READ_DELAY", "clock_pad", "data_pads", "output_pads", "pll_instance"]

READ_DELAY = 2
"""Cycles from a word that leaves, and comes back at once, to its arrival: a register each way."""


def pll_instance(pll: Pll, clock: Value, fast: Signal, locked: Signal) -> Instance:
    """The PLL of ``pll``, from the pin ``clock``."""
    dividers = {"CLKI": pll.reference, "CLKFB": pll.feedback, "CLKOP": pll.output}
    parameters: dict[str, Any] = {f"p_{name}_DIV": value for name, value in dividers.items()}
    for name in ("PLLRST_ENA", "INTFB_WAKE", "STDBY_ENABLE", "DPHASE_SOURCE"):
        parameters[f"p_{name}"] = "DISABLED"
    # Loop filter as the vendor's and the open tools set it for this range.
    filters = {"ICP_CURRENT": "12", "LPF_RESISTOR": "8"}
    filters |= {"MFG_ENABLE_FILTEROPAMP": "1", "MFG_GMCREF_SEL": "2"}
    return Instance(
        "EHXPLLL",
        **parameters,
        **{f"a_{name}": value for name, value in filters.items()},
        a_FREQUENCY_PIN_CLKI=f"{pll.input_hz / 1e6:g}",
        a_FREQUENCY_PIN_CLKOP=f"{float(pll.output_hz) / 1e6:g}",
        p_CLKOP_ENABLE="ENABLED",
        p_CLKOP_CPHASE=pll.output - 1,
        p_CLKOP_FPHASE=0,
        p_FEEDBK_PATH="CLKOP",
        i_CLKI=clock,
        i_CLKFB=fast,
        i_RST=0,
        i_STDBY=0,
        i_PHASESEL0=0,
        i_PHASESEL1=0,
        i_PHASEDIR=0,
        i_PHASESTEP=0,
        i_PHASELOADREG=0,
        i_PLLWAKESYNC=0,
        i_ENCLKOP=0,
        o_CLKOP=fast,
        o_LOCK=locked,
    )


def clock_pad(m: Module, pin: Signal) -> None:
    """The complement of the clock: its edges are in the middle of what the other pads drive."""
    m.submodules.clock_pad = Instance(
        "ODDRX1F", i_SCLK=ClockSignal(), i_RST=0, i_D0=0, i_D1=1, o_Q=pin
    )


def output_pads(m: Module, name: str, value: Signal, pins: Signal, *, high: bool) -> None:
    """A register in each pad; ``high`` from power-up on."""
    for n in range(len(value)):
        m.submodules[f"{name}_pad_{n}"] = _output(value[n], pins[n], high=high)


def data_pads(m: Module, o: Value, oe: Value, i: Signal, port: IOPort) -> None:
    """Pads in both directions, with a register for the word each way and for the enable."""
    for n in range(len(i)):
        leaves, off, comes = (Signal(name=f"dq_{n}_{name}") for name in ("o", "t", "i"))
        m.submodules[f"dq_pad_{n}"] = Instance("BB", i_I=leaves, i_T=off, o_O=comes, io_B=port[n])
        m.submodules[f"dq_out_{n}"] = _output(o[n], leaves, high=False)
        m.submodules[f"dq_off_{n}"] = _output(~oe, off, high=True)  # its own: in the pad
        m.submodules[f"dq_in_{n}"] = Instance(
            "IFS1P3DX", i_SCLK=ClockSignal(), i_SP=1, i_CD=0, i_D=comes, o_Q=i[n]
        )


def _output(value: Value, pin: Value, *, high: bool) -> Instance:
    kind, clear = ("OFS1P3BX", "i_PD") if high else ("OFS1P3DX", "i_CD")
    ports: dict[str, Any] = {clear: 0}
    return Instance(kind, i_SCLK=ClockSignal(), i_SP=1, i_D=value, o_Q=pin, **ports)
