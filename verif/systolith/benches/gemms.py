"""Whole GEMMs on the engine: load, run, read back, compare with numpy and the cycle model."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import EngineConfig
from systolith.array.interface import encode
from systolith.benches.program import Program, Transfers
from systolith.compiler.gemm import GemmPlan
from systolith.golden.gemm import gemm
from systolith.perf.cycles import BandClock, Span

__all__ = ["GemmProgram", "GemmResult", "timing_program"]


@dataclass(frozen=True, kw_only=True)
class GemmResult:
    """One GEMM as the RTL ran it.

    Parameters
    ----------
    plan
        What ran.
    y
        The result, int32 [M, N].
    mismatches
        Elements that differ from numpy.
    cycles, cycles_model
        From the first weight row on a port to the last result visible, inclusive.
    load_cycles, readout_cycles
        From the first to the last transfer of each phase, inclusive.
    """

    plan: GemmPlan
    y: NDArray[np.int32]
    mismatches: int
    cycles: int
    cycles_model: int
    load_cycles: int
    readout_cycles: int

    @property
    def utilization(self) -> float:
        """Fraction of the multipliers' cycles that did work."""
        array = self.plan.config.array
        return self.plan.gemm.macs / (self.cycles * array.rows * array.cols)

    @property
    def digest(self) -> str:
        """SHA-256 of the result, row-major little-endian int32."""
        return hashlib.sha256(np.ascontiguousarray(self.y, dtype="<i4").tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Item:
    plan: GemmPlan
    x: NDArray[np.int8]
    w: NDArray[np.int8]
    x_writes: int
    w_writes: int
    commands: int
    requests: int


class GemmProgram:
    """GEMMs one after the other, each loaded, run and read back.

    Parameters
    ----------
    config
        The engine.
    pad
        Value of the lanes beyond K and N: anything, since it must not matter.
    initialise
        Write every memory word first, for simulators that know unknown values.
    """

    def __init__(self, config: EngineConfig, *, pad: int = 0x55, initialise: bool = False) -> None:
        self.config = config
        self.pad = pad
        self.program = Program(config, modelled=False)
        if initialise:
            self.program.initialise(pad)
        self.before = {
            stream: self.program.sent[stream] for stream in ("x_write", "w_write", "command")
        }
        self.items: list[_Item] = []

    def add(
        self,
        plan: GemmPlan,
        x: NDArray[np.int8],
        w: NDArray[np.int8],
        *,
        keep_weights: bool = False,
    ) -> None:
        """Append ``x @ w``. ``keep_weights``: W is in place from the GEMM before."""
        program = self.program
        x_writes = list(plan.x_writes(x, pad=self.pad))
        w_writes = [] if keep_weights else list(plan.w_writes(w, pad=self.pad))
        program.send("x_write", x_writes)
        program.send("w_write", w_writes)
        commands = plan.commands()
        for command in commands:
            program.command(command)
        program.drain()
        requests = plan.y_requests()
        program.read(requests)
        self.items.append(
            _Item(
                plan=plan,
                x=x,
                w=w,
                x_writes=len(x_writes),
                w_writes=len(w_writes),
                commands=len(commands),
                requests=len(requests),
            )
        )

    def evaluate(self, transfers: Transfers) -> list[GemmResult]:
        """Results of all GEMMs from the log of the run.

        Raises
        ------
        Mismatch
            If commands, completions or words are missing or refused.
        """
        verdict = self.program.check(transfers)
        if verdict.mismatches:
            verdict.require()
        at = {name: [t.cycle for t in moved] for name, moved in transfers.items()}
        x_at, w_at, c_at = self.before.values()
        y_at = 0
        results = []
        for item in self.items:
            loads = at["x_write"][x_at : (x_at := x_at + item.x_writes)]
            loads += at["w_write"][w_at : (w_at := w_at + item.w_writes)]
            spans = verdict.spans[c_at : c_at + item.commands]
            model = verdict.model[c_at : (c_at := c_at + item.commands)]
            first, last = at["y_request"][y_at], at["y_data"][y_at + item.requests - 1]
            words = verdict.words[y_at : (y_at := y_at + item.requests)]
            y = item.plan.y_gather(words)
            results.append(
                GemmResult(
                    plan=item.plan,
                    y=y,
                    mismatches=int((y != gemm(item.x, item.w)).sum()),
                    cycles=_length(spans),
                    cycles_model=_length(model),
                    load_cycles=max(loads) - min(loads) + 1,
                    readout_cycles=last - first + 1,
                )
            )
        return results


def _length(spans: list[Span]) -> int:
    return max(span.done for span in spans) - min(span.start for span in spans) + 1


def timing_program(plan: GemmPlan, *, cycles: int) -> Program:
    """The command phase of ``plan`` alone, repeated to last about ``cycles``: segment 1."""
    program = Program(plan.config, modelled=False)
    batch = plan.commands()
    spans = BandClock(plan.config).program(batch, [0] * len(batch))
    repeats = -(-cycles // _length(spans))
    program.mark()
    phase = program.segments[-1]
    for _ in range(repeats):
        for command in batch:
            phase.send("command", encode("command", plan.config, command))
    phase.wait("completion", repeats * len(batch))
    return program
