"""Which refreshes are due in a model: rounds over the banks, or all banks at once."""

from typing import Literal, get_args

from systolith.memory.hbm.commands import Op
from systolith.memory.hbm.config import ControllerConfig

__all__ = ["Maintenance", "Refresh", "Rounds", "refresh_mode"]

Refresh = Literal["per-bank", "all-bank", "off"]

_NEVER = 1 << 62
_SLACK = 64  # clocks in which the controller reacts


def refresh_mode(config: ControllerConfig, refresh: Refresh | None) -> Refresh:
    """Return ``refresh`` if the memory has it: single banks if left out, all banks for SDR."""
    one_bank = config.timing.rfc_pb is not None
    if refresh is None:
        return "per-bank" if one_bank else "all-bank"
    allowed = [mode for mode in get_args(Refresh) if one_bank or mode != "per-bank"]
    if refresh not in allowed:
        raise ValueError(f"refresh must be one of {', '.join(allowed)}, not {refresh!r}")
    return refresh


class Rounds:
    """Refreshes of one bank each: every bank once per round, in any order.

    A round begins at a multiple of tREFI, the first at tREFI, or as soon as the former one is
    complete if that is later.

    Parameters
    ----------
    config
        Of the controller.
    """

    def __init__(self, config: ControllerConfig) -> None:
        t = config.timing
        self.pending: list[int] = []
        self.nominal = 0
        self._banks, self._refi = config.banks, t["refi"]
        self._spacing = t["refi"] // config.banks
        close = t["rc"] + t["cwl"] + t["burst"] + t["wr"] + t["rp"]
        each = t["rrefd"] + 4 + (t.ppd or 0)
        self._patience = config.debt * t["refi"] - close - config.banks * each - _SLACK
        self._relaxed = -t["refi"]

    def advance(self, clock: int) -> None:
        """Begin the next round if it is time."""
        if not self.pending and clock >= self.nominal + self._refi:
            self.nominal += self._refi
            self.pending = list(range(self._banks))

    def age(self, clock: int) -> int:
        """Clocks since the nominal begin of a round that is not complete."""
        return clock - self.nominal if self.pending else 0

    def forced(self, clock: int) -> bool:
        """Whether banks must be closed for it."""
        return self.age(clock) > self._patience

    def wanted(self, clock: int) -> bool:
        """Whether a bank may be refreshed although its next row is soon due."""
        return self.age(clock) > self._refi and clock >= self._relaxed + self._spacing

    def done(self, bank: int, clock: int, *, far: bool) -> None:
        """Take a bank from the round; ``far`` if its next row is not soon due."""
        self.pending.remove(bank)
        if not far:
            self._relaxed = clock


class Maintenance:
    """Commands to all banks, for which everything else is held: start-up, then refreshes.

    Parameters
    ----------
    config
        Of the controller.
    repeats
        Whether all banks are refreshed once per tREFI.
    """

    def __init__(self, config: ControllerConfig, *, repeats: bool) -> None:
        self.steps = [Op.PREA, Op.MRS, Op.MRS, Op.REFAB, Op.REFAB]
        self.due = config.timing["refi"] if repeats else _NEVER
        self._refi = config.timing["refi"]

    def advance(self, *, any_open: bool) -> None:
        """Start the refresh that is due, unless one is under way."""
        if not self.steps:
            self.due += self._refi
            self.steps = [Op.PREA, Op.REFAB] if any_open else [Op.REFAB]

    def age(self, clock: int) -> int:
        """Clocks since the refresh that is under way fell due."""
        return max(clock - self.due + self._refi, 0)
