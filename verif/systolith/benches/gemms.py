"""Whole GEMMs on the engine: load, run, read back, compare with the golden and the cycle model."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.array.config import EngineConfig
from systolith.array.interface import encode
from systolith.benches.placing import operand_writes
from systolith.benches.program import Program, Transfers
from systolith.compiler.gemm import GemmPlan
from systolith.golden.gemm import accumulator_of, product
from systolith.golden.numerics.accumulate import canonical
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
        The result [M, N]: int32, or float32 of block formats.
    mismatches
        Elements whose bits differ from the golden product.
    cycles, cycles_model
        From the first weight row on a port to the last result visible, inclusive.
    load_cycles, readout_cycles
        From the first to the last transfer of each phase, inclusive.
    """

    plan: GemmPlan
    y: NDArray[Any]
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
        """SHA-256 of the result, row-major, little-endian int32 or binary32."""
        return hashlib.sha256(
            np.ascontiguousarray(_bits(self.y), dtype="<u4").tobytes()
        ).hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Item:
    plan: GemmPlan
    wanted: NDArray[Any]
    tensor_scale: float
    writes: dict[str, int]
    commands: int
    requests: int

    @property
    def x_writes(self) -> int:
        """Words of X that were written."""
        return self.writes["x_write"]


class GemmProgram:
    """GEMMs one after the other, each loaded, run and read back.

    Parameters
    ----------
    config
        The engine.
    pad
        Code of the lanes beyond K and N: anything, since it must not matter.
    initialise
        Write every memory word first, for simulators that know unknown values.
    """

    def __init__(self, config: EngineConfig, *, pad: int = 0x55, initialise: bool = False) -> None:
        self.config = config
        self.pad = pad
        self.program = Program(config, modelled=False)
        if initialise:
            self.program.initialise(pad)
        self.before = dict(self.program.sent)
        self.items: list[_Item] = []

    def add(
        self,
        plan: GemmPlan,
        x: NDArray[Any],
        w: NDArray[Any],
        x_scales: NDArray[Any] | None = None,
        w_scales: NDArray[Any] | None = None,
        tensor_scale: float = 1.0,
        *,
        keep_weights: bool = False,
    ) -> None:
        """Append ``x @ w``, operands as in :class:`GemmPlan`.

        Parameters
        ----------
        plan
            Where it runs; it overwrites its results.
        x, w, x_scales, w_scales
            Operands, scales for block formats.
        tensor_scale
            NVFP4: product of both tensor scales; multiplies what was read, in software.
        keep_weights
            W and its scales are in place from the GEMM before.
        """
        if plan.accumulate:
            raise ValueError("accumulate must not be set: it adds to results of before")
        program = self.program
        writes = {}
        for stream, payloads in operand_writes(
            plan, x, w, x_scales, w_scales, pad=self.pad
        ).items():
            kept = keep_weights and stream in ("w_write", "w_scale")
            listed = [] if kept else list(payloads)
            program.send(stream, listed)
            writes[stream] = len(listed)
        commands = plan.commands()
        for command in commands:
            program.command(command)
        program.drain()
        requests = plan.y_requests()
        program.read(requests)
        self.items.append(
            _Item(
                plan=plan,
                wanted=product(
                    plan.pair,
                    x,
                    w,
                    x_scales,
                    w_scales,
                    tensor_scale,
                    accumulator_of(plan.config, plan.seed),
                ),
                tensor_scale=tensor_scale,
                writes=writes,
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
        cycles = {name: [t.cycle for t in moved] for name, moved in transfers.items()}
        at = Counter(self.before)  # transfers of each port that are accounted for
        results = []

        def take(stream: str, count: int) -> slice:
            at[stream] += count
            return slice(at[stream] - count, at[stream])

        for item in self.items:
            loads = [
                cycle
                for stream, count in item.writes.items()
                for cycle in cycles[stream][take(stream, count)]
            ]
            ran = take("command", item.commands)
            spans, model = verdict.spans[ran], verdict.model[ran]
            read = take("y_request", item.requests)
            y = item.plan.y_gather(verdict.words[read])
            if item.tensor_scale != 1.0:
                with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                    y = canonical(y * np.float32(item.tensor_scale))
            results.append(
                GemmResult(
                    plan=item.plan,
                    y=y,
                    mismatches=int((_bits(y) != _bits(item.wanted)).sum()),
                    cycles=_length(spans),
                    cycles_model=_length(model),
                    load_cycles=max(loads) - min(loads) + 1,
                    readout_cycles=cycles["y_data"][read][-1] - cycles["y_request"][read][0] + 1,
                )
            )
        return results


def _bits(y: NDArray[Any]) -> NDArray[np.uint32]:
    """The 32 bits of every element: NaN equals NaN, and -0 is not +0."""
    return y.view(np.uint32)


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
