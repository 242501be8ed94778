"""How long ago every row of a memory was refreshed, by a clock of its own."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from systolith.array.packed import PackedArray, PackedStruct
from systolith.hierarchy import Block
from systolith.memory.hbm.boundary import row_command
from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.parts import Organisation
from systolith.memory.hbm.timing import Timing

__all__ = ["RefreshAge", "bank_bits", "bank_number", "row_place"]

STAMP_BITS = 48  # five years of a memory at 1.6 GHz: it never wraps
COUNT_BITS = 32


def bank_bits(shape: Organisation) -> int:
    """Bits of a bank's number, at least 1."""
    return max(1, sum(ceil_log2(n) for n in (shape.sids, shape.groups, shape.banks)))


def bank_number(command: data.View) -> Value:
    """Bank that a command names: stack, group and bank behind one another, the bank lowest."""
    return Cat(command.bank, command.group, command.sid)


def row_place(shape: Organisation) -> data.StructLayout:
    """A row of a bank, if ``valid``."""
    return PackedStruct(
        {"valid": 1, "row": max(1, ceil_log2(shape.rows)), "bank": bank_bits(shape)}
    )


class RefreshAge(Block):
    """Tells which activations come too late for their rows, and counts refreshes that come late.

    A refresh of a bank, alone or with all others, is one of its next group of rows; every bank
    counts its groups for itself. Row ``r`` is in group ``r % ref_groups``. Refresh management is
    no refresh, and neither is an activation, though it restores a row in a real memory: who relies
    on that is wrong about rows that are left alone. All rows count as refreshed at time 0.

    A row keeps its data for ``retention`` device clocks. The clock of age stands still from the
    entry into self-refresh to its exit: the memory then refreshes itself, and rows are as old
    afterwards as they were before. At most one refresh and one activation of a bank are seen in a
    cycle; two of them break rules of timing.

    Parameters
    ----------
    timing : Timing
        Interval of refreshes.
    shape : Organisation
        Of the pseudo-channel.
    slots : int
        Device clocks in a cycle.
    ref_groups : int
        Refreshes that it takes to refresh a bank.
    debt : int
        Refreshes that may be owed.

    Members
    -------
    row : In(row_command) per slot
        Commands of this cycle.
    decay : Out(row_place) per slot
        Row that is activated in this slot and has lost its data, in the same cycle.
    late, decayed : Out(32)
        Refreshes of a group more than ``retention`` after the one before; rows that decayed, each
        time they were activated too late. From the next cycle on.
    """

    row: data.View
    decay: data.View
    late: Signal
    decayed: Signal

    def __init__(
        self,
        timing: Timing,
        shape: Organisation,
        *,
        slots: int = 1,
        ref_groups: int = 8192,
        debt: int = 4,
    ) -> None:
        self.check(slots=slots, ref_groups=ref_groups, debt=debt)
        self.shape, self.slots, self.ref_groups = shape, slots, ref_groups
        self.retention = (ref_groups + debt) * timing["refi"]
        super().__init__(
            {
                "row": In(PackedArray(row_command(shape), slots)),
                "decay": Out(PackedArray(row_place(shape), slots)),
                "late": Out(COUNT_BITS),
                "decayed": Out(COUNT_BITS),
            }
        )

    @staticmethod
    def check(*, slots: int, ref_groups: int, debt: int) -> None:
        """Refuse parameters that make no sense, with a ValueError."""
        for name, value, least in (
            ("slots", slots, 1),
            ("ref_groups", ref_groups, 1),
            ("debt", debt, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, not {value}")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks = self._clocks(m)
        shape = self.shape
        overdue: dict[int, Value] = {}
        late: list[Value] = []
        for s in range(shape.sids):
            for g in range(shape.groups):
                for b in range(shape.banks):
                    number = b + (g << ceil_log2(shape.banks))
                    number += s << (ceil_log2(shape.banks) + ceil_log2(shape.groups))
                    overdue[number], was_late = self._bank(m, number, clocks)
                    late.append(was_late)
        m.d.sync += self.late.eq(self.late + sum(late, Const(0)))
        decays: list[Value] = []
        for command, decay in zip(self.row, self.decay, strict=True):
            here = [(bank_number(command) == n) & old for n, old in overdue.items()]
            m.d.comb += [
                decay.valid.eq(self._is(command, Op.ACT) & Cat(here).any()),
                decay.bank.eq(bank_number(command)),
                decay.row.eq(command.row),
            ]
            decays.append(decay.valid)
        m.d.sync += self.decayed.eq(self.decayed + sum(decays, Const(0)))
        return m

    @staticmethod
    def _is(command: data.View, op: Op) -> Value:
        hit: Value = command.valid & (command.op == op)
        return hit

    def _clocks(self, m: Module) -> list[Value]:
        """Clocks that the memory has been awake, at every slot."""
        clock, asleep = Signal(STAMP_BITS), Signal()
        now, sleeps = clock, asleep
        clocks: list[Value] = []
        for slot, command in enumerate(self.row):
            clocks.append(now)
            after = Signal(name=f"asleep_{slot}")
            entry, leave = self._is(command, Op.SRE), self._is(command, Op.SRX)
            m.d.comb += after.eq((sleeps & ~leave) | entry)
            later = Signal(STAMP_BITS, name=f"clock_{slot + 1}")
            m.d.comb += later.eq(now + ~after)
            now, sleeps = later, after
        m.d.sync += [clock.eq(now), asleep.eq(sleeps)]
        return clocks

    def _bank(self, m: Module, number: int, clocks: list[Value]) -> tuple[Value, Value]:
        """Whether the row activated here is overdue, and whether a refresh here was late."""
        stamps: Any = Memory(shape=STAMP_BITS, depth=self.ref_groups, init=[])
        m.submodules[f"stamps_{number}"] = stamps
        group_bits = max(1, ceil_log2(self.ref_groups))
        group = Signal(group_bits, name=f"group_{number}")
        wrapped = Signal(name=f"wrapped_{number}")  # every group was refreshed at least once
        row = Signal(max(1, ceil_log2(self.shape.rows)), name=f"row_{number}")
        now = Signal(STAMP_BITS, name=f"now_{number}")
        refresh, activation = Signal(name=f"refresh_{number}"), Signal(name=f"act_{number}")
        for command, clock in zip(self.row, clocks, strict=True):
            here = bank_number(command) == number
            alone = self._is(command, Op.REFPB) & here
            with m.If(alone | self._is(command, Op.REFAB)):
                m.d.comb += [refresh.eq(1), now.eq(clock)]
            with m.If(self._is(command, Op.ACT) & here):
                m.d.comb += [activation.eq(1), now.eq(clock), row.eq(command.row)]
        with m.If(refresh):
            last = group == self.ref_groups - 1
            m.d.sync += [group.eq(Mux(last, 0, group + 1)), wrapped.eq(wrapped | last)]
        store = stamps.write_port()
        m.d.comb += [store.addr.eq(group), store.data.eq(now), store.en.eq(refresh)]

        def too_old(of: Value, name: str) -> Value:
            port = stamps.read_port(domain="comb")
            old = Signal(name=f"{name}_{number}")
            m.d.comb += [
                port.addr.eq(of),
                old.eq(now - Mux(wrapped | (of < group), port.data, 0) > self.retention),
            ]
            return old

        overdue = activation & too_old(row % self.ref_groups, "overdue")
        return overdue, refresh & too_old(group, "late")
