"""Measures a memory controller: its emitted Verilog under a pattern of traffic."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from systolith.benches.memory_design import (
    MemoryDesign,
    command_layout,
    sample_layout,
    setup_layout,
)
from systolith.benches.memory_inline import MemoryInlineDesign, check_region, fill_cycles
from systolith.devices.dram import device_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.result import Transfer
from systolith.harness.script import Script
from systolith.memory.hbm.commands import COLUMN, PER_BANK, Address, Command, Op
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.counters import COUNTERS
from systolith.memory.hbm.management import ACTIVATION_BITS
from systolith.memory.hbm.refresh import RefreshMode
from systolith.memory.sdr.block_code import BLOCK, STRIDE
from systolith.perf.memory.model import default_cycles, warm_up_cycles
from systolith.perf.memory.patterns import Pattern
from systolith.perf.memory.refresh import Refresh, refresh_mode

__all__ = ["Measurement", "MemoryBench"]

_MODES = {
    "off": RefreshMode.OFF,
    "per-bank": RefreshMode.PER_BANK,
    "all-bank": RefreshMode.ALL_BANK,
}
_MOST_ACTIVATIONS = 3  # times those from which management is due: the least of the standard
_NEAR = 300  # samples at either end among which equal debt is looked for


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a controller did.

    Parameters
    ----------
    efficiency
        Share of the peak rate, one atom in tCCDS, between two instants of equal refresh debt.
    window, cycles
        Memory clocks between the two, and of the whole simulation.
    debt_error
        Memory clocks by which the debts differ: 0 unless tREFI is no multiple of the banks.
    latency_p50, latency_p99, latency_max
        Fabric clocks from a run's submission to its end, of those submitted after the warm-up.
    refresh_debt_max
        Most that a refresh was late, in tREFI.
    refreshes, managements
        Of single banks (or ``banks`` for one of all) in the window; refresh managements.
    stalls
        Share of the time of the window without data, by cause: what the oldest turn waited for.
    violations, late_refreshes, decayed, lost
        Cycles with an illegal command, refreshes later than the retention allows, rows that lost
        their data, whether read data did not come when it was due.
    overrun, wrong
        Activations beyond what refresh management allows; atoms that the check bits found wrong.
    overflow
        The model of the memory had no room for all rows: contents are wrong, timing is not.
    series
        Memory clock, atoms moved and refresh balance at every sample after the warm-up.
    trace
        Every command, if asked for.
    seconds, cycles_per_second
        Wall clock of the simulation, memory clocks of it per second.
    """

    efficiency: float
    window: int
    cycles: int
    debt_error: int
    latency_p50: int
    latency_p99: int
    latency_max: int
    refresh_debt_max: float
    refreshes: int
    managements: int
    stalls: dict[str, float]
    violations: int
    late_refreshes: int
    decayed: int
    lost: bool
    overrun: int
    wrong: int
    overflow: bool
    series: tuple[tuple[int, int, int], ...]
    trace: tuple[Command, ...] | None
    seconds: float
    cycles_per_second: float


class MemoryBench:
    """A controller with its memory and traffic, compiled once.

    Parameters
    ----------
    config
        Of the controller.
    cache
        Folder of compiled models.
    inline
        With ECC in line, for SDR, see :mod:`systolith.benches.memory_inline`.
    hot
        Of the memory, see :class:`~systolith.benches.memory_design.MemoryDesign`.
    """

    def __init__(
        self, config: ControllerConfig, cache: Path, *, inline: bool = False, hot: int = 0
    ) -> None:
        self.config, self.inline = config, inline
        # Debts of two samples can be equal if a refresh is due every so many of them; else nearly.
        pace, rest = divmod(config.timing["refi"], config.banks)
        self.every = max(pace if not rest else pace // 12, 1)
        design = MemoryInlineDesign if inline else MemoryDesign
        verilog, top = device_verilog(design(config, every=self.every, hot=hot), config.name)
        inputs = [StreamPort("setup", setup_layout(config).size, has_ready=False)]
        widths = {
            "submit": config.streams,
            "done": config.streams,
            "sample": sample_layout(config).size,
            "command": command_layout(config).size,
        }
        outputs = [StreamPort(name, bits, has_ready=False) for name, bits in widths.items()]
        self.simulation: Simulation = build(verilog, top, inputs, outputs, cache)

    def measure(
        self,
        pattern: Pattern,
        *,
        refresh: Refresh | None = None,
        address_map: int = 0,
        seed: int = 1,
        cycles: int | None = None,
        hotter: int = 0,
        debt: int | None = None,
        activations: int = 0,
        trace: bool = False,
    ) -> Measurement:
        """Run a pattern.

        Parameters
        ----------
        pattern
            Traffic.
        refresh
            "per-bank" if left out, "all-bank" for SDR.
        address_map
            Number of one of ``config.maps``.
        seed
            Of random addresses.
        cycles
            Memory clocks; see :func:`systolith.perf.memory.model.default_cycles`.
        hotter
            Refreshes are this power of two as frequent.
        debt
            Bound of the refresh debt in tREFI.
        activations
            Of a bank until refresh management is due; three times as many are never passed. 0 for
            no management.
        trace
            Whether to keep every command.

        Raises
        ------
        ValueError
            If the controller cannot have this traffic or refresh, or the time is too short.
        """
        config, refi = self.config, self.config.timing["refi"]
        pattern.check(config)
        if self.inline:
            check_region(pattern)
        mode = refresh_mode(config, refresh)
        most = ((1 << ACTIVATION_BITS) - 1) // _MOST_ACTIVATIONS
        if activations and not config.managed:
            raise ValueError(f"activations must be 0 for {config.timing.name}, not {activations}")
        if not 0 <= activations <= most:
            raise ValueError(f"activations must be from 0 to {most}, not {activations}")
        before = fill_cycles(config.timing["ccd_s"]) if self.inline else 0
        warm_up = warm_up_cycles(config) + before
        cycles = default_cycles(config) + before if cycles is None else cycles
        if cycles < warm_up + 2 * refi:
            raise ValueError(f"cycles must be at least {warm_up + 2 * refi}, not {cycles}")
        registers: dict[str | int, Any] = {
            "pattern": pattern.registers(seed),
            "map": address_map,
            "mode": _MODES[mode],
            "debt_bound": config.debt if debt is None else debt,
            "hotter": hotter,
            "threshold": activations,
            "most": _MOST_ACTIVATIONS * activations,
            "trace": int(trace),
        }
        setup: Any = setup_layout(config).const(registers)
        word = int(setup.as_value().value)
        fabric = -(-cycles // config.slots)
        result = self.simulation.run([Script().send("setup", word).idle(fabric)], deadline=fabric)
        layout = sample_layout(config)
        samples: list[tuple[int, Any]] = [
            (t.cycle, layout.from_bits(t.payload)) for t in result.transfers["sample"]
        ]
        warm = [s for s in samples if s[0] * config.slots >= warm_up]
        (start, a), (end, b), error = _equal_debt(warm)
        window = (end - start) * config.slots
        atoms = int(b.atoms) - int(a.atoms)
        latencies = _latencies(
            result.transfers["submit"], result.transfers["done"], warm_up // config.slots
        )
        counts = {n: int(b.counters[k]) - int(a.counters[k]) for k, n in enumerate(COUNTERS)}
        efficiency = atoms * config.timing["ccd_s"] / window
        stalls = {n.removeprefix("stall_"): counts[n] for n in COUNTERS if n.startswith("stall_")}
        used = efficiency * STRIDE / BLOCK if self.inline else efficiency
        unused = max(1 - used, 0) / max(sum(stalls.values()), 1)
        return Measurement(
            efficiency=efficiency,
            window=window,
            cycles=fabric * config.slots,
            debt_error=error,
            latency_p50=_quantile(latencies, 0.50),
            latency_p99=_quantile(latencies, 0.99),
            latency_max=_quantile(latencies, 1.0),
            refresh_debt_max=int(b.debt_max) / refi,
            refreshes=counts["bank_refreshes"] + config.banks * counts["all_refreshes"],
            managements=counts["managements"],
            stalls={name: count * unused for name, count in stalls.items()},
            violations=int(b.violations),
            late_refreshes=int(b.late),
            decayed=int(b.decayed),
            lost=bool(int(b.lost)),
            overrun=int(b.overrun),
            wrong=int(b.wrong),
            overflow=bool(int(b.overflow)),
            series=tuple((c * config.slots, int(s.atoms), int(s.balance)) for c, s in warm),
            trace=_commands(config, result.transfers["command"]) if trace else None,
            seconds=result.seconds,
            cycles_per_second=fabric * config.slots / result.segments[0].seconds,
        )


def _equal_debt(samples: Sequence[tuple[int, Any]]) -> tuple[Any, Any, int]:
    """Two samples, far apart, whose balances of refreshes are equal, or as near as can be."""
    near = min(_NEAR, len(samples) // 2)
    owed = [int(sample.balance) for _, sample in samples]
    pairs = product(range(near), range(len(samples) - near, len(samples)))
    first, last = min(pairs, key=lambda p: (abs(owed[p[0]] - owed[p[1]]), p[0] - p[1]))
    return samples[first], samples[last], abs(owed[first] - owed[last])


def _latencies(submits: Sequence[Transfer], ends: Sequence[Transfer], since: int) -> list[int]:
    """Cycles that runs took, in increasing order; those of a stream end in order."""
    events = [(t.cycle, 1, t.payload) for t in submits] + [(t.cycle, 0, t.payload) for t in ends]
    waiting: dict[int, deque[int]] = {}
    found = []
    for cycle, begins, mask in sorted(events):
        while mask:
            stream = (mask & -mask).bit_length() - 1
            mask &= mask - 1
            if begins:
                waiting.setdefault(stream, deque()).append(cycle)
            else:
                begun = waiting[stream].popleft()
                if begun >= since:
                    found.append(cycle - begun)
    return sorted(found)


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0


def _commands(config: ControllerConfig, transfers: Sequence[Transfer]) -> tuple[Command, ...]:
    """Commands in order, the column command of a clock first; rows are those that are open."""
    layout = command_layout(config)
    found, rows = [], dict[tuple[int, int, int], int]()
    for transfer in transfers:
        word: Any = layout.from_bits(transfer.payload)
        for slot, bus in product(range(config.slots), ("column", "row")):
            command: Any = word[bus][slot]
            if not int(command.valid):
                continue
            op = Op(int(command.op))
            clock = transfer.cycle * config.slots + slot
            if op not in PER_BANK:
                found.append(Command(clock, op))
                continue
            bank = (int(command.sid), int(command.group), int(command.bank))
            if op is Op.ACT:
                rows[bank] = int(command.row)
            at = Address(
                sid=bank[0],
                group=bank[1],
                bank=bank[2],
                row=rows.get(bank, 0) if op in COLUMN | {Op.ACT} else 0,
                column=int(command.column) if op in COLUMN else 0,
            )
            found.append(Command(clock, op, at))
    return tuple(found)
