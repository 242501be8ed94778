"""Planted faults: each changes one place of the emitted Verilog, and the benches must notice."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from systolith.array.config import EngineConfig
from systolith.array.engine import Engine
from systolith.benches.play import build_engine
from systolith.benches.program import Mismatch
from systolith.benches.random_programs import random_program
from systolith.config.presets import tiny
from systolith.emit.verilog import emit_design
from systolith.harness.errors import SimulationFailed

# Two-cycle memories and bands of two rows need forwarding, so that it can be broken.
# Several commands under way at once, so that groups meet.
CONFIG = replace(
    tiny,
    name="faulty",
    memory=replace(tiny.memory, latency=2, x_depth=40),
    control=replace(tiny.control, queue_depth=2, outstanding=8),
)


def _module(text: str, name: str) -> tuple[int, int]:
    start = text.index(f"module {CONFIG.name}_{name}(")
    return start, text.index("endmodule", start)


def _change(text: str, module: str, pattern: str, replacement: str) -> str:
    """Replace the single match of ``pattern`` in one module."""
    start, end = _module(text, module)
    body, count = re.subn(pattern, replacement, text[start:end])
    assert count == 1, f"{count} places match {pattern!r} in {module}"
    return text[:start] + body + text[end:]


FAULTS: dict[str, Callable[[str], str]] = {}


def _fault(name: str) -> Callable[[Callable[[str], str]], Callable[[str], str]]:
    def keep(function: Callable[[str], str]) -> Callable[[str], str]:
        FAULTS[name] = function
        return function

    return keep


@_fault("swap one cycle late")
def _late(text: str) -> str:
    return _change(text, "pe", r"= west\[8\] \? shadow : active;", "= swap ? shadow : active;")


@_fault("swap one cycle early")
def _early(text: str) -> str:
    # The weight changes under the activation before: the product takes the shadow at once.
    return _change(text, "pe", r"\.b\(active\)", ".b(west[8] ? shadow : active)")


@_fault("weights loaded one row off")
def _row_off(text: str) -> str:
    return _change(text, "tile", r"\.load\(token\[0\]\)(?=[\s\S]*?pe_0_1)", ".load(token[1])")


@_fault("fuse bit stuck at one")
def _fuse_one(text: str) -> str:
    return _change(text, "band", r"(?<=\{ )fuse(?= *,|, )|(?<=, )fuse(?= \})", "1'h1")


@_fault("fuse bit stuck at zero")
def _fuse_zero(text: str) -> str:
    return _change(text, "band", r"(?<=\{ )fuse(?= *,|, )|(?<=, )fuse(?= \})", "1'h0")


@_fault("forwarding off")
def _no_forward(text: str) -> str:
    return _change(
        text, "accumulator", r"assign forward_2_0 = [^;]+;", "assign forward_2_0 = 1'h0;"
    )


@_fault("column mask off by one")
def _mask(text: str) -> str:
    return _change(text, "accumulator", r"(command\[\d+:\d+\]) > (1'h1)", r"\1 >= \2")


@_fault("row mask off by one")
def _row_mask(text: str) -> str:
    return _change(text, "feeder", r"(read_0_\d\[\d+:\d+\]) > (1'h1)", r"\1 >= \2")


@_fault("token lost at a column boundary")
def _token(text: str) -> str:
    return _change(text, "boundary", r"\{ march\[0\], [^}]+\}", "{ march[0], 1'h0 }")


@_fault("no sign extension")
def _sign(text: str) -> str:
    return _change(text, "pe", r"\$signed\(n\) \+ \$signed\(p\)", "n + p")


@_fault("one row of M too few")
def _m_short(text: str) -> str:
    return _change(text, "sequencer", r"= ahead == (\S+ \[4:0\]);", r"= ahead + 6'h1 == \1;")


@_fault("overwrite for add")
def _overwrite(text: str) -> str:
    return _change(text, "accumulator", r"assign r_clear = [^;]+;", "assign r_clear = valid_0;")


def _verilog(config: EngineConfig) -> str:
    return emit_design(Engine(config), config.name).verilog()


def _run(verilog: str, folder: Path) -> None:
    engine = build_engine(CONFIG, cache=folder, verilog=verilog)
    for seed in (61, 62):
        program = random_program(CONFIG, seed=seed, commands=60)
        program.check(engine.play(program, deadline=2_000).transfers).require()


@pytest.mark.cosim
def test_the_sound_design_passes(tmp_path: Path) -> None:
    _run(_verilog(CONFIG), tmp_path)


@pytest.mark.cosim
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if k % 3 == 0 else pytest.mark.slow) for k, n in enumerate(FAULTS)],
)
def test_fault_is_caught(name: str, tmp_path: Path) -> None:
    with pytest.raises((Mismatch, SimulationFailed)) as caught:
        _run(FAULTS[name](_verilog(CONFIG)), tmp_path)
    assert "could not compile" not in str(caught.value), "the fault is not valid Verilog"
