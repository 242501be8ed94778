"""One pseudo-channel of a dynamic memory, as a controller sees it; for simulation."""

from dataclasses import replace
from importlib import resources

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from systolith.array.packed import PackedArray, PackedStruct
from systolith.devices.dram_beats import Beats, flip_layout
from systolith.devices.dram_rows import OpenRows, place_layout
from systolith.devices.refresh_age import RefreshAge
from systolith.devices.timing_checker import TimingChecker, violation_layout
from systolith.emit.verilog import emit_design
from systolith.hierarchy import Block, place
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.parts import Organisation, Part
from systolith.memory.hbm.timing import rules

__all__ = ["DramDevice", "device_verilog", "read_layout", "write_layout"]

COUNT_BITS = 32
_TRIES = 64


def write_layout(shape: Organisation, check_bits: int) -> data.StructLayout:
    """Data of a write.

    ``mask`` has a 1 for every byte that is written, and is there only if bytes can be left out;
    ``check`` only if there are check bits.
    """
    mask = {"mask": shape.atom} if shape.mask else {}
    return PackedStruct({"data": 8 * shape.atom, **mask, **_check(check_bits)})


def read_layout(shape: Organisation, check_bits: int) -> data.StructLayout:
    """Data of a read, one beat."""
    return PackedStruct({"valid": 1, "data": 8 * shape.atom, **_check(check_bits)})


def _check(bits: int) -> dict[str, int]:
    return {"check": bits} if bits else {}


class DramDevice(Block):
    """Stores data, forgets what is not refreshed, watches timing, and injects faults.

    ``slots`` device clocks pass in a cycle. Column commands come at least ``ccd_s`` apart, so a
    port for data serves ``ccd_s`` slots: port ``p`` those from ``p * ccd_s`` on. The data of a
    write comes with its command; that of a read on the port of its command, in order of issue,
    ``latency + delay`` cycles later. Nothing waits and nothing is asked to wait.

    - What was never written reads as a hash of its address, check bits included.
    - A row that is activated more than the retention after its last refresh has decayed: it reads
      as something else from then on, atom by atom, until the atom is written. See
      :class:`~systolith.devices.refresh_age.RefreshAge`. That a refresh came late, for rows that
      nobody activated in between, is only told by ``late``.
    - Faults act on beats as they leave. A flip that persists is also made in the memory, whatever
      is there by then; reads in flight behind it are older.
    - Without a valid beat a port shows noise, never zero. So does the beat of a read from a closed
      bank; a write to one is lost.
    - A reset forgets commands and beats. The contents stay.

    It holds an instance of hand-written Verilog: emit it with :func:`device_verilog`.

    Parameters
    ----------
    part : Part
        Shape and timing.
    slots : int
        Device clocks in a cycle: up to ``ccd_s``, or a multiple of it.
    check_bits : int
        Bits stored with every atom, next to its bytes.
    ref_groups, debt : int
        Refreshes that it takes to refresh a bank, and that may be owed.
    frames : int
        Rows that can be held, a power of two; when more are written the simulation ends. With more
        than 64 frames that may happen when some are still free.
    delay_bits : int
        Of the delay that is added to the latency, at least 1.
    garbage_check : bool
        Check bits that were never written read as a hash, not as zeros.
    fatal : bool
        The simulation ends when frames run out; else it goes on with writes lost.

    Members
    -------
    row, column : In(row_command), In(column_command) per slot
        Commands of this cycle.
    write : In(write_layout) per port
        Data of the write command in the slots of the port.
    read : Out(read_layout) per port
        Beats.
    delay : In(delay_bits)
        Cycles added to the latency. Held while there are reads in flight.
    flip : In(flip_layout)
        Flips bits of the next beat that leaves, in this cycle or later. A later one replaces one
        that still waits.
    lose : In(1)
        Drops the next beat, in this cycle or later.
    extra : In(1)
        Adds a beat of noise on the first port that has none, in this cycle or later.
    violation : Out(violation_layout)
        First violation of the cycle before.
    violations, late, decayed : Out(32)
        Cycles with a violation, late refreshes, decays so far.
    overflow : Out(1)
        Frames have run out: contents are wrong from now on.
    """

    row: data.View
    column: data.View
    write: data.View
    read: data.View
    delay: Signal
    flip: data.View
    lose: Signal
    extra: Signal
    violation: data.View
    violations: Signal
    late: Signal
    decayed: Signal
    overflow: Signal

    def __init__(
        self,
        part: Part,
        *,
        slots: int = 1,
        check_bits: int = 0,
        ref_groups: int = 8192,
        debt: int = 4,
        frames: int = 4096,
        delay_bits: int = 4,
        garbage_check: bool = True,
        fatal: bool = True,
    ) -> None:
        shape, timing = part.organisation, part.timing
        apart = timing["ccd_s"]
        if slots < 1 or (slots > apart and slots % apart):
            raise ValueError(f"slots must be 1 to {apart} or a multiple of it, not {slots}")
        if slots > min(timing["rcd_rd"], timing["rcd_wr"]):
            raise ValueError(f"slots must be at most rcd_rd and rcd_wr, not {slots}")
        if check_bits < 0:
            raise ValueError(f"check_bits must be 0 or more, not {check_bits}")
        if frames < 1 or frames & (frames - 1):
            raise ValueError(f"frames must be a power of two, not {frames}")
        if delay_bits < 1:
            raise ValueError(f"delay_bits must be 1 or more, not {delay_bits}")
        self.part, self.slots, self.check_bits, self.frames = part, slots, check_bits, frames
        self.garbage_check, self.fatal = garbage_check, fatal
        self.ports = max(1, slots // apart)
        self.latency = -(-(slots - 1 + timing["cl"] + timing["burst"]) // slots)
        self._rules = rules(timing)
        self._age = {"slots": slots, "ref_groups": ref_groups, "debt": debt}
        RefreshAge.check(**self._age)
        super().__init__(
            {
                "row": In(PackedArray(row_command(shape), slots)),
                "column": In(PackedArray(column_command(shape), slots)),
                "write": In(PackedArray(write_layout(shape, check_bits), self.ports)),
                "read": Out(PackedArray(read_layout(shape, check_bits), self.ports)),
                "delay": In(delay_bits),
                "flip": In(flip_layout(8 * shape.atom + check_bits)),
                "lose": In(1),
                "extra": In(1),
                "violation": Out(violation_layout(len(self._rules))),
                "violations": Out(COUNT_BITS),
                "late": Out(COUNT_BITS),
                "decayed": Out(COUNT_BITS),
                "overflow": Out(1),
            }
        )

    @property
    def width(self) -> int:
        """Bits of an atom with its check bits."""
        return 8 * self.part.organisation.atom + self.check_bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, timing = self.part.organisation, self.part.timing
        checker = TimingChecker(self._rules, shape, slots=self.slots)
        age = RefreshAge(timing, shape, **self._age)
        rows = OpenRows(shape, slots=self.slots, ports=self.ports)
        at = place_layout(shape)
        beats = Beats(
            self.width, at, ports=self.ports, latency=self.latency, delay_bits=len(self.delay)
        )
        m.submodules.checker = place(checker, platform)
        m.submodules.age = place(age, platform)
        m.submodules.rows = place(rows, platform)
        m.submodules.beats = place(beats, platform)
        m.d.comb += [
            *(port.eq(self.row) for port in (checker.row, age.row, rows.row)),
            *(port.eq(self.column) for port in (checker.column, rows.column)),
            self.violation.eq(checker.violation),
            self.late.eq(age.late),
            self.decayed.eq(age.decayed),
        ]
        m.d.sync += self.violations.eq(self.violations + checker.violation.valid)

        accesses = [rows.access[p] for p in range(self.ports)]
        writes = [self.write[p] for p in range(self.ports)]
        decays = [age.decay[slot] for slot in range(self.slots)]
        for p, access in enumerate(accesses):
            m.d.comb += [
                beats.issued[p].eq(access.reads),
                beats.at[p].eq(access.at),
                Cat(self.read[p].valid, _payload(self.read[p])).eq(beats.beat[p]),
            ]
        m.d.comb += [
            beats.delay.eq(self.delay),
            beats.flip.eq(self.flip),
            beats.lose.eq(self.lose),
            beats.extra.eq(self.extra),
        ]
        m.submodules.frames = Instance(
            "dram_frames",
            p_PORTS=self.ports,
            p_DECAYS=self.slots,
            p_KEY_BITS=at["key"].width,
            p_ATOM_BITS=at["atom"].width,
            p_ATOMS=shape.columns,
            p_BYTES=shape.atom,
            p_CHECK_BITS=self.check_bits,
            p_FRAMES=self.frames,
            p_TRIES=_TRIES,
            p_GARBAGE=int(self.garbage_check),
            p_FATAL=int(self.fatal),
            i_clk=ClockSignal(),
            i_rst=ResetSignal(),
            i_enable=Cat(a.at.usable & (a.reads | a.writes) for a in accesses),
            i_write=Cat(access.writes for access in accesses),
            i_key=Cat(access.at.key for access in accesses),
            i_atom=Cat(access.at.atom for access in accesses),
            i_mask=Cat(_mask(port, shape) for port in writes),
            i_wdata=Cat(_payload(port) for port in writes),
            o_rdata=beats.stored.as_value(),
            i_flip=beats.upset.valid,
            i_flip_key=beats.upset_at.key,
            i_flip_atom=beats.upset_at.atom,
            i_flip_mask=beats.upset.mask,
            i_decay=Cat(decay.valid for decay in decays),
            i_decay_key=Cat(Cat(decay.row, decay.bank) for decay in decays),
            o_overflow=self.overflow,
        )
        return m


def _payload(port: data.View) -> Value:
    """Data and check bits of a port."""
    return Cat(port.data, port.check) if "check" in dict(iter(port.shape())) else port.data


def _mask(port: data.View, shape: Organisation) -> Value:
    return port.mask if shape.mask else Const(-1, shape.atom)


# Emission --------------------------------------------------------------------------------------

_INPUTS = (
    *("clk", "rst", "enable", "write", "key", "atom", "mask", "wdata"),
    *("flip", "flip_key", "flip_atom", "flip_mask", "decay", "decay_key"),
)
_OUTPUTS = ("rdata", "overflow")
_PARAMETERS = (
    *("PORTS", "DECAYS", "KEY_BITS", "ATOM_BITS", "ATOMS", "BYTES", "CHECK_BITS"),
    *("FRAMES", "TRIES", "GARBAGE", "FATAL"),
)


def device_verilog(top: Block, prefix: str) -> tuple[str, str]:
    """Verilog-2005 text of a design with memories in it, and the name of its top module.

    Parameters
    ----------
    top : Block
        A device, or a design that places some.
    prefix : str
        Put before every module name but that of the storage, ``dram_frames``.
    """
    # The storage is a black box to the tool that writes the rest.
    lines = ["attribute \\blackbox 1", "attribute \\dynports 1", "module \\dram_frames"]
    lines += [f"  parameter \\{name}" for name in _PARAMETERS]
    for direction, names, start in (("input", _INPUTS, 1), ("output", _OUTPUTS, 1 + len(_INPUTS))):
        lines += [f"  wire {direction} {n} \\{name}" for n, name in enumerate(names, start)]
    design = emit_design(top, prefix)
    boxed = replace(design, rtlil="\n".join([*lines, "end", ""]) + design.rtlil)
    frames = resources.files("systolith.devices").joinpath("dram_frames.v").read_text()
    return frames + boxed.verilog(), design.top
