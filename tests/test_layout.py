"""The repository's own rules."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("rtl", "verif", "gen", "fpga")


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_are_namespace_portions(room: str) -> None:
    assert not (ROOT / room / "systolith" / "__init__.py").exists(), (
        "an __init__.py here hides the other three portions of the package"
    )


def test_imports_point_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_module_says_what_it_exports() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py") and "__all__" not in path.read_text()
    ]
    assert not silent


def test_only_sram_uses_memories() -> None:
    users = [
        path.name for path in (ROOT / "rtl").rglob("*.py") if "memory.Memory(" in path.read_text()
    ]
    assert users == ["sram.py"]
