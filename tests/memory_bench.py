"""Play runs on a controller with its memory, and check every atom that comes back."""

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dram_traces import SDR, SDR_SHAPE, SHAPE, TIGHT

from systolith.benches.memory_player import MemoryPlayer
from systolith.benches.player_layouts import (
    control_layout,
    event_layout,
    flip_of,
    play_run_layout,
    status_layout,
    users,
    written_layout,
)
from systolith.devices.dram import device_verilog
from systolith.devices.streams import StreamPort
from systolith.harness.cosim import Simulation, build
from systolith.harness.script import Script
from systolith.memory.hbm.config import ControllerConfig
from systolith.memory.hbm.data_path import correction_layout, response_layout
from systolith.perf.memory.latency import worst_latency

__all__ = ["MERGING", "SMALL", "Outcome", "Player", "Run", "longest_wait", "random_runs", "region"]

SMALL = {
    "tight": ControllerConfig(organisation=SHAPE, timing=TIGHT, streams=4, visits=2),
    "tight4": ControllerConfig(organisation=SHAPE, timing=TIGHT, streams=4, visits=2, slots=4),
    "sdr": ControllerConfig(organisation=SDR_SHAPE, timing=SDR, streams=3, visits=1),
}
MERGING = {
    "word": replace(SMALL["tight"], streams=5, ecc="word-266-poison"),
    "sideband4": replace(SMALL["tight4"], streams=5, ecc="sideband-72"),
    "bare": replace(SMALL["sdr"], organisation=replace(SDR_SHAPE, mask=False)),
}


@dataclass(frozen=True)
class Run:
    stream: int
    write: bool
    atom: int
    count: int
    partial: bool = False


@dataclass
class Outcome:
    """What happened, and what is wrong with it."""

    wrong: list[str] = field(default_factory=list)
    status: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    poisoned: int = 0
    corrections: list[Any] = field(default_factory=list)
    data: list[int] = field(default_factory=list)
    reads: int = 0
    cycles: int = 0
    done_at: list[int] = field(default_factory=list)
    waits: list[tuple[Run, int]] = field(default_factory=list)


class Player:
    """A controller under the player."""

    def __init__(self, config: ControllerConfig, folder: Path, *, ref_groups: int = 16) -> None:
        self.config = config
        top = MemoryPlayer(config, ref_groups=ref_groups)
        verilog, name = device_verilog(top, "dut")
        inputs = [
            StreamPort("control", control_layout(config).size, has_ready=False),
            StreamPort("run", play_run_layout(config).size),
        ]
        if config.codec:
            inputs.append(StreamPort("flip", flip_of(config).size, has_ready=False))
        self.layouts: dict[str, Any] = {"status": status_layout(config)}
        for p in range(config.ports):
            if config.codec:
                self.layouts |= {f"correction{p}": correction_layout(config)}
            self.layouts |= {f"written{p}": written_layout(config)}
            self.layouts |= {f"response{p}": response_layout(config)}
        widths = {name: layout.size for name, layout in self.layouts.items()}
        widths |= {f"done{p}": config.stream_bits for p in range(config.ports)} | {
            "event": event_layout().size
        }
        outputs = [StreamPort(name, bits, has_ready=False) for name, bits in widths.items()]
        self.simulation: Simulation = build(verilog, name, inputs, outputs, folder)

    def control(self, **registers: int) -> int:
        given = {"mode": 1, "debt_bound": self.config.debt, **registers}
        return int(control_layout(self.config).const(given).as_value().value)

    def send(self, script: Script, runs: Iterable[Run]) -> None:
        layout = play_run_layout(self.config)
        for run in runs:
            word = {"write": int(run.write), "atom": run.atom, "count": run.count}
            if self.config.merges:
                word["partial"] = int(run.partial)
            value = layout.const({"stream": run.stream, "run": word}).as_value().value
            script.send("run", int(value))

    def sent(self, script: Script, runs: Iterable[Run]) -> Script:
        """The script, with runs behind it."""
        self.send(script, runs)
        return script

    def play(self, script: Script, runs: list[Run], *, rest: int = 3000) -> Outcome:
        """Play; the runs are those of the script, of which every atom is checked."""
        script.idle(rest)
        result = self.simulation.run([script], deadline=100_000)
        outcome = Outcome(cycles=result.segments[0].cycles)
        written: dict[int, list[Any]] = defaultdict(list)
        back: dict[int, list[Any]] = defaultdict(list)
        for kind, lists in (("written", written), ("response", back)):
            events = [
                (t.cycle, p, self.layouts[f"{kind}{p}"].from_bits(t.payload))
                for p in range(self.config.ports)
                for t in result.transfers[f"{kind}{p}"]
            ]
            for _, _, word in sorted(events, key=lambda e: e[:2]):
                lists[int(word.stream)].append(word)
        outcome.done_at = sorted(
            t.cycle for p in range(self.config.ports) for t in result.transfers[f"done{p}"]
        )
        outcome.waits = self._waits(runs, result.transfers)
        for t in result.transfers["status"]:
            word = self.layouts["status"].from_bits(t.payload)
            outcome.status = {n: int(word[n]) for n in dict(iter(self.layouts["status"]))}
        found = [
            (t.cycle, p, self.layouts[f"correction{p}"].from_bits(t.payload))
            for p in range(self.config.ports if self.config.codec else 0)
            for t in result.transfers[f"correction{p}"]
        ]
        outcome.corrections = [word for *_, word in sorted(found, key=lambda e: e[:2])]
        self._check(runs, written, back, outcome)
        return outcome

    def _waits(self, runs: list[Run], transfers: dict[str, Any]) -> list[tuple[Run, int]]:
        """Clocks of each run as the first of its stream, to its last atom."""
        ends: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for p in range(self.config.ports):
            for t in transfers[f"done{p}"]:
                ends[t.payload, True].append(t.cycle)
            for t in transfers[f"response{p}"]:
                word = self.layouts[f"response{p}"].from_bits(t.payload)
                if word.last:
                    ends[int(word.stream), False].append(t.cycle)
        queues = {key: iter(sorted(cycles)) for key, cycles in ends.items()}
        free, waits = dict.fromkeys(range(users(self.config)), 0), []
        for run, t in zip(runs, transfers["run"], strict=True):
            end = next(queues.get((run.stream, run.write), iter(())), None)
            if end is None:  # told elsewhere
                break
            waits.append((run, end - max(t.cycle, free[run.stream])))
            free[run.stream] = max(end, free[run.stream])
        return waits

    def _check(
        self, runs: list[Run], written: dict[int, Any], back: dict[int, Any], outcome: Outcome
    ) -> None:
        """Streams touch different atoms: each is a memory of its own, in order."""
        atom = self.config.organisation.atom
        known: dict[int, int] = {}
        for run in runs:
            for n in range(run.count):
                at, queue = run.atom + n, (written if run.write else back)[run.stream]
                if not queue:
                    outcome.wrong.append(f"{run}: nothing for atom {at}")
                    return
                word = queue.pop(0)
                if not run.write:
                    outcome.reads += 1
                    outcome.data.append(int(word.data))
                    if int(word.lost):
                        outcome.lost += 1
                    elif self.config.codec and int(word.poison):
                        outcome.poisoned += 1
                    elif known.setdefault(at, int(word.data)) != int(word.data):
                        outcome.wrong.append(f"{run}: atom {at} differs")
                    if int(word.last) != (n == run.count - 1):
                        outcome.wrong.append(f"{run}: atom {at} is last: {int(word.last)}")
                    continue
                mask = sum(255 << 8 * b for b in range(atom) if int(word.write.mask) >> b & 1)
                if at not in known and mask != (1 << 8 * atom) - 1:
                    outcome.wrong.append(f"{run}: atom {at} was never written in full")
                known[at] = known.get(at, 0) & ~mask | int(word.write.data) & mask
        for name, queues in (("written", written), ("read", back)):
            if left := sum(map(len, queues.values())):
                outcome.wrong.append(f"{left} atoms {name} too many")


def longest_wait(config: ControllerConfig, outcome: Outcome, **kinds: Any) -> float:
    """Of all runs, in parts of what the formula allows; 1 is too long."""
    longest = max(run.count for run, _ in outcome.waits)
    bounds = {
        count: worst_latency(config, longest=longest, count=count, delay=1, **kinds)
        for count in {run.count for run, _ in outcome.waits}
    }
    return max(clocks / bounds[run.count] for run, clocks in outcome.waits)


def region(config: ControllerConfig) -> int:
    """Atoms of each stream: different rows of the same banks."""
    return (1 << config.atom_bits) // users(config)


def random_runs(config: ControllerConfig, *, seed: int, number: int, longest: int) -> list[Run]:
    """Runs of all streams, each in its part of the memory, which it writes before it reads."""
    draw = random.Random(seed)
    size = region(config)
    filled = dict.fromkeys(range(users(config)), 0)
    runs = []
    for _ in range(number):
        stream = draw.randrange(users(config))
        count = draw.choice([1, 2, 3, draw.randint(1, longest)])
        most = filled[stream]
        if most + count <= size and (most < count or draw.random() < 0.5):
            at, write = most, True
            filled[stream] += count
        elif most >= count:
            at, write = draw.randint(0, most - count), draw.random() < 0.4
        else:
            continue
        runs.append(Run(stream, write, stream * size + at, count))
    return runs
