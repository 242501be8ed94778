"""The one memory wrapper: collision rule, read latency and technology hook are decided here."""

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from systolith.hierarchy import Block

__all__ = ["RegisterFile", "Sram"]


class Sram(Block):
    """Memory with one write port and one read port in the same clock domain.

    Reading the address that is written in the same cycle gives undefined data: no user relies on
    it, and block RAMs then need no logic around them. Contents are not reset. A technology back
    end (block RAM primitives, an ASIC macro) replaces the emitted module by one of the same name
    and ports.

    Parameters
    ----------
    depth : int
        Words.
    width : int
        Bits of a word.
    lanes : int
        Write enables; each covers ``width // lanes`` bits.
    latency : int
        Cycles from ``r_addr`` to ``r_data``: 1, or 2 with an output register.
    clears : bool
        There is ``r_clear``; only with an output register, whose reset it is.

    Members
    -------
    w_en : In(lanes)
        One enable per lane.
    w_addr, w_data : In
        Write port.
    r_addr : In
        Read in every cycle.
    r_clear : In(1)
        With ``r_addr``: read zero instead.
    r_data : Out(width)
        ``latency`` cycles after its address.
    """

    w_en: Signal
    w_addr: Signal
    w_data: Signal
    r_addr: Signal
    r_clear: Signal
    r_data: Signal

    def __init__(
        self, *, depth: int, width: int, lanes: int = 1, latency: int = 1, clears: bool = False
    ) -> None:
        if clears and latency < 2:
            raise ValueError(f"latency must be 2 or more for clears, not {latency}")
        self.depth = depth
        self.width = width
        self.lanes = lanes
        self.latency = latency
        self.clears = clears
        address = bits_for(depth - 1)
        super().__init__(
            {
                "w_en": In(lanes),
                "w_addr": In(address),
                "w_data": In(width),
                "r_addr": In(address),
                **({"r_clear": In(1)} if clears else {}),
                "r_data": Out(width),
            }
        )

    @property
    def module_name(self) -> str:
        kind = f"sram_{self.depth}x{self.width}_g{self.lanes}_l{self.latency}"
        return f"{kind}_clears" if self.clears else kind

    @property
    def leaf(self) -> dict[str, Any]:
        return {
            "kind": "sram",
            "depth": self.depth,
            "width": self.width,
            "lanes": self.lanes,
            "latency": self.latency,
            "clears": self.clears,
        }

    def elaborate(self, platform: object) -> Module:
        m = Module()
        attrs: Any = {"no_rw_check": 1}
        array: Any = memory.Memory(shape=self.width, depth=self.depth, init=[], attrs=attrs)
        m.submodules.array = array
        write = array.write_port(granularity=self.width // self.lanes)
        read = array.read_port()
        m.d.comb += [
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            write.en.eq(self.w_en),
            read.addr.eq(self.r_addr),
            read.en.eq(1),
        ]
        if self.latency == 1:
            m.d.comb += self.r_data.eq(read.data)
            return m
        late = Signal(self.width, name="r_data_0", reset_less=True)
        m.d.sync += late.eq(read.data)
        if self.clears:
            clear = Signal()
            m.d.sync += clear.eq(self.r_clear)
            with m.If(clear):
                m.d.sync += late.eq(0)
        m.d.comb += self.r_data.eq(late)
        return m


class RegisterFile(Block):
    """A few words that are read in the cycle of their address, for queues.

    Parameters
    ----------
    depth, width : int
        Words, and bits of a word. ``depth`` beyond 64 belongs in :class:`Sram`.

    Members
    -------
    w_en, w_addr, w_data : In
        Write port.
    r_addr : In
        Read address.
    r_data : Out(width)
        Word at ``r_addr``, before this cycle's write.
    """

    w_en: Signal
    w_addr: Signal
    w_data: Signal
    r_addr: Signal
    r_data: Signal

    def __init__(self, *, depth: int, width: int) -> None:
        self.depth = depth
        self.width = width
        address = bits_for(depth - 1)
        super().__init__(
            {
                "w_en": In(1),
                "w_addr": In(address),
                "w_data": In(width),
                "r_addr": In(address),
                "r_data": Out(width),
            }
        )

    @property
    def module_name(self) -> str:
        return f"registers_{self.depth}x{self.width}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array: Any = memory.Memory(shape=self.width, depth=self.depth, init=[])
        m.submodules.array = array
        write = array.write_port()
        read = array.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.w_addr),
            write.data.eq(self.w_data),
            write.en.eq(self.w_en),
            read.addr.eq(self.r_addr),
            self.r_data.eq(read.data),
        ]
        return m
