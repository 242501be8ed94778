"""Compile a testbench with Verilator or Icarus, once for equal sources and options.

The options were chosen by measurement, in processor time, on a clocked but idle 16x16 engine.
Without module inlining the model compiles in half the time and simulates 290,000 cycles per
second instead of 400,000, so that inlining pays only after millions of cycles. ``-O2`` doubles
the compile time again for a tenth in speed. Half of a first build is Verilator's run-time
library: it is compiled once for all models.
"""

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config
from cocotb_tools.runner import get_runner

from systolith.harness.errors import SimulationFailed, tail
from systolith.harness.toolchain import Tool, icarus, verilator

__all__ = ["TOP", "Compiled", "compile_bench", "environment"]

TOP = "bench"

_VERILATOR = (
    # cocotb makes every signal public, which stops nearly every optimisation; the bench marks
    # the few signals that are looked at.
    "--no-public-flat-rw",
    "--timing",
    "-O3",
    "-fno-inline",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "-Wno-fatal",
    "-Werror-PINMISSING",
    "-Werror-PINNOTFOUND",
    "-Werror-MULTIDRIVEN",
)
_MAKE = ("OPT_FAST=-O1", "OPT_SLOW=", "OPT_GLOBAL=-O1")
_ICARUS = ("-g2005",)  # at -g2012 a combinational process shows X until an input changes


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A testbench ready to run.

    Parameters
    ----------
    folder
        Where it is; read only.
    simulator
        ``"verilator"`` or ``"icarus"``.
    version
        Of the simulator.
    seconds
        Time this call took, wall clock.
    cached
        Whether it was there already.
    """

    folder: Path
    simulator: str
    version: str
    seconds: float
    cached: bool


def compile_bench(
    verilog: str, bench: str, cache: Path, *, simulator: str, waves: bool
) -> Compiled:
    """Compile the sources ``bench``, with the top module ``bench``, and ``verilog``.

    Safe against other processes with the same cache: one compiles, the others wait for it.

    Raises
    ------
    ToolMissing
        If the simulator or one of its helpers is missing.
    ValueError
        If the simulator is not known or the cache is where make cannot work.
    SimulationFailed
        If the sources do not compile.
    """
    start = time.perf_counter()
    cache = cache.resolve()
    if re.search(r"\s", str(cache)):
        raise ValueError(
            f"build_dir must not be under a path with spaces (GNU make), not {str(cache)!r}"
        )
    recipe = _recipe(simulator, waves)
    key = hashlib.sha256()
    texts = {"bench.v": bench, "design.v": verilog}
    for text in [*texts.values(), *recipe.identity]:
        key.update(hashlib.sha256(text.encode()).digest())
    folder = cache / f"{simulator}-{key.hexdigest()[:20]}"
    cached = folder.is_dir()
    if not cached:
        cache.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cached = folder.is_dir()
            if not cached:
                _compile(recipe, texts, cache, folder)
    return Compiled(
        folder=folder,
        simulator=simulator,
        version=recipe.tool.version,
        seconds=time.perf_counter() - start,
        cached=cached,
    )


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """How to compile: everything but the sources that decides what comes out."""

    simulator: str
    tool: Tool
    options: tuple[str, ...]
    make: tuple[str, ...]
    waves: bool

    @property
    def identity(self) -> list[str]:
        return [
            self.simulator,
            self.tool.path,
            self.tool.version,
            *self.options,
            self.tool.env.get("MAKEFLAGS", ""),
            *self.make,
            str(self.waves),
            str(cocotb_tools.config.libs_dir),  # the executable knows where cocotb is
        ]


def _recipe(simulator: str, waves: bool) -> _Recipe:
    match simulator:
        case "icarus":  # whether it writes waveforms is decided when it runs
            return _Recipe(
                simulator=simulator, tool=icarus(), options=_ICARUS, make=(), waves=False
            )
        case "verilator":
            return _Recipe(
                simulator=simulator, tool=verilator(), options=_VERILATOR, make=_MAKE, waves=waves
            )
        case _:
            raise ValueError(f"simulator must be 'verilator' or 'icarus', not {simulator!r}")


def _compile(recipe: _Recipe, texts: Mapping[str, str], cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache, prefix="compile-") as scratch_name:
        scratch = Path(scratch_name)
        for name, text in texts.items():
            (scratch / name).write_text(text)
        runtime = _Runtime(recipe, cache)
        env = dict(recipe.tool.env)
        env["MAKEFLAGS"] = " ".join((env.get("MAKEFLAGS", ""), *recipe.make, *runtime.make))
        log = scratch / "build.log"
        with environment(env):
            try:
                get_runner(recipe.simulator).build(
                    sources=[scratch / name for name in texts],
                    hdl_toplevel=TOP,
                    build_args=recipe.options,
                    build_dir=scratch,
                    timescale=("1ns", "1ns"),
                    waves=recipe.waves,
                    log_file=log,
                )
            except RuntimeError as error:
                raise SimulationFailed(
                    f"{recipe.simulator} could not compile the testbench; {tail(log)}"
                ) from error
        runtime.keep(scratch)
        kept = scratch / "kept"
        kept.mkdir()
        for name in (*texts, "build.log", "sim.vvp", TOP):
            if (scratch / name).exists():
                shutil.move(scratch / name, kept / name)
        kept.rename(folder)


class _Runtime:
    """Objects of Verilator's run-time library, which are the same in every build of a kind."""

    def __init__(self, recipe: _Recipe, cache: Path) -> None:
        identity = hashlib.sha256("\n".join(recipe.identity).encode()).hexdigest()[:20]
        self.wanted = recipe.simulator == "verilator"
        self.folder = cache / f"runtime-{identity}"

    @property
    def make(self) -> tuple[str, ...]:
        """Overrides that make the build use the objects, if they are there."""
        objects = sorted(self.folder.glob("*.o"))
        if not objects:
            return ()
        joined = "\\ ".join(map(str, objects))
        return ("VM_GLOBAL_FAST=", "VM_GLOBAL_SLOW=", f"USER_LDLIBS={joined}")

    def keep(self, build: Path) -> None:
        """Take the objects of a finished build, unless another process has been quicker."""
        objects = list(build.glob("verilated*.o"))
        if not self.wanted or not objects or self.folder.is_dir():
            return
        staged = build / "runtime"
        staged.mkdir()
        for path in objects:
            shutil.copy2(path, staged)
        try:
            staged.rename(self.folder)
        except OSError:
            if not self.folder.is_dir():
                raise


@contextmanager
def environment(env: Mapping[str, str]) -> Iterator[None]:
    """Let this process, whose environment cocotb's runner takes, have the environment ``env``."""
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    # Under pytest the runner exits instead of telling what is wrong; the other two would
    # override what the caller wants.
    for name in ("PYTEST_CURRENT_TEST", "WAVES", "GUI"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
