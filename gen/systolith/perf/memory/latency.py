"""How long a run may take at worst, from the timing table."""

import math

from systolith.memory.hbm.config import LEAD, ControllerConfig
from systolith.memory.hbm.data_path import MERGE_TRIES
from systolith.memory.hbm.refresh import forced_margin
from systolith.memory.hbm.retry import recovery_clocks

__all__ = ["worst_latency"]

_PIPELINE = 8
"""Fabric clocks from the acceptance of a run to its first visit, and from its end to who waits."""

_MERGE = 6
"""Fabric clocks from old data at the boundary to the choice of its write: the beat is told, passes
the decoder, is kept, and turns the direction of the bus."""


def worst_latency(
    config: ControllerConfig,
    *,
    longest: int,
    count: int,
    hotter: int = 0,
    offered: int = 4,
    activations: int = 0,
    partial: bool = False,
    delay: int = 2,
    recoveries: int = 0,
) -> int:
    """Fabric clocks from the submission of a run to its end, whatever the other streams do.

    The run is the first one of its stream. Before it move, at most: what has been announced (the
    look-ahead, and a run that began within it), and of every other stream the run that is under
    way and one that has its turn before this one's. Each of their atoms may need a row of its own
    in one bank: the longest of tRC and tRCD to the end of tWR + tRP, a turn of the bus, and
    commands that wait for a slot. Meanwhile refreshes come at their pace, and those that are owed;
    each round closes rows for as long as it may take, and holds the bank for its refresh. An atom
    that is written in part is read before, up to three times if its data does not come. Nothing
    moves during a recovery from bad parity.

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
    partial
        Whether bytes of atoms may be left out.
    delay
        Fabric clocks that the adapter and the wires add to the latency of reads.
    recoveries
        Recoveries meanwhile, each of one alert.
    """
    t = config.timing
    others = config.streams - 1
    atoms = config.ahead + longest + 2 * others * longest + count
    row = max(t["rc"], t["rcd_wr"] + t["cwl"] + t["burst"] + t["wr"] + t["rp"], t["rcd_rd"])
    turn = max(t["rtw"], t["cwl"] + t["burst"] + (t.wtr_l or t["wtr_s"]))
    cycle = row + turn + 2 * max(offered, config.slots) + 2 * config.slots
    if activations:
        cycle += math.ceil(((t.rfc_pb or 0) + t["rp"]) / activations)
    back = t["cl"] + t["burst"]
    if partial:
        one = back + config.slots * (LEAD + config.foresight + delay + _MERGE) + offered
        cycle += MERGE_TRIES * one + turn
    interval = t["refi"] >> hotter
    held = forced_margin(config) + max(t.rfc_pb or 0, t["rfc"]) + t["rcd_rd"]
    if held >= interval:
        raise ValueError(f"timing.refi must be more than {held << hotter}, not {t['refi']}")
    still = recoveries * recovery_clocks(config) * config.slots if recoveries else 0
    clocks = (atoms * cycle + (config.debt + 1) * held + still) / (1 - held / interval)
    return math.ceil((clocks + back) / config.slots) + LEAD + delay + _PIPELINE
