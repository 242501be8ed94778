"""What a configuration of the memory controller costs, told before it is built."""

from systolith.memory.hbm.config import ControllerConfig
from systolith.perf.memory.model import simulate
from systolith.perf.memory.patterns import PATTERNS

__all__ = ["LEAST_LOOK_AHEAD", "look_ahead_advice"]

LEAST_LOOK_AHEAD = 12
"""Rows: three for each of four bank groups, so that one set opens while another is refreshed."""

_ROUNDS = 18  # intervals of refreshes that are simulated, those of the warm-up included


def look_ahead_advice(config: ControllerConfig) -> str | None:
    """Return a warning if too few rows are announced to hide refreshes behind traffic, else None.

    Rows have to be announced at least tRFCpb + tRP + tRCD before they are needed, and at least
    :data:`LEAST_LOOK_AHEAD` of them. The efficiency in the warning is that of the model, for one
    sequential stream.
    """
    if config.timing.rfc_pb is None:
        return None  # a refresh of all banks cannot be hidden
    if config.look_ahead >= LEAST_LOOK_AHEAD and config.ahead >= config.shadow:
        return None
    cycles = _ROUNDS * config.timing["refi"]
    share = simulate(config, PATTERNS["seq-read"](config), cycles=cycles).efficiency
    rows = max(LEAST_LOOK_AHEAD, -(-config.shadow // config.organisation.columns))
    return (
        f"look_ahead {config.look_ahead} is less than {rows} rows: a sequential stream is "
        f"predicted to reach {100 * share:.1f} % of the peak"
    )
