"""AXI4-Lite registers, made from a table."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.hierarchy import Block
from systolith.memory.axi.registers import Register, address_bits, check
from systolith.memory.axi.signature import OKAY, SLVERR, AxiLiteBus, flat, pins

__all__ = ["AxiLite"]


class AxiLite(Block):
    """AXI4-Lite subordinate with the registers of a table: one read and one write per cycle.

    SLVERR and no effect: an address that is not a multiple of 4 or where there is no register,
    and a write to one that can only be read; data of such reads are 0. Bytes without a strobe stay
    as they are. Bits that no field has read as 0. A write is taken when address and data are there;
    what it changes is seen by the read that is taken in the next cycle. Set and clear in one cycle:
    set wins.

    Parameters
    ----------
    table : Sequence[Register]
        Registers.
    name : str
        Of the table, for the name of the module.
    bits : int
        Of an address; by default as few as the table needs.

    Members
    -------
    s_axil_awvalid, ...
        The bus.
    <register> : Out(layout) or In(layout)
        Value of ``rw``, ``w1c`` and ``pulse``; of ``ro``, from the hardware.
    <register>_set : In(layout)
        Of ``w1c``: bits to set.
    <register>_step : In(1)
        Of ``counter``: count this cycle.
    irq : Out(1)
        A bit of a ``w1c`` register and the same one of its ``enable`` are set. Only if there is
        such a register.
    """

    irq: Signal

    def __init__(self, table: Sequence[Register], *, name: str, bits: int | None = None) -> None:
        check(table)
        least = address_bits(table)
        if bits is not None and not least <= bits <= 64:
            raise ValueError(f"bits must be from {least} to 64, not {bits!r}")
        self.table, self.name = tuple(table), name
        self.bus = AxiLiteBus(bits or least)
        members: dict[str, Any] = flat("s_axil", self.bus)
        for register in self.table:
            match register.access:
                case "rw" | "pulse":
                    members[register.name] = Out(register.layout)
                case "ro":
                    members[register.name] = In(register.layout)
                case "w1c":
                    members[register.name] = Out(register.layout)
                    members[f"{register.name}_set"] = In(register.layout)
                case "counter":
                    members[f"{register.name}_step"] = In(1)
        if any(register.enable for register in self.table):
            members["irq"] = Out(1)
        super().__init__(members)

    @property
    def module_name(self) -> str:
        return f"axi_lite_{self.name}"

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus: Any = pins(self, "s_axil", self.bus)

        # A write takes its address and data at once.
        write, known, fine = Signal(), Signal(), Signal()
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & (~bus.bvalid | bus.bready)),
            bus.awready.eq(write),
            bus.wready.eq(write),
        ]
        with m.If(~bus.bvalid | bus.bready):
            m.d.sync += [bus.bvalid.eq(write), bus.bresp.eq(Mux(fine, OKAY, SLVERR))]
        strobes = Cat(bit.replicate(8) for bit in bus.wstrb)
        m.d.comb += fine.eq(known)

        # Reads.
        found, value = Signal(), Signal(32)
        m.d.comb += bus.arready.eq(~bus.rvalid | bus.rready)
        with m.If(bus.arready):
            m.d.sync += [
                bus.rvalid.eq(bus.arvalid),
                bus.rdata.eq(value),
                bus.rresp.eq(Mux(found, OKAY, SLVERR)),
            ]
        for register in self.table:
            here = Signal(name=f"writes_{register.name}")
            m.d.comb += here.eq(write & (bus.awaddr == register.offset))
            if register.access != "ro":
                with m.If(bus.awaddr == register.offset):
                    m.d.comb += known.eq(1)
            now = self._register(m, register, here, bus.wdata, strobes)
            with m.If(bus.araddr == register.offset):
                m.d.comb += [found.eq(1), value.eq(now)]
        causes = [
            (getattr(self, r.name).as_value() & getattr(self, r.enable).as_value()).any()
            for r in self.table
            if r.enable
        ]
        if causes:
            m.d.sync += self.irq.eq(Cat(causes).any())
        return m

    def _register(
        self, m: Module, register: Register, here: Signal, word: Value, strobes: Value
    ) -> Value:
        """What the register does; its value as it is read."""
        bits = register.bits
        if register.access == "counter":
            count = Signal(bits, name=register.name)
            step = getattr(self, f"{register.name}_step")
            with m.If(here & strobes.any()):
                m.d.sync += count.eq(step)
            with m.Elif(step & ~count.all()):
                m.d.sync += count.eq(count + 1)
            return count
        port: data.View = getattr(self, register.name)
        value = port.as_value()
        mask, written = strobes[:bits], word[:bits]
        match register.access:
            case "rw":
                kept = Signal(bits, init=register.reset, name=f"kept_{register.name}")
                m.d.comb += value.eq(kept)
                with m.If(here):
                    m.d.sync += kept.eq((kept & ~mask) | (written & mask))
            case "w1c":
                kept = Signal(bits, name=f"kept_{register.name}")
                comes = getattr(self, f"{register.name}_set").as_value()
                clears = Mux(here, written & mask, 0)
                m.d.comb += value.eq(kept)
                m.d.sync += kept.eq((kept & ~clears) | comes)
            case "pulse":
                m.d.sync += value.eq(Mux(here, written & mask, 0))
                return Cat(value[:0], Signal(1, name=f"none_{register.name}"))
        return value
