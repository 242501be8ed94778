"""``systolith memory``: how much of a memory's bandwidth its controller delivers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from systolith.benches.memory_inline import REGION
from systolith.benches.memory_measure import Measurement, MemoryBench
from systolith.benches.play import CACHE
from systolith.cli.memory_plot import check_picture, plot_measurement
from systolith.cli.output import FAILED, emit_json, mistakes, notes, table, working
from systolith.config.memory_part import load_part
from systolith.golden.dram_trace import write_trace
from systolith.memory.hbm.config import ControllerConfig, EccKind
from systolith.memory.hbm.parts import Part
from systolith.memory.sdr.block_code import BLOCK, STRIDE
from systolith.perf.memory.advice import LEAST_LOOK_AHEAD, look_ahead_advice
from systolith.perf.memory.latency import worst_latency
from systolith.perf.memory.limits import limit
from systolith.perf.memory.model import MemoryResult, simulate
from systolith.perf.memory.patterns import PATTERNS, Pattern
from systolith.perf.memory.policy import Policy
from systolith.perf.memory.refresh import Refresh, refresh_mode

__all__ = ["Case", "memory", "table_cases"]

_STREAMS = (16, 64)  # controllers that are built: the smallest one that has enough streams
_OPTIONS = {
    "outstanding": ("random-64", "random-1k"),
    "turn_kib": ("rw-2to1",),
    "page_kib": ("kv-decode",),
    "stride": ("stride",),
    "hits": ("one-bank",),
}
_CODES: dict[str, EccKind] = {
    "hbm2": "sideband-72",
    "hbm2e": "sideband-72",
    "hbm3": "word-266-poison",
}
_INLINE = ("seq-read", "seq-write")  # patterns that ECC in line is measured with

_SAYS = {
    "outstanding": "x{}",
    "turn_kib": "{} KiB",
    "page_kib": "{} KiB",
    "stride": "{} B",
    "hits": "{} hits",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A pattern with its options, and how the memory is refreshed."""

    pattern: str
    options: dict[str, int] = field(default_factory=dict)
    refresh: str | None = None

    def __str__(self) -> str:
        words = [self.pattern, *(_SAYS[k].format(v) for k, v in self.options.items())]
        return " ".join([*words, *([self.refresh] if self.refresh else [])])


def table_cases(part: Part) -> list[Case]:
    """Every pattern of the table that ``--all`` prints."""
    single = part.timing.rfc_pb is not None
    varied = [
        *(("kv-decode", {"page_kib": n}) for n in (1, 2, 4)),
        *(("random-1k", {"outstanding": n}) for n in (6, 8, 12)),
        *(("random-64", {"outstanding": n}) for n in (16, 64)),
        *(("rw-2to1", {"turn_kib": n}) for n in (16, 4)),
        *(("one-bank", {"hits": n}) for n in (part.organisation.columns, 1)),
    ]
    return [
        Case(pattern="seq-read"),
        Case(pattern="seq-write"),
        *([Case(pattern="seq-read", refresh="all-bank")] if single else []),
        *(Case(pattern=name, options=options) for name, options in varied),
        Case(pattern="stride"),
        Case(pattern="row-thrash"),
    ]


def memory(
    preset: Annotated[
        str, typer.Option(help="hbm3-6400, hbm2-2400, sdr-..., or a memory's TOML file.")
    ] = "hbm3-6400",
    pattern: Annotated[str | None, typer.Option(help=", ".join(PATTERNS))] = None,
    every: Annotated[bool, typer.Option("--all", help="Every pattern, as a table.")] = False,
    refresh: Annotated[
        str | None, typer.Option(help="per-bank, all-bank or off; all-bank for SDR.")
    ] = None,
    outstanding: Annotated[int | None, typer.Option(help="Requests under way, random-*.")] = None,
    turn_kib: Annotated[int | None, typer.Option(help="Turn of a stream, rw-2to1.")] = None,
    page_kib: Annotated[int | None, typer.Option(help="Page, kv-decode.")] = None,
    stride: Annotated[int | None, typer.Option(help="Bytes, stride.")] = None,
    hits: Annotated[int | None, typer.Option(help="Accesses of a row, one-bank.")] = None,
    address_map: Annotated[str, typer.Option("--map", help="Address map.")] = "groups-low",
    slots: Annotated[int, typer.Option(help="Memory clocks in a clock: 1 or 4.")] = 1,
    look_ahead: Annotated[
        int, typer.Option(help="Rows announced before they are needed.", min=1, max=64)
    ] = LEAST_LOOK_AHEAD,
    ecc: Annotated[
        str, typer.Option(help="Error correction: on or off; SDR: in line, sequential only.")
    ] = "off",
    activations: Annotated[
        int, typer.Option(help="Refresh management: activations of a bank until it is due.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of random addresses.", min=1)] = 1,
    model: Annotated[bool, typer.Option("--model", help="The model instead of the RTL.")] = False,
    policy: Annotated[
        str, typer.Option(help="Refresh of the model: ours, blind (rotation) or stock (blocks).")
    ] = "ours",
    plot: Annotated[Path | None, typer.Option(help="Draw one pattern: .png or .svg.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Write every command of one pattern.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
) -> None:
    """Measure a memory controller on its Verilog, or by the model: efficiency, latency, stalls."""
    given = {
        "outstanding": outstanding,
        "turn_kib": turn_kib,
        "page_kib": page_kib,
        "stride": stride,
        "hits": hits,
    }
    with mistakes():
        part = load_part(preset)
        if every == (pattern is not None):
            raise ValueError("give either --pattern or --all")
        if refresh not in (None, *get_args(Refresh)):
            allowed = ", ".join(get_args(Refresh))
            raise ValueError(f"--refresh must be one of {allowed}, not {refresh!r}")
        options = {name: value for name, value in given.items() if value is not None}
        cases = table_cases(part) if pattern is None else [_case(pattern, options, refresh)]
        if every and (options or plot or trace or refresh):
            raise ValueError("--all takes no option of a single pattern")
        if model and (plot or trace):
            raise ValueError("--plot and --trace need the RTL: leave out --model")
        policies: tuple[Policy, ...] = get_args(Policy)
        chosen = next((name for name in policies if name == policy), None)
        if chosen is None:
            raise ValueError(f"--policy must be one of {', '.join(policies)}, not {policy!r}")
        if chosen != "ours" and not model:
            raise ValueError("--policy is of the model: give --model")
        if ecc not in ("on", "off"):
            raise ValueError(f"--ecc must be on or off, not {ecc!r}")
        if model and (activations or ecc == "on"):
            raise ValueError("--activations and --ecc on need the RTL: leave out --model")
        inline = ecc == "on" and part.timing.generation == "sdr"
        if inline and every:
            cases = [case for case in cases if case.pattern in _INLINE]
        elif inline and pattern not in _INLINE:
            raise ValueError(
                f"--pattern must be one of {', '.join(_INLINE)} for SDR with --ecc on, "
                f"not {pattern!r}"
            )
        if plot:
            check_picture(plot)
        if trace and not trace.parent.is_dir():
            raise ValueError(f"--trace {trace}: its directory does not exist")
        job = _Job(part, slots, address_map, seed, chosen if model else None, ecc == "on")
        job.activations, job.look_ahead = activations, look_ahead
        advice = look_ahead_advice(job.config(_STREAMS[0]))
        with working(f"{part.name}, {slots} slots") as tell:
            runs = [job.run(case, tell, trace is not None) for case in cases]
        if plot:
            plot_measurement(plot, str(cases[0]), job.last_config, job.last)
        if trace:
            assert isinstance(job.last, Measurement)
            trace.write_text("\n".join(write_trace(job.last.trace or ())) + "\n")
    if advice:
        notes.print(f"warning: {advice}")
    if json:
        emit_json({"runs": runs} if every else runs[0])
    else:
        _print(
            f"{part.name}, slots {slots}, {f'model ({policy})' if model else 'RTL'}", cases, runs
        )
    if any(r["violations"] or r["late_refreshes"] or r["data_lost"] for r in runs):
        raise typer.Exit(FAILED)


def _case(pattern: str, options: dict[str, int], refresh: str | None) -> Case:
    if pattern not in PATTERNS:
        raise ValueError(f"--pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    for name in options:
        if pattern not in _OPTIONS[name]:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is of {', '.join(_OPTIONS[name])}, not of {pattern}")
    return Case(pattern=pattern, options=options, refresh=refresh)


class _Job:
    """Runs cases; a controller is compiled once for all that it has enough streams for."""

    def __init__(
        self,
        part: Part,
        slots: int,
        address_map: str,
        seed: int,
        model: Policy | None,
        ecc: bool,
    ) -> None:
        self.activations, self.look_ahead = 0, LEAST_LOOK_AHEAD
        self.part, self.slots, self.seed, self.model = part, slots, seed, model
        # Inside of the data of a memory that has no room beside it.
        self.inline = ecc and self.part.timing.generation == "sdr"
        self.ecc: EccKind = "none"
        if ecc and not self.inline:
            self.ecc = _CODES[self.part.timing.generation]
        names = [m.name for m in self.config(_STREAMS[0]).maps]
        if address_map not in names:
            raise ValueError(f"--map must be one of {', '.join(names)}, not {address_map!r}")
        self.map = names.index(address_map)
        self._benches: dict[int, MemoryBench] = {}
        self.last: Measurement | MemoryResult
        self.last_config: ControllerConfig

    def config(self, streams: int) -> ControllerConfig:
        """Of a controller with so many streams."""
        if self.slots not in (1, 4):
            raise ValueError(f"--slots must be 1 or 4, not {self.slots}")
        return ControllerConfig(
            name="memory",
            organisation=self.part.organisation,
            timing=self.part.timing,
            slots=1 if self.slots == 1 else 4,
            streams=streams,
            runs=32 if streams == _STREAMS[0] else 2,
            visits=8,
            look_ahead=self.look_ahead,
            ecc=self.ecc,
        )

    def run(self, case: Case, tell: Callable[[str], None], trace: bool) -> dict[str, Any]:
        """Run a case and describe it, as ``--json`` prints it."""
        config, pattern = self._fitting(case)
        refresh = refresh_mode(config, _mode(case.refresh))
        bound = limit(config, pattern, refresh=refresh, address_map=self.map)
        share = 1.0
        if self.inline:
            share, pattern = BLOCK / STRIDE, replace(pattern, span=REGION - 1)
        common: dict[str, Any] = {
            "pattern": case.pattern,
            **case.options,
            "refresh": refresh,
            "source": "model" if self.model else "rtl",
            "limit": bound.efficiency * share,
            "limited_by": bound.bound_by,
        }
        tell(str(case))
        kinds: dict[str, Any] = {"refresh": refresh, "address_map": self.map, "seed": self.seed}
        done: Measurement | MemoryResult
        if self.model:
            single = refresh == "per-bank"
            done = simulate(config, pattern, policy=self.model if single else "ours", **kinds)
            checks: dict[str, Any] = dict.fromkeys(("stalls", "violations", "late_refreshes"))
            checks["data_lost"] = None
        else:
            if config.streams not in self._benches:
                tell(f"{case}: compiling")
                self._benches[config.streams] = MemoryBench(config, CACHE, inline=self.inline)
                tell(str(case))
            bench = self._benches[config.streams]
            done = bench.measure(pattern, trace=trace, activations=self.activations, **kinds)
            on = refresh != "off"
            checks = {
                "stalls": done.stalls,
                "violations": done.violations + done.overrun,
                "late_refreshes": done.late_refreshes if on else None,
                "managements": done.managements,
                "data_lost": done.lost
                or done.wrong > 0
                or (on and (done.overflow or done.decayed > 0)),
                "cycles_per_second": round(done.cycles_per_second),
            }
        self.last, self.last_config = done, config
        longest = worst_latency(
            config, longest=pattern.count, count=pattern.count, activations=self.activations
        )
        return {
            **common,
            "efficiency": done.efficiency,
            "p50": done.latency_p50,
            "p99": done.latency_p99,
            "max_latency": done.latency_max,
            "latency_bound": None if self.inline else pattern.open * longest,
            "refresh_debt_max": done.refresh_debt_max,
            **checks,
            "window": done.window,
            "cycles": done.cycles,
        }

    def _fitting(self, case: Case) -> tuple[ControllerConfig, Pattern]:
        for streams in _STREAMS:
            config = self.config(streams)
            if case.options.get("outstanding", 0) <= streams or streams == _STREAMS[-1]:
                break
        return config, PATTERNS[case.pattern](config, **case.options)


def _mode(name: str | None) -> Refresh | None:
    return next((mode for mode in get_args(Refresh) if mode == name), None)


def _print(title: str, cases: list[Case], runs: list[dict[str, Any]]) -> None:
    def percent(share: float) -> str:
        return f"{100 * share:.2f}"

    rows = []
    for case, r in zip(cases, runs, strict=True):
        stalls = r["stalls"] or {}
        most = max(stalls, key=lambda name: stalls[name], default="")
        why = f"{most} {100 * stalls[most]:.1f}" if most and stalls[most] >= 0.0005 else ""
        bad = [r[name] or 0 for name in ("violations", "late_refreshes", "data_lost")]
        rows.append(
            (
                str(case),
                percent(r["efficiency"]),
                percent(r["limit"]),
                r["p50"],
                r["p99"],
                f"{r['refresh_debt_max']:.2f}",
                why,
                sum(map(int, bad)) if r["stalls"] is not None else "",
            )
        )
    columns = ("pattern", "%", "limit", "p50", "p99", "debt", "stalls, %", "bad")
    table(title, columns, rows)
    notes.print(
        "% of peak; cycles of a run; debt in tREFI; main cause of stalls; "
        "violations, late refreshes, lost data"
    )
