"""Programs for the matrix engine: what is played to the RTL and what must come back, and when."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from systolith.array.codes import Code
from systolith.array.config import EngineConfig
from systolith.array.interface import decode, encode, event_layout
from systolith.compiler.gemm import GemmPlan
from systolith.golden.engine import EngineModel
from systolith.perf.cycles import BandClock, Span

__all__ = ["Action", "Mismatch", "Program", "Verdict"]

Payload = Mapping[str, int]


class Mismatch(AssertionError):
    """The RTL differs from the golden model or from the cycle model."""


@dataclass(frozen=True)
class Action:
    """One step of a program.

    Parameters
    ----------
    kind
        ``send`` (stream, payload), ``wait`` (stream, transfers in all), ``idle`` (cycles),
        ``ready`` (stream, pattern) or ``mark``.
    stream
        Name of the port.
    value
        Payload or count.
    """

    kind: str
    stream: str = ""
    value: int = 0


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
    """

    config: EngineConfig
    actions: list[Action] = field(default_factory=list)
    commands: list[Payload] = field(default_factory=list)
    codes: list[Code] = field(default_factory=list)
    reads: list[NDArray[np.int32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.golden = EngineModel(self.config)

    def send(self, stream: str, payloads: Iterable[Payload]) -> None:
        """Send payloads to ``x_write`` or ``w_write``."""
        bank = {"x_write": self.golden.x, "w_write": self.golden.w}[stream]
        for payload in payloads:
            self.golden.write(bank, payload)
            self._send(stream, payload)

    def load(
        self, plan: GemmPlan, x: NDArray[np.int8], w: NDArray[np.int8], *, pad: int = 0
    ) -> None:
        """Place the operands of ``plan``."""
        self.send("x_write", plan.x_writes(x, pad=pad))
        self.send("w_write", plan.w_writes(w, pad=pad))

    def command(self, payload: Payload) -> None:
        """Send a command; its tag is replaced by its number."""
        tag = len(self.commands) % (1 << self.config.control.tag_width)
        payload = {**payload, "tag": tag}
        self.commands.append(payload)
        self.codes.append(self.golden.run(payload))
        self._send("command", payload)

    def drain(self) -> None:
        """Wait for the completions of all commands so far."""
        self.actions.append(Action("wait", "completion", len(self.commands)))

    def read(self, payloads: Iterable[Payload]) -> None:
        """Read accumulators and wait for the answers."""
        for payload in payloads:
            self.reads.append(self.golden.read(payload))
            self._send("y_request", payload)
        self.actions.append(Action("wait", "y_data", len(self.reads)))

    def read_all(self) -> None:
        """Read every accumulator word of every band."""
        array = self.config.array
        self.read(
            {"addr": addr, "tile": tile, "row_mask": 1 << i, "col_mask": 1 << j}
            for i in range(array.row_bands)
            for j in range(array.col_bands)
            for tile in range(array.col_tiles)
            for addr in range(self.config.memory.y_depth)
        )

    def mark(self) -> None:
        """Stop until the bench goes on: the end of a timed phase."""
        self.actions.append(Action("mark"))

    def idle(self, cycles: int) -> None:
        """Do nothing for some cycles."""
        self.actions.append(Action("idle", value=cycles))

    def _send(self, stream: str, payload: Payload) -> None:
        self.actions.append(Action("send", stream, encode(stream, self.config, payload)))

    # Checks ---------------------------------------------------------------------------------

    def check(self, transfers: Sequence[tuple[int, str, int]]) -> Verdict:
        """Compare the log of a run (cycle, stream, payload) with both models."""
        mismatches = self._check_codes(transfers)
        words = [payload for _, stream, payload in transfers if stream == "y_data"]
        mismatches += self._check_words(words)
        spans, model = self._spans(transfers, mismatches)
        differences = sum(a != b for a, b in zip(spans, model, strict=False))
        differences += abs(len(spans) - len(model))
        return Verdict(spans, model, differences, mismatches, words)

    def _check_codes(self, transfers: Sequence[tuple[int, str, int]]) -> list[str]:
        got: dict[int, list[int]] = defaultdict(list)
        for _, stream, payload in transfers:
            if stream == "completion":
                fields = decode("completion", self.config, payload)
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
        if len(words) != len(self.reads):
            return [f"{len(words)} words read, {len(self.reads)} expected"]
        wrong = [
            n
            for n, (word, want) in enumerate(zip(words, self.reads, strict=True))
            if word != int.from_bytes(want.astype("<i4").tobytes(), "little")
        ]
        if not wrong:
            return []
        first = wrong[0]
        got = np.frombuffer(words[first].to_bytes(size, "little"), dtype="<i4")
        return [
            f"{len(wrong)} of {len(words)} words differ, first word {first}: "
            f"{got.tolist()}, expected {self.reads[first].tolist()}"
        ]

    def _spans(
        self, transfers: Sequence[tuple[int, str, int]], mismatches: list[str]
    ) -> tuple[list[Span], list[Span]]:
        """Spans of the accepted commands: as observed, and by the model from their scheduling."""
        config, array = self.config, self.config.array
        layout = event_layout(config)
        snapshots: list[int] = []
        starts: dict[int, list[int]] = defaultdict(list)
        ends: dict[int, list[int]] = defaultdict(list)
        for cycle, stream, payload in transfers:
            if stream != "event":
                continue
            event = layout.from_bits(payload)
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
