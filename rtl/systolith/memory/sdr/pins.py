"""The pins of an SDR SDRAM, driven by the commands of the controller's boundary."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Member, Out
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedArray
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import column_command, row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import back_layout, sent_layout
from systolith.memory.hbm.maintenance import start_sequence

__all__ = ["CAPTURES", "SdrPins"]

CAPTURES = 2
"""Fabric clocks, from 0 on, by which read data may come later than without any delay outside."""

_A10 = 10  # whether a row is closed behind an access, and whether a precharge is for all banks
_BURSTS = (2, 4, 8)
_RAS = frozenset({Op.ACT, Op.PRE, Op.PREA, Op.REFAB, Op.SRE, Op.MRS})
_CAS = frozenset({Op.RD, Op.RDA, Op.WR, Op.WRA, Op.REFAB, Op.SRE, Op.MRS})
_WE = frozenset({Op.WR, Op.WRA, Op.PRE, Op.PREA, Op.MRS})
_AUTO = frozenset({Op.RDA, Op.WRA})


class SdrPins(Block):
    """Adapter from the boundary to the pins of an SDR memory, for one clock per memory clock.

    Every command reaches the pins one cycle after the boundary, so that all distances stay as the
    controller's guard made them. Word 0 of a write goes with its command, words 1 up in the
    cycles behind it, each byte that is left out with its DQM. All outputs are registers, and
    ``dq_i`` enters one: to be packed into the pads, or to be followed by registers there. Words of
    a read are gathered; the atom is in ``back`` with its last word, :attr:`latency` ``+ capture``
    cycles after its command.

    What ``capture`` must be depends on the delays of pads and board and on the phase of the
    memory's clock, and is found by :class:`~systolith.memory.hbm.calibrate.Calibrator`: SDR has no
    strobe, so a wrong value gives wrong words, never a missing atom. The clock itself leaves
    through an output register for both edges outside of this block, best at a phase of its own.

    Nothing is offered to the controller in the first ``power_up_us``, in which the pins keep CKE
    and DQM high without any command, as data sheets ask for.

    Parameters
    ----------
    config : ControllerConfig
        The memory: SDR with bursts of 2, 4 or 8 words; so many to an atom.
    power_up_us : int
        Microseconds from the end of reset to the first command.
    outside : int
        Cycles that registers between these ports and the memory add, outward and back together.

    Members
    -------
    row, column, sent, back : In, In, In(sent_layout), Out(back_layout)
        The boundary.
    offer : Out(1)
        For the controller's ``row_offer``, ``long_offer`` and ``column_offer``.
    capture : In
        Cycles by which read data is late. Held while there are reads in flight.
    refused : Out(1)
        Only without mask pins, stays set: a write came that leaves out bytes, and wrote the whole
        atom. A controller for such a memory never sends one.
    cke, cs_n, ras_n, cas_n, we_n, ba, a, dqm : Out
        Commands; ``dqm`` only if there are mask pins, one for each byte.
    dq_o, dq_oe, dq_i : Out, Out(1), In
        Data; ``dq_oe`` is high in the cycles in which ``dq_o`` is to be driven.
    """

    row: data.View
    column: data.View
    sent: data.View
    back: data.View
    offer: Signal
    capture: Signal
    refused: Signal
    cke: Signal
    cs_n: Signal
    ras_n: Signal
    cas_n: Signal
    we_n: Signal
    ba: Signal
    a: Signal
    dqm: Signal
    dq_o: Signal
    dq_oe: Signal
    dq_i: Signal

    def __init__(
        self, config: ControllerConfig, *, power_up_us: int = 200, outside: int = 0
    ) -> None:
        shape, timing = config.organisation, config.timing
        if timing.generation != "sdr":
            raise ValueError(f"timing.generation must be sdr, not {timing.generation}")
        if shape.sids != 1 or shape.groups != 1 or shape.banks < 2:
            raise ValueError(
                "organisation must have one stack, one group and two banks or more, not "
                f"{shape.sids}, {shape.groups} and {shape.banks}"
            )
        burst = timing["burst"]
        if burst not in _BURSTS or shape.atom % burst:
            raise ValueError(
                f"timing.burst must be 2, 4 or 8 and divide atom = {shape.atom}, not {burst}"
            )
        if timing["cwl"]:
            raise ValueError(f"timing.cwl must be 0, not {timing['cwl']}")
        mode = max(row for _, row in start_sequence(config))
        if mode >= shape.rows:
            raise ValueError(
                f"organisation.rows must be more than {mode}, the mode register, not {shape.rows}"
            )
        if power_up_us < 1:
            raise ValueError(f"power_up_us must be at least 1, not {power_up_us}")
        if not 0 <= outside <= 8:
            raise ValueError(f"outside must be from 0 to 8, not {outside}")
        self.config, self.power_up_us, self.outside = config, power_up_us, outside
        self.words, self.bytes = burst, shape.atom // burst
        self.column_bits = ceil_log2(shape.columns * burst)
        # Column bits go around A10.
        a = max(config.row_bits, _A10 + 1, self.column_bits + (self.column_bits > _A10))
        super().__init__(
            {
                "row": In(PackedArray(row_command(shape), 1)),
                "column": In(PackedArray(column_command(shape), 1)),
                "sent": In(sent_layout(config)),
                "back": Out(back_layout(config)),
                "offer": Out(1),
                "capture": In(range(CAPTURES)),
                **({} if shape.mask else {"refused": Out(1)}),
                "cke": _idle(1),
                **{name: _idle(1) for name in ("cs_n", "ras_n", "cas_n", "we_n")},
                "ba": Out(ceil_log2(shape.banks)),
                "a": Out(a),
                **({"dqm": _idle(self.bytes)} if shape.mask else {}),
                "dq_o": Out(8 * self.bytes),
                "dq_oe": Out(1),
                "dq_i": In(8 * self.bytes),
            }
        )

    @property
    def module_name(self) -> str:
        beyond = f"_{self.outside}" if self.outside else ""
        return f"sdr_pins_{self.power_up_us}us{beyond}"

    @property
    def latency(self) -> int:
        """Cycles from a read at the boundary to its atom in ``back``, without ``capture``."""
        # Pins; memory; words, the last one captured.
        return 1 + self.config.timing["cl"] + self.words + self.outside

    @property
    def power_up_cycles(self) -> int:
        """Cycles without any command."""
        return -(-self.power_up_us * 1_000_000 // self.config.timing.tck_ps)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row, column = self.row[0], self.column[0]
        waiting = Signal(range(self.power_up_cycles + 1), init=self.power_up_cycles)
        m.d.sync += self.offer.eq(waiting == 0)  # from a register into the choice of commands
        with m.If(waiting != 0):
            m.d.sync += waiting.eq(waiting - 1)
        write = Signal()
        m.d.comb += write.eq(column.valid & _among(column.op, frozenset({Op.WR, Op.WRA})))
        self._command(m, row, column)
        self._write(m, write)
        self._read(m, column.valid & ~write)
        return m

    def _command(self, m: Module, row: data.View, column: data.View) -> None:
        """Never both at a time: the bus of an SDR memory is one."""
        op, some = Signal.like(row.op), Signal()
        m.d.comb += [
            some.eq(row.valid | column.valid),
            op.eq(Mux(column.valid, column.op, row.op)),
        ]
        m.d.sync += [
            self.cs_n.eq(~some),
            self.ras_n.eq(~(some & _among(op, _RAS))),
            self.cas_n.eq(~(some & _among(op, _CAS))),
            self.we_n.eq(~(some & _among(op, _WE))),
        ]
        with m.If(row.valid & ((row.op == Op.SRE) | (row.op == Op.SRX))):
            m.d.sync += self.cke.eq(row.op == Op.SRX)
            with m.If(row.op == Op.SRX):
                m.d.sync += self.cs_n.eq(1)

        start = Signal(max(self.column_bits, _A10))  # of the burst
        around = Signal(len(self.a))
        m.d.comb += [
            start.eq(column.column << ceil_log2(self.words)),
            around.eq(Cat(start[:_A10], _among(column.op, _AUTO), start[_A10:])),
        ]
        m.d.sync += [
            self.ba.eq(Mux(column.valid, column.bank, row.bank)),
            self.a.eq(Mux(column.valid, around, row.row)),
        ]
        with m.If(row.valid & ((row.op == Op.PRE) | (row.op == Op.PREA))):
            m.d.sync += self.a[_A10].eq(row.op == Op.PREA)
        with m.If(row.valid & (row.op == Op.MRS)):
            m.d.sync += self.ba.eq(0)  # the mode register, not an extended one

    def _write(self, m: Module, write: Value) -> None:
        size = 8 * self.bytes
        words = Signal(len(self.sent.data) - size)  # to come
        left = Signal(range(self.words))
        m.d.sync += [
            self.dq_o.eq(words),
            words.eq(words >> size),
            self.dq_oe.eq(write | (left != 0)),
            left.eq(Mux(left == 0, 0, left - 1)),
        ]
        with m.If(write):
            m.d.sync += [Cat(self.dq_o, words).eq(self.sent.data), left.eq(self.words - 1)]
        if not self.config.organisation.mask:
            with m.If(write & ~self.sent.mask.all()):
                m.d.sync += self.refused.eq(1)
            return
        # Low but for what is left out: it also enables what is read, two clocks later.
        masks = Signal(len(self.sent.mask) - self.bytes)
        m.d.sync += [self.dqm.eq(masks), masks.eq(masks >> self.bytes)]
        with m.If(write):
            m.d.sync += Cat(self.dqm, masks).eq(~self.sent.mask)
        with m.If(~self.offer):
            m.d.sync += self.dqm.eq(-1)

    def _read(self, m: Module, read: Value) -> None:
        size = 8 * self.bytes
        arrived = Signal(size)
        words = Signal(len(self.back.data) - size)
        issued = Signal(self.latency + CAPTURES - 1)
        m.d.sync += [
            arrived.eq(self.dq_i),
            words.eq(Cat(words, arrived) >> size),
            issued.eq(Cat(read, issued)),
        ]
        m.d.comb += [
            self.back.valid.eq(Array(issued[self.latency - 1 :])[self.capture]),
            self.back.data.eq(Cat(words, arrived)),
        ]


def _idle(width: int) -> Member:
    """Output whose bits are set during reset."""
    high: Member = Member(Out, width, init=-1)  # type: ignore[call-arg]
    return high


def _among(op: Value, ops: frozenset[Op]) -> Value:
    return Cat(op == one for one in sorted(ops)).any()
