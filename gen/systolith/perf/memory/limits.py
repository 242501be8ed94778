"""Limits of the efficiency of a memory, from address map, pattern and timing alone."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from systolith.memory.hbm.address_map import AddressMap
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.timing import Timing
from systolith.perf.memory.patterns import Addresses, Pattern
from systolith.perf.memory.refresh import Refresh, refresh_mode
from systolith.perf.memory.requests import Places, map_of

__all__ = ["Bound", "Limit", "limit"]

Bound = Literal["data", "bank groups", "banks", "activations", "turnaround", "runs under way"]

_ATOMS = 1 << 16  # of the pattern that are looked at
_RUNS = 1 << 12


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What no controller that keeps the order within streams and rows can exceed.

    Parameters
    ----------
    efficiency
        Share of the peak rate.
    bound_by
        What limits it: the ``data`` bus; ``bank groups``, accesses to the same one; ``banks``, row
        cycles of the busiest; ``activations``, tFAW and tRRD; ``turnaround`` of the data bus once
        in each turn of other direction; ``runs under way``, too few for the latency.
    """

    efficiency: float
    bound_by: Bound


def limit(
    config: ControllerConfig,
    pattern: Pattern,
    *,
    refresh: Refresh | None = None,
    address_map: int = 0,
) -> Limit:
    """Smallest of the limits of ``pattern``, each with its loss by refresh.

    Refreshes of single banks cost nothing, except where the row cycles of banks are the limit: each
    bank is away ``tRFCpb`` in every ``tREFI``. A refresh of all banks keeps the data bus from the
    last read to the first one after it: ``tRTP + tRP + tRFC + tRCD - tCCDS``.

    Raises
    ------
    ValueError
        If the controller cannot have this traffic or refresh.
    """
    mode, t = refresh_mode(config, refresh), config.timing
    load = _Load(config, map_of(config, address_map), pattern)
    peak = load.atoms * t["ccd_s"]
    times: dict[Bound, float] = {
        "data": peak,
        "bank groups": load.groups,
        "banks": load.banks,
        "activations": load.visits * max(t["rrd_s"], (t.faw or 0) / 4),
        "turnaround": peak + load.turns * _turnaround(t, config.organisation.groups),
    }
    if not pattern.writes:
        times["runs under way"] = _latency(pattern, t) * load.runs
    shares = {
        bound: peak / time * (1 - _refresh_loss(bound, mode, t)) for bound, time in times.items()
    }
    least = min(shares, key=lambda bound: shares[bound])
    return Limit(efficiency=shares[least], bound_by=least)


class _Load:
    """Clocks for which a part of a pattern keeps the busiest bank, group, and so on."""

    def __init__(self, config: ControllerConfig, address_map: AddressMap, pattern: Pattern) -> None:
        t, places = config.timing, Places(config, address_map)
        numbers = [n for n in range(config.streams) if pattern.streams >> n & 1]
        addresses = Addresses(pattern, config)
        rounds = max(min(_ATOMS // pattern.count, _RUNS) // len(numbers), 1)
        near = t.ccd_l or t["ccd_s"]
        hits: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # of visits, by bank
        order = []  # groups of atoms
        for stream in numbers * rounds:
            first = addresses.take(stream)
            for atom in range(first, first + pattern.count):
                bank, row, _ = places.find(atom)
                order.append(bank // config.organisation.banks)
                visits = hits[bank]
                if visits and visits[-1][:2] == (stream, row):
                    visits[-1] = (stream, row, visits[-1][2] + 1)
                else:
                    visits.append((stream, row, 1))
        self.runs, self.atoms = rounds * len(numbers), len(order)
        self.visits = sum(len(visits) for visits in hits.values())
        self.turns = rounds * sum(
            pattern.writes >> a & 1 and not pattern.writes >> b & 1
            for a, b in pairwise([*numbers, numbers[0]])
        )
        cycles = [
            sum(_row_cycle(t, near, n, write=pattern.writes >> s & 1) for s, _, n in visits)
            for visits in hits.values()
        ]
        # Random addresses are the same to all banks in the long run.
        self.banks = sum(cycles) / config.banks if pattern.random else max(cycles)
        same = sum(a == b for a, b in pairwise(order))
        if len(numbers) == 1 and not pattern.random:
            self.groups = float(same * near + (len(order) - same) * t["ccd_s"])
        elif pattern.random:
            self.groups = len(order) * near / max(config.banks // config.organisation.banks, 1)
        else:
            self.groups = max(order.count(group) for group in set(order)) * float(near)


def _row_cycle(t: Timing, near: int, hits: int, *, write: int) -> int:
    """Clocks from an activation to the next one of the bank, with ``hits`` accesses."""
    read_end = t["rcd_rd"] + t["rtp"]
    write_end = t["rcd_wr"] + t["cwl"] + t["burst"] + t["wr"]
    recover = write_end if write else read_end
    return max(t["rc"], recover + (hits - 1) * near + t["rp"])


def _turnaround(t: Timing, groups: int) -> int:
    """Clocks that the data bus loses from reads to writes and back, in different bank groups."""
    back = t["cwl"] + t["burst"] + (t["wtr_s"] if groups > 1 or not t.wtr_l else t.wtr_l)
    return t["rtw"] + back - 2 * t["ccd_s"]


def _latency(pattern: Pattern, t: Timing) -> float:
    """Clocks per run of reads, if those under way are all that there are."""
    latency = t["cl"] + t["burst"] + (pattern.count - 1) * t["ccd_s"]
    latency += t["rcd_rd"] if pattern.random else 0
    return latency / (pattern.streams.bit_count() * pattern.open)


def _refresh_loss(bound: Bound, mode: Refresh, t: Timing) -> float:
    if mode == "all-bank":
        # Row cycles and activations can go on until the refresh.
        inner = bound in ("banks", "activations")
        around = 0 if inner else t["rtp"] + t["rp"] + t["rcd_rd"] - t["ccd_s"]
        return (t["rfc"] + around) / t["refi"]
    if mode == "per-bank" and bound == "banks":
        return (t.rfc_pb or 0) / t["refi"]
    return 0.0
