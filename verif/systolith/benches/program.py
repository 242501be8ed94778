"""Programs for the matrix engine: what is played to the RTL and what must come back, and when."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import decode, encode, event_layout
from systolith.benches.placing import fill_banks, fill_results, operand_writes
from systolith.compiler.gemm import GemmPlan
from systolith.golden.engine import EngineModel
from systolith.harness.result import Transfer
from systolith.harness.script import Script
from systolith.perf.cycles import BandClock, Span

__all__ = ["Mismatch", "Program", "Transfers", "Verdict"]

Payload = Mapping[str, int]
Transfers = Mapping[str, Sequence[Transfer]]


class Mismatch(AssertionError):
    """The RTL differs from the golden model or from the cycle model."""


@dataclass
class Verdict:
    """What a run showed.

    Parameters
    ----------
    spans
        For each accepted command, when it ran.
    model
        The same from the cycle model.
    cycle_differences
        Commands whose start or end differs.
    mismatches
        Differences in results or codes, as sentences.
    words
        What was read, in order.
    """

    spans: list[Span]
    model: list[Span]
    cycle_differences: int
    mismatches: list[str]
    words: list[int]

    def require(self) -> "Verdict":
        """Raise :class:`Mismatch` unless everything is equal."""
        if self.mismatches or self.cycle_differences:
            late = [
                f"command {n}: RTL {rtl.start}..{rtl.done}, model {model.start}..{model.done}"
                for n, (rtl, model) in enumerate(zip(self.spans, self.model, strict=True))
                if rtl != model
            ]
            raise Mismatch("; ".join([*self.mismatches, *late][:8]))
        return self


@dataclass
class Program:
    """A sequence of host transactions, executed at once on the golden engine.

    Parameters
    ----------
    config
        The engine.
    modelled
        Follow every memory word in the golden engine. Long GEMM runs do without: their results are
        compared as whole matrices.
    """

    config: EngineConfig
    modelled: bool = True
    segments: list[Script] = field(default_factory=lambda: [Script()])
    commands: list[Payload] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    reads: list[tuple[NDArray[np.uint32], NDArray[np.bool_]]] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self.golden = EngineModel(self.config)
        self.sent: Counter[str] = Counter()

    def send(self, stream: str, payloads: Iterable[Payload]) -> None:
        """Send payloads to one of the ports that write operands."""
        for payload in payloads:
            if self.modelled:
                self.golden.write(stream, payload)
            self._send(stream, payload)

    def load(
        self,
        plan: GemmPlan,
        x: NDArray[Any],
        w: NDArray[Any],
        x_scales: NDArray[Any] | None = None,
        w_scales: NDArray[Any] | None = None,
        *,
        pad: int = 0,
    ) -> None:
        """Place the operands of ``plan``."""
        for stream, payloads in operand_writes(plan, x, w, x_scales, w_scales, pad=pad).items():
            self.send(stream, payloads)

    def initialise(self, pad: int = 0x55) -> None:
        """Write every word of every memory once."""
        for stream, payloads in fill_banks(self.config, pad).items():
            self.send(stream, payloads)
        for command in fill_results(self.config):
            self.command(command)
        self.drain()

    def command(self, payload: Payload) -> None:
        """Send a command; its tag is replaced by its number."""
        tag = len(self.commands) % (1 << self.config.control.tag_width)
        payload = {**payload, "tag": tag}
        self.commands.append(payload)
        self.codes.append(self.golden.run(payload) if self.modelled else Code.OK)
        self._send("command", payload)

    def drain(self) -> None:
        """Wait for the completions of all commands so far."""
        self.segments[-1].wait("completion", len(self.commands))

    def read(self, payloads: Iterable[Payload]) -> None:
        """Read accumulators and wait for the answers."""
        for payload in payloads:
            self.requests += 1
            if self.modelled:
                self.reads.append((self.golden.read(payload), self.golden.meaningful(payload)))
            self._send("y_request", payload)
        self.segments[-1].wait("y_data", self.requests)

    def read_all(self) -> None:
        """Read every word of every band's results, of both memories as far as they are there."""
        array = self.config.array
        memories: list[dict[str, int]] = [{}]
        if self.config.scaled:
            memories = [{"scaled": 0}, {"scaled": 1}][not self.config.plain :]
        self.read(
            {"addr": addr, "tile": tile, "row_mask": 1 << i, "col": j, **memory}
            for memory in memories
            for i in range(array.row_bands)
            for j in range(array.col_bands)
            for tile in range(array.col_tiles)
            for addr in range(self.config.memory.y_depth)
        )

    def mark(self) -> None:
        """Begin another segment: the simulation is timed segment by segment."""
        self.segments.append(Script())

    def idle(self, cycles: int) -> None:
        """Do nothing for some cycles."""
        self.segments[-1].idle(cycles)

    def _send(self, stream: str, payload: Payload) -> None:
        self.sent[stream] += 1
        self.segments[-1].send(stream, encode(stream, self.config, payload))

    # Checks ---------------------------------------------------------------------------------

    def check(self, transfers: Transfers) -> Verdict:
        """Compare the transfers of a run, by stream, with both models."""
        mismatches = self._check_codes(transfers)
        words = [transfer.payload for transfer in transfers["y_data"]]
        mismatches += self._check_words(words)
        spans, model = self._spans(transfers, mismatches)
        differences = sum(a != b for a, b in zip(spans, model, strict=False))
        differences += abs(len(spans) - len(model))
        return Verdict(spans, model, differences, mismatches, words)

    def _check_codes(self, transfers: Transfers) -> list[str]:
        got: dict[int, list[int]] = defaultdict(list)
        for transfer in transfers["completion"]:
            fields = decode("completion", self.config, transfer.payload)
            got[fields["tag"]].append(fields["code"])
        wanted: dict[int, list[int]] = defaultdict(list)
        for command, code in zip(self.commands, self.codes, strict=True):
            wanted[command["tag"]].append(int(code))
        return [
            f"tag {tag}: completion codes {got[tag]}, expected {wanted[tag]}"
            for tag in sorted({*got, *wanted})
            if sorted(got[tag]) != sorted(wanted[tag])
        ]

    def _check_words(self, words: Sequence[int]) -> list[str]:
        size = self.config.array.tile * self.config.acc_width // 8
        if len(words) != self.requests:
            return [f"{len(words)} words read, {self.requests} expected"]
        if not self.modelled:
            return []
        wrong: list[tuple[int, list[int], list[int]]] = []
        for n, (word, (want, meaningful)) in enumerate(zip(words, self.reads, strict=True)):
            got = np.frombuffer(word.to_bytes(size, "little"), dtype="<u4")
            if (got != want)[meaningful].any():
                wrong.append((n, got.view("<i4").tolist(), want.view(np.int32).tolist()))
        if not wrong:
            return []
        first, lanes, expected = wrong[0]
        return [f"{len(wrong)} of {len(words)} words differ: {first} is {lanes}, not {expected}"]

    def _spans(self, transfers: Transfers, mismatches: list[str]) -> tuple[list[Span], list[Span]]:
        """Spans of the accepted commands: as observed, and by the model from their scheduling."""
        config, array = self.config, self.config.array
        layout = event_layout(config)
        snapshots: list[int] = []
        starts: dict[int, list[int]] = defaultdict(list)
        ends: dict[int, list[int]] = defaultdict(list)
        for cycle, payload in transfers["event"]:
            event: Any = layout.from_bits(payload)
            if event["taken"]:
                snapshots.append(cycle)
            for band in range(array.bands):
                if event["start"] >> band & 1:
                    starts[band].append(cycle)
                if event["done"] >> band & 1:
                    ends[band].append(cycle)

        if len(snapshots) != len(self.commands):
            mismatches.append(f"{len(snapshots)} commands taken, {len(self.commands)} expected")
            return [], []
        good = [code is Code.OK for code in self.codes]
        model = BandClock(config).program(self.commands, snapshots, good)
        accepted = [command for command, ok in zip(self.commands, good, strict=True) if ok]
        leaders = [c["row"] * array.col_bands + c["col"] for c in accepted]
        corners = [
            leader + ((1 << c["rows_log2"]) - 1) * array.col_bands + (1 << c["cols_log2"]) - 1
            for leader, c in zip(leaders, accepted, strict=True)
        ]
        # A band reports starts in program order, and ends in the order of time.
        ranks: dict[int, list[int]] = defaultdict(list)
        for n, corner in enumerate(corners):
            ranks[corner].append(n)
        ended: dict[int, int] = {}
        for corner, members in ranks.items():
            in_time = sorted(members, key=lambda n: model[n].done)
            for n, cycle in zip(in_time, ends[corner], strict=False):
                ended[n] = cycle
        begun = {leader: iter(cycles) for leader, cycles in starts.items()}
        spans = [
            Span(start=next(begun.get(leader, iter(())), -1), done=ended.get(n, -1))
            for n, leader in enumerate(leaders)
        ]
        extra = sum(map(len, starts.values())) + sum(map(len, ends.values())) - 2 * len(accepted)
        if extra:
            mismatches.append(f"{extra} more starts and ends than commands")
        return spans, model
