"""The picture of one measured pattern: bandwidth and refresh debt over time, stalls by cause."""

from itertools import pairwise
from pathlib import Path

import matplotlib

from systolith.benches.memory_measure import Measurement
from systolith.memory.hbm.config import ControllerConfig
from systolith.perf.memory.model import MemoryResult

__all__ = ["check_picture", "plot_measurement"]

_ENDINGS = (".png", ".svg")


def check_picture(path: Path) -> None:
    """Raise ValueError for a file that cannot be drawn, before the work."""
    if path.suffix.lower() not in _ENDINGS:
        raise ValueError(f"--plot must end in {' or '.join(_ENDINGS)}, not {str(path)!r}")
    if not path.parent.is_dir():
        raise ValueError(f"--plot {path}: its directory does not exist")


def plot_measurement(
    path: Path, title: str, config: ControllerConfig, done: Measurement | MemoryResult
) -> None:
    """Draw what was measured into ``path``."""
    assert isinstance(done, Measurement)
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "systolith"
    from matplotlib import pyplot

    refi, peak = config.timing["refi"], config.timing["ccd_s"]
    clocks = [clock / refi for clock, _, _ in done.series[1:]]
    rate = [100 * (b[1] - a[1]) * peak / (b[0] - a[0]) for a, b in pairwise(done.series)]
    owed = [balance / refi - 1 for _, _, balance in done.series[1:]]
    figure, (top, middle, bottom) = pyplot.subplots(
        3, 1, figsize=(9, 6), layout="constrained", height_ratios=(3, 2, 1.2)
    )
    top.step(clocks, rate, where="pre", linewidth=0.8, color="#3d7ea6")
    top.axhline(100 * done.efficiency, color="#e07a3f", label=f"{100 * done.efficiency:.2f} %")
    top.set(ylabel="% of peak", ylim=(0, 105), title=title)
    top.legend(loc="lower right")
    middle.step(clocks, owed, where="pre", linewidth=0.8, color="#5b8c5a")
    middle.set(ylabel="refresh debt, tREFI", xlabel="time, tREFI")
    left = 0.0
    shares = {"data": done.efficiency, **done.stalls}
    for name, share in shares.items():
        bottom.barh(0, 100 * share, left=left, label=f"{name} {100 * share:.1f}")
        left += 100 * share
    bottom.set(xlim=(0, 100), xlabel="column slots, %", yticks=[])
    bottom.legend(ncols=len(shares), loc="upper center", fontsize="small", frameon=False)
    for axes in (top, middle):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
