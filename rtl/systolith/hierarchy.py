"""One module per distinct component: the wrapper between simulation and emission."""

from typing import Any

from amaranth.hdl import ClockSignal, Elaboratable, Instance, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["Block", "Emission", "place"]


class Block(wiring.Component):
    """A component that is emitted as one module, however often it is used.

    Two blocks with equal :attr:`module_name` are the same hardware. A block has the clock and
    reset of ``sync`` while it is :attr:`clocked`.
    """

    @property
    def module_name(self) -> str:
        """Name of the module without the design's prefix: the kind and its parameters."""
        return type(self).__name__.lower()

    @property
    def clocked(self) -> bool:
        """Whether there is anything but combinational logic inside."""
        return True

    @property
    def leaf(self) -> dict[str, Any] | None:
        """Description for a technology back end that may replace this module, or None."""
        return None


class Emission:
    """Collects the distinct blocks of a design while its modules are elaborated one by one.

    Passed as ``platform``. Each placed block becomes an instance of a module that is elaborated
    only once.

    Parameters
    ----------
    prefix : str
        Put before every module name.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.blocks: dict[str, Block] = {}

    def instance(self, block: Block) -> Instance:
        """Instance of the module of ``block``, wired to the ports of ``block``."""
        name = f"{self.prefix}_{block.module_name}"
        known = self.blocks.setdefault(name, block)
        if known.signature != block.signature or type(known) is not type(block):
            raise ValueError(f"two different blocks are both called {name}")
        ports: dict[str, Any] = {}
        if block.clocked:
            ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, value in block.signature.flatten(block):
            direction = "i" if member.flow == In else "o"
            ports[f"{direction}_{'__'.join(map(str, path))}"] = value
        return Instance(name, **ports)


def place(block: Block, platform: object) -> Elaboratable | Instance:
    """``block`` itself for the Amaranth simulator, an instance of its module for emission."""
    if isinstance(platform, Emission):
        block._MustUse__silence = True  # its signals are used, its logic only once
        return platform.instance(block)
    return block
