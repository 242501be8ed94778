"""How long a run may take at worst, from the timing table."""

import math

from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.refresh import forced_margin

__all__ = ["worst_latency"]

_PIPELINE = 8
"""Fabric clocks from the acceptance of a run to its first visit, and from its end to who waits."""


def worst_latency(
    config: ControllerConfig,
    *,
    longest: int,
    count: int,
    hotter: int = 0,
    offered: int = 4,
    activations: int = 0,
) -> int:
    """Fabric clocks from the submission of a run to its end, whatever the other streams do.

    The run is the first one of its stream. Before it move, at most: what has been announced (the
    look-ahead, and a run that began within it), and of every other stream the run that is under
    way and one that has its turn before this one's. Each of their atoms may need a row of its own
    in one bank: the longest of tRC and tRCD to the end of tWR + tRP, a turn of the bus, and
    commands that wait for a slot. Meanwhile refreshes come at their pace, and those that are owed;
    each round closes rows for as long as it may take, and holds the bank for its refresh.

    Parameters
    ----------
    config
        Of the controller.
    longest
        Most atoms of any run of another stream.
    count
        Atoms of this run.
    hotter
        Refreshes are this power of two as frequent.
    offered
        Memory clocks in which at least one slot of each bus is offered.
    activations
        Of a bank until refresh management, 0 for none.
    """
    t = config.timing
    others = config.streams - 1
    atoms = config.ahead + longest + 2 * others * longest + count
    row = max(t["rc"], t["rcd_wr"] + t["cwl"] + t["burst"] + t["wr"] + t["rp"], t["rcd_rd"])
    turn = max(t["rtw"], t["cwl"] + t["burst"] + (t.wtr_l or t["wtr_s"]))
    cycle = row + turn + 2 * max(offered, config.slots) + 2 * config.slots
    if activations:
        cycle += math.ceil(((t.rfc_pb or 0) + t["rp"]) / activations)
    interval = t["refi"] >> hotter
    held = forced_margin(config) + max(t.rfc_pb or 0, t["rfc"]) + t["rcd_rd"]
    if held >= interval:
        raise ValueError(f"timing.refi must be more than {held << hotter}, not {t['refi']}")
    clocks = (atoms * cycle + (config.debt + 1) * held) / (1 - held / interval)
    back = t["cl"] + t["burst"]
    return math.ceil((clocks + back) / config.slots) + LEAD + _PIPELINE
